"""Networks as folders that "local-dir:" loads, joints included."""

import json
from pathlib import Path

import pytest
import timm.utils
import torch

import gatedpose
from gatedpose.errors import InputError, WeightsError
from gatedpose.models.saved import save_model
from gatedpose.skeleton import LSP14, Skeleton

KITE = Skeleton("kite", ("left tip", "right tip", "head"), ((1, 0),), ((0, 1), (1, 2), (2, 0)))


def kite_model(**options: object) -> gatedpose.GatedHourglass:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3, width=8, **options)
    return model.to(memory_format=torch.channels_last)


def test_saved_model_comes_back_bit_for_bit(tmp_path: Path) -> None:
    model = kite_model(gate="scalar", in_channels=1)
    save_model(model, tmp_path / "saved", KITE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["saved"]
    modes = {file.stat().st_mode for file in (tmp_path / "saved").iterdir()}
    assert modes == {
        tmp_path.joinpath("saved", "config.json").stat().st_mode
    }  # all for others, too
    for create in (gatedpose.create_model, timm.create_model):
        again = create(f"local-dir:{tmp_path / 'saved'}", pretrained=True)
        assert again.config == model.config
        for name, tensor in model.state_dict().items():
            assert torch.equal(again.state_dict()[name], tensor), name
        assert gatedpose.Predictor(again).skeleton == KITE
    assert model.stem.conv.weight.is_contiguous(memory_format=torch.channels_last)  # as it was


@pytest.mark.parametrize("wanted", [1, 2, 3, 5])
def test_only_three_input_channels_become_others(tmp_path: Path, wanted: int) -> None:
    save_model(kite_model(in_channels=4), tmp_path / "saved", KITE)
    name = f"local-dir:{tmp_path / 'saved'}"
    with pytest.raises(InputError, match=f"has 4 input channels, not {wanted}"):
        gatedpose.create_model(name, pretrained=True, in_channels=wanted)


def test_what_could_not_be_read_back_is_not_saved(tmp_path: Path) -> None:
    for model, skeleton, message in (
        (kite_model(), Skeleton("lsp14", ("a", "b", "c"), (), ()), "known as 'lsp14'"),
        (torch.compile(kite_model()), KITE, "takes a network of the zoo"),
        (torch.nn.Linear(1, 1), KITE, "takes a network of the zoo"),
    ):
        with pytest.raises((InputError, TypeError), match=message):
            save_model(model, tmp_path / "saved", skeleton)
        assert not list(tmp_path.iterdir())


def test_networks_that_were_made_without_a_name_are_saved_and_optimised(tmp_path: Path) -> None:
    config = gatedpose.GatedHourglassConfig(width=8, stacks=1, num_keypoints=3, depth=2)
    model = gatedpose.GatedHourglass(config).eval()
    save_model(model, tmp_path / "saved", KITE)
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True).eval()
    assert again.config == config
    images = torch.randn(2, 3, 64, 32)
    fast = gatedpose.optimize(model, dtype=torch.float32, compile=False)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        torch.testing.assert_close(fast(images), model(images))


def test_networks_of_which_timm_froze_a_part_come_back(tmp_path: Path) -> None:
    model = kite_model().eval()
    timm.utils.freeze(model, ["stem", "stacks"])  # their batch norms are of another class then
    save_model(model, tmp_path / "saved", KITE)
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 128)
    torch.testing.assert_close(again(images), model(images))


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    save_model(kite_model(), tmp_path / "saved", KITE)
    second = kite_model(merge="sum")
    save_model(second, tmp_path / "saved", KITE)
    names = sorted(p.name for p in (tmp_path / "saved").iterdir())
    assert names == ["config.json", "model.safetensors"]
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'saved'}", pretrained=True)
    assert again.config.merge == "sum"


def test_folder_with_other_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine" / "sub").mkdir(parents=True)
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / "linked").symlink_to(tmp_path / "mine")
    for path in (tmp_path / "mine", tmp_path / "linked", tmp_path / "mine" / "sub" / ".."):
        with pytest.raises(
            FileExistsError, match=r"than config.json, int8.json, model.safetensors, sub for"
        ):
            save_model(kite_model(), path, KITE)
    with pytest.raises(FileExistsError, match=r"thesis.txt is a file, not a folder"):
        save_model(kite_model(), tmp_path / "mine" / "thesis.txt", KITE)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_model(kite_model(), tmp_path / "no" / "where", KITE)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["linked", "mine"]


def test_failed_saving_leaves_the_older_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(kite_model(), tmp_path / "saved", KITE)
    before = (tmp_path / "saved" / "model.safetensors").read_bytes()

    def full(*_: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)  # config.json, after the weights
    with pytest.raises(OSError, match="No space left"):
        save_model(kite_model(), tmp_path / "saved", KITE)
    assert (tmp_path / "saved" / "model.safetensors").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["saved"]


def test_another_number_of_keypoints_is_not_those_joints(tmp_path: Path) -> None:
    save_model(kite_model(), tmp_path / "saved", KITE)
    name = f"local-dir:{tmp_path / 'saved'}"
    model = gatedpose.create_model(name, pretrained=True, num_keypoints=14)
    assert gatedpose.Predictor(model).skeleton == LSP14
    with pytest.raises(ValueError, match="which joints do the 5 heatmaps"):
        gatedpose.Predictor(gatedpose.create_model(name, num_keypoints=5))


def test_joints_must_be_the_models(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'lsp14' has 14 joints, the model has 3 heatmaps"):
        save_model(kite_model(), tmp_path / "saved", LSP14)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=14)
    (tmp_path / "run").mkdir()
    save_model(model, tmp_path / "run" / "model", LSP14)
    monkeypatch.chdir(tmp_path)
    for name in ("run/model", "run", "./run", str(tmp_path / "run"), "local-dir:run/model"):
        found = gatedpose.create_model(name, pretrained=True)
        assert torch.equal(found.stem.conv.weight, model.stem.conv.weight)
    with pytest.raises(WeightsError, match=r"holds no config\.json \(name run/model\)"):
        gatedpose.create_model("local-dir:run", pretrained=True)
    word = gatedpose.create_model("fast", pretrained=True)
    assert word.pretrained_cfg["architecture"] == "gated_hg_1s_68"
