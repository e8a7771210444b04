"""What of a trained network prediction needs, and no more: the same heatmaps by less arithmetic.

- Batch norm that directly follows a convolution becomes part of it. Most here precede a ReLU and a
  convolution and stay.
- A gate behind a shortcut's convolution becomes part of it, too.
- Heads of all stacks but the last go: with h = head(f), what a stack hands on,
  remap_features(f) + remap_heatmaps(h), is one 1x1 convolution of f.
"""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gatedpose.layers import NormActConv, SoftGate, SoftGatedResidual
from gatedpose.network import HeatmapNetwork


class FoldedNetwork(nn.Module):
    """The last stack's heatmaps of a trained network, for prediction only.

    Args:
        model: A network of the zoo; it is copied, in float32.

    Shape: images as for `HeatmapNetwork` -> (B, 1, K, H/4, W/4), the model's `[:, -1:]` but for
    rounding.
    """

    def __init__(self, model: HeatmapNetwork) -> None:
        super().__init__()
        self.num_keypoints, self.pretrained_cfg = model.num_keypoints, model.pretrained_cfg
        network = copy.deepcopy(model).float().eval().requires_grad_(False)
        for module in list(network.modules()):
            if isinstance(module, nn.Sequential):
                _fold_norms(module)
            if isinstance(module, SoftGatedResidual):
                _fold_gate(module)
        self.head = network.heads[-1]
        network.remap_features = nn.ModuleList(
            _one_remap(*parts)
            for parts in zip(
                network.remap_features, network.remap_heatmaps, network.heads, strict=False
            )
        )
        network.heads, network.remap_heatmaps = nn.ModuleList(), nn.ModuleList()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        heatmaps: Tensor = self.head(self.network.forward_features(images))
        return heatmaps.unsqueeze(1)


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
    one.weight += (back @ forth).view_as(one.weight)
    assert one.bias is not None
    one.bias += heatmaps.bias + (0 if head.bias is None else back @ head.bias)
    return one
