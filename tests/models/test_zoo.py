"""The zoo: its table, names, timm's doors, and weights that load whole or not at all."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from gatedpose.models import weights as checkpoints
from gatedpose.models import zoo
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.names import list_models
from gatedpose.models.saved import skeleton_of
from gatedpose.skeleton import COCO17, LSP14, MPII16, SKELETONS

PACKAGE = Path(__file__).parents[2] / "gatedpose"

# Parameters and conv GMACs at 256 x 256 with K = 16: the paper's networks and the finder counted in
# closed form, exact; of the baselines millions and GMACs of the sources that their modules name.
SIZES = {
    "gated_hg_1s_68": (506_616, "0.8089"),
    "gated_hg_2s_68": (977_379, "1.3570"),
    "gated_hg_2s_80": (1_340_904, "1.7958"),
    "gated_hg_2s_96": (1_915_568, "2.4867"),
    "gated_hg_2s_108": (2_414_039, "3.0842"),
    "gated_hg_2s_120": (2_970_344, "3.7496"),
    "gated_hg_2s_128": (3_373_344, "4.2310"),
    "gated_hg_4s_144": (8_440_408, "10.1582"),
    "gated_hg_4s_256": (26_493_184, "31.3936"),
    "hourglass_1s_256": ("3.426", "5.150"),
    "hourglass_2s_256": ("6.570", "8.335"),
    "hourglass_4s_256": ("12.858", "14.703"),
    "hourglass_8s_256": ("25.434", "27.440"),
    "cu_net_2": ("1.923", "2.757"),
    "cu_net_4": ("3.952", "5.451"),
    "cu_net_8": ("8.010", "10.840"),
    "cu_net_16": ("16.126", "21.617"),
    "gated_finder_320": (412_799, ""),
}
TINY = {"width": 8, "depth": 2}
LSP, COCO = "gated_hg_2s_68.lsp", "gated_hg_2s_68.coco"


def tiny(**config: object) -> HeatmapNetwork:
    return zoo.create_model("gated_hg_2s_68", **{"num_keypoints": 3, **TINY, **config})


def entry(name: str, data: bytes, **changes: object) -> dict[str, object]:
    return {
        "file": f"{name}.safetensors",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "num_keypoints": 14,
        "skeleton": "lsp14",
        "hub": f"gatedpose/{name}",
        "revision": None,
        "license": "cc-by-nc-4.0",
        "data": ["lsp"],
        "recipe": {"epochs": 1},
        "scores": {"pck": 0.5},
    } | changes


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    before = checkpoints.WEIGHTS_DIR

    def use(folder: Path) -> None:
        monkeypatch.setattr(checkpoints, "WEIGHTS_DIR", folder)
        zoo.register()

    yield use
    use(before)


@pytest.fixture
def shelved(shelf: Path, use: Callable[[Path], None]) -> Path:
    use(shelf)
    return shelf


@pytest.fixture
def empty(tmp_path: Path, use: Callable[[Path], None]) -> None:
    use(tmp_path)


def same(have: dict[str, Tensor], want: dict[str, Tensor], but: tuple[str, ...] = ()) -> bool:
    keys = [key for key in want if not key.startswith(but or ("-",))]
    return have.keys() == want.keys() and all(
        torch.equal(have[k].to(want[k]), want[k]) for k in keys
    )


# The table


@pytest.mark.parametrize("name", SIZES)
def test_every_variant_has_the_size_that_was_counted(
    name: str, conv_macs: Callable[[nn.Module, tuple[int, int]], int]
) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    count = sum(parameter.numel() for parameter in model.parameters())
    want, gmacs = SIZES[name]
    assert (f"{count / 1e6:.3f}" if isinstance(want, str) else count) == want
    assert model.num_keypoints == (5 if name == "gated_finder_320" else 16)
    printed = zoo.BY_NAME[name].paper_params
    assert printed is None or abs(count / 1e6 / printed - 1) < 0.05
    assert model.pretrained_cfg["classifier"] == tuple(model.keypoint_modules())
    assert model.get_submodule(model.pretrained_cfg["first_conv"]).in_channels == 3
    assert timm.models.model_entrypoint(name) is getattr(zoo, name)
    if gmacs:
        decimals = len(gmacs.partition(".")[2])
        assert f"{conv_macs(model, (256, 256)) / 1e9:.{decimals}f}" == gmacs


def test_list_models() -> None:
    assert list_models() == list(SIZES)
    assert list_models("gated_hg_1*") == ["gated_hg_1s_68"]
    assert sorted(timm.list_models("gated_hg_*")) == sorted(list_models("gated_hg_*"))
    assert len(timm.list_models("gated_hg_*")) == 9
    assert timm.list_models(module="zoo", filter="cu_net_*") == list_models("cu_net_*")
    assert list_models(["cu_net_2", "gated_hg_1*"]) == ["gated_hg_1s_68", "cu_net_2"]


def test_the_packaged_table_keeps_its_promises() -> None:
    for name, weights in zoo.weights_table().items():
        assert zoo.parse_name(name)[1] in zoo.BY_NAME
        if weights.skeleton:
            assert SKELETONS[weights.skeleton].num_keypoints == weights.num_keypoints
        data = (PACKAGE / "weights" / weights.file).read_bytes()  # a wheel has not all of them
        assert (len(data), hashlib.sha256(data).hexdigest()) == (weights.size, weights.sha256)
        assert weights.license
    for name in list_models(pretrained=True):
        weights = zoo.find_weights(name)
        assert zoo.create_model(name, pretrained=True).num_keypoints == weights.num_keypoints


# Names


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gated_hg_1s_68", ("", "gated_hg_1s_68", "")),
        ("gated_hg_1s_68.lsp", ("", "gated_hg_1s_68", "lsp")),
        ("cu_net_2.lsp-v2", ("", "cu_net_2", "lsp-v2")),
        ("hf-hub:gatedpose/x.lsp", ("hf-hub", "gatedpose/x.lsp", "")),
        ("hf-hub:gatedpose/x@v1.0", ("hf-hub", "gatedpose/x@v1.0", "")),
        ("local-dir:/a b/c.d", ("local-dir", "/a b/c.d", "")),
        (r"local-dir:C:\models\x", ("local-dir", r"C:\models\x", "")),
        *[
            (bad, None)
            for bad in (
                "", ".", "x.", ".lsp", "x.a.b", "x y", " x", "x\n", "a/b", "a:b", "hf-hub:",
                "hf-hub: a/b", "HF-HUB:a/b", "https://a/b", "./x", "\u00e9", None, 3, b"x",
            )
        ],
    ],
)  # fmt: skip
def test_parse_name(name: object, parts: tuple[str, str, str] | None) -> None:
    if parts:
        assert zoo.parse_name(name) == parts  # type: ignore[arg-type]
    else:
        with pytest.raises(zoo.UnknownModelError, match="is no model name"):
            zoo.parse_name(name)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gated_hg_2s_186", "unknown model 'gated_hg_2s_186'; did you mean gated_hg_2s_1"),
        ("resnet18", "unknown model 'resnet18'; there are gated_hg_1s_68, .*, cu_net_16"),
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


# Building


def test_create_model() -> None:
    model = tiny(gate="scalar", merge="sum", skip="block", stacks=3, in_channels=1)
    assert model.config.gate == "scalar"
    assert model(torch.randn(2, 1, 16, 32)).shape == (2, 3, 3, 4, 8)
    assert model.pretrained_cfg["classifier"] == tuple(model.keypoint_modules())
    assert next(tiny(dtype=torch.float64).parameters()).dtype == torch.float64
    assert next(tiny(device="meta").parameters()).is_meta
    counted = tiny(num_keypoints=np.int64(5), width=np.int32(12))
    assert {type(size) for size in (counted.config.num_keypoints, counted.config.width)} == {int}


def test_what_has_two_names_has_one_value() -> None:
    for create in (zoo.create_model, timm.create_model):
        for options in ({"in_chans": 4}, {"in_channels": 4}, {"in_chans": 4, "in_channels": 4}):
            assert create("gated_hg_1s_68", **TINY, **options).in_channels == 4
        with pytest.raises(ValueError, match="in_channels and in_chans are the same, got 4 and 1"):
            create("gated_hg_1s_68", in_chans=1, in_channels=4)
        with pytest.raises(ValueError, match=r"num_keypoints and num_classes .* got 3 and 4"):
            create("gated_hg_1s_68", num_keypoints=3, num_classes=4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"gates": 1}, TypeError, "unknown option gates; valid are width, stacks, .*, skip"),
        ({"drop_rate": 0.5}, TypeError, "unknown option drop_rate; valid are"),
        ({"features_only": True}, TypeError, "an option of timm.create_model"),
        ({"gate": "open"}, ValueError, 'gate must be "channel"'),
        ({"dtype": "float16"}, TypeError, "dtype must be such as torch.float16, got 'float16'"),
        ({"dtype": torch.int8}, TypeError, "dtype must be such as torch.float16, got torch.int8"),
        ({"stacks": 0}, ValueError, "stacks must be an integer from 1 to 64, got 0"),
        ({"num_keypoints": 0}, ValueError, "num_keypoints must be an integer from 1"),
        ({"pretrained": True, "checkpoint_path": "x"}, ValueError, "exclude each other"),
    ],
)
def test_options_that_are_refused(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        zoo.create_model("gated_hg_1s_68", **options)


def test_what_networks_say_of_themselves_is_as_timm_has_it() -> None:
    cases = [
        ("gated_hg_1s_68.lsp", {}, True),
        ("gated_hg_1s_68.people", {}, False),
        ("gated_finder_320", {}, True),
        ("gated_hg_2s_68", {"stacks": 3}, False),
    ]
    for name, changes, pretrained in cases:
        mine = zoo.create_model(name, pretrained, **changes)
        theirs = timm.create_model(name, pretrained, **changes)
        assert mine.pretrained_cfg == theirs.pretrained_cfg


def test_the_networks_of_timm() -> None:
    model = timm.create_model("gated_hg_2s_128", num_classes=17)
    assert model.num_keypoints == model.num_classes == 17
    assert timm.data.resolve_model_data_config(model) == {
        "input_size": (3, 256, 256),
        "interpolation": "bilinear",
        "mean": timm.data.IMAGENET_DEFAULT_MEAN,
        "std": timm.data.IMAGENET_DEFAULT_STD,
        "crop_pct": 1.0,
        "crop_mode": "center",
    }
    assert timm.create_model("gated_hg_2s_68", num_keypoints=3, **TINY).num_keypoints == 3
    with pytest.raises(TypeError, match="cu_net_2: unknown option gate; valid are"):
        timm.create_model("cu_net_2", gate="scalar")


@pytest.mark.parametrize(("wanted", "stacks"), [(None, (0, 1, 2)), ((1,), (1,)), ((0, 1), (0, 1))])
def test_features_only(wanted: tuple[int, ...] | None, stacks: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("gated_hg_2s_68", stacks=3, **TINY).eval()
    torch.manual_seed(0)
    model = timm.create_model(
        "gated_hg_2s_68", features_only=True, out_indices=wanted, stacks=3, **TINY
    ).eval()
    images = torch.randn(2, 3, 32, 16)
    expected = whole.forward_intermediates(images, indices=list(stacks), intermediates_only=True)
    found = model(images)
    assert model.feature_info.reduction() == [4] * len(stacks)
    assert [f.shape[1] for f in found] == model.feature_info.channels() == [8] * len(stacks)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


# Weights that are packaged


def test_pretrained(shelved: Path) -> None:
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
    assert zoo.find_weights("gated_hg_2s_68") == zoo.find_weights(LSP) == zoo.weights_table()[LSP]


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


def test_weights_that_the_wheel_left_out(
    shelf: Path, tmp_path: Path, use: Callable[[Path], None]
) -> None:
    shutil.copy(shelf / "weights.json", tmp_path)  # LSP is on the Hub, COCO is not
    use(tmp_path)
    assert list_models(pretrained=True) == [LSP]
    assert zoo.find_weights(COCO).scores == {"pck": 0.5}
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(zoo.WeightsError, match=rf"{COCO}: .* is not here.*pip install -e"):
            create(COCO, pretrained=True)


@pytest.mark.usefixtures("empty")
def test_a_zoo_without_weights() -> None:
    assert zoo.weights_table() == {}
    assert list_models(pretrained=True) == []
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(
            zoo.WeightsError, match="gated_hg_1s_68 has no weights; there are none yet"
        ):
            create("gated_hg_1s_68", pretrained=True)
    with pytest.raises(zoo.UnknownModelError, match=r"unknown tag 'lsp'.*; there are no weights"):
        zoo.create_model("gated_hg_1s_68.lsp")


def test_other_keypoints_leave_exactly_the_keypoint_modules_fresh(shelved: Path) -> None:
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


def test_other_channels_load_as_timm_does(shelved: Path) -> None:
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


def test_damaged_packaged_files(shelf: Path, tmp_path: Path, use: Callable[[Path], None]) -> None:
    table = json.loads((shelf / "weights.json").read_text())
    data = bytearray((shelf / f"{LSP}.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / f"{LSP}.safetensors").write_bytes(data)
    (tmp_path / "weights.json").write_text(json.dumps(table))
    use(tmp_path)
    for create in (zoo.create_model, timm.create_model):
        with pytest.raises(zoo.WeightsError, match=r"lsp.safetensors is damaged: its sha256 is"):
            create(LSP, pretrained=True)


def test_timms_overlay_still_chooses_the_file(shelved: Path, tmp_path: Path) -> None:
    other = zoo.create_model(LSP)
    save_file(other.state_dict(), tmp_path / "own.safetensors")
    overlay = {"file": str(tmp_path / "own.safetensors")}
    model = timm.create_model(LSP, pretrained=True, pretrained_cfg_overlay=overlay)
    assert same(model.state_dict(), other.state_dict())
    with pytest.raises(zoo.WeightsError, match="must be a safetensors file or a Hub repository"):
        timm.create_model(LSP, pretrained=True, pretrained_cfg_overlay={"url": "http://x/y.pth"})


def test_skeleton_of() -> None:
    for keypoints, skeleton in ((14, LSP14), (16, MPII16), (17, COCO17), (3, None)):
        assert skeleton_of(tiny(num_keypoints=keypoints)) is skeleton
    assert skeleton_of(nn.Linear(1, 1)) is None


# Files of one's own


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_load_weights(tmp_path: Path, prefix: str) -> None:
    file, source = tmp_path / "a.safetensors", tiny()
    save_file({prefix + key: value for key, value in source.state_dict().items()}, file)
    model = tiny()
    zoo.load_weights(model, file)
    assert same(model.state_dict(), source.state_dict())
    assert same(tiny(checkpoint_path=file).state_dict(), source.state_dict())
    images = torch.randn(2, 3, 16, 32)
    assert torch.equal(model.eval()(images), source.eval()(images))


def test_load_weights_of_other_keypoints(tmp_path: Path) -> None:
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
        ("empty", r"\d+ missing"),
    ],
)
@pytest.mark.parametrize("new_keypoints", [False, True])
def test_files_that_do_not_fit_change_nothing(
    tmp_path: Path, how: str, message: str, new_keypoints: bool
) -> None:
    file, model = tmp_path / "wrong.safetensors", tiny()
    if how == "other variant":
        state = zoo.create_model("gated_hg_1s_68", num_keypoints=3).state_dict()
    else:
        state = corrupt(dict(tiny().state_dict()), how) if how != "empty" else {}
    save_file(state, file)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(zoo.WeightsError, match=rf"wrong.safetensors does not fit.*{message}"):
        zoo.load_weights(model, file, new_keypoints=new_keypoints)
    assert same(model.state_dict(), before)


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
def test_broken_files_change_nothing(tmp_path: Path, how: str, message: str) -> None:
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
def test_nothing_is_unpickled(tmp_path: Path, suffix: str) -> None:
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


# Folders and the Hub


def folder_of(model: HeatmapNetwork, folder: Path) -> Path:
    shape = {"width", "stacks", "depth", "gate", "merge", "skip"}  # old timm does not record them
    options = {key: value for key, value in vars(model.config).items() if key in shape}
    timm.models.save_for_hf(model, folder, safe_serialization=True, model_args=options)
    return folder


def test_local_dir(tmp_path: Path) -> None:
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


def test_local_dir_is_strict_and_safetensors_only(tmp_path: Path) -> None:
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


def test_a_folder_that_lies_about_its_keypoints(tmp_path: Path) -> None:
    saved = folder_of(tiny(), tmp_path / "saved")
    save_file(tiny(num_keypoints=7).state_dict(), saved / "model.safetensors")
    with pytest.raises(zoo.WeightsError, match="has 7 keypoints, what describes it says 3"):
        zoo.create_model(f"local-dir:{saved}", pretrained=True)


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


HUB_CLIENT = """
    import sys
    import timm, timm.data, safetensors.torch, huggingface_hub
    before = {name.partition(".")[0] for name in sys.modules}
    from gatedpose.models import weights as checkpoints, zoo
    import gatedpose.models.profiling
    after = {name.partition(".")[0] for name in sys.modules}
    assert after - before <= {"gatedpose"}, after - before  # import gatedpose is cheap
    import torch
    from pathlib import Path
    from safetensors.torch import load_file

    checkpoints.WEIGHTS_DIR = Path(sys.argv[1])
    zoo.register()
    want = load_file(sys.argv[2])
    same = lambda model, *but: all(
        torch.equal(v, want[k]) for k, v in model.state_dict().items() if not k.startswith(but)
    )

    def refused(error, message, create, *args, **options):
        try:
            create(*args, **options)
        except error as caught:
            assert message in str(caught), str(caught)
        else:
            raise AssertionError(f"{args} was not refused")
"""
ONLINE = """
    for create in (zoo.create_model, timm.create_model):
        assert same(create("gated_hg_1s_68.lsp", pretrained=True))
        assert same(create("hf-hub:org/good", pretrained=True))
        refused(zoo.WeightsError, "is damaged", create, "gated_hg_1s_68.bad", pretrained=True)
        refused(zoo.WeightsError, "cannot get model.safetensors of gatedpose/x@" + "0" * 40,
                create, "gated_hg_1s_68.moved", pretrained=True)
        refused(zoo.WeightsError, "cannot get model.safetensors of org/pickle",
                create, "hf-hub:org/pickle", pretrained=True)
    assert not same(timm.create_model("hf-hub:org/good"))  # timm's semantics
    model = zoo.create_model("hf-hub:org/good@main", pretrained=True, num_keypoints=5)
    assert model.num_keypoints == 5 and same(model, "heads.")
    refused(zoo.WeightsError, "1 missing (heads.0.bias)",
            zoo.create_model, "hf-hub:org/partial", True, num_keypoints=5)
    refused(zoo.WeightsError, "cannot get config.json of org/none",
            zoo.create_model, "hf-hub:org/none")
    refused(zoo.UnknownModelError, "is a 'resnet18'",
            zoo.create_model, "hf-hub:org/foreign", True)
"""
OFFLINE = """
    assert same(zoo.create_model("gated_hg_1s_68.lsp", pretrained=True))  # from the Hub's cache
    assert same(zoo.create_model("hf-hub:org/good", pretrained=True))
    refused(zoo.WeightsError, "cannot get config.json", zoo.create_model, "hf-hub:org/never", True)
"""


@pytest.mark.slow
def test_the_hub(hub_server: ModuleType, tmp_path: Path) -> None:
    saved = folder_of(zoo.create_model("gated_hg_1s_68", num_keypoints=14), tmp_path / "saved")
    good = {file.name: file.read_bytes() for file in saved.iterdir()}
    weights, config = good["model.safetensors"], good["config.json"]
    partial = load_file(saved / "model.safetensors")
    del partial["heads.0.bias"]
    repositories = {
        "gatedpose/x": {"model.safetensors": weights},
        "gatedpose/bad": {"model.safetensors": weights[:-1] + bytes([weights[-1] ^ 1])},
        "org/good": good,
        "org/partial": {"config.json": config, "model.safetensors": save(partial)},
        "org/pickle": {"config.json": config, "pytorch_model.bin": b"no"},
        "org/foreign": {**good, "config.json": b'{"architecture": "resnet18"}'},
    }
    commit = hub_server.commit_of(repositories["gatedpose/x"])
    table = {
        "gated_hg_1s_68.lsp": {"hub": "gatedpose/x", "revision": commit},
        "gated_hg_1s_68.bad": {"hub": "gatedpose/bad"},
        "gated_hg_1s_68.moved": {"hub": "gatedpose/x", "revision": "0" * 40},
    }
    table = {name: entry(name, weights, **where) for name, where in table.items()}
    (tmp_path / "weights.json").write_text(json.dumps(table))
    with hub_server.serve(repositories) as hub:
        for script, more in ((ONLINE, {}), (OFFLINE, {"HF_HUB_OFFLINE": "1"})):
            command = [sys.executable, "-c", textwrap.dedent(HUB_CLIENT) + textwrap.dedent(script)]
            subprocess.run(
                [*command, str(tmp_path), str(saved / "model.safetensors")],
                env={**hub.environment(tmp_path / "home"), **more},
                check=True,
                timeout=120,
            )
        asked = [request for request in hub.requests if "/gatedpose/x/" in request]
        assert f"GET /gatedpose/x/resolve/{commit}/model.safetensors" in asked
        assert not any("main" in request for request in asked)  # the revision is pinned
        assert sum(request.startswith("GET") for request in asked) == 1  # then its cache serves
        assert not any("pytorch_model.bin" in request for request in hub.requests)


def test_the_table_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS_DIR", tmp_path)
    assert zoo.weights_table() == {}
    table, entry = tmp_path / "weights.json", dict.fromkeys(f.name for f in fields(zoo.Weights))
    del entry["name"]
    table.write_text(json.dumps({"a.x": entry}))
    first = zoo.weights_table()
    assert list(first) == ["a.x"]
    assert zoo.weights_table() is first
    table.write_text(json.dumps({"b.y": entry}))
    os.utime(table, ns=(0, 1))
    assert list(zoo.weights_table()) == ["b.y"]
