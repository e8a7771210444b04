"""Weights of one's own, as files and as folders: they load whole or not at all."""

import hashlib
import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from gatedpose.models import zoo
from gatedpose.models.saved import skeleton_of
from gatedpose.skeleton import COCO17, LSP14, MPII16

# Files of one's own


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_load_weights(tmp_path: Path, prefix: str, tiny, same) -> None:
    file, source = tmp_path / "a.safetensors", tiny()
    save_file({prefix + key: value for key, value in source.state_dict().items()}, file)
    model = tiny()
    zoo.load_weights(model, file)
    assert same(model.state_dict(), source.state_dict())
    assert same(tiny(checkpoint_path=file).state_dict(), source.state_dict())
    images = torch.randn(2, 3, 16, 32)
    assert torch.equal(model.eval()(images), source.eval()(images))


def test_load_weights_of_other_keypoints(tmp_path: Path, tiny) -> None:
    source, model = tiny(num_keypoints=5), tiny()
    save_file(source.state_dict(), tmp_path / "a.safetensors")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        zoo.WeightsError, match=r"5 of another shape \(heads.0.weight \(5, 8, 1, 1\)"
    ):
        zoo.load_weights(model, tmp_path / "a.safetensors")
    zoo.load_weights(model, tmp_path / "a.safetensors", new_keypoints=True)
    heads = tuple(f"{name}." for name in model.keypoint_modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, (before if key.startswith(heads) else source.state_dict())[key])


def corrupt(state: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    """A state dict with one thing wrong, in its last keys, so that a partial load would show."""
    last, bias = list(state)[-1], "remap_features.0.bias"  # of a keypoint module, and of none
    if how == "missing":
        del state[last]
    elif how == "unexpected":
        state["extra.weight"] = torch.zeros(1)
    elif how == "shape":
        state[bias] = torch.zeros(7)
    elif how == "integer":
        state[bias] = state[bias].to(torch.int32)
    elif how == "prefix":
        state = {"module." + key if key != last else key: value for key, value in state.items()}
    elif how == "head gone":
        state = {key: value for key, value in state.items() if not key.startswith("heads.1.")}
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"1 missing \(remap_heatmaps.0.bias\)"),
        ("unexpected", r"1 unexpected \(extra.weight\). It is of no variant"),
        ("shape", r"1 of another shape \(remap_features.0.bias \(7,\) for \(8,\)\)"),
        ("integer", r"1 of another shape \(remap_features.0.bias integer \(8,\) for \(8,\)\)"),
        ("prefix", r"\d+ missing \(stem.conv.weight, .*, \.\.\.\); \d+ unexpected \(module.heads"),
        ("head gone", r"2 missing \(heads.1.weight, heads.1.bias\)"),
        ("other variant", r"\d+ unexpected.*It is of gated_hg_1s_68 with 3 keypoints"),
        ("no keypoints", r"\d+ unexpected.*It is of no variant"),
        ("empty", r"\d+ missing"),
    ],
)
@pytest.mark.parametrize("new_keypoints", [False, True])
def test_files_that_do_not_fit_change_nothing(
    tmp_path: Path, how: str, message: str, new_keypoints: bool, tiny, same
) -> None:
    file, model = tmp_path / "wrong.safetensors", tiny()
    if how in ("other variant", "no keypoints"):
        state = zoo.create_model("gated_hg_1s_68", num_keypoints=3).state_dict()
        if how == "no keypoints":
            state["heads.0.weight"] = torch.zeros(0, 68, 1, 1)
    else:
        state = corrupt(dict(tiny().state_dict()), how) if how != "empty" else {}
    save_file(state, file)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(zoo.WeightsError, match=rf"wrong.safetensors does not fit.*{message}"):
        zoo.load_weights(model, file, new_keypoints=new_keypoints)
    assert same(model.state_dict(), before)


def test_halved_with_all_that_batch_norm_counts(tmp_path: Path, tiny, same) -> None:
    state = tiny().state_dict()
    save_file({key: tensor.half() for key, tensor in state.items()}, tmp_path / "half.safetensors")
    zoo.load_weights(model := tiny(), tmp_path / "half.safetensors")
    assert same(model.state_dict(), {k: t.half().to(t.dtype) for k, t in state.items()})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("absent", "cannot be read: .*No such file"),
        ("folder", "cannot be read"),
        ("cut 1", "cannot be read"),
        ("cut half", "cannot be read"),
        ("cut to 4", "cannot be read"),
        ("nothing", "cannot be read"),
        ("noise", "cannot be read"),
        ("byte", "is damaged: its sha256 is"),
    ],
)
def test_broken_files_change_nothing(tmp_path: Path, how: str, message: str, tiny, same) -> None:
    file, model = tmp_path / "broken.safetensors", tiny()
    data = save(tiny().state_dict())
    sha256 = hashlib.sha256(data).hexdigest() if how == "byte" else None
    changed = {
        "cut 1": data[:-1],
        "cut half": data[: len(data) // 2],
        "cut to 4": data[:4],
        "nothing": b"",
        "noise": bytes(range(256)) * 8,
        "byte": data[:-100] + bytes([data[-100] ^ 1]) + data[-99:],
    }
    if how == "folder":
        file.mkdir()
    elif how != "absent":
        file.write_bytes(changed[how])
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(zoo.WeightsError, match=f"broken.safetensors {message}"):
        zoo.load_weights(model, file, sha256=sha256)
    assert same(model.state_dict(), before)


@pytest.mark.parametrize("suffix", ["pth", "pt", "bin", "ckpt", "pkl", "safetensors.bin", "npz"])
def test_nothing_is_unpickled(tmp_path: Path, suffix: str, tiny) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    file = tmp_path / f"model.{suffix}"
    torch.save(Trap(), file)
    with pytest.raises(zoo.WeightsError, match=r"only .safetensors is loaded.*gatedpose convert "):
        zoo.load_weights(tiny(), file)
    with pytest.raises(zoo.WeightsError, match=r"only .safetensors is loaded"):
        tiny(checkpoint_path=file)
    (tmp_path / "model.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(zoo.WeightsError, match="cannot be read"):
        zoo.load_weights(tiny(), tmp_path / "model.safetensors")
    assert not (tmp_path / "sprung").exists()


# Folders


def test_local_dir(tmp_path: Path, tiny, same, folder_of) -> None:
    source = tiny(gate="scalar")
    name = f"local-dir:{folder_of(source, tmp_path / 'saved')}"
    for create in (zoo.create_model, timm.create_model):
        model = create(name, pretrained=True)
        assert (model.num_keypoints, model.config) == (3, source.config)
        assert same(model.state_dict(), source.state_dict())
        assert not same(create(name).state_dict(), source.state_dict())  # random, as in timm
    assert zoo.create_model(name, pretrained=True, in_channels=1).in_channels == 1
    model = zoo.create_model(name, pretrained=True, num_keypoints=5)
    heads = tuple(f"{name}." for name in model.keypoint_modules())
    assert same(model.state_dict(), source.state_dict(), but=heads)


def test_local_dir_is_strict_and_safetensors_only(tmp_path: Path, tiny, folder_of) -> None:
    saved = folder_of(tiny(), tmp_path / "saved")
    state = corrupt(load_file(saved / "model.safetensors"), "head gone")
    save_file(state, saved / "model.safetensors")
    for create, word in ((zoo.create_model, "num_keypoints"), (timm.create_model, "num_classes")):
        with pytest.raises(zoo.WeightsError, match=r"2 missing \(heads.1.weight, heads.1.bias\)"):
            create(f"local-dir:{saved}", pretrained=True, **{word: 5})
    (saved / "model.safetensors").unlink()
    torch.save(state, saved / "pytorch_model.bin")
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(zoo.WeightsError, match=r"model.safetensors cannot be read"):
            create(f"local-dir:{saved}", pretrained=True)


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            '{"architecture": "resnet18"}',
            zoo.UnknownModelError,
            "is a 'resnet18', not a network of",
        ),
        ('{"architecture": ["x"]}', zoo.WeightsError, "with the name of an 'architecture'"),
        ("{}", zoo.WeightsError, "is no config.json of timm's"),
        ("[1", zoo.WeightsError, "is no config.json of timm's"),
        (None, zoo.WeightsError, "there is no model in .*it holds no config.json"),
    ],
)
def test_folders_of_others(
    tmp_path: Path, config: str | None, error: type[Exception], message: str
) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(error, match=message):
        zoo.create_model(f"local-dir:{tmp_path}")


def test_skeleton_of(tiny) -> None:
    for keypoints, skeleton in ((14, LSP14), (16, MPII16), (17, COCO17), (3, None)):
        assert skeleton_of(tiny(num_keypoints=keypoints)) is skeleton
    assert skeleton_of(nn.Linear(1, 1)) is None
