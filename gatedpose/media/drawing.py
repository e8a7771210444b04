"""Poses drawn on pictures, and sheets of pictures."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gatedpose.errors import InputError
from gatedpose.media.images import Array, ImageSource, read_image
from gatedpose.skeleton import Skeleton

EDGE, EMPTY = (20, 20, 20), (255, 255, 255)  # outline of all that is drawn; unfilled part of a dot
COLOURS = {"right": (255, 140, 0), "left": (30, 170, 255), "middle": (110, 225, 90)}


def draw_poses(
    image: ImageSource,
    keypoints: Tensor,
    scores: Tensor,
    skeleton: Skeleton,
    *,
    boxes: Tensor | None = None,
    box_scores: Tensor | None = None,
    min_score: float = 0.2,
    line_width: float | None = None,
    scale: int | None = None,
) -> Tensor:
    """Draws people's joints and limbs on a copy of an image, in one colour for each side.

    A joint's dot is filled as far as its score goes: to the rim at 1, a mere core at a low score. A
    joint below `min_score`, but not below half of it, is a hollow ring.

    Args:
        image: Anything that `read_image` reads; left as it is.
        keypoints: Joints (N, K, 2) in pixels of the image; those that are not finite are left out.
        scores: Confidence (N, K) in [0, 1].
        skeleton: Names and limbs of the K joints.
        boxes: People's boxes (N, 4) as (x0, y0, x1, y1), drawn in white if given.
        box_scores: How sure each box is (N,), written on it; NaN for a box without.
        min_score: Joints below it are drawn hollow, without limbs; those below half of it not.
        line_width: Width of limbs in pixels of the result; if None it follows each person's size.
        scale: Whole factor by which the picture is enlarged first; if None, images with a long side
            below 512 are enlarged to at least 512, the others kept.

    Returns:
        Picture (3, scale * H, scale * W), uint8.
    """
    pixels = read_image(image)
    height, width = pixels.shape[1:]
    scale = max(1, math.ceil(512 / max(height, width))) if scale is None else scale
    boxes = keypoints.new_zeros(len(keypoints), 4) * math.nan if boxes is None else boxes
    sure_of = boxes.new_full((len(keypoints),), math.nan) if box_scores is None else box_scores
    tensors = (keypoints, scores, boxes, sure_of)
    people, joints = len(keypoints), skeleton.num_keypoints
    shapes = [(people, joints, 2), (people, joints), (people, 4), (people,)]
    got = [tuple(tensor.shape) for tensor in tensors]
    if got != shapes or scale < 1:
        raise InputError(
            f"draw_poses: keypoints (N, {joints}, 2), scores (N, {joints}), boxes (N, 4), "
            f"box_scores (N,) and a scale of at least 1 are needed, got "
            f"{', '.join(map(str, got))} and {scale}"
        )
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    picture = picture.resize((width * scale, height * scale), Image.Resampling.BICUBIC)
    fine = next((n for n in (4, 2) if n * n * picture.width * picture.height <= 2**24), 1)
    overlay = Image.new("RGBA", (picture.width * fine, picture.height * fine))  # smooths edges
    draw, zoom = ImageDraw.Draw(overlay), scale * fine
    arrays = [tensor.detach().cpu().double().numpy() for tensor in tensors]
    for points, sure, box, box_score in zip(*arrays, strict=True):
        shown = np.isfinite(points).all(axis=1) & (sure >= min_score)  # (K,)
        spread = np.ptp(points[shown], axis=0).max() * zoom / 80 if shown.any() else 0.0
        stroke = max(2 * fine, min(spread, max(overlay.size) / 120))
        if np.isfinite(box).all():
            x0, y0, x1, y1 = box * zoom - 0.5  # Pillow counts from pixel centres
            corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0), (x1, y0)]
            _stroke(draw, np.array(corners), stroke / 2, EMPTY)
            if np.isfinite(box_score):
                _label(draw, (x0, y0), f"{box_score:.2f}", 5 * stroke)
        stroke = stroke if line_width is None else line_width * fine
        faint = np.isfinite(points).all(axis=1) & (sure >= min_score / 2) & ~shown
        points = points * zoom - 0.5
        sides = [_side(skeleton.joints[joint]) for joint in faint.nonzero()[0]]
        _draw_rings(draw, points[faint], sides, stroke)
        _draw_person(draw, points, np.where(shown, sure, -1), skeleton, stroke)
    overlay = overlay.reduce(fine)
    picture.paste(overlay, (0, 0), overlay)
    return read_image(picture)


def _side(joint: str) -> str:
    return next((side for side in COLOURS if side in joint), "middle")


def _draw_rings(
    draw: ImageDraw.ImageDraw, points: Array, sides: Sequence[str], width: float
) -> None:
    """Draws joints that are not sure."""
    r, line = 1.6 * width, max(1, round(width / 2))
    for (x, y), side in zip(points, sides, strict=True):
        place = np.rint((x - r, y - r, x + r, y + r)).tolist()
        draw.ellipse(place, outline=COLOURS[side], width=line)


def _label(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, size: float) -> None:
    """Writes on the inside of a box's upper left corner."""
    font = ImageFont.load_default(max(10, round(size)))
    left, top, right, bottom = draw.textbbox(corner, text, font=font)
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=EDGE)
    draw.text(corner, text, fill=EMPTY, font=font)


def _draw_person(
    draw: ImageDraw.ImageDraw, points: Array, scores: Array, skeleton: Skeleton, width: float
) -> None:
    """Draws the joints whose score is not negative, and the limbs between them."""
    sides = [_side(joint) for joint in skeleton.joints]
    for start, end in skeleton.limbs:
        if min(scores[start], scores[end]) >= 0:
            ends = {sides[start], sides[end]} - {"middle"}  # one side, or both: the middle
            colour = COLOURS[ends.pop() if len(ends) == 1 else "middle"]
            _stroke(draw, points[[start, end]], width, colour)
    for (x, y), score, side in zip(points, scores, sides, strict=True):
        core = 1.6 * width * min(1.0, score)
        layers = (1.9 * width, EDGE), (1.6 * width, EMPTY), (core, COLOURS[side])
        for r, colour in layers if score >= 0 else ():
            draw.ellipse(np.rint((x - r, y - r, x + r, y + r)).tolist(), fill=colour)


def _stroke(draw: ImageDraw.ImageDraw, points: Array, width: float, colour: Any) -> None:
    spots = np.rint(points).reshape(-1).tolist()  # Pillow would cut the fractions off
    draw.line(spots, fill=EDGE, width=max(3, round(1.5 * width)), joint="curve")
    draw.line(spots, fill=colour, width=max(1, round(width)), joint="curve")


def contact_sheet(images: Sequence[ImageSource], columns: int) -> Tensor:
    """Lays images of one size out in rows of `columns`, on white: (3, H, W) uint8."""
    from torchvision.utils import make_grid

    tensors = [read_image(image) for image in images]
    sizes = sorted({(tensor.shape[2], tensor.shape[1]) for tensor in tensors})
    if len(sizes) != 1 or columns < 1:
        raise InputError(f"need images of one size and columns > 0, got {sizes} and {columns}")
    grid: Tensor = make_grid(tensors, nrow=columns, padding=4, pad_value=255)
    return grid
