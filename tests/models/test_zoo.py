"""The zoo: its table, names, options and timm's doors."""

from typing import Any

import numpy as np
import pytest
import timm
import torch

from gatedpose.errors import InputError
from gatedpose.models import zoo
from gatedpose.models.variants import list_models

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


# The table


@pytest.mark.parametrize("name", SIZES)
def test_every_variant_has_the_size_that_was_counted(name: str, conv_macs) -> None:
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
    assert timm.list_models(module="zoo", filter="cu_net_*") == list_models("cu_net_*")
    assert list_models(["cu_net_2", "gated_hg_1*"]) == ["gated_hg_1s_68", "cu_net_2"]


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


@pytest.mark.parametrize("name", ["pose.onnx", "my models/P.XML", "gated_hg_1s_68.pt2", "a.pth"])
def test_files_are_told_from_names(name: str) -> None:
    with pytest.raises(
        zoo.UnknownModelError, match=r"is a file, no model name; `gatedpose\.Predictor`, "
    ):
        zoo.create_model(name)
    assert zoo.parse_name(f"local-dir:{name}") == ("local-dir", name, "")


# Building


def test_create_model(tiny) -> None:
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
def test_options_that_are_refused(options, error: type[Exception], message: str) -> None:
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


@pytest.mark.parametrize(
    ("options", "stacks"),
    [
        ({}, (0, 1, 2)),
        ({"out_indices": (1,)}, (1,)),
        ({"out_indices": (0, 1)}, (0, 1)),
        ({"feature_cls": "fx", "out_indices": (0, 2)}, (0, 2)),
    ],
)
def test_features_only(options: dict[str, Any], stacks: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    whole = timm.create_model("gated_hg_2s_68", stacks=3, **TINY).eval()
    torch.manual_seed(0)
    model = timm.create_model(
        "gated_hg_2s_68", features_only=True, stacks=3, **options, **TINY
    ).eval()
    images = torch.randn(2, 3, 32, 16)
    expected = whole.forward_intermediates(images, indices=list(stacks), intermediates_only=True)
    found = model(images)
    assert model.feature_info.reduction() == [4] * len(stacks)
    assert [f.shape[1] for f in found] == model.feature_info.channels() == [8] * len(stacks)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", ["hook", "list", "dict", "other"])
def test_features_only_by_hooks_or_children(kind: str) -> None:
    with pytest.raises(InputError, match=f"feature_cls is 'getter' or 'fx', got '{kind}'"):
        timm.create_model("gated_hg_2s_68", features_only=True, feature_cls=kind, **TINY)
