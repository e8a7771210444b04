"""The paper's network: hourglasses that concatenate like a U-Net, stacked and supervised.

Source: Bulat et al., FG 2020, Section III-B (Fig. 2b) and the tables of Section IV; Newell, Yang &
Deng, ECCV 2016, for stacking. Reconstructed, since the authors' code is not public: of 1,152
candidate layouts this one, with nothing but width and stacks changing, meets every published
(parameters, FLOPs) pair within 4.2 % and 2.6 %. Stem width 64 and the remaps between stacks follow
the hourglass line.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatedpose.errors import InputError, check_choice, check_range
from gatedpose.models.base import HeatmapNetwork, check_sizes
from gatedpose.models.layers import (
    MERGES,
    SKIPS,
    Gate,
    Layer,
    Merge,
    Skip,
    SkipMerge,
    SoftGatedResidual,
    activation,
    check_gate,
    check_width,
    norm,
    skip_transform,
)

STEM_WIDTH = 64


@dataclass(frozen=True)
class GatedHourglassConfig:
    """Everything that shapes a `GatedHourglass`.

    Attributes:
        width: Channels C of every feature map behind the stem; even.
        stacks: Number S of hourglasses.
        num_keypoints: Heatmap channels K.
        in_channels: Channels of the input image.
        depth: How often each hourglass halves its input, 2 to 5.
        gate: Skip connections' gate, see `gatedpose.SoftGate` (Table II).
        merge: How decoder and big skip are joined, see
            `gatedpose.models.layers.SkipMerge` (Table IV).
        skip: Layer on the big skips, see `gatedpose.models.layers.skip_transform` (Section III-B).
        norm_layer: Every norm, by timm's name; the paper's is "batchnorm2d".
        act_layer: Every activation, by timm's name; the paper's is "relu".

    Raises:
        ValueError: For values outside these ranges.
    """

    width: int = 144
    stacks: int = 4
    num_keypoints: int = 16
    in_channels: int = 3
    depth: int = 4
    gate: Gate = "channel"
    merge: Merge = "concat"
    skip: Skip = "conv1x1"
    norm_layer: str = "batchnorm2d"
    act_layer: str = "relu"

    def __post_init__(self) -> None:
        check_width("width", self.width)
        check_sizes(self)
        object.__setattr__(self, "gate", check_gate(self.gate))
        check_choice("merge", self.merge, MERGES)
        check_choice("skip", self.skip, SKIPS)
        for name in ("norm_layer", "act_layer"):  # names, so that config.json can hold them
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name} must be timm's name, got {getattr(self, name)!r}")
        if self.merge == "grouped" and self.width % 4:
            raise InputError(f'merge="grouped" needs a width that 4 divides, got {self.width}')


@torch.fx.wrap
def check_halves(x: Tensor, depth: int) -> None:
    """Raises ValueError unless features (B, C, H, W) can be halved so many times."""
    if x.shape[-2] % 2**depth or x.shape[-1] % 2**depth:
        raise InputError(
            f"HybridHourglass: height and width must be multiples of {2**depth} to "
            f"be halved {depth} times, got {x.shape[-2]} x {x.shape[-1]}"
        )


class HybridHourglass(nn.Module):
    """One hourglass whose decoder concatenates the encoder's features (Section III-B, Fig. 2b).

    Args:
        channels: Channels C, kept throughout; even.
        depth: How often the input is halved.
        gate: Gate of every residual, see `SoftGate`.
        merge: "concat", "grouped" or "sum", see `SkipMerge`.
        skip: "conv1x1", "conv3x3", "block" or "identity", see `skip_transform`.
        norm_layer: By timm's name or class, see `SoftGatedResidual`.
        act_layer: By timm's name or class, see `SoftGatedResidual`.

    Shape: (B, C, H, W) -> (B, C, H, W), H and W multiples of 2^depth.

    Raises:
        ValueError: For unknown choices, and in forward for a size that does not halve `depth`
            times.
    """

    def __init__(
        self,
        channels: int,
        depth: int = 4,
        *,
        gate: Gate = "channel",
        merge: Merge = "concat",
        skip: Skip = "conv1x1",
        norm_layer: Layer = "batchnorm2d",
        act_layer: Layer = "relu",
    ) -> None:
        super().__init__()
        check_range("HybridHourglass: depth", depth, (1, 16))
        self.depth = depth
        layers: Any = {"norm_layer": norm_layer, "act_layer": act_layer}
        block = partial(SoftGatedResidual, channels, gate=gate, **layers)
        self.skip = skip_transform(skip, channels, gate=gate, **layers)
        self.low = block()
        if depth > 1:
            self.inner: nn.Module = HybridHourglass(
                channels, depth - 1, gate=gate, merge=merge, skip=skip, **layers
            )
        else:
            self.inner = nn.Sequential(block(), block())
        self.merge = SkipMerge(channels, merge, gate=gate, **layers)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        check_halves(x, self.depth)
        low = self.low(F.max_pool2d(x, 2))  # (B, C, H/2, W/2)
        merged: Tensor = self.merge(self.skip(x), self.inner(low))  # (B, C, H, W)
        return merged


class StackedNetwork(HeatmapNetwork):
    """Stacks that each tell the next one what they saw and what they found.

    Subclasses build `stem` and `stacks`, then call `add_heads`.
    """

    def add_heads(self) -> None:
        """A head for each stack, and remaps from each stack to the next."""
        width, keypoints, stacks = self.num_features, self.num_keypoints, self.num_stacks
        self.heads = nn.ModuleList(nn.Conv2d(width, keypoints, 1) for _ in range(stacks))
        self.remap_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.remap_heatmaps = nn.ModuleList(
            nn.Conv2d(keypoints, width, 1) for _ in range(stacks - 1)
        )

    def forward_stacks(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields each stack's features and heatmaps, (B, *, H/4, W/4); None for a pruned head.

        Every stack is supervised (Eq. 2).
        """
        self.check_input(images)
        x = self.stem(images)  # (B, C, H/4, W/4)
        for s, stack in enumerate(self.stacks):
            features = self.run(stack, x)  # (B, C, H/4, W/4)
            heatmaps = self.heads[s](features) if s < len(self.heads) else None  # (B, K, H/4, W/4)
            yield features, heatmaps
            if s + 1 < self.num_stacks:
                x = x + self.remap_features[s](features)
                x = x if heatmaps is None else x + self.remap_heatmaps[s](heatmaps)


class GatedHourglass(StackedNetwork):
    """Stacked hybrid hourglasses with soft-gated skip connections: images -> heatmaps.

    Args:
        config: Sizes and choices; `GatedHourglassConfig()` is the paper's 8.5 M network.

    Convolutions start from uniform(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is PyTorch's default,
    and gates from 0 (Section III-C). See `HeatmapNetwork.forward` for shapes.
    """

    def __init__(self, config: GatedHourglassConfig | None = None) -> None:
        config = config or GatedHourglassConfig()
        width, stacks = config.width, config.stacks
        super().__init__(config.num_keypoints, config.in_channels, width, stacks, config.depth)
        self.config = config
        layers: Any = {"norm_layer": config.norm_layer, "act_layer": config.act_layer}
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(config.in_channels, STEM_WIDTH, 7, 2, 3, bias=False),
                bn=norm(config.norm_layer, STEM_WIDTH),
                relu=activation(config.act_layer),
                pool=nn.MaxPool2d(2),
                block=SoftGatedResidual(STEM_WIDTH, width, gate=config.gate, **layers),
            )
        )
        self.stacks = nn.ModuleList(self._stack(config, layers) for _ in range(stacks))
        self.add_heads()

    @staticmethod
    def _stack(config: GatedHourglassConfig, layers: Any) -> nn.Sequential:
        width, gate = config.width, config.gate
        hourglass = HybridHourglass(
            width, config.depth, gate=gate, merge=config.merge, skip=config.skip, **layers
        )
        return nn.Sequential(
            OrderedDict(
                hourglass=hourglass,
                block=SoftGatedResidual(width, gate=gate, **layers),
                conv=nn.Conv2d(width, width, 1),
                bn=norm(config.norm_layer, width),
                relu=activation(config.act_layer),
            )
        )
