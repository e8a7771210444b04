"""Arrays and tensors as pictures: (3, H, W) uint8."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatedpose.errors import ImageError


def from_array(array: np.ndarray[Any, Any], name: str) -> Tensor:
    """An array (H, W, 3), (H, W, 1) or (H, W) as `read_image` gives it; errors name `name`."""
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (1, 3)):
        raise _no_image(name, array.shape, "(H, W, 3) or (H, W)")
    if array.dtype.kind not in "biufc":  # PyTorch has no such numbers
        raise _wrong_dtype(name)
    dtype = np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("=")
    pixels = np.array(array, dtype, order="C")  # a copy: arrays may be read-only or reversed
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return from_tensor(torch.from_numpy(planes), name)


def _no_image(name: str, shape: Sequence[int], wanted: str) -> ImageError:
    """The error about an array or tensor of another shape, with what to do where that is plain."""
    hint = ": of several images give a list" if len(shape) == 4 else ""
    if len(shape) == 3 and {1, 3, 4} & {shape[0], shape[2]}:
        rgba = 4 in (shape[0], shape[2])
        hint = f": {'RGBA goes via PIL.Image' if rgba else 'its axes stand in another order'}"
    return ImageError(f"{name} is not {wanted}{hint}")


def _wrong_dtype(name: str) -> ImageError:
    return ImageError(f"{name} has the wrong dtype: an image is uint8 or float in [0, 1]")


def from_tensor(image: Tensor, name: str) -> Tensor:
    """A tensor (3, H, W) or (1, H, W) as `read_image` gives it; errors name `name`."""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise _no_image(name, image.shape, "(3, H, W) or (1, H, W)")
    height, width = image.shape[1:]
    if min(height, width) < 2:
        raise ImageError(f"{name} is {width} x {height} pixels: too small to hold a person")
    if image.is_floating_point():
        low, high = (float(value) for value in image.aminmax())
        if not (low >= -1e-3 and high <= 1.001):  # rounding errors are let through
            text = "float images lie in [0, 1] (divide by 255, or undo the normalisation)"
            raise ImageError(f"{name} has values from {low:g} to {high:g}: {text}")
        image = (image.float() * 255).round_().to(torch.uint8)
    elif image.dtype != torch.uint8:
        raise _wrong_dtype(name)
    return image.cpu() if len(image) == 3 else image.cpu().repeat(3, 1, 1)
