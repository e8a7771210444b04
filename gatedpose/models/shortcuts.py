"""Soft gates for other people's residual networks: `gate_shortcuts` and back.

A gate scales what a shortcut adds, as in the paper's Eq. 1: y = alpha * shortcut(x) + f(x). Where a
block has a module for its shortcut, the gate follows that. Blocks that add their input itself get
(alpha - 1) x added to their output, which is the same. No key of the state dict changes, gates add
their own.
"""

from collections import OrderedDict
from typing import Any

import torch
import torchvision.models.resnet as torchvision_resnet
from timm.models import _efficientnet_blocks as efficientnet
from timm.models import convnext, regnet, resnet, resnetv2, vision_transformer
from torch import Tensor, nn

from gatedpose.errors import InputError, InputTypeError
from gatedpose.models.layers import Gate, SoftGate

# Blocks and the module of their shortcut, which is called on the block's input.
POST_ACTIVATION = (
    resnet.BasicBlock,
    resnet.Bottleneck,
    resnetv2.Bottleneck,
    torchvision_resnet.BasicBlock,
    torchvision_resnet.Bottleneck,
)  # None adds the input itself
PRE_ACTIVATION = (resnetv2.PreActBasic, resnetv2.PreActBottleneck)  # the same, but see `_gate`
REGNET = (regnet.Bottleneck, regnet.PreBottleneck)  # None adds nothing, nn.Identity the input
CONVNEXT = (convnext.ConvNeXtBlock,)  # nn.Identity adds the input
# Blocks that have no such module, and add their input if they say `has_skip`.
INVERTED = (
    efficientnet.ConvBnAct,
    efficientnet.DepthwiseSeparableConv,
    efficientnet.InvertedResidual,
    efficientnet.UniversalInvertedResidual,
    efficientnet.MobileAttention,
    efficientnet.EdgeResidual,
    efficientnet.CondConvResidual,
)
KNOWN = (
    "timm's ResNet, ResNetV2, RegNet, ConvNeXt, EfficientNet, MobileNet and vision transformers, "
    "and torchvision's ResNet"
)


class ShortcutGate(SoftGate):
    """A gate on the shortcut of somebody else's block."""


class GatedBlock(vision_transformer.Block):  # type: ignore[misc]
    """timm's transformer block with a gate on either shortcut; tokens (B, N, C)."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """See timm's `Block`."""
        attended = self.drop_path1(self.ls1(self.attn(self.norm1(x), *args, **kwargs)))
        x = _gate_tokens(self.gate1, x) + attended
        out: Tensor = _gate_tokens(self.gate2, x) + self.drop_path2(
            self.ls2(self.mlp(self.norm2(x)))
        )
        return out


def _gate_tokens(gate: nn.Module, x: Tensor) -> Tensor:
    gated: Tensor = gate(x.transpose(1, 2)).transpose(1, 2)
    return gated


def gate_shortcuts(model: nn.Module, init: float = 1.0, gate: Gate = "channel") -> nn.Module:
    """Puts a soft gate on every residual shortcut of a network, in place (Eq. 1).

    Outputs stay the same, bit for bit, at the default `init`; the paper starts training from 0.
    Weights of the network without gates load as before, and mean gates of 1. What has taken the
    network's parameters before, such as an optimiser, does not know the gates.

    Args:
        model: A network with residual blocks of timm's ResNet, ResNetV2, RegNet, ConvNeXt,
            EfficientNet, MobileNet or vision transformer kinds, or of torchvision's ResNet. Other
            blocks in it stay as they are; `list_gates` says where gates are.
        init: First value of the factors. Where the residual functions start at 0, too, as in timm's
            ResNets unless `zero_init_last=False`, nothing gets through gates of 0 nor is learnt.
        gate: "channel" for one factor a channel, "scalar" for one a shortcut, a number for a fixed
            one, see `SoftGate`.

    Returns:
        The model.

    Raises:
        TypeError: If it is no network.
        ValueError: If it has no such block, gates already, or is in DistributedDataParallel; it is
            unchanged then.
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(
            f"gate_shortcuts: takes a network, such as timm.create_model gives, got {model!r:.80}"
        )
    if list_gates(model):
        raise InputError("gate_shortcuts: this network has gates already; see ungate_shortcuts")
    if any(isinstance(module, nn.parallel.DistributedDataParallel) for module in model.modules()):
        raise InputError(
            "gate_shortcuts: DistributedDataParallel would not share the gradients of new gates "
            "among its processes: gate the network first, then wrap it"
        )
    SoftGate(1, gate, init)  # raises what a gate raises, before a block has changed
    gated: list[Any] = [module for module in list(model.modules()) if _gate(module, init, gate)]
    for block in gated:
        block.register_load_state_dict_pre_hook(_ones)
    if not gated:
        raise InputError(
            f"gate_shortcuts: {type(model).__name__} has no residual block that is known; known "
            f"are those of {KNOWN}"
        )
    return model


def ungate_shortcuts(model: nn.Module) -> nn.Module:
    """Takes away what `gate_shortcuts` added, in place; factors are lost.

    Returns:
        The model.
    """
    for block in list(model.modules()):
        loading: Any = block._load_state_dict_pre_hooks
        for key in [key for key, hook in loading.items() if hook.hook is _ones]:
            del loading[key]
        if isinstance(block, GatedBlock):
            block.__class__ = vision_transformer.Block
        if isinstance(block, POST_ACTIVATION) and block.downsample is not None:
            names = [name for name, _ in block.downsample.named_children()]
            block.downsample = None if names == ["gate"] else block.downsample
    for owner, name in _places(model):
        _remove(owner, name)
    return model


@torch.no_grad()
def fold_gates(model: nn.Module) -> int:
    """Multiplies gates into the convolution or batch norm before them, in place.

    Only shortcuts that end in one can take their gate up; others keep it. Outputs stay the same but
    for rounding.

    Returns:
        How many gates were folded.
    """
    folded = 0
    for owner, name in _places(model):
        gate: Any = getattr(owner, name)
        last = _last_affine(owner)
        if name != "gate" or last is None:
            continue
        factor = torch.tensor(gate.gate) if gate.alpha is None else gate.alpha
        for values in last.parameters():
            values.mul_(factor.to(values.device).view(-1, *[1] * (values.dim() - 1)))
        _remove(owner, name)
        folded += 1
    return folded


def list_gates(model: nn.Module) -> dict[str, SoftGate]:
    """The gates on shortcuts by the name of their module, in the order of the network."""
    return {name: m for name, m in model.named_modules() if isinstance(m, ShortcutGate)}


def _gate(block: Any, init: float, gate: Gate) -> bool:
    """Gates the shortcuts of a block; False if it is no block that is known or has none."""

    def put(owner: nn.Module, name: str, channels: int) -> None:
        like: Tensor = next(block.parameters())
        new = ShortcutGate(channels, gate, init).train(block.training)
        owner.add_module(name, new.to(device=like.device, dtype=like.dtype))

    kind = type(block)
    shortcut = getattr(block, "shortcut" if kind in CONVNEXT else "downsample", None)
    if kind is vision_transformer.Block:
        block.__class__ = GatedBlock
        for name in ("gate1", "gate2"):
            put(block, name, block.norm1.normalized_shape[0])
    elif (kind in PRE_ACTIVATION and shortcut is None) or (
        kind in INVERTED and block.has_skip
    ):  # a module in the place of None would see the activated input
        put(block, "skip_gate", _channels(block))
        block.register_forward_hook(_beside)
    elif kind in POST_ACTIVATION and shortcut is None:
        block.downsample = nn.Sequential(OrderedDict())
        put(block.downsample, "gate", _channels(block))
    elif kind in (*POST_ACTIVATION, *PRE_ACTIVATION, *REGNET, *CONVNEXT) and shortcut is not None:
        known = hasattr(shortcut, "gate")  # of a block before, which shares it
        put(shortcut, "gate", _channels(block, shortcut))
        if not known and not isinstance(shortcut, nn.Sequential):  # which calls it by itself
            shortcut.register_forward_hook(_after)
    else:
        return False
    return True


def _channels(block: Any, shortcut: Any = None) -> int:
    """Channels that the shortcut adds: of its last convolution, or else of the block's input."""
    # timm's mixed and conditional convolutions are no Conv2d, but have these attributes, too
    convolutions = [m for m in (shortcut or block).modules() if hasattr(m, "out_channels")]
    if shortcut is not None and convolutions:
        return int(convolutions[-1].out_channels)
    return int(next(m.in_channels for m in block.modules() if hasattr(m, "in_channels")))


def _after(module: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
    gated: Tensor = module.gate(output)
    return gated


def _ones(block: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Gates become 1 where their block's weights come without them, as these mean it."""
    own = (t for key, t in tensors.items() if key.startswith(prefix) and t.is_floating_point())
    if (like := next(own, None)) is not None:  # they may be assigned, in place of "meta"
        for name, gate in list_gates(block).items():
            if gate.alpha is not None:
                ones = like.new_ones(gate.alpha.shape)
                tensors.setdefault(f"{prefix}{name}.alpha", ones)


def _beside(block: Any, args: tuple[Any, ...], output: Tensor) -> Tensor:
    total: Tensor = output + (block.skip_gate(args[0]) - args[0])
    return total


def _places(model: nn.Module) -> list[tuple[nn.Module, str]]:
    return [
        (owner, name)
        for owner in model.modules()
        for name, child in owner.named_children()
        if isinstance(child, ShortcutGate)
    ]


def _remove(owner: nn.Module, name: str) -> None:
    delattr(owner, name)
    for key in [k for k, hook in owner._forward_hooks.items() if hook in (_after, _beside)]:
        del owner._forward_hooks[key]


def _last_affine(shortcut: nn.Module) -> nn.Module | None:
    """The convolution or affine batch norm that a shortcut ends in, if it does."""
    idle = (nn.Identity, ShortcutGate)
    layers = [
        module
        for module in shortcut.modules()
        if not isinstance(module, idle) and all(isinstance(m, idle) for m in module.children())
    ]
    last = layers[-1] if layers else None
    # not the subclass of a convolution, nor what has no weight of its own, as under weight norm:
    # the weight is made from others, or standardised, at each call
    if type(last) is nn.Conv2d or isinstance(last, nn.BatchNorm2d):
        return last if last._parameters.get("weight") is not None else None
    return None
