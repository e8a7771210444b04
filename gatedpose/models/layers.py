"""The paper's building blocks: soft gates, gated residuals, big-skip transforms and merges.

Source: Bulat, Kossaifi, Tzimiropoulos, Pantic, "Toward fast and accurate human pose estimation via
soft-gated skip connections", FG 2020, Section III-A (Eq. 1, Fig. 1) and Section III-B (Fig. 2). The
residual function is the hierarchical, parallel, multi-scale block of Bulat & Tzimiropoulos, ICCV
2017. No code of the authors is public: the layout was fitted to the paper's parameter and FLOP
tables.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatedpose.errors import InputError, check_choice, check_range, in_range

Gate: TypeAlias = Literal["channel", "scalar"] | float
Layer: TypeAlias = str | Callable[..., nn.Module]  # timm's name, or what builds the layer
Merge: TypeAlias = Literal["concat", "grouped", "sum"]
Skip: TypeAlias = Literal["conv1x1", "conv3x3", "block", "identity"]


MERGES: tuple[Merge, ...] = ("concat", "grouped", "sum")
SKIPS: tuple[Skip, ...] = ("conv1x1", "conv3x3", "block", "identity")


def check_gate(gate: Gate) -> Gate:
    """Returns `gate` if it is "channel", "scalar" or a finite number, else raises ValueError."""
    if gate in ("channel", "scalar"):
        return gate
    if isinstance(gate, (int, float)) and not isinstance(gate, bool) and abs(gate) < float("inf"):
        return float(gate)
    raise InputError(f'gate must be "channel", "scalar" or a finite number, got {gate!r}')


def check_width(what: str, channels: int) -> None:
    """Raises ValueError unless `channels` is an even number of at least 4 (blocks split it)."""
    if not in_range(channels, (4, 65_536)) or channels % 2:
        raise InputError(f"{what} must be an even integer of at least 4, got {channels!r}")


def norm(layer: Layer, channels: int) -> nn.Module:
    """A norm of so many channels, by timm's name or its class; ValueError if timm has none such."""
    if layer == "batchnorm2d":  # needs no timm, whose import takes longer than all else
        return nn.BatchNorm2d(channels)
    from timm.layers import get_norm_layer

    made = _build("norm_layer", get_norm_layer, layer, channels)
    try:
        with torch.no_grad():
            made.eval()(torch.zeros(1, channels, 1, channels + 1))
    except (RuntimeError, ValueError) as error:  # such as of channels that come last, "layernorm"
        raise InputError(f"norm_layer {layer!r} takes no (B, {channels}, H, W): {error}") from error
    return made.train()


def activation(layer: Layer) -> nn.Module:
    """An activation, by timm's name or its class; ValueError if timm has none such."""
    if layer == "relu":
        return nn.ReLU()
    from timm.layers import get_act_layer

    made = _build("act_layer", get_act_layer, layer)
    if getattr(made, "inplace", False):  # a block's shortcut reads what its activation has read
        made.inplace = False  # type: ignore[assignment]
    return made


def _build(what: str, factory: Callable[[Layer], Layer], layer: Layer, *size: int) -> nn.Module:
    try:
        made = factory(layer)
        if isinstance(made, str) or not callable(made):
            raise KeyError(layer)
    except (KeyError, AssertionError) as error:
        raise InputError(f"timm knows no {what} {layer!r}; it takes a name or a class") from error
    try:
        return made(*size)
    except (ValueError, TypeError) as error:
        raise InputError(f"{what} {layer!r} cannot be built for {size}: {error}") from error


@torch.fx.wrap  # which torch.fx does not look into: a check needs shapes
def check_channels(what: str, x: Tensor, channels: int) -> None:
    """Raises ValueError unless features are (B, channels, *)."""
    if x.dim() < 2 or x.shape[1] != channels:
        raise InputError(f"{what}: features must be (B, {channels}, *), got {tuple(x.shape)}")


@torch.fx.wrap
def scale_channels(x: Tensor, alpha: Tensor) -> Tensor:
    """Features (B, C, *) times factors (C,) or (1,), in the features' precision.

    Under autocast factors are rounded as the weights of convolutions are: were they not, all that
    follows would be computed in float32.
    """
    return alpha.to(x.dtype).view(-1, *[1] * (x.dim() - 2)) * x


class SoftGate(nn.Module):
    """Scales a feature map by a learnable factor alpha (Eq. 1): no sigmoid, no bias.

    Args:
        channels: Channels of the feature map.
        gate: "channel" learns one alpha for each channel, "scalar" one for all of them, a number is
            kept as it is and not learnt (1.0 is the identity of a plain residual).
        init: First value of a learnable alpha; the paper starts from 0.

    Shape: (B, channels, *) -> the same.

    Raises:
        InputError: In `forward`, for other than `channels` channels where each has its factor.
    """

    def __init__(self, channels: int, gate: Gate = "channel", init: float = 0.0) -> None:
        super().__init__()
        check_range("SoftGate: channels", channels, (1, 2**20))
        check_range("SoftGate: init", init, (-1e9, 1e9))
        self.channels = channels
        self.gate: Gate = check_gate(gate)
        if isinstance(self.gate, float):
            self.register_parameter("alpha", None)
        else:
            shape = (channels,) if self.gate == "channel" else (1,)
            self.alpha = nn.Parameter(torch.full(shape, float(init)))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        if isinstance(self.gate, float):
            return x if self.gate == 1.0 else self.gate * x
        if self.gate == "channel":  # 1 would be broadcast
            check_channels("SoftGate", x, self.channels)
        return scale_channels(x, self.alpha)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.channels}, gate={self.gate!r}"


class NormActConv(nn.Sequential):
    """Batch norm, ReLU, stride-free convolution without bias: (B, in, H, W) -> (B, out, H, W).

    The layers are called so in the state dict, whichever they are.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        groups: int = 1,
        *,
        norm_layer: Layer = "batchnorm2d",
        act_layer: Layer = "relu",
    ) -> None:
        super().__init__()
        self.bn = norm(norm_layer, in_channels)
        self.relu = activation(act_layer)
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False
        )


class SoftGatedResidual(nn.Module):
    """Residual block whose skip connection carries a soft gate (Section III-A, Eq. 1, Fig. 1).

    y = alpha * shortcut(x) + concat(f1, f2, f3), where f1 (half of the channels), f2 (a quarter)
    and f3 (the rest) are 3x3 convolutions that follow each other, each after batch norm and ReLU.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output, even; `in_channels` if None. Where the two differ, the
            shortcut is conv1x1(relu(bn(x))), else the input itself.
        gate: See `SoftGate`.
        groups: Groups of the first 3x3 convolution (2 keeps two concatenated sources apart, Fig.
            2c).
        norm_layer: Norm before each convolution, by timm's name ("batchnorm2d", "groupnorm1",
            "layernorm2d", ...), or what builds it from a number of channels.
        act_layer: Activation behind each norm, by timm's name ("relu", "silu", ...) or its class.

    Shape: (B, in_channels, H, W) -> (B, out_channels, H, W), any H and W.

    Raises:
        ValueError: For an odd or tiny width, an unknown gate or layer, or groups that do not divide
            it; in `forward`, for other than `in_channels` channels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        gate: Gate = "channel",
        groups: int = 1,
        norm_layer: Layer = "batchnorm2d",
        act_layer: Layer = "relu",
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        check_range("SoftGatedResidual: in_channels", in_channels, (1, 2**20))
        check_width("SoftGatedResidual: out_channels", out_channels)
        check_range("SoftGatedResidual: groups", groups, (1, 2**20))
        self.in_channels = in_channels
        half, quarter = out_channels // 2, out_channels // 4
        if in_channels % groups or half % groups:
            raise InputError(
                f"SoftGatedResidual: {groups} groups must divide in_channels ({in_channels}) and "
                f"half of out_channels ({half})"
            )
        conv = partial(NormActConv, norm_layer=norm_layer, act_layer=act_layer)
        self.conv1 = conv(in_channels, half, 3, groups)
        self.conv2 = conv(half, quarter, 3)
        self.conv3 = conv(quarter, out_channels - half - quarter, 3)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else conv(in_channels, out_channels, 1)
        self.gate = SoftGate(out_channels, gate)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        check_channels("SoftGatedResidual", x, self.in_channels)
        f1 = self.conv1(x)  # (B, out/2, H, W)
        f2 = self.conv2(f1)  # (B, out/4, H, W)
        f3 = self.conv3(f2)  # (B, out - out/2 - out/4, H, W)
        residual: Tensor = self.gate(self.shortcut(x)) + torch.cat((f1, f2, f3), dim=1)
        return residual


def skip_transform(
    skip: Skip, channels: int, *, gate: Gate = "channel", **layers: Any
) -> nn.Module:
    """The layer on a big skip, from encoder to decoder at one resolution (Section III-B).

    Args:
        skip: "conv1x1" (the default: a feature projection) or "conv3x3" (both behind batch norm and
            ReLU), "block" (a `SoftGatedResidual`, as the hourglass does), "identity" (as U-Net
            does).
        channels: Channels of the feature map, kept.
        gate: Gate of the "block" choice.
        layers: `norm_layer` and `act_layer` of `SoftGatedResidual`.

    Raises:
        ValueError: For an unknown `skip` or layer.
    """
    check_choice("skip", skip, SKIPS)
    if skip == "identity":
        return nn.Identity()
    if skip == "block":
        return SoftGatedResidual(channels, gate=gate, **layers)
    return NormActConv(channels, channels, 3 if skip == "conv3x3" else 1, **layers)


class SkipMerge(nn.Module):
    """Joins a big skip with the upsampled decoder features (Fig. 2, Table IV).

    Args:
        channels: Channels C of either source and of the output.
        merge: "concat" (default: `SoftGatedResidual` of both, concatenated), "grouped" (the same,
            but the block's first 3x3 has a group for each source; C must be a multiple of 4) or
            "sum" (the hourglass: sources are added before the block).
        gate: Gate of the merging block.
        layers: `norm_layer` and `act_layer` of `SoftGatedResidual`.

    Shape: skip (B, C, H, W) and decoded (B, C, H/2, W/2), which is upsampled -> (B, C, H, W).

    Raises:
        ValueError: For an unknown `merge` or layer, or a width that two groups cannot share.
    """

    def __init__(
        self, channels: int, merge: Merge = "concat", *, gate: Gate = "channel", **layers: Any
    ) -> None:
        super().__init__()
        check_choice("merge", merge, MERGES)
        self.merge = merge
        in_channels = channels if merge == "sum" else 2 * channels
        groups = 2 if merge == "grouped" else 1
        self.block = SoftGatedResidual(in_channels, channels, gate=gate, groups=groups, **layers)

    def forward(self, skip: Tensor, decoded: Tensor) -> Tensor:
        """See the class."""
        decoded = upsample2(decoded)  # (B, C, H, W)
        summed = self.merge == "sum"
        merged = skip + decoded if summed else torch.cat((skip, decoded), dim=1)  # (B, 2C, H, W)
        out: Tensor = self.block(merged)
        return out


def upsample2(x: Tensor) -> Tensor:
    """Nearest neighbour, twice the size: (B, C, H, W) -> (B, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
