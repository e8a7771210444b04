"""Weights that are packaged, by tag: which there are, and what comes with them."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save, save_file

from gatedpose import catalogue
from gatedpose.models import zoo
from gatedpose.models.saved import skeleton_of
from gatedpose.models.variants import list_models
from gatedpose.skeleton import LSP14, SKELETONS

PACKAGE = Path(__file__).parents[2] / "gatedpose"

LSP, COCO = "gated_hg_2s_68.lsp", "gated_hg_2s_68.coco"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, entry) -> Path:
    """A weights folder: the paper's 2s_68 for LSP, and in half precision for COCO."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    table = {}
    for name, keypoints, dtype in ((LSP, 14, None), (COCO, 17, torch.float16)):
        model = zoo.create_model("gated_hg_2s_68", num_keypoints=keypoints, dtype=dtype)
        data = save(model.state_dict())
        table[name] = entry(name, data, num_keypoints=keypoints)
        (folder / f"{name}.safetensors").write_bytes(data)
    table[COCO] |= {"skeleton": "coco17", "hub": None}
    (folder / "weights.json").write_text(json.dumps(table))
    return folder


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Makes a folder the zoo's weights folder, for one test."""
    before = catalogue.WEIGHTS_DIR

    def use(folder: Path) -> None:
        monkeypatch.setattr(catalogue, "WEIGHTS_DIR", folder)
        zoo.register()

    yield use
    use(before)


@pytest.fixture
def shelved(shelf: Path, use) -> Path:
    use(shelf)
    return shelf


@pytest.fixture
def empty(tmp_path: Path, use) -> None:
    use(tmp_path)


def test_the_packaged_table_keeps_its_promises() -> None:
    for name, weights in catalogue.weights_table().items():
        assert zoo.parse_name(name)[1] in zoo.BY_NAME
        if weights.skeleton:
            assert SKELETONS[weights.skeleton].num_keypoints == weights.num_keypoints
        data = (PACKAGE / "weights" / weights.file).read_bytes()  # a wheel has not all of them
        assert (len(data), hashlib.sha256(data).hexdigest()) == (weights.size, weights.sha256)
        assert weights.license
    for name in list_models(pretrained=True):
        weights = zoo.find_weights(name)
        assert zoo.create_model(name, pretrained=True).num_keypoints == weights.num_keypoints


@pytest.mark.parametrize("name", ["hf-hub:me/mine", "local-dir:run/model"])
def test_own_networks_are_not_looked_up_among_the_packaged(name: str) -> None:
    with pytest.raises(zoo.UnknownModelError, match=f"'{name}' is no packaged model: .* list"):
        zoo.find_weights(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gated_hg_2s_186", "unknown model 'gated_hg_2s_186'; did you mean gated_hg_2s_1"),
        (
            "resnet18",
            "unknown model 'resnet18'; there are fast, .*, gated_hg_1s_68, .*, cu_net_16",
        ),
        (
            "gated_hg_2s_68.lps",
            "unknown tag 'lps' of gated_hg_2s_68; did you mean gated_hg_2s_68.lsp",
        ),
        ("cu_net_2.lsp", "unknown tag 'lsp' of cu_net_2; .*gated_hg_2s_68.lsp"),
        ("resnet18.a1_in1k", "unknown model 'resnet18.a1_in1k'"),
    ],
)
@pytest.mark.usefixtures("shelved")
def test_unknown_names(name: str, message: str) -> None:
    for pretrained in (False, True):
        with pytest.raises(zoo.UnknownModelError, match=message):
            zoo.create_model(name, pretrained)
    assert issubclass(zoo.UnknownModelError, ValueError)


def test_pretrained(shelved: Path, same) -> None:
    want = load_file(shelved / f"{LSP}.safetensors")
    for create in (zoo.create_model, timm.create_model):
        for name in ("gated_hg_2s_68", LSP):  # the first tag is the default
            model = create(name, pretrained=True)
            assert model.num_keypoints == 14
            assert same(model.state_dict(), want)
            assert skeleton_of(model) is LSP14
            assert model.pretrained_cfg["tag"] == "lsp"
            assert model.pretrained_cfg["license"] == "cc-by-nc-4.0"
    half = zoo.create_model(COCO, pretrained=True)
    assert next(half.parameters()).dtype == torch.float32
    assert same(load_file(shelved / f"{COCO}.safetensors"), half.half().state_dict())


def test_weights_are_listed_in_the_order_of_the_zoo() -> None:
    names = list_models(pretrained=True)
    variants = list(dict.fromkeys(name.split(".")[0] for name in names))
    assert len(variants) > 5
    assert variants == [name for name in list_models() if name in variants]


@pytest.mark.usefixtures("shelved")
def test_what_is_pretrained_is_listed() -> None:
    assert list_models(pretrained=True) == [LSP, COCO]
    assert list_models("*.lsp", pretrained=True) == [LSP]
    assert list_models("gated_hg_2s_68", pretrained=True) == [LSP, COCO]
    assert list_models("cu_net*", pretrained=True) == []
    assert {COCO, LSP} <= set(timm.list_pretrained("gated_hg_2s_68.*"))
    assert list(zoo.default_cfgs["gated_hg_2s_68"].tags) == ["lsp", "coco"]
    assert (
        zoo.find_weights("gated_hg_2s_68")
        == zoo.find_weights(LSP)
        == catalogue.weights_table()[LSP]
    )


@pytest.mark.usefixtures("shelved")
def test_without_weights_a_name_stays_the_papers_network() -> None:
    for create in (zoo.create_model, timm.create_model):
        assert create("gated_hg_2s_68").num_keypoints == 16
        assert create(LSP).num_keypoints == 14


def test_weights_that_do_not_exist(shelved: Path) -> None:
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(
            zoo.WeightsError, match=f"cu_net_2 has no weights; there are {LSP}, {COCO}"
        ):
            create("cu_net_2", pretrained=True)


def test_weights_that_the_wheel_left_out(shelf: Path, tmp_path: Path, use) -> None:
    shutil.copy(shelf / "weights.json", tmp_path)  # LSP is on the Hub, COCO is not
    use(tmp_path)
    assert list_models(pretrained=True) == [LSP]
    assert zoo.find_weights(COCO).scores == {"pck": 0.5}
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(zoo.WeightsError, match=rf"{COCO}: .* is not here.*pip install -e"):
            create(COCO, pretrained=True)


@pytest.mark.usefixtures("empty")
def test_a_zoo_without_weights() -> None:
    assert catalogue.weights_table() == {}
    assert list_models(pretrained=True) == []
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(
            zoo.WeightsError, match="gated_hg_1s_68 has no weights; there are none yet"
        ):
            create("gated_hg_1s_68", pretrained=True)
    with pytest.raises(zoo.UnknownModelError, match=r"unknown tag 'lsp'.*; there are no weights"):
        zoo.create_model("gated_hg_1s_68.lsp")


def test_other_keypoints_leave_exactly_the_keypoint_modules_fresh(shelved: Path, same) -> None:
    want = load_file(shelved / f"{LSP}.safetensors")
    for create, word in ((zoo.create_model, "num_keypoints"), (timm.create_model, "num_classes")):
        torch.manual_seed(0)
        fresh = create(LSP, **{word: 3})
        torch.manual_seed(0)
        model = create(LSP, pretrained=True, **{word: 3})
        heads = tuple(f"{name}." for name in model.keypoint_modules())
        assert heads == ("heads.0.", "heads.1.", "remap_heatmaps.0.")
        state = model.state_dict()
        assert same(state, want, but=heads)
        assert all(
            torch.equal(state[k], v) for k, v in fresh.state_dict().items() if k.startswith(heads)
        )
        assert skeleton_of(model) is None


def test_other_channels_load_as_timm_does(shelved: Path, same) -> None:
    want = load_file(shelved / f"{LSP}.safetensors")
    stem = want["stem.conv.weight"]
    model = timm.create_model(LSP, pretrained=True, in_chans=1)
    torch.testing.assert_close(model.stem.conv.weight, stem.sum(dim=1, keepdim=True))
    assert same(model.state_dict(), want, but=("stem.conv.",))
    model = zoo.create_model(LSP, pretrained=True, in_channels=4)
    torch.testing.assert_close(model.stem.conv.weight, stem[:, [0, 1, 2, 0]] * 3 / 4)


def test_features_of_pretrained_weights(shelved: Path) -> None:
    """timm's own loader would drop the heads, which the features of later stacks depend on."""
    whole = zoo.create_model(LSP, pretrained=True).eval()
    model = timm.create_model(LSP, pretrained=True, features_only=True).eval()
    images = torch.randn(2, 3, 64, 128)
    found, expected = model(images), whole.forward_intermediates(images, intermediates_only=True)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


def test_options_that_the_weights_do_not_fit(shelved: Path) -> None:
    with pytest.raises(
        zoo.WeightsError, match=r"of another shape.*It is of gated_hg_2s_68 with 14"
    ):
        zoo.create_model(LSP, pretrained=True, gate="scalar")
    with pytest.raises(zoo.WeightsError, match=r"does not fit this network: \d+ missing"):
        timm.create_model(LSP, pretrained=True, stacks=3)


def test_damaged_packaged_files(shelf: Path, tmp_path: Path, use) -> None:
    table = json.loads((shelf / "weights.json").read_text())
    data = bytearray((shelf / f"{LSP}.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / f"{LSP}.safetensors").write_bytes(data)
    (tmp_path / "weights.json").write_text(json.dumps(table))
    use(tmp_path)
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(zoo.WeightsError, match=r"lsp.safetensors is damaged: its sha256 is"):
            create(LSP, pretrained=True)


def test_timms_overlay_still_chooses_the_file(shelved: Path, tmp_path: Path, same) -> None:
    other = zoo.create_model(LSP)
    save_file(other.state_dict(), tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")}
    model = timm.create_model(LSP, pretrained=True, pretrained_cfg_overlay=overlay)
    assert same(model.state_dict(), other.state_dict())
    with pytest.raises(zoo.WeightsError, match="must be a safetensors file or a Hub repository"):
        timm.create_model(LSP, pretrained=True, pretrained_cfg_overlay={"url": "http://x/y.pth"})


def test_the_table_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "WEIGHTS_DIR", tmp_path)
    assert catalogue.weights_table() == {}
    table, entry = (
        tmp_path / "weights.json",
        dict.fromkeys(f.name for f in fields(catalogue.Weights)),
    )
    del entry["name"]
    table.write_text(json.dumps({"a.x": entry}))
    first = catalogue.weights_table()
    assert list(first) == ["a.x"]
    assert catalogue.weights_table() is first
    table.write_text(json.dumps({"b.y": entry}))
    os.utime(table, ns=(0, 1))
    assert list(catalogue.weights_table()) == ["b.y"]
