"""CU-Net, which the paper compares with, behind the interface of `GatedHourglass`.

Tang, Peng, Geng, Zhu & Metaxas, "CU-Net: Coupled U-Nets", BMVC 2018; layout of its authors' code
(zhiqiangdon/CU-Net, models/cu_net.py), which was read for the layout; none of it is here.

Deviations:

- Order-1 coupling only, a loss after each U-Net, concatenations kept in memory (the authors
  recompute them). The batch norm and ReLU before a head belong to the stack, not to the head.
- Batch norm's scale starts from 1, as PyTorch's; the authors draw it from uniform(0, 1).
  Convolutions start from PyTorch's uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)), as in the source.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatedpose.models.base import HeatmapNetwork, check_sizes
from gatedpose.models.layers import NormActConv, upsample2
from gatedpose.models.stacked_hourglass import DEPTH


@dataclass(frozen=True)
class CUNetConfig:
    """Everything that shapes a `CUNet`; ValueError for values outside these ranges."""

    stacks: int = 8  # number S of coupled U-Nets
    num_keypoints: int = 16  # heatmap channels K
    in_channels: int = 3  # of the input image
    width: int = 128  # channels C of the stem and of what each dense block hands on
    growth: int = 32  # new channels g of each dense layer
    neck: int = 4  # width of a dense layer's bottleneck, in units of `growth`

    def __post_init__(self) -> None:
        check_sizes(self, growth=(1, 65_536), neck=(1, 64))


class DenseBlock(nn.Module):
    """One semantic block of a U-Net: a dense layer, then an adapter for each reader of the result.

    There are two readers where a big skip leaves, else one. `in_channels` are those of all inputs
    together, coupled ones included.

    Shape: tensors (B, *, H, W) -> (new features (B, g, H, W), outputs (B, out_channels, H, W)...).
    """

    def __init__(
        self, in_channels: int, out_channels: int, config: CUNetConfig, outputs: int = 1
    ) -> None:
        super().__init__()
        growth, neck = config.growth, config.neck * config.growth
        self.layer = nn.Sequential(NormActConv(in_channels, neck, 1), NormActConv(neck, growth, 3))
        self.adapters = nn.ModuleList(
            NormActConv(in_channels + growth, out_channels, 1) for _ in range(outputs)
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """New features first, then what each adapter makes of them and of the inputs."""
        x = torch.cat(inputs, dim=1)
        new = self.layer(x)
        x = torch.cat((x, new), dim=1)  # (B, in + g, H, W)
        return (new, *(adapter(x) for adapter in self.adapters))


class CoupledUNet(nn.Module):
    """One U-Net of the chain, with the supervised features that a heatmap head reads.

    Shape: x (B, C, H, W), and if coupled the ten tensors `carried` that the U-Net before returned
    -> (features for the head, output, *carried): features, output and carried[0] are (B, C, H, W).
    """

    def __init__(self, config: CUNetConfig, coupled: bool) -> None:
        super().__init__()
        width, more = config.width, config.growth * coupled
        self.join = NormActConv(2 * width, width, 1) if coupled else nn.Identity()
        self.down = nn.ModuleList(DenseBlock(width + more, width, config, 2) for _ in range(DEPTH))
        self.neck = DenseBlock(width + more, width, config)
        self.up = nn.ModuleList(DenseBlock(2 * width + more, width, config) for _ in range(DEPTH))
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor, *carried: Tensor) -> tuple[Tensor, ...]:
        """Down, neck and up; each block reads its counterpart of the U-Net before."""
        before, *coupled = carried or (None,)
        x = start = self.join(x if before is None else torch.cat((x, before), dim=1))
        links = [coupled[i : i + 1] for i in range(2 * DEPTH + 1)]  # one to each block, or none
        news, skips = [], []
        for block, link in zip(self.down, links[:DEPTH], strict=True):
            new, x, skip = block(x, *link)
            news.append(new)
            skips.append(skip)
            x = F.max_pool2d(x, 2)  # (B, C, H/2, W/2), then H/4, ...
        new, x = self.neck(x, *links[DEPTH])
        news.append(new)
        for block, link in zip(self.up, links[DEPTH + 1 :], strict=True):
            new, x = block(upsample2(x), skips.pop(), *link)
            news.append(new)
        return (self.relu(self.bn(x)), x, start, *news)


class CUNet(HeatmapNetwork):
    """CU-Net of Tang et al.: U-Nets whose blocks read those of the U-Net before (order-1 coupling).

    Args:
        config: Sizes; `CUNetConfig()` is the paper's CU-Net-8.

    There are no remaps, since heatmaps are not fed back. Shapes are those of `HeatmapNetwork`.
    """

    def __init__(self, config: CUNetConfig) -> None:
        width, stacks, keypoints = config.width, config.stacks, config.num_keypoints
        super().__init__(keypoints, config.in_channels, width, stacks, DEPTH)
        self.config = config
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(config.in_channels, width, 7, 2, 3, bias=False),
                bn=nn.BatchNorm2d(width),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(2),
            )
        )
        self.stacks = nn.ModuleList(CoupledUNet(config, coupled=s > 0) for s in range(stacks))
        self.heads = nn.ModuleList(
            nn.Conv2d(width, keypoints, 1, bias=False) for _ in range(stacks)
        )
        self.remap_features, self.remap_heatmaps = nn.ModuleList(), nn.ModuleList()

    def forward_stacks(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields the features of each U-Net, (B, C, H/4, W/4), and its heatmaps unless pruned."""
        self.check_input(images)
        x = self.stem(images)  # (B, C, H/4, W/4)
        carried: list[Tensor] = []
        for s, stack in enumerate(self.stacks):
            out = self.run(stack, x, *carried)
            features, x, carried = out[0], out[1], list(out[2:])
            yield features, self.heads[s](features) if s < len(self.heads) else None
