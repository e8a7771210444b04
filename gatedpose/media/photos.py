"""Pictures of which no more pixels are decoded than are needed.

JPEG stores blocks of 8 x 8 pixels by their frequencies: a half, a quarter or an eighth of a side is
made of the low ones alone, in a third of the time and a fraction of the memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gatedpose.errors import InputError, check_choice
from gatedpose.media.encoded import encoded_image
from gatedpose.media.images import ImageSource, from_pil, header_of, opened, orientation, read_image

Spare: TypeAlias = Callable[[int, int], float]
SMALLEST = 16  # pixels, of a side that is left


def as_rgb(source: ImageSource, channels: str) -> ImageSource:
    """An array (H, W, 3) or tensor (3, H, W) with its channels, "rgb" or "bgr", turned to RGB.

    Anything else that `read_image` reads is in its own order: InputError for "bgr".
    """
    check_choice("channels", channels, ("rgb", "bgr"))
    if channels == "rgb":
        return source
    if isinstance(source, np.ndarray):
        return source[..., ::-1] if source.ndim == 3 else source
    if isinstance(source, Tensor):
        return source.flip(0) if source.ndim == 3 else source
    raise InputError(
        f'channels="bgr" is for arrays and tensors; a {type(source).__name__} is read in its own '
        "order"
    )


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture, decoded at its size or at a fraction of it.

    Attributes:
        source: What it was read from.
        name: What messages call it.
        pixels: (3, h, w) uint8; where `shrink` does not divide a side, the last row or column
            reaches beyond the picture.
        size: (height, width) of the whole picture.
        shrink: 1, 2, 4 or 8. A point (x, y) of `pixels` is (shrink * x, shrink * y) of the whole,
            by the convention that the first pixel's centre is (0.5, 0.5).
    """

    source: ImageSource
    name: str
    pixels: Tensor
    size: tuple[int, int]
    shrink: int = 1

    def finer(self, spare: float) -> "Photo":
        """The same, decoded anew if it is more than `spare` times smaller than the whole."""
        if self.shrink <= max(1.0, spare):
            return self
        return read_photo(self.source, lambda height, width: spare, self.name)


def read_photo(source: ImageSource, spare: Spare, name: str | None = None) -> Photo:
    """Reads a picture like `read_image`; of a JPEG file it may decode a fraction.

    Args:
        source: As of `read_image`, whose errors are raised.
        spare: Called with the upright height and width before anything is decoded; says how many
            times smaller a side may be. Its own errors are raised as they are.
        name: What messages call the picture; the path if None.
    """
    encoded = encoded_image(source)
    if encoded is None:
        pixels = read_image(source)
        return Photo(source, name or "picture", pixels, (pixels.shape[1], pixels.shape[2]))
    data, name = encoded[0], name or encoded[1]
    with opened(data, name) as image:
        width, height, _ = header_of(image)
        shrink = _draft(image, spare(height, width))
        return Photo(data, name, from_pil(image, name), (height, width), shrink)


def _draft(image: Image.Image, spare: float) -> int:
    """Has an image decoded as small as that, if it is a JPEG; returns how many times smaller."""
    for factor in (8, 4, 2):
        # Turned, a part of a pixel beyond the last column would come before the first.
        whole = orientation(image) == 1 or not any(side % factor for side in image.size)
        if factor <= spare and whole and min(image.size) >= SMALLEST * factor:
            width, height = image.size
            if image.draft(None, (width // factor, height // factor)):
                return factor
    return 1


def fitted(image: Tensor, side: int) -> tuple[Tensor, float]:
    """A picture (3, H, W) uint8 whose longer side is at most `side`, and the scale it has then."""
    height, width = image.shape[-2:]
    scale = min(1.0, side / max(height, width))
    if scale == 1.0:
        return image, scale
    size = [max(1, round(height * scale)), max(1, round(width * scale))]
    small = F.interpolate(image[None], size=size, mode="bilinear", antialias=True)[0]
    return small, scale
