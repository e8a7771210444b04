"""Baselines' wiring, and the contract that every `HeatmapNetwork` keeps."""

import contextlib
import dataclasses

import pytest
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from gatedpose.engines.folding import FoldedNetwork
from gatedpose.models.cu_net import CUNet, CUNetConfig
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.models.saved import save_model
from gatedpose.models.stacked_hourglass import HourglassConfig, StackedHourglass

STACKS = 2
NETWORKS = {
    GatedHourglass: GatedHourglassConfig(width=8, stacks=STACKS, num_keypoints=3),
    StackedHourglass: HourglassConfig(width=8, stacks=STACKS, num_keypoints=3),
    CUNet: CUNetConfig(width=8, stacks=STACKS, num_keypoints=3, growth=4, neck=2),
}
traced = pytest.mark.parametrize(
    ("kind", "changes"),
    [
        pytest.param(GatedHourglass, {"depth": 2}, id="GatedHourglass"),
        pytest.param(StackedHourglass, {}, id="StackedHourglass", marks=pytest.mark.slow),
        pytest.param(CUNet, {}, id="CUNet", marks=pytest.mark.slow),
    ],
)
every_network = pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)


def tiny(kind, **changes):
    """A small network whose gates are open, since a gate at 0 hides the path it scales."""
    torch.manual_seed(0)
    model = kind(dataclasses.replace(NETWORKS[kind], **changes))
    for name, value in model.named_parameters():
        if name.endswith("alpha"):
            nn.init.uniform_(value, 0.5, 1.0)
    return model


def pictures(batch=2, channels=3, size=(64, 128)) -> torch.Tensor:
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


def test_cu_net_couples_neighbours() -> None:
    model = tiny(CUNet, stacks=3).eval()
    widths = [[b.layer[0].conv.in_channels for b in (*s.down, s.neck, *s.up)] for s in model.stacks]
    assert widths == [[8] * 5 + [16] * 4, [12] * 5 + [20] * 4, [12] * 5 + [20] * 4]
    first, second, third = model.stacks
    x = model.stem(pictures())
    _, y, *carried = first(x)
    assert carried[0] is x  # the first U-Net's input
    sizes = [8, 4, 2, 1, 0.5, 1, 2, 4, 8]
    new_sizes = [(2, 4, int(2 * n), int(4 * n)) for n in sizes]
    assert [tuple(c.shape) for c in carried[1:]] == new_sizes
    features, *_ = second(y, *carried)
    for i in range(len(carried)):  # each of the ten couplings is read
        moved = [c + (i == j) for j, c in enumerate(carried)]
        assert not torch.equal(second(y, *moved)[0], features), i
    _, z, *carried = second(y, *carried)
    torch.testing.assert_close(carried[0], second.join(torch.cat((y, x), dim=1)))
    torch.testing.assert_close(model(pictures())[:, 2], model.heads[2](third(z, *carried)[0]))


def test_hourglass_adds_its_skips() -> None:
    hourglass = tiny(StackedHourglass).stacks[0].hourglass.eval()

    def level(h, x):
        low = h.low(x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1)))
        inner = level(h.inner, low) if hasattr(h.inner, "up") else h.inner(low)
        return h.skip(x) + h.up(inner).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    x = torch.randn(2, 8, 16, 32)
    torch.testing.assert_close(hourglass(x), level(hourglass, x))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (GatedHourglass, {"width": 7}, "width must be an even integer of at least 4, got 7"),
        (GatedHourglass, {"width": 2}, "width must be an even integer of at least 4, got 2"),
        (GatedHourglass, {"stacks": 0}, "stacks must be an integer from 1 to 64, got 0"),
        (GatedHourglass, {"stacks": True}, "stacks must be an integer"),
        (GatedHourglass, {"num_keypoints": 0}, "num_keypoints must be an integer from 1"),
        (GatedHourglass, {"num_keypoints": 3.0}, "num_keypoints must be an integer"),
        (GatedHourglass, {"in_channels": -1}, "in_channels must be"),
        (GatedHourglass, {"depth": 1}, "depth must be an integer from 2 to 5, got 1"),
        (GatedHourglass, {"depth": 6}, "depth must be an integer from 2 to 5, got 6"),
        (GatedHourglass, {"gate": "sigmoid"}, 'gate must be "channel", "scalar" or a finite'),
        (GatedHourglass, {"merge": "add"}, "'concat', 'grouped', 'sum', got 'add'"),
        (GatedHourglass, {"skip": "none"}, "'conv1x1', 'conv3x3', 'block', 'identity', got 'none'"),
        (GatedHourglass, {"width": 6, "merge": "grouped"}, "needs a width that 4 divides, got 6"),
        (StackedHourglass, {"width": 6}, "width must be a multiple of 4, got 6"),
        (StackedHourglass, {"stacks": 0}, "stacks must be an integer from 1 to 64, got 0"),
        (CUNet, {"growth": 0}, "growth must be an integer from 1"),
        (CUNet, {"neck": 2.0}, "neck must be an integer from 1 to 64, got 2.0"),
        (CUNet, {"width": "8"}, "width must be an integer from 1 to 65536, got '8'"),
    ],
)
def test_config_errors(kind, changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        type(NETWORKS[kind])(**changes)


# What every network of the zoo keeps.


@every_network
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_shapes(kind, training, in_channels) -> None:
    model = tiny(kind, in_channels=in_channels).train(training)
    assert model(pictures(channels=in_channels)).shape == (2, STACKS, 3, 16, 32)
    assert (model.num_classes, model.in_chans, model.num_features) == (3, in_channels, 8)


@every_network
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (pictures(size=(65, 130)), ValueError, "multiples of 64, got 65 x 130.*is 128 x 192"),
        (pictures(size=(0, 64)), ValueError, "got 0 x 64.*is 64 x 64"),
        (pictures()[0], ValueError, r"must be \(B, C, H, W\), got shape \(3, 64, 128\)"),
        (pictures(channels=4), ValueError, r"expected 3 channels .* got shape \(2, 4, 64, 128\)"),
        (pictures().byte(), TypeError, "images are torch.uint8 and must be floats"),
        (pictures().double(), TypeError, "images are torch.float64"),
        (pictures().numpy(), TypeError, "must be a torch.Tensor, got ndarray"),
    ],
    ids=["size", "empty", "rank", "channels", "uint8", "float64", "numpy"],
)
def test_input_errors(kind, images, error, message) -> None:
    with pytest.raises(error, match=message):
        tiny(kind, stacks=1)(images)


@every_network
def test_double_weights_take_double_images(kind) -> None:
    model = tiny(kind).eval()
    maps = model(pictures())
    doubled = model.double()(pictures().double())
    assert doubled.dtype == torch.float64
    torch.testing.assert_close(doubled.float(), maps, rtol=1e-4, atol=1e-5)


def removed_biases(model: nn.Module) -> set[str]:
    """Biases right before a batch norm, which subtracts them; published hourglasses have them."""
    names = (name for name, _ in model.named_parameters())
    return {name for name in names if name.endswith(("conv.bias", "conv1.bias", "conv2.bias"))}


@every_network
def test_gradients_reach_every_parameter(kind) -> None:
    # `tiny` opens the gates: at alpha = 0 a shortcut's convolution rightly gets no gradient.
    model = tiny(kind)
    model(pictures()).square().sum().backward()
    # A bias that batch norm takes away again has a gradient of 0, up to rounding.
    silent = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent <= removed_biases(model)


@every_network
def test_each_stack_has_its_own_supervision(kind) -> None:
    model = tiny(kind)
    model(pictures())[:, 0].sum().backward()
    reached = {n.split(".")[0] for n, p in model.stacks.named_parameters() if p.grad.any()}
    assert reached == {"0"}


@pytest.mark.slow
@traced
def test_compiles_without_graph_breaks(kind, changes) -> None:
    model = tiny(kind, **changes).eval()
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(pictures()), model(pictures()))


@traced
def test_exports(kind, changes) -> None:
    model = tiny(kind, **changes).eval()
    exported = torch.export.export(model, (pictures(),)).module()
    torch.testing.assert_close(exported(pictures()), model(pictures()))


@every_network
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bfloat16_autocast(kind, dtype) -> None:
    model = tiny(kind).eval()
    expected = model(pictures())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = model(pictures().to(dtype))
    assert maps.dtype == torch.bfloat16
    assert (maps.float() - expected).abs().max() < 0.05 * expected.abs().max()
    assert not torch.equal(maps.float(), expected)


@every_network
def test_trains_under_ddp(kind, tmp_path) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    with contextlib.ExitStack() as stack:
        stack.callback(torch.distributed.destroy_process_group)
        model = nn.parallel.DistributedDataParallel(tiny(kind))
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model(pictures()).square().sum().backward()
        optimizer.step()
        still = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
        assert still <= removed_biases(model)


@every_network
def test_grad_checkpointing_recomputes_to_the_same_gradients(kind) -> None:
    calls, gradients = [], []
    for enable in (False, True):
        model = tiny(kind)
        model.set_grad_checkpointing(enable)
        count = []
        for stack in model.stacks:  # a pre-hook, as recomputing stops short of a module's end
            stack.register_forward_pre_hook(lambda *_, count=count: count.append(1))
        model(pictures()).square().sum().backward()
        calls.append(len(count))
        gradients.append([p.grad for p in model.parameters()])
    assert calls == [STACKS, 2 * STACKS]
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, plain)


@every_network
def test_features_and_head(kind) -> None:
    model = tiny(kind).eval()
    maps, features = model(pictures()), model.forward_features(pictures())
    assert features.shape == (2, 8, 16, 32)
    assert torch.equal(model.forward_head(features), maps[:, -1])
    assert model.forward_head(features, pre_logits=True) is features
    assert model.get_classifier() is model.heads


@every_network
@pytest.mark.parametrize(
    ("indices", "stacks"), [(None, [0, 1]), (1, [1]), (2, [0, 1]), ([0], [0]), ((0, -1), [0, 1])]
)
def test_forward_intermediates(kind, indices, stacks) -> None:
    model = tiny(kind).eval()
    ran = []
    for stack in model.stacks:
        stack.register_forward_hook(lambda *_: ran.append(1))
    last, chosen = model.forward_intermediates(pictures(), indices, stop_early=True)
    assert len(ran) == stacks[-1] + 1
    maps = model(pictures())
    assert len(chosen) == len(stacks)
    for features, s in zip(chosen, stacks, strict=True):
        torch.testing.assert_close(model.heads[s](features), maps[:, s])
    assert last is chosen[-1]
    again = model.forward_intermediates(pictures(), indices, intermediates_only=True)
    assert all(map(torch.equal, again, chosen))
    full, _ = model.forward_intermediates(pictures(), [0])
    assert torch.equal(full, model.forward_features(pictures()))
    with pytest.raises(ValueError, match="output_fmt must be \"NCHW\", got 'NLC'"):
        model.forward_intermediates(pictures(), output_fmt="NLC")


@every_network
@pytest.mark.parametrize("prune_head", [True, False])
def test_prune_intermediate_layers(kind, prune_head) -> None:
    model = tiny(kind).eval()
    maps, (_, wanted) = model(pictures()), model.forward_intermediates(pictures(), [0])
    assert model.prune_intermediate_layers([0], prune_head=prune_head) == [0]
    assert (model.num_stacks, len(model.stacks)) == (1, 1)
    assert torch.equal(model.forward_features(pictures()), wanted[0])
    assert (model.config.stacks, len(model.feature_info)) == (1, 1)
    if not prune_head:
        assert torch.equal(model(pictures()), maps[:, :1])


@every_network
def test_a_pruned_head_is_not_replaced_by_an_earlier_one(kind, tmp_path) -> None:
    model = tiny(kind, stacks=3).eval()
    model.prune_intermediate_layers([1])  # leaves the head of the first stack
    features = model.forward_features(pictures())
    assert model.forward_head(features, pre_logits=True) is features
    for use in (
        lambda: model.forward_head(features),
        lambda: FoldedNetwork(model),
        lambda: save_model(model, tmp_path / "saved", None),
    ):
        with pytest.raises(RuntimeError, match="the last head was pruned"):
            use()


@every_network
def test_reset_classifier(kind) -> None:
    model, fresh = tiny(kind), tiny(kind, num_keypoints=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.reset_classifier(5)
    after, wanted = model.state_dict(), fresh.state_dict()
    assert {n: v.shape for n, v in after.items()} == {n: v.shape for n, v in wanted.items()}
    changed = {n.rpartition(".")[0] for n, v in after.items() if not torch.equal(v, before[n])}
    assert changed == set(model.keypoint_modules())
    assert model.num_classes == model.num_keypoints == model.config.num_keypoints == 5
    assert model(pictures()).shape == (2, STACKS, 5, 16, 32)


@every_network
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "num_keypoints must be an integer from 1 to 100000, got 0"),
        ((4.0,), "num_keypoints must be an integer from 1 to 100000, got 4.0"),
        ((5, "avg"), "heatmaps are not pooled, got 'avg'"),
    ],
)
def test_reset_classifier_errors(kind, arguments, message) -> None:
    model = tiny(kind, stacks=1)
    with pytest.raises(ValueError, match=message):
        model.reset_classifier(*arguments)
    assert model.num_keypoints == 3


@every_network
def test_layer_groups(kind) -> None:
    model = tiny(kind)
    groups = group_parameters(model, model.group_matcher())
    places = {name: group for group, names in groups.items() for name in names}
    assert places == {
        name: 0 if name.startswith("stem") else 1 + int(name.split(".")[1])
        for name, _ in model.named_parameters()
    }
    scales = {g["lr_scale"] for g in param_groups_layer_decay(model, layer_decay=0.5)}
    assert scales == {0.5**power for power in range(STACKS + 1)}
