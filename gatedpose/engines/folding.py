"""What prediction needs of a trained network: the same heatmaps by less arithmetic.

- Batch norm that directly follows a convolution becomes part of it. Most here precede a ReLU and a
  convolution and stay.
- A gate behind a shortcut's convolution becomes part of it, too.
- What decoders concatenate is never made: its halves are convolved apart, and the decoded half
  before it is upsampled.
- Heads of all stacks but the last go: with h = head(f), what a stack hands on,
  remap_features(f) + remap_heatmaps(h), is one 1x1 convolution of f.
"""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gatedpose.models.base import HeatmapNetwork, hand_on
from gatedpose.models.hourglass import HybridHourglass
from gatedpose.models.layers import NormActConv, SkipMerge, SoftGate, SoftGatedResidual, upsample2


class PredictsOnly(nn.Module):
    """A network without what training needs."""

    def train(self, mode: bool = True) -> "PredictsOnly":
        """Refuses training mode: there are no losses of earlier stacks to learn from any more."""
        if mode:
            raise RuntimeError("an optimised network only predicts; train the one it is made from")
        return super().train(mode)


class FoldedNetwork(nn.Module):
    """The last stack's heatmaps of a trained network, for prediction only.

    Args:
        model: A network of the zoo; it is copied, in float32.
        split_merges: Whether decoders convolve the halves of what they concatenate apart.

    Shape: images as for `HeatmapNetwork` -> (B, 1, K, H/4, W/4), the model's `[:, -1:]` but for
    rounding.
    """

    def __init__(self, model: HeatmapNetwork, split_merges: bool = True) -> None:
        super().__init__()
        model.check_head("optimize")
        hand_on(model, self)
        network = copy.deepcopy(model).float().eval().requires_grad_(False)
        for module in list(network.modules()):
            if isinstance(module, nn.Sequential):
                _fold_norms(module)
            if isinstance(module, SoftGatedResidual):
                _fold_gate(module)
        for module in list(network.modules()):
            if split_merges and isinstance(module, HybridHourglass) and _is_pointwise(module.merge):
                module.merge = FoldedMerge(module.merge.block)  # type: ignore[assignment]
        self.head = network.heads[-1]
        network.remap_features = nn.ModuleList(
            _one_remap(*parts)
            for parts in zip(
                network.remap_features, network.remap_heatmaps, network.heads, strict=False
            )
        )
        network.heads, network.remap_heatmaps = nn.ModuleList(), nn.ModuleList()
        self.network = network
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        heatmaps: Tensor = self.head(self.network.forward_features(images))
        return heatmaps.unsqueeze(1)


class FoldedMerge(nn.Module):
    """A decoder's block on concat(skip, upsampled), which convolves before it upsamples.

    Batch norm and ReLU see each channel and pixel alone, so a convolution behind them is the sum of
    one of the skip and one of the upsampled map. Upsampling repeats pixels: a 1x1 convolution can
    come before it, and a 3x3 one is a transposed 4x4 convolution of stride 2, by 4/9 of the
    products.

    Shape: skip (B, C, H, W) and decoded (B, C, H/2, W/2) -> (B, C, H, W).
    """

    def __init__(self, block: SoftGatedResidual) -> None:
        super().__init__()
        assert isinstance(block.shortcut, NormActConv)
        self.skip1, decoded1 = _halves(block.conv1)
        self.decoded1 = nn.Sequential(decoded1.bn, decoded1.relu, _upsampling(decoded1.conv))
        self.conv2, self.conv3 = block.conv2, block.conv3
        self.skip_shortcut, self.decoded_shortcut = _halves(block.shortcut)

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """See the class."""
        f1 = self.skip1(skip) + self.decoded1(decoded)  # (B, C/2, H, W)
        f2 = self.conv2(f1)
        residual: Tensor = self.skip_shortcut(skip) + torch.cat((f1, f2, self.conv3(f2)), dim=1)
        # Upsampled last: compiled code then holds a whole map less at a time.
        return residual + upsample2(self.decoded_shortcut(decoded))


def _is_pointwise(merge: SkipMerge) -> bool:
    """Whether a merge concatenates, and norms each channel and pixel alone."""
    return merge.merge == "concat" and isinstance(merge.block.conv1.bn, nn.BatchNorm2d)


def _halves(layer: NormActConv) -> list[NormActConv]:
    """Layers for either half of the input's channels; the sum of both is the layer."""
    conv, state, parts = layer.conv, layer.state_dict(), []
    for half in (0, 1):
        part = NormActConv(conv.in_channels // 2, conv.out_channels, conv.kernel_size[0])
        part.relu = copy.deepcopy(layer.relu)
        part.to(conv.weight)  # its dtype, whatever the default is
        part.load_state_dict(
            {
                name: value.chunk(2, dim=int(name == "conv.weight"))[half]
                if value.dim() and not name.startswith("relu.")  # whose slope all channels share
                else value
                for name, value in state.items()
            }
        )
        parts.append(part)
    return parts


def _upsampling(conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """What a 3x3 convolution of the upsampled map does, from the map itself."""
    twice = nn.ConvTranspose2d(conv.in_channels, conv.out_channels, 4, 2, 1, bias=False)
    flipped = conv.weight.flip(2, 3)
    # Each pixel is repeated in four places, and so is its share of the result.
    places = [F.pad(flipped, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)]
    twice.weight = nn.Parameter(torch.stack(places).sum(0).transpose(0, 1).contiguous())
    return twice


def _leaves(sequence: nn.Sequential) -> Iterator[tuple[nn.Sequential, str, nn.Module]]:
    """Layers that are called one after the other, with their owner and name in it."""
    for name, child in sequence.named_children():
        if isinstance(child, nn.Sequential):
            yield from _leaves(child)
        else:
            yield sequence, name, child


def _fold_norms(sequence: nn.Sequential) -> None:
    leaves = itertools.pairwise(list(_leaves(sequence)))
    for (owner, name, first), (next_owner, next_name, second) in leaves:
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(owner, name, fuse_conv_bn_eval(first, second))
            setattr(next_owner, next_name, nn.Identity())


def _fold_gate(block: SoftGatedResidual) -> None:
    if isinstance(block.shortcut, NormActConv):
        alpha, weight = block.gate.alpha, block.shortcut.conv.weight
        weight.mul_(block.gate.gate if alpha is None else alpha.view(-1, 1, 1, 1))
        block.gate = SoftGate(block.gate.channels, 1.0)


def _one_remap(features: Any, heatmaps: Any, head: Any) -> nn.Conv2d:
    """The 1x1 convolution that is features(f) + heatmaps(head(f))."""
    one: nn.Conv2d = copy.deepcopy(features)
    back, forth = heatmaps.weight.flatten(1), head.weight.flatten(1)
    assert one.bias is not None
    with torch.autocast(back.device.type, enabled=False):
        one.weight += (back @ forth).view_as(one.weight)
        one.bias += heatmaps.bias + (0 if head.bias is None else back @ head.bias)
    return one
