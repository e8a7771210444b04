"""Boxes, crops and their inverse: the coordinate convention (docs/conventions.md) in code.

Continuous coordinates: pixel (column i, row j) covers [i, i+1) x [j, j+1), its centre is
(i + 0.5, j + 0.5). Points are (x, y), boxes (x0, y0, x1, y1). A transform is a (B, 2, 3) matrix
that maps image to crop coordinates. Everything is batched and stays on its tensors' device.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from gatedpose.errors import BoxError

Boxes: TypeAlias = Tensor | npt.NDArray[np.floating[Any]] | Sequence[Sequence[float]]

CROP_MARGIN = 1.25  # side of the cropped square over the longer side of the box
SMALLEST = 0.99  # pixels, of the longer side of a box; below it is likely a share of the picture
FARTHEST = 1e6  # pixels, of a box from the picture; beyond it float32 has no tenth of a pixel

P = ParamSpec("P")


def without_autocast(
    function: Callable[Concatenate[Tensor, P], Tensor],
) -> Callable[Concatenate[Tensor, P], Tensor]:
    """The same function, computed in its tensors' own precision whatever the caller's autocast.

    Half precision has 8 or 11 bits: a coordinate of some hundred pixels would be rounded to whole
    ones.
    """

    @functools.wraps(function)
    def exact(first: Tensor, /, *args: P.args, **options: P.kwargs) -> Tensor:
        kind = first.device.type
        if kind == "meta" or not torch.is_autocast_enabled(kind):
            return function(first, *args, **options)
        with torch.autocast(kind, enabled=False):
            return function(first, *args, **options)

    return exact


def as_numbers(boxes: Boxes) -> Tensor:
    """Boxes of any shape as float32, however they lie in memory; BoxError for what are none."""
    try:
        numbers = boxes if isinstance(boxes, Tensor) else torch.from_numpy(np.array(boxes, float))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        kind = type(boxes).__name__
        why = "give its xyxy" if hasattr(boxes, "xyxy") else error  # detections of other libraries
        raise BoxError(f"boxes must be numbers (N, 4) or (N, 5), got {kind}: {why}") from error
    return numbers.detach().float()


def as_boxes(boxes: Boxes, height: int, width: int) -> Tensor:
    """Checks boxes against an image.

    Args:
        boxes: (N, 4), each (x0, y0, x1, y1) in pixels; they may reach outside the image.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        The boxes as a float32 tensor (N, 4).

    Raises:
        BoxError: For another shape, no box, values that are not finite, a box without area, of less
            than a pixel, a million pixels away or wholly outside the image. It names the box.
    """
    checked = as_numbers(boxes)
    if checked.dim() != 2 or checked.shape[1] != 4 or len(checked) == 0:
        text = "boxes must have shape (N, 4) with N >= 1, each (x0, y0, x1, y1); got shape"
        raise BoxError(f"{text} {tuple(checked.shape)}")
    for i, (x0, y0, x1, y1) in enumerate(checked.tolist()):
        box = f"box {i} ({x0:g}, {y0:g}, {x1:g}, {y1:g})"
        if not all(map(math.isfinite, (x0, y0, x1, y1))):
            raise BoxError(f"{box} has values that are not finite")
        if x1 <= x0 or y1 <= y0:
            raise BoxError(f"{box} has no area: boxes are (x0, y0, x1, y1), x0 < x1 and y0 < y1")
        # The whole picture as shares is (0, 0, 1, 1), which nobody means in pixels.
        if max(x1 - x0, y1 - y0) < SMALLEST or max(map(abs, (x0, y0, x1, y1))) <= 1:
            raise BoxError(
                f"{box} is no larger than a pixel: boxes are in pixels, not in shares of the image"
            )
        if max(map(abs, (x0, y0, x1, y1))) > FARTHEST:
            raise BoxError(f"{box} reaches more than {FARTHEST:g} pixels away")
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise BoxError(f"{box} lies outside the image of {width} x {height} pixels")
    return checked


def keypoints_to_box(keypoints: Tensor, labelled: Tensor) -> Tensor:
    """Tight boxes of the labelled keypoints.

    Args:
        keypoints: (..., K, 2).
        labelled: (..., K) bool; others are left out.

    Returns:
        (..., 4); at least one pixel wide and high.

    Raises:
        BoxError: If a person has no labelled keypoint.
    """
    if not bool(labelled.any(dim=-1).all()):
        raise BoxError("a box needs at least one labelled keypoint")
    mask = labelled.unsqueeze(-1)
    low = keypoints.masked_fill(~mask, math.inf).amin(dim=-2)
    high = keypoints.masked_fill(~mask, -math.inf).amax(dim=-2)
    centre, half = (low + high) / 2, ((high - low) / 2).clamp_min(0.5)
    return torch.cat((centre - half, centre + half), dim=-1)


@without_autocast
def crop_matrices(
    boxes: Tensor,
    size: tuple[int, int],
    *,
    margin: float = CROP_MARGIN,
    rotation: Tensor | None = None,
) -> Tensor:
    """Similarity transforms from image to crop.

    The square of side `margin * max(w, h)` about each box's centre fills the shorter side of the
    crop; the aspect is kept.

    Args:
        boxes: (B, 4).
        size: (height, width) of the crop in pixels.
        margin: Side of the square over the longer side of the box.
        rotation: (B,) radians by which the crop's content turns clockwise as seen; none if None.

    Returns:
        (B, 2, 3) float matrices, image -> crop.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    scale = crop_scales(boxes, size, margin)
    angle = torch.zeros_like(scale) if rotation is None else rotation
    cos, sin = scale * torch.cos(angle), scale * torch.sin(angle)
    linear = torch.stack((cos, -sin, sin, cos), dim=1).view(-1, 2, 2)
    middle = centre.new_tensor((size[1] / 2, size[0] / 2))
    shift = middle - (linear @ centre.unsqueeze(-1)).squeeze(-1)
    return torch.cat((linear, shift.unsqueeze(-1)), dim=2)


def crop_scales(boxes: Tensor, size: tuple[int, int], margin: float = CROP_MARGIN) -> Tensor:
    """Crop pixels an image pixel (B,), for boxes and crops as of `crop_matrices`."""
    return min(size) / (margin * (boxes[:, 2:4] - boxes[:, :2]).amax(dim=1))


@without_autocast
def transform_points(matrices: Tensor, points: Tensor) -> Tensor:
    """Maps points (B, K, 2) by matrices (B, 2, 3)."""
    return points @ matrices[:, :, :2].transpose(1, 2) + matrices[:, :, 2].unsqueeze(1)


@without_autocast
def invert(matrices: Tensor) -> Tensor:
    """Exact inverse of (B, 2, 3) transforms: crop -> image from image -> crop."""
    inverse = torch.linalg.inv(matrices[:, :, :2])
    return torch.cat((inverse, -inverse @ matrices[:, :, 2:]), dim=2)


@without_autocast
def compose(after: Tensor, before: Tensor) -> Tensor:
    """The (B, 2, 3) transform that applies `before`, then `after`."""
    linear = after[:, :, :2] @ before[:, :, :2]
    return torch.cat((linear, after[:, :, :2] @ before[:, :, 2:] + after[:, :, 2:]), dim=2)


def mirror(width: int, like: Tensor) -> Tensor:
    """The (1, 2, 3) transform that flips a crop of `width` pixels left to right: x -> width - x."""
    return like.new_tensor([[[-1.0, 0.0, float(width)], [0.0, 1.0, 0.0]]])


@without_autocast
def warp(images: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
    """Samples crops from images, bilinearly, 0 outside.

    Args:
        images: (B, C, H, W) float.
        matrices: (B, 2, 3), image -> crop.
        size: (height, width) of the crops.

    Returns:
        (B, C, height, width). A transform that shrinks by more than 2 aliases; see `crop_image`.
    """
    height, width = size
    # grid_sample counts from -1 to 1 between the outer edges of the image. F.affine_grid would make
    # this grid as well, but takes longer than sampling by it.
    half = matrices.new_tensor((images.shape[-1] / 2, images.shape[-2] / 2))
    across, down, start = (invert(matrices) / half.view(1, 2, 1)).unbind(dim=2)  # (B, 2) each
    places = torch.arange(max(size)).to(half) + 0.5  # not in PyTorch's default dtype
    x, y = (places[:side].view(1, -1, 1) for side in (width, height))
    # As complex numbers x + iy: on the CPU sums of those are vectorised, of short rows are not.
    columns = torch.view_as_complex(x * across.unsqueeze(1))
    rows = torch.view_as_complex(y * down.unsqueeze(1) + (start - 1).unsqueeze(1))
    grid = torch.view_as_real(columns.unsqueeze(1) + rows.unsqueeze(2))  # (B, height, width, 2)
    return _sample(images, grid.to(images.dtype))


def _sample(images: Tensor, grid: Tensor) -> Tensor:
    """F.grid_sample, whose threads share out images but not rows: one image goes in as several."""
    height, width = grid.shape[1:3]
    parts = math.gcd(height, torch.get_num_threads()) if len(images) == 1 else 1
    if parts > 1:
        images, grid = images.expand(parts, -1, -1, -1), grid.view(parts, -1, width, 2)
    crops = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return crops if parts == 1 else crops.transpose(0, 1).reshape(1, -1, height, width)


@without_autocast
def crop_image(image: Tensor, matrix: Tensor, size: tuple[int, int], fill: Tensor) -> Tensor:
    """Cuts one crop from a large image without aliasing, touching only the pixels that it needs.

    Args:
        image: (C, H, W) uint8 or float.
        matrix: (2, 3), image -> crop.
        size: (height, width) of the crop.
        fill: (C,) value outside the image, in the image's units.

    Returns:
        (C, height, width) float, in the image's units.
    """
    (scale, skew, x), (other_skew, other, y) = matrix.tolist()
    if skew == 0 == other_skew and 0 < scale == other < 1:
        down = _along(y, scale, image.shape[-2], size[0])
        across = _along(x, scale, image.shape[-1], size[1])
        if min(down.resized, across.resized) > 1:  # a side of one pixel PyTorch gets wrong
            return _shrink_upright(image, scale, down, across, size, fill)
    return _sample_crop(image, matrix, size, fill)


class _Axis(NamedTuple):
    """What an upright crop shows along one axis of the image."""

    source: slice  # of the image
    resized: int  # pixels that it is resized to
    seen: slice  # of those
    target: slice  # where they go, in a crop of one pixel more
    part: float  # of a pixel, by which they are shifted then


def _along(start: float, scale: float, side: int, size: int) -> _Axis:
    """One axis of a crop of `size` in which an image of `side` pixels begins at `start`."""
    reach = math.ceil(1 / scale) + 1  # of the resizing, in the image's pixels
    low = min(max(0, math.floor(-start / scale) - reach), side - 1)
    high = max(low + 1, min(side, math.ceil((size - start) / scale) + reach))
    resized = math.floor((high - low) * scale)
    edge = start + low * scale
    first = math.ceil(edge)
    begin, end = max(0, first), min(size + 1, first + resized)
    seen = slice(begin - first, max(begin, end) - first)
    return _Axis(slice(low, high), resized, seen, slice(begin, max(begin, end)), first - edge)


def _shrink_upright(
    image: Tensor, scale: float, down: _Axis, across: _Axis, size: tuple[int, int], fill: Tensor
) -> Tensor:
    """Resizes, then shifts by a part of a pixel, which is faster than `_sample_crop`."""
    region = image[:, down.source, across.source].unsqueeze(0)
    region = region if region.is_cpu else region.to(fill.dtype)  # on the CPU bytes are faster
    region = F.interpolate(region, scale_factor=scale, mode="bilinear", antialias=True)
    crop = fill.view(-1, 1, 1).repeat(1, size[0] + 1, size[1] + 1)
    crop[:, down.target, across.target] = region[0, :, down.seen, across.seen]
    crop = torch.lerp(crop[:, :-1], crop[:, 1:], down.part)
    return torch.lerp(crop[..., :-1], crop[..., 1:], across.part)


def _sample_crop(image: Tensor, matrix: Tensor, size: tuple[int, int], fill: Tensor) -> Tensor:
    """As `crop_image`, for any matrix."""
    height, width = size
    corners = matrix.new_tensor([[[0, 0], [width, 0], [0, height], [width, height]]])
    reach = transform_points(invert(matrix[None]), corners)[0]
    extent = reach.new_tensor((image.shape[-1], image.shape[-2]))
    low = (reach.amin(dim=0).floor() - 1).clamp_min(0).minimum(extent - 1)
    high = (reach.amax(dim=0).ceil() + 1).minimum(extent).maximum(low + 1)
    (x0, y0), (x1, y1) = low.long().tolist(), high.long().tolist()
    region = image[:, y0:y1, x0:x1].unsqueeze(0)

    shrink = float(torch.linalg.det(matrix[:, :2]).abs().sqrt())  # crop pixels an image pixel
    factors = [1.0, 1.0]
    if shrink < 1:
        target = [max(1, round(side * shrink)) for side in region.shape[-2:]]
        factors = [new / old for new, old in zip(target, region.shape[-2:], strict=True)]
        # Bytes resize faster, but on the CPU only, and PyTorch gets a side of one pixel wrong.
        if not region.is_cpu or 1 in target:
            region = region.to(matrix.dtype)
        region = F.interpolate(region, size=target, mode="bilinear", antialias=True)
    # Region pixels -> image pixels: the exact factors, so that rounding the size adds no bias.
    to_image = matrix.new_tensor([[[1 / factors[1], 0, x0], [0, 1 / factors[0], y0]]])
    offset = fill.view(1, -1, 1, 1)
    crop = warp(region - offset, compose(matrix[None], to_image), size)
    return crop.add_(offset)[0]
