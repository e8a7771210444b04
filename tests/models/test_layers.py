"""Gates, residual blocks, big-skip transforms and merges: numbers by hand, shapes, errors."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import GroupNorm, get_norm_layer
from torch import nn

from gatedpose.errors import InputError
from gatedpose.models.hourglass import HybridHourglass
from gatedpose.models.layers import (
    MERGES,
    NormActConv,
    SkipMerge,
    SoftGate,
    SoftGatedResidual,
    check_gate,
    skip_transform,
    upsample2,
)

WIDTHS = [(8, 8), (6, 8), (8, 10), (3, 6), (4, 4), (16, 14)]  # 6, 10 and 14 are 2 mod 4


def randomised(module, seed=0):
    """Gives every parameter and batch norm statistic a value that hides nothing; eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point():
                low = 0.5 if name.endswith(("running_var", "alpha", "bn.weight")) else -0.5
                value.uniform_(low, low + 1.0, generator=generator)
    return module.eval()


def residual_by_hand(block, x):
    """concat(f1, f2, f3), with functional calls only."""
    parts = []
    for layer in (block.conv1, block.conv2, block.conv3):
        bn, conv = layer.bn, layer.conv
        x = F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=bn.eps)
        x = F.conv2d(x.clamp(min=0), conv.weight, padding=1, groups=conv.groups)
        parts.append(x)
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("channels", [(8, 8), (6, 8)])
@pytest.mark.parametrize("gate", ["channel", "scalar", 0.5])
def test_blocks_keep_half_precision_under_autocast(channels, gate) -> None:
    block = randomised(SoftGatedResidual(*channels, gate=gate)).train()
    x = torch.rand(2, channels[0], 16, 12).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    halved = {name: value.grad for name, value in block.named_parameters()}
    block.zero_grad()
    block(x.float()).square().sum().backward()
    for name, value in block.named_parameters():
        assert (halved[name] - value.grad).norm() < 0.1 * value.grad.norm(), name


@pytest.mark.parametrize("shape", [(), (2,), (3, 2), (2, 3, 2)])
@pytest.mark.parametrize(
    ("gate", "alpha"),
    [("channel", [0.5, -1.0, 0.0]), ("scalar", [2.0]), (1.0, [1.0]), (-3, [-3.0]), (0.0, [0.0])],
)
def test_gate_multiplies_each_channel(gate, alpha, shape) -> None:
    soft_gate = SoftGate(3, gate)
    if soft_gate.alpha is not None:
        soft_gate.alpha.data = torch.tensor(alpha)
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, -6.0]])
    factors = torch.tensor(alpha * (3 // len(alpha)))
    expected = (x * factors).view(2, 3, *[1] * len(shape)).expand(2, 3, *shape)
    y = soft_gate(x.view(2, 3, *[1] * len(shape)).expand(2, 3, *shape))
    assert torch.equal(y, expected)


@pytest.mark.parametrize("shape", [(2, 1, 3), (2, 3, 3), (2, 5, 3), (4,)])
def test_gate_refuses_other_channels(shape) -> None:
    with pytest.raises(InputError, match=r"SoftGate: .*must be \(B, 4, \*\), got ") as told:
        SoftGate(4)(torch.zeros(shape))
    assert str(told.value).endswith(str(shape))


@torch.no_grad()
def test_blocks_and_hourglasses_are_traced_by_fx() -> None:
    block = randomised(SoftGatedResidual(6, 10))
    traced, x = torch.fx.symbolic_trace(block), torch.randn(2, 6, 8, 12)
    assert torch.equal(traced(x), block(x))
    with pytest.raises(
        InputError, match=r"SoftGatedResidual: .* \(B, 6, \*\), got \(2, 3, 8, 12\)"
    ):
        traced(torch.zeros(2, 3, 8, 12))
    hourglass = randomised(HybridHourglass(8, 2))
    traced, x = torch.fx.symbolic_trace(hourglass), torch.randn(2, 8, 8, 12)
    assert torch.equal(traced(x), hourglass(x))
    with pytest.raises(InputError, match="multiples of 4"):
        traced(torch.zeros(2, 8, 8, 10))


@pytest.mark.parametrize(
    ("gate", "shape"), [("channel", (8,)), ("scalar", (1,)), (1.0, None), (0, None)]
)
def test_gate_parameters(gate, shape) -> None:
    soft_gate = SoftGate(8, gate)
    assert [tuple(p.shape) for p in soft_gate.parameters()] == ([] if shape is None else [shape])
    assert list(soft_gate.state_dict()) == ([] if shape is None else ["alpha"])
    assert repr(soft_gate) == f"SoftGate(8, gate={gate if shape else float(gate)!r})"
    if shape:
        assert soft_gate.alpha.count_nonzero() == 0  # the paper's start
        assert torch.equal(SoftGate(8, gate, init=0.5).alpha, torch.full(shape, 0.5))


def test_block_by_hand() -> None:
    block = SoftGatedResidual(4).eval()
    for layer in (block.conv1, block.conv2, block.conv3):
        layer.bn.eps = 1e-12
        layer.conv.weight.data.zero_()
        layer.conv.weight.data[:, :, 1, 1] = 1.0  # sums channels, keeps space
    block.gate.alpha.data = torch.tensor([0.0, 1.0, 2.0, -1.0])
    x = torch.tensor([1.0, -2.0, 3.0, 0.5]).view(1, 4, 1, 1).expand(2, 4, 3, 5)
    # relu sums to 4.5, in both channels of f1; f2 sums those to 9; f3 keeps 9.
    expected = torch.tensor([4.5, 4.5 - 2.0, 9.0 + 6.0, 9.0 - 0.5]).view(1, 4, 1, 1)
    assert torch.equal(block(x), expected.expand(2, 4, 3, 5))


@pytest.mark.parametrize("gate", ["channel", "scalar", 0.0])
@pytest.mark.parametrize(("in_channels", "out_channels"), WIDTHS)
def test_closed_gate_ignores_the_shortcut(in_channels, out_channels, gate) -> None:
    block = randomised(SoftGatedResidual(in_channels, out_channels, gate=gate))
    if gate != 0.0:
        block.gate.alpha.data.zero_()
    x = torch.randn(2, in_channels, 5, 7)
    y = block(x)
    torch.testing.assert_close(y, residual_by_hand(block, x))
    block.shortcut = nn.Conv2d(in_channels, out_channels, 1)  # any other shortcut
    assert torch.equal(block(x), y)
    if gate != 0.0:
        block.gate.alpha.data.fill_(0.1)
        assert not torch.equal(block(x), y)


@pytest.mark.parametrize("gate", ["channel", "scalar", 1.0])
@pytest.mark.parametrize(("in_channels", "out_channels"), WIDTHS)
def test_open_gate_is_the_plain_residual(in_channels, out_channels, gate) -> None:
    block = randomised(SoftGatedResidual(in_channels, out_channels, gate=gate))
    if gate != 1.0:
        block.gate.alpha.data.fill_(1.0)
    x = torch.randn(2, in_channels, 5, 7)
    shortcut = x
    if in_channels != out_channels:
        bn, weight = block.shortcut.bn, block.shortcut.conv.weight[:, :, 0, 0]
        normed = bn.weight * (x.movedim(1, -1) - bn.running_mean)
        normed = normed / (bn.running_var + bn.eps).sqrt() + bn.bias
        shortcut = (normed.clamp(min=0) @ weight.T).movedim(-1, 1)
    torch.testing.assert_close(block(x), shortcut + residual_by_hand(block, x))


@pytest.mark.parametrize("size", [(5, 7), (1, 3), (8, 4)])
@pytest.mark.parametrize(("in_channels", "out_channels"), WIDTHS)
def test_block_shapes(in_channels, out_channels, size) -> None:
    block = SoftGatedResidual(in_channels, out_channels)
    assert block(torch.randn(2, in_channels, *size)).shape == (2, out_channels, *size)
    widths = [block.conv1, block.conv2, block.conv3]
    half, quarter = out_channels // 2, out_channels // 4
    assert [w.conv.out_channels for w in widths] == [half, quarter, out_channels - half - quarter]
    assert isinstance(block.shortcut, nn.Identity) == (in_channels == out_channels)
    assert not [name for name, _ in block.named_parameters() if name.endswith("conv.bias")]


def test_every_parameter_gets_a_gradient() -> None:
    block = SoftGatedResidual(6, 8)
    x = torch.randn(2, 6, 5, 7)

    def untouched() -> list[str]:
        block.zero_grad()
        block(x).square().sum().backward()
        return [n for n, p in block.named_parameters() if p.grad is None or not p.grad.any()]

    # dy/dshortcut is alpha, so behind gates at their first value of 0 nothing arrives ...
    assert untouched() == [n for n, _ in block.named_parameters() if n.startswith("shortcut")]
    nn.init.uniform_(block.gate.alpha, 0.5, 1.0)  # ... until they have opened
    assert untouched() == []


@pytest.mark.parametrize(("groups", "apart"), [(2, True), (1, False)])
def test_groups_keep_two_sources_apart(groups, apart) -> None:
    block = randomised(SoftGatedResidual(16, 8, groups=groups))
    x = torch.randn(2, 16, 5, 7, requires_grad=True)
    first = block.conv1(x)
    for part, own, other in ((first[:, :2], 0, 8), (first[:, 2:], 8, 0)):
        (grad,) = torch.autograd.grad(part.sum(), x, retain_graph=True)
        assert grad[:, own : own + 8].any()
        assert grad[:, other : other + 8].any() != apart


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize(("channels", "size"), [(8, (5, 7)), (12, (4, 2))])
def test_merges(merge, channels, size) -> None:
    join = randomised(SkipMerge(channels, merge, gate="scalar"))
    height, width = size
    decoded, skip = torch.randn(2, channels, *size), torch.randn(2, channels, 2 * height, 2 * width)
    repeated = decoded.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    both = skip + repeated if merge == "sum" else torch.cat((skip, repeated), dim=1)
    y = join(skip, decoded)
    assert y.shape == skip.shape
    assert torch.equal(y, join.block(both))
    assert join.block.conv1.conv.groups == (2 if merge == "grouped" else 1)
    assert join.block.gate.gate == "scalar"


def test_merge_of_a_width_2_mod_4() -> None:
    assert SkipMerge(6)(torch.randn(2, 6, 6, 10), torch.randn(2, 6, 3, 5)).shape == (2, 6, 6, 10)


@pytest.mark.parametrize(
    ("skip", "parameters"),
    # C = 6: batch norm 12, 1x1 36, 3x3 324; block: 3x3 6->3, 3->1, 1->2 with norms, 6 gates
    [("conv1x1", 48), ("conv3x3", 336), ("block", 162 + 27 + 18 + 12 + 6 + 2 + 6), ("identity", 0)],
)
def test_skip_transforms(skip, parameters) -> None:
    layer = randomised(skip_transform(skip, 6))
    assert sum(p.numel() for p in layer.parameters()) == parameters
    x = torch.randn(2, 6, 5, 7)
    assert layer(x).shape == x.shape
    moved = x.clone()
    moved[:, :, 2, 3] += 1.0
    changed = (layer(x) != layer(moved)).any(1).any(0)  # by one cell of the input
    reach = changed.sum().item()
    assert reach > 9 if skip == "block" else reach == {"conv3x3": 9}.get(skip, 1)


def test_norm_act_conv_by_hand() -> None:
    layer = NormActConv(1, 1, 3).eval()
    layer.bn.eps = 1e-12
    layer.conv.weight.data.fill_(1.0)
    x = torch.tensor([[1.0, -5.0, 2.0], [0.0, 4.0, -1.0]]).view(1, 1, 2, 3)
    assert layer(x).flatten().tolist() == [5.0, 7.0, 6.0, 5.0, 7.0, 6.0]


def test_upsample_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0]]).expand(2, 3, 1, 3)
    assert upsample2(x)[1, 2].tolist() == [[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]] * 2


def test_merges_and_skips_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="2 groups must divide"):
        SkipMerge(6, "grouped")
    with pytest.raises(ValueError, match=r"merge must be one of 'concat', .*, got 'add'"):
        SkipMerge(8, "add")
    with pytest.raises(ValueError, match=r"skip must be one of 'conv1x1', .*, got 'conv5x5'"):
        skip_transform("conv5x5", 8)


@pytest.mark.parametrize("gate", ["sigmoid", True, None, float("inf"), float("nan"), "1.0"])
def test_gate_errors(gate) -> None:
    with pytest.raises(
        ValueError, match=r'gate must be "channel", "scalar" or a finite number, got'
    ):
        check_gate(gate)
    with pytest.raises(ValueError, match=r"gate must be"):
        SoftGatedResidual(8, gate=gate)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_block_compiles_without_graph_breaks(backend) -> None:
    block = randomised(SoftGatedResidual(6, 8))
    x = torch.randn(2, 6, 5, 7)
    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    torch.testing.assert_close(compiled(x), block(x))


@pytest.mark.parametrize(
    "norm_layer", ["groupnorm1", "layernorm2d", partial(GroupNorm, num_groups=2)]
)
def test_norm_and_activation_are_timms(norm_layer) -> None:
    block = SoftGatedResidual(6, 8, norm_layer=norm_layer, act_layer="silu")
    x = torch.randn(2, 6, 5, 7)
    norm = get_norm_layer(norm_layer)
    f1 = F.conv2d(F.silu(norm(6)(x)), block.conv1.conv.weight, padding=1)
    f2 = F.conv2d(F.silu(norm(4)(f1)), block.conv2.conv.weight, padding=1)
    f3 = F.conv2d(F.silu(norm(2)(f2)), block.conv3.conv.weight, padding=1)
    torch.testing.assert_close(block(x), torch.cat((f1, f2, f3), dim=1))  # gates start from 0
    # No statistics of the batch. Norms of two channels that are nearly alike enlarge rounding.
    torch.testing.assert_close(block(x)[:1], block(x[:1]), rtol=0, atol=1e-3)


def test_an_activation_leaves_what_the_shortcut_reads() -> None:
    changes = partial(nn.ReLU, inplace=True)
    x = torch.randn(2, 8, 6, 4)
    before = x.clone()
    SoftGatedResidual(8, norm_layer=nn.Identity, act_layer=changes)(x)
    assert torch.equal(x, before)


def test_hourglass_passes_norm_and_activation_on() -> None:
    for skip, merge in (("block", "sum"), ("conv1x1", "concat")):
        hourglass = HybridHourglass(
            8, 2, skip=skip, merge=merge, norm_layer="groupnorm1", act_layer=nn.GELU
        )
        kinds = {type(m).__name__ for m in hourglass.modules() if not list(m.children())}
        assert kinds & {"BatchNorm2d", "ReLU"} == set()
        assert kinds >= {"GroupNorm1", "GELU"}
        assert hourglass(torch.randn(2, 8, 8, 12)).shape == (2, 8, 8, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_channels": 7}, "out_channels must be an even integer of at least 4, got 7"),
        ({"in_channels": 2}, "at least 4, got 2"),
        ({"out_channels": 8.0}, "got 8.0"),
        ({"in_channels": 7, "out_channels": 8, "groups": 2}, r"must divide in_channels \(7\)"),
        ({"in_channels": 12, "out_channels": 6, "groups": 2}, r"half of out_channels \(3\)"),
        ({"norm_layer": "batchnrm"}, "timm knows no norm_layer 'batchnrm'"),
        ({"act_layer": "relo"}, "timm knows no act_layer 'relo'"),
        ({"norm_layer": None}, "timm knows no norm_layer None"),
        ({"norm_layer": "layernorm"}, r"norm_layer 'layernorm' takes no \(B, 8, H, W\)"),
        ({"norm_layer": nn.BatchNorm1d}, r"norm_layer .*BatchNorm1d.* takes no \(B, 8, H, W\)"),
        ({"act_layer": 3}, "timm knows no act_layer 3"),
        ({"norm_layer": "groupnorm"}, "norm_layer 'groupnorm' cannot be built for .8,."),
        ({"in_channels": 0}, r"in_channels must be a whole number from 1 .*got 0"),
        ({"in_channels": "8"}, r"in_channels must be a whole number .*got '8'"),
        ({"groups": 0}, r"groups must be a whole number from 1 .*got 0"),
    ],
)
def test_what_no_block_is_made_of(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoftGatedResidual(**{"in_channels": 8, **arguments})
