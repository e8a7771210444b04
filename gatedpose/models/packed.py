"""Weights in ten bits, for files that a wheel could not hold.

A convolution's weights become whole numbers of ten bits times a scale per output channel, as in
eight-bit weights, with a sixteenth of their error. A number's low and high byte lie in two tensors:
the high bytes have few values, which the zip of a wheel packs to little more than two bits each.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from gatedpose.errors import WeightsError

BITS = 10
LOW, HIGH, SCALE = ":low", ":high", ":scale"


def pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with each convolution's weights (O, I, H, W) as low bytes, high bytes and scale (O).

    The rest stays as it is. `unpack` undoes it, but for the rounding.
    """
    packed = {}
    for key, tensor in tensors.items():
        if tensor.ndim != 4 or not tensor.is_floating_point():  # whole numbers are packed already
            packed[key] = tensor
            continue
        weight = tensor.float()
        scale = weight.abs().amax((1, 2, 3)).clamp_min(1e-12) / (2 ** (BITS - 1) - 1)
        whole = (weight / scale[:, None, None, None]).round().to(torch.int16)
        packed[key + LOW] = (whole & 255).to(torch.uint8)
        packed[key + HIGH] = (whole >> 8).to(torch.int8)
        packed[key + SCALE] = scale
    return packed


def unpack(tensors: Mapping[str, Tensor], origin: object) -> dict[str, Tensor]:
    """Tensors as they were before `pack`, in float32; those that are not packed stay.

    Raises:
        WeightsError: If a part of packed weights is missing or does not fit the others.
    """
    rest = dict(tensors)
    for key in [key.removesuffix(LOW) for key in tensors if key.endswith(LOW)]:
        none = torch.empty(0)
        low, high, scale = (rest.pop(key + part, none) for part in (LOW, HIGH, SCALE))
        kinds = (low.dtype, high.dtype) == (torch.uint8, torch.int8)
        shapes = low.ndim == 4 and low.shape == high.shape and scale.shape == low.shape[:1]
        if not (kinds and shapes):
            raise WeightsError(f"{origin}: the packed weights {key} lack a part or do not fit")
        whole = high.short() * 256 + low.short()
        rest[key] = whole * scale.float()[:, None, None, None]
    return rest
