"""Stacked hourglass, which the paper compares with, behind the interface of `GatedHourglass`.

Newell, Yang & Deng, "Stacked hourglass networks for human pose estimation", ECCV 2016; layout of W.
Yang's port to PyTorch (bearpaw/pytorch-pose, pose/models/hourglass.py), which was read for the
layout; none of its code is here.

Deviations:

- One residual where the port's hg1, hg2 and hg4 have 8, 4 and 2 of them in a row; hg8 is the
  paper's and has one. The stem is width / 4, width / 2, then width: 64, 128, 256 as published.
- Batch norm's scale starts from 1, as PyTorch's. Convolutions start from PyTorch's
  uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)), as in the source.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from gatedpose.errors import InputError
from gatedpose.models.base import check_sizes
from gatedpose.models.hourglass import StackedNetwork
from gatedpose.models.layers import upsample2

DEPTH = 4  # both halve their input four times


@dataclass(frozen=True)
class HourglassConfig:
    """Everything that shapes a `StackedHourglass`; ValueError for values outside these ranges."""

    stacks: int = 8  # number S of hourglasses
    num_keypoints: int = 16  # heatmap channels K
    in_channels: int = 3  # of the input image
    width: int = 256  # channels C of every feature map behind the stem; a multiple of 4

    def __post_init__(self) -> None:
        check_sizes(self)
        if self.width % 4:
            raise InputError(f"width must be a multiple of 4, got {self.width}")


class Bottleneck(nn.Module):
    """Pre-activated residual of the hourglass: 1x1 to half of the width, 3x3, 1x1, all with bias.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W). The shortcut is the input itself, or
    conv1x1 of it where the width changes (no batch norm before it).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.residual = nn.Sequential(
            OrderedDict(
                bn1=nn.BatchNorm2d(in_channels),
                relu1=nn.ReLU(),
                conv1=nn.Conv2d(in_channels, half, 1),
                bn2=nn.BatchNorm2d(half),
                relu2=nn.ReLU(),
                conv2=nn.Conv2d(half, half, 3, padding=1),
                bn3=nn.BatchNorm2d(half),
                relu3=nn.ReLU(),
                conv3=nn.Conv2d(half, out_channels, 1),
            )
        )
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shortcut plus residual."""
        out: Tensor = self.shortcut(x) + self.residual(x)
        return out


class Hourglass(nn.Module):
    """A residual on each big skip, added to the decoder: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int, depth: int = DEPTH) -> None:
        super().__init__()
        self.skip = Bottleneck(channels, channels)
        self.low = Bottleneck(channels, channels)
        inner = Hourglass(channels, depth - 1) if depth > 1 else Bottleneck(channels, channels)
        self.inner: nn.Module = inner
        self.up = Bottleneck(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Encodes, recurses, decodes."""
        low = self.low(F.max_pool2d(x, 2))  # (B, C, H/2, W/2)
        decoded: Tensor = upsample2(self.up(self.inner(low)))  # (B, C, H, W)
        merged: Tensor = self.skip(x) + decoded
        return merged


class StackedHourglass(StackedNetwork):
    """Stacked hourglass of Newell et al.: images -> heatmaps, shaped as `HeatmapNetwork` says.

    Args:
        config: Sizes; `HourglassConfig()` is the paper's network of eight stacks.
    """

    def __init__(self, config: HourglassConfig) -> None:
        width, stacks = config.width, config.stacks
        super().__init__(config.num_keypoints, config.in_channels, width, stacks, DEPTH)
        self.config = config
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(config.in_channels, width // 4, 7, 2, 3),
                bn=nn.BatchNorm2d(width // 4),
                relu=nn.ReLU(),
                block1=Bottleneck(width // 4, width // 2),
                pool=nn.MaxPool2d(2),
                block2=Bottleneck(width // 2, width // 2),
                block3=Bottleneck(width // 2, width),
            )
        )
        self.stacks = nn.ModuleList(self._stack(width) for _ in range(stacks))
        self.add_heads()

    @staticmethod
    def _stack(width: int) -> nn.Sequential:
        return nn.Sequential(
            OrderedDict(
                hourglass=Hourglass(width),
                block=Bottleneck(width, width),
                conv=nn.Conv2d(width, width, 1),
                bn=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
            )
        )
