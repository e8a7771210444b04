"""Who is in a picture: boxes as they are given, or what a detector finds.

Anything that finds people is a detector for `Predictor` and `Tracker`: a callable that takes an
image (3, H, W) uint8 and returns boxes (N, 4), each (x0, y0, x1, y1), or (N, 5) with a score. It
may have `longest_side`: to what a picture's longer side is shrunk before the detector looks.
"""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from gatedpose.errors import BoxError, DetectorError, InputError, check_choice
from gatedpose.geometry import Boxes, as_boxes, as_numbers, crop_scales
from gatedpose.media.photos import Photo

Detector: TypeAlias = Callable[[Tensor], Boxes]

WHOLE: Final = "whole"  # boxes of a picture that is one person
SPARE = 1.5  # pixels of a smaller picture to one of the crop that is made of it, at least, a side


def as_people(boxes: Boxes, height: int, width: int) -> Tensor:
    """Checks boxes of people, with scores or without; returns (N, 5) float32, scores NaN if none.

    They are (N, 4), each (x0, y0, x1, y1) in pixels; (N, 5) with a score behind, from 0 to 1 or
    NaN; a single one, (4,) or (5,); or none at all. Torchvision's BoundingBoxes say themselves how
    they are written.
    """
    rows: Tensor = _as_corners(as_numbers(boxes), boxes)
    if rows.numel() == 0 and rows.dim() in (1, 2):
        return rows.new_zeros(0, 5)
    shape, rows = tuple(rows.shape), rows[None] if rows.dim() == 1 else rows
    if rows.dim() != 2 or rows.shape[1] not in (4, 5):
        more = ", whose last may be a class: give boxes[:, :5]" if shape[1:] == (6,) else ""
        raise BoxError(
            "boxes must have shape (N, 4), each (x0, y0, x1, y1), or (N, 5) with a score behind; "
            f"got shape {shape}{more}"
        )
    if rows.shape[1] == 4:
        scores = rows.new_full((len(rows), 1), math.nan)
    else:
        scores = rows[:, 4:]
        if wrong := ((scores < 0) | (scores > 1)).flatten().nonzero().flatten().tolist():
            raise BoxError(
                "boxes of shape (N, 5) are (x0, y0, x1, y1, score) with a score from 0 to 1; box "
                f"{wrong[0]} is {[round(value, 4) for value in rows[wrong[0]].tolist()]}"
            )
    try:
        return torch.cat((as_boxes(rows[:, :4], height, width), scores), dim=1)
    except BoxError as error:
        raise BoxError(f"{error}{_other_order(rows, height, width)}") from error


def _as_corners(rows: Any, boxes: Any) -> Any:
    """Rows (x0, y0, x1, y1) of those that were made of torchvision's BoundingBoxes."""
    written = getattr(getattr(boxes, "format", None), "value", "XYXY")
    if written == "XYXY":
        return rows
    if written not in ("XYWH", "CXCYWH"):
        raise BoxError(f"boxes of format {written} are turned: give upright ones, of format XYXY")
    from torchvision.ops import box_convert

    return box_convert(rows, written.lower(), "xyxy")


def _other_order(rows: Tensor, height: int, width: int) -> str:
    """A hint where boxes make sense as (x, y, width, height) only, and not as shares."""
    x, y, w, h = rows[:, :4].unbind(dim=1)
    sized = (w > 1) & (h > 1) & (x + w <= width + 1) & (y + h <= height + 1) & (x >= 0) & (y >= 0)
    if not bool(sized.all()):
        return ""
    first = f"({x[0]:g}, {y[0]:g}, {x[0] + w[0]:g}, {y[0] + h[0]:g})"
    return f". If they are (x, y, width, height), box 0 must be given as {first}"


def boxes_of_each(boxes: Any, count: int) -> list[Any]:
    """What is said of each of so many images: the same of all, or one entry an image."""
    if boxes is None or isinstance(boxes, str) or callable(boxes):
        return [boxes] * count
    each = [] if isinstance(boxes, Mapping) else list(_as_corners(boxes, boxes))
    numbers = [one for one in each if isinstance(one, Real) or getattr(one, "ndim", 1) == 0]
    if numbers or len(each) != count:
        got = "one row of numbers" if numbers else f"a {type(boxes).__name__} of {len(boxes)}"
        raise InputError(
            f"Predictor: {count} images need a list of as many boxes, one entry an image, got {got}"
        )
    return each


def placed_people(boxes: Any, height: int, width: int) -> Tensor:
    """Given boxes, or the whole picture's, as of `as_people`."""
    if isinstance(boxes, str):
        check_choice("Predictor: boxes that are a word", boxes, (WHOLE,))
        boxes = [[0, 0, width, height]]
    return as_people(boxes, height, width)


def people_in(photo: Photo, boxes: Any) -> Tensor:
    """Whom to look at, (N, 5) as of `as_people`, in pixels of the whole picture.

    They are given as boxes or "whole", or found by a detector.
    """
    height, width = photo.size
    if not callable(boxes):
        return placed_people(boxes, height, width)
    found = find_people(boxes, photo.pixels)
    if photo.shrink > 1:
        limit = found.new_tensor((width, height) * 2)
        found[:, :4] = (photo.shrink * found[:, :4]).minimum(limit)
        found = found[(found[:, 2:4] > found[:, :2]).all(dim=1)]
    return found


def spare_for_look(boxes: Any, size: tuple[int, int], height: int, width: int) -> float:
    """How many times smaller a picture may be for a detector, or for crops of given boxes."""
    if callable(boxes):
        # Infinite where a detector does not say to what it shrinks the longer side.
        return max(height, width) / (SPARE * float(getattr(boxes, "longest_side", math.inf)))
    return spare_for_crops(placed_people(boxes, height, width), size)


def spare_for_crops(people: Tensor, size: tuple[int, int]) -> float:
    """How many times smaller a picture may be for the crops (height, width) of people."""
    scales = crop_scales(people, size).tolist()
    return 1 / (SPARE * max(scales, default=1e-9))


def find_people(detector: Detector, image: Tensor) -> Tensor:
    """People (N, 5) float32 that a detector finds in an image, see `as_people`; N may be 0.

    DetectorError if what it returns are no boxes, or one lies outside of the image (3, H, W).
    """
    found = detector(image)
    try:
        return as_people(found, *image.shape[1:]).cpu()
    except BoxError as error:
        name = getattr(detector, "__name__", type(detector).__name__)
        text = f"the detector {name} returned no boxes but a {type(found).__name__}: {error}"
        raise DetectorError(text) from error
