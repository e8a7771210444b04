"""What a network costs, and what each number counts: parameters, and MACs through fvcore.

The paper's "FLOPs" are multiply-accumulates (MACs) of convolutions. fvcore calls MACs flops and
adds batch norm and upsampling at some operations an element: both numbers are given by name.
"""

import copy
import itertools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from gatedpose.errors import check_range


@dataclass(frozen=True)
class Profile:
    """Cost of one image through a network.

    Attributes:
        size: Height and width of the image in pixels.
        params: Parameters, those of batch norm and gates included (running statistics are none).
        conv_macs: Multiply-accumulates of the convolutions alone, no bias: the paper's "FLOPs".
        total_flops_fvcore: fvcore's total: `conv_macs`, batch norm (2 an element), upsampling.
        uncounted: Operators that fvcore saw and left out, and how often each was called.
        by_module: (params, conv_macs) of each module by its name, "" the whole; empty unless asked.
    """

    size: tuple[int, int]
    params: int
    conv_macs: int
    total_flops_fvcore: int
    uncounted: Mapping[str, int]
    by_module: Mapping[str, tuple[int, int]]


def profile(
    model: nn.Module, size: tuple[int, int] = (256, 256), *, by_module: bool = False
) -> Profile:
    """Counts parameters and operations of `model` for one image.

    Args:
        model: A network of the zoo, or any module that maps (B, C, H, W) images to tensors. It is
            left as it was: the count runs in evaluation mode on a copy that shares its tensors, on
            their device and in their dtype, without the hooks.
        size: Height and width of the image in pixels.
        by_module: Whether to fill `Profile.by_module` too.

    Returns:
        The counts. A parameter that is shared counts once.

    Raises:
        ValueError: If `size` is not a pair of integers, or the network cannot take it, by its own
            message.
    """
    check_range("profile: size (height, width)", size, (1, 10**6), 2)
    parameter = next(model.parameters(), torch.empty(0))
    convolutions = (m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d))
    channels = getattr(model, "in_channels", next(convolutions, 3))
    images = torch.zeros(1, channels, *size, device=parameter.device, dtype=parameter.dtype)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit")  # fvcore scripts and traces with it
        from fvcore.nn import FlopCountAnalysis  # slow to import

        analysis = FlopCountAnalysis(structural_copy(model).eval(), images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        operators = analysis.by_module_and_operator()
    modules = dict(model.named_modules()) if by_module else {}
    return Profile(
        size=(size[0], size[1]),
        params=count_parameters(model),
        conv_macs=int(operators[""]["conv"]),
        total_flops_fvcore=int(sum(operators[""].values())),
        uncounted=dict(sorted(analysis.unsupported_ops().items())),
        by_module={
            name: (count_parameters(module), int(operators[name]["conv"]))
            for name, module in modules.items()
        },
    )


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, each shared one once."""
    return sum(parameter.numel() for parameter in model.parameters())


def structural_copy(model: nn.Module) -> nn.Module:
    """A copy with own modules and modes, without forward hooks, that shares the model's tensors."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    clone = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    for module in clone.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return clone
