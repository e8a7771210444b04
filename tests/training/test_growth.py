"""A larger network that begins as a smaller one."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

import gatedpose
from gatedpose.errors import InputError, WeightsError
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.models.saved import file_facts, save_model
from gatedpose.skeleton import LSP14, Skeleton
from gatedpose.training.folder import save_best
from gatedpose.training.growth import grow, shrink
from gatedpose.training.start import check_variant, starting_model

SMALL = GatedHourglassConfig(width=10, stacks=2, num_keypoints=3, depth=2)


def trained(config: GatedHourglassConfig) -> GatedHourglass:
    """A network in which nothing is as it starts."""
    torch.manual_seed(0)
    model = GatedHourglass(config)
    for name, value in model.named_parameters():
        if name.endswith("alpha"):
            nn.init.uniform_(value, -1.0, 1.0)
    for _ in range(3):
        model(torch.randn(4, 3, 32, 48))  # moves batch norm's statistics
    return model.eval()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"merge": "sum", "skip": "conv3x3"},
        {"skip": "block", "gate": "scalar"},
        {"skip": "identity", "gate": 0.5},
    ],
)
@pytest.mark.parametrize(("width", "stacks"), [(12, 2), (22, 4), (10, 3), (10, 2)])
def test_the_larger_network_predicts_alike(changes, width: int, stacks: int) -> None:
    config = dataclasses.replace(SMALL, **changes)
    small = trained(config)
    large = GatedHourglass(dataclasses.replace(config, width=width, stacks=stacks)).eval()
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        assert not torch.allclose(large(images)[:, :2], small(images), atol=1e-3)
        grow(small, large)
        first, last = large(images).split([2, stacks - 2], dim=1)
        torch.testing.assert_close(first, small(images))
        torch.testing.assert_close(last, first[:, 1:].expand_as(last))


def test_new_stacks_learn_what_the_last_one_did_not() -> None:
    small = trained(dataclasses.replace(SMALL, stacks=1))
    large = GatedHourglass(dataclasses.replace(SMALL, stacks=3))
    grow(small, large)
    optimizer = torch.optim.SGD(large.parameters(), lr=0.1)
    images, target = torch.randn(4, 3, 32, 48), torch.randn(4, 3, 3, 8, 12)
    for _ in range(2):
        optimizer.zero_grad()
        (large(images) - target).square().mean().backward()
        optimizer.step()
    assert large.remap_features[0].weight.abs().min() > 0
    assert large.remap_heatmaps[1].weight.abs().min() > 0
    a, b = large(images)[:, 1:].unbind(dim=1)
    assert not torch.allclose(a, b, atol=1e-4)


def test_new_channels_learn() -> None:
    small = trained(SMALL)
    torch.manual_seed(0)
    large = GatedHourglass(dataclasses.replace(SMALL, width=16))
    grow(small, large)
    optimizer = torch.optim.SGD(large.parameters(), lr=0.1)
    images, target = torch.randn(4, 3, 32, 48), torch.randn(4, 2, 3, 8, 12)
    for _ in range(2):  # at first only the weights that read the new channels have a gradient
        optimizer.zero_grad()
        (large(images) - target).square().mean().backward()
        optimizer.step()
    # Of conv1's 8 outputs the last 3 are new, in a block whose input grew from 10 to 16.
    first = large.stacks[0].block.conv1.conv.weight
    assert (first.grad[5:].flatten(1).abs().amax(dim=1) > 0).all()
    assert large.heads[1].weight.detach()[:, 5:8].abs().min() > 0


def test_each_part_of_a_block_stays_in_its_own() -> None:
    small = trained(SMALL)  # outputs of width 10: 5 + 2 + 3
    large = GatedHourglass(dataclasses.replace(SMALL, width=16))  # 8 + 4 + 4
    grow(small, large)
    old, new = small.stem.block, large.stem.block
    assert torch.equal(new.gate.alpha[[0, 1, 2, 3, 4, 8, 9, 12, 13, 14]], old.gate.alpha)
    assert torch.equal(new.gate.alpha[[5, 6, 7, 10, 11, 15]], torch.zeros(6))
    assert torch.equal(new.conv2.conv.weight[:2, :5], old.conv2.conv.weight)
    assert torch.equal(new.conv2.conv.weight[:2, 5:], torch.zeros(2, 3, 3, 3))
    assert torch.equal(new.conv1.conv.weight[:5], old.conv1.conv.weight)  # the stem keeps its 64


def test_what_does_not_grow_is_refused() -> None:
    small = trained(SMALL)
    for changes, message in (
        ({"width": 8}, "2 stacks of width 10 do not fit into 2 of width 8"),
        ({"stacks": 1}, "do not fit into 1 of width 10"),
        ({"width": 16, "num_keypoints": 4}, "may differ in width and stacks only"),
        ({"width": 16, "gate": "scalar"}, "may differ in width and stacks only"),
    ):
        large = GatedHourglass(dataclasses.replace(SMALL, **changes))
        before = {key: tensor.clone() for key, tensor in large.state_dict().items()}
        with pytest.raises(ValueError, match=message):
            grow(small, large)
        assert all(torch.equal(before[key], t) for key, t in large.state_dict().items())
    grouped = dataclasses.replace(SMALL, width=12, merge="grouped")
    with pytest.raises(ValueError, match="grouped merges"):
        grow(GatedHourglass(grouped), GatedHourglass(dataclasses.replace(grouped, width=16)))
    with pytest.raises(TypeError, match=r"grow: only gated hourglasses.*GatedHourglass and CUNet"):
        grow(small, gatedpose.create_model("cu_net_2"))


@pytest.mark.parametrize(
    ("width", "wider", "norm"),
    [(64, 66, "batchnorm2d"), (62, 64, "batchnorm2d"), (10, 12, "groupnorm1")],
)
def test_widths_that_cannot_predict_alike_are_refused(width: int, wider: int, norm: str) -> None:
    narrow, wide = (
        GatedHourglass(dataclasses.replace(SMALL, width=each, norm_layer=norm))
        for each in (width, wider)
    )
    with pytest.raises(InputError, match=r"grow: widths may differ where norms are batchnorm2d"):
        grow(narrow, wide)
    with pytest.raises(InputError, match=rf"shrink: .*got {norm} and widths {width} and {wider}"):
        shrink(wide, narrow)
    deeper = GatedHourglass(dataclasses.replace(narrow.config, stacks=3)).eval()
    grow(narrow, deeper)  # of the same width
    images = torch.randn(1, 3, 32, 32)
    torch.testing.assert_close(deeper(images)[:, :2], narrow.eval()(images))


@pytest.mark.parametrize("changes", [{}, {"merge": "sum", "skip": "block", "gate": "scalar"}])
@pytest.mark.parametrize(("width", "stacks"), [(12, 2), (22, 4), (10, 3)])
def test_shrinking_undoes_growing(changes, width: int, stacks: int) -> None:
    config = dataclasses.replace(SMALL, **changes)
    small, again = trained(config), GatedHourglass(config)
    large = GatedHourglass(dataclasses.replace(config, width=width, stacks=stacks))
    grow(small, large)
    shrink(large, again)
    assert all(torch.equal(t, again.state_dict()[key]) for key, t in small.state_dict().items())
    with pytest.raises(ValueError, match=f"shrink: 4 stacks of width {width} do not fit"):
        shrink(small, GatedHourglass(dataclasses.replace(config, width=width, stacks=4)))


def test_a_training_starts_from_a_larger_model() -> None:
    model = starting_model("gated_hg_1s_68", LSP14, "shrink:gated_hg_2s_128.lsp")
    full = gatedpose.create_model("gated_hg_2s_128.lsp", pretrained=True)
    assert torch.equal(model.stem.conv.weight, full.stem.conv.weight)
    assert torch.equal(model.heads[0].bias, full.heads[0].bias)


def test_a_training_starts_from_a_smaller_model() -> None:
    small = gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True).eval()
    large = starting_model("gated_hg_2s_80", LSP14, "grow:gated_hg_1s_68.lsp").eval()
    images = torch.randn(2, 3, 64, 128)
    with torch.no_grad():
        torch.testing.assert_close(large(images)[:, :1], small(images), atol=1e-5, rtol=1e-4)
    trio = Skeleton("trio", ("nose", "neck", "tail"), flip_pairs=(), limbs=())
    assert starting_model("gated_hg_2s_80", trio, "grow:gated_hg_1s_68.lsp").num_keypoints == 3
    with pytest.raises(gatedpose.UnknownModelError, match="did you mean"):
        starting_model("gated_hg_2s_80", LSP14, "grow:gated_hg_1s_6")


@pytest.mark.parametrize("init", ["lsp", "gated_hg_1s_68.lsp", "local-dir:{}", "{}"])
def test_a_training_starts_from_a_model_by_any_of_its_names(tmp_path: Path, init: str) -> None:
    full = gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True)
    if init.startswith("local-dir"):
        save_model(full, tmp_path, LSP14)
    save_model(full, tmp_path / "model", LSP14)  # as a training leaves it
    model = starting_model("gated_hg_1s_68", LSP14, init.format(tmp_path))
    assert all(torch.equal(t, model.state_dict()[key]) for key, t in full.state_dict().items())


def test_the_way_out_is_named(tmp_path: Path) -> None:
    """Of weights in place of a network, and of a network without weights."""
    save_model(gatedpose.create_model("gated_hg_2s_68", num_keypoints=14), tmp_path / "m", LSP14)
    for name, right in (
        ("gated_hg_1s_68.people", "train gated_hg_1s_68 --init people"),
        ("fast", "train gated_hg_1s_68 --init people"),
        (f"local-dir:{tmp_path}/m", f"train gated_hg_2s_68 --init local-dir:{tmp_path}/m"),
        (f"{tmp_path}/m", f"train gated_hg_2s_68 --init local-dir:{tmp_path}/m"),
        ("hf-hub:a/b", "train VARIANT --init hf-hub:a/b"),
    ):
        with pytest.raises(InputError, match=f"stands for weights: give the variant: {right}$"):
            check_variant(name)
    check_variant("gated_hg_1s_68")
    with pytest.raises(gatedpose.UnknownModelError, match="did you mean gated_hg_1s_68"):
        check_variant("gated_hg_1s_86")
    with pytest.raises(WeightsError, match=r"has no weights.* \(--set init=null starts from fresh"):
        starting_model("hourglass_1s_256", LSP14, "pretrained")


def test_a_model_of_another_variant_has_to_grow_or_shrink() -> None:
    with pytest.raises(InputError, match="is a gated_hg_2s_80, not a gated_hg_1s_68"):
        starting_model("gated_hg_1s_68", LSP14, "gated_hg_2s_80.people")


def test_a_file_that_names_its_joints_is_read_by_them(tmp_path: Path) -> None:
    """best.safetensors of a training, for the same joints in another order and one more."""
    trio = Skeleton("trio", ("nose", "LeftEar", "right ear"), ((2, 1),), ())
    old = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3)
    save_best(tmp_path, old, {"step": 7, "size": 64, "joints": trio.joints})
    file = tmp_path / "best.safetensors"
    assert file_facts(file) == (trio.joints, 64)
    other = Skeleton("four", ("right_ear", "tail", "left_ear", "nose"), ((0, 2),), ())
    new = starting_model("gated_hg_1s_68", other, str(file))
    for mine, its in ((0, 2), (2, 1), (3, 0)):
        assert torch.equal(new.heads[0].weight[mine], old.heads[0].weight[its])
    assert torch.equal(new.stem.conv.weight, old.stem.conv.weight)
    same = starting_model("gated_hg_1s_68", trio, str(file))
    assert torch.equal(same.heads[0].weight, old.heads[0].weight)
    save_model(old, tmp_path / "model", trio)
    assert file_facts(tmp_path / "model" / "model.safetensors") == (trio.joints, 256)
