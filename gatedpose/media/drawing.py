"""Poses drawn on pictures, and sheets of pictures."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gatedpose.media.images import Array, ImageSource, read_image, to_pil
from gatedpose.skeleton import Skeleton

if TYPE_CHECKING:
    from gatedpose.pose import Pose

EDGE, EMPTY = (20, 20, 20), (255, 255, 255)  # outline of all that is drawn; unfilled part of a dot
SMALLEST = 512  # pixels of a drawing's longer side
COLOURS = {"right": (255, 140, 0), "left": (30, 170, 255), "middle": (110, 225, 90)}


def draw_people(
    image: ImageSource,
    poses: Iterable["Pose"],
    *,
    boxes: bool = False,
    min_score: float | None = None,
    scale: int | None = None,
) -> Tensor:
    """Draws people's joints and limbs on a copy of an image, in one colour for each side.

    A joint's dot is filled as far as its score goes: to the rim at 1, a mere core at a low score. A
    joint below `min_score`, but not below half of it, is a hollow ring.

    Args:
        image: Anything that `read_image` reads; left as it is.
        poses: In pixels of the image; joints that are not finite are left out.
        boxes: Whether boxes are drawn, in white, with their scores.
        min_score: Joints below it are drawn hollow, without limbs; those below half of it not; each
            pose's `trust` if None.
        scale: Whole factor by which the picture is enlarged first; if None, images with a long side
            below 512 are enlarged to at least 512, the others kept.

    Returns:
        Picture (3, scale * H, scale * W), uint8.
    """
    pixels = read_image(image)
    scale = enlargement(pixels.shape[1:]) if scale is None else scale
    picture = to_pil(pixels)
    size = picture.width * scale, picture.height * scale
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    fine = next((n for n in (4, 2) if n * n * picture.width * picture.height <= 2**24), 1)
    overlay = Image.new("RGBA", (picture.width * fine, picture.height * fine))  # smooths edges
    draw, zoom = ImageDraw.Draw(overlay), scale * fine
    for pose in poses:
        points = pose.keypoints.astype(float)
        sure = np.where(np.isfinite(points).all(axis=1), np.nan_to_num(pose.scores, nan=-1), -1)
        least = pose.trust if min_score is None else min_score
        shown = points[sure >= least]
        spread = np.ptp(shown, axis=0).max() * zoom / 80 if len(shown) else 0.0
        stroke = max(2 * fine, min(spread, max(overlay.size) / 120))
        # Pillow counts from pixel centres.
        if boxes:
            _draw_box(draw, pose.box.astype(float) * zoom - 0.5, pose.box_score, stroke)
        _draw_person(draw, points * zoom - 0.5, sure, pose.skeleton, stroke, least)
    overlay = overlay.reduce(fine)
    picture.paste(overlay, (0, 0), overlay)
    return read_image(picture)


def enlargement(size: Sequence[int]) -> int:
    """How many times a picture is enlarged to be drawn on."""
    return max(1, math.ceil(SMALLEST / max(size)))


def _draw_box(draw: ImageDraw.ImageDraw, box: Array, score: float | None, width: float) -> None:
    x0, y0, x1, y1 = box
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0), (x1, y0)]
    _stroke(draw, np.array(corners), width / 2, EMPTY)
    if score is not None:
        _label(draw, (x0, y0), f"{score:.2f}", 5 * width)


def _label(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, size: float) -> None:
    font = ImageFont.load_default(max(10, round(size)))
    left, top, right, bottom = draw.textbbox(corner, text, font=font)
    draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=EDGE)
    draw.text(corner, text, fill=EMPTY, font=font)


def _draw_person(
    draw: ImageDraw.ImageDraw,
    points: Array,
    scores: Array,
    skeleton: Skeleton,
    width: float,
    min_score: float,
) -> None:
    """Draws the joints that are sure, the limbs between them, and rings for joints half as sure."""
    sides = _sides(skeleton)
    joints = list(zip(points, scores, sides, strict=True))
    for point, score, side in joints:
        if min_score / 2 <= score < min_score:
            line = max(1, round(width / 2))
            draw.ellipse(_disc(point, 1.6 * width), outline=COLOURS[side], width=line)
    for start, end in skeleton.limbs:
        if min(scores[start], scores[end]) >= min_score:
            ends = {sides[start], sides[end]} - {"middle"}  # one side, or both: the middle
            colour = COLOURS[ends.pop() if len(ends) == 1 else "middle"]
            _stroke(draw, points[[start, end]], width, colour)
    for point, score, side in joints:
        core = 1.6 * width * min(1.0, score)
        layers = (1.9 * width, EDGE), (1.6 * width, EMPTY), (core, COLOURS[side])
        for radius, colour in layers if score >= min_score else ():
            draw.ellipse(_disc(point, radius), fill=colour)


def _sides(skeleton: Skeleton) -> list[str]:
    """The side of each joint: by its name, else, in another language, by its flip pair."""
    sides = [next((s for s in COLOURS if s in joint), "middle") for joint in skeleton.joints]
    for right, left in skeleton.flip_pairs:
        if sides[right] == sides[left]:
            sides[right], sides[left] = "right", "left"
    return sides


def _disc(centre: Array, radius: float) -> list[float]:
    return [*np.rint(centre - radius).tolist(), *np.rint(centre + radius).tolist()]


def _stroke(draw: ImageDraw.ImageDraw, points: Array, width: float, colour: Any) -> None:
    spots = np.rint(points).reshape(-1).tolist()  # Pillow would cut the fractions off
    draw.line(spots, fill=EDGE, width=max(3, round(1.5 * width)), joint="curve")
    draw.line(spots, fill=colour, width=max(1, round(width)), joint="curve")


def contact_sheet(images: Sequence[ImageSource], columns: int) -> Tensor:
    """Lays images of one size out in rows of `columns`, on white: (3, H, W) uint8."""
    from torchvision.utils import make_grid

    tensors = [read_image(image) for image in images]
    grid: Tensor = make_grid(tensors, nrow=columns, padding=4, pad_value=255)
    return grid
