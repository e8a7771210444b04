"""Poses drawn on pictures, and sheets of pictures."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
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
    poses: Sequence["Pose"],
    skeleton: Skeleton,
    *,
    boxes: bool = False,
    min_score: float = 0.2,
    scale: int | None = None,
) -> Tensor:
    """Draws poses of one skeleton, none or more, with their boxes if wanted: see `draw_poses`."""
    shape = len(poses), skeleton.num_keypoints, 3
    joints = torch.from_numpy(np.array([pose.to_numpy() for pose in poses]).reshape(shape))
    placed = [[*pose.box, math.nan if pose.box_score is None else pose.box_score] for pose in poses]
    rows = torch.from_numpy(np.array(placed, np.float64).reshape(len(poses), 5))
    return draw_poses(
        image,
        joints[..., :2],
        joints[..., 2],
        skeleton,
        boxes=rows[:, :4] if boxes else None,
        box_scores=rows[:, 4] if boxes else None,
        min_score=min_score,
        scale=scale,
    )


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
    scale = enlargement(pixels.shape[1:]) if scale is None else scale
    count = len(keypoints)
    boxes = keypoints.new_full((count, 4), math.nan) if boxes is None else boxes
    box_scores = boxes.new_full((count,), math.nan) if box_scores is None else box_scores
    tensors = (keypoints, scores, boxes, box_scores)
    people = (tensor.detach().cpu().double().numpy() for tensor in tensors)
    picture = to_pil(pixels)
    size = picture.width * scale, picture.height * scale
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    fine = next((n for n in (4, 2) if n * n * picture.width * picture.height <= 2**24), 1)
    overlay = Image.new("RGBA", (picture.width * fine, picture.height * fine))  # smooths edges
    draw, zoom = ImageDraw.Draw(overlay), scale * fine
    for points, sure, box, box_score in zip(*people, strict=True):
        sure = np.where(np.isfinite(points).all(axis=1), np.nan_to_num(sure, nan=-1), -1)  # (K,)
        shown = points[sure >= min_score]
        spread = np.ptp(shown, axis=0).max() * zoom / 80 if len(shown) else 0.0
        stroke = max(2 * fine, min(spread, max(overlay.size) / 120))
        # Pillow counts from pixel centres.
        _draw_box(draw, box * zoom - 0.5, box_score, stroke)
        stroke = stroke if line_width is None else line_width * fine
        _draw_person(draw, points * zoom - 0.5, sure, skeleton, stroke, min_score)
    overlay = overlay.reduce(fine)
    picture.paste(overlay, (0, 0), overlay)
    return read_image(picture)


def enlargement(size: Sequence[int]) -> int:
    """How many times a picture is enlarged to be drawn on."""
    return max(1, math.ceil(SMALLEST / max(size)))


def _draw_box(draw: ImageDraw.ImageDraw, box: Array, score: float, width: float) -> None:
    """Draws a box, unless it is NaN, with its score, unless that is."""
    if not np.isfinite(box).all():
        return
    x0, y0, x1, y1 = box
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0), (x1, y0)]
    _stroke(draw, np.array(corners), width / 2, EMPTY)
    if np.isfinite(score):
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
    sides = [next((s for s in COLOURS if s in joint), "middle") for joint in skeleton.joints]
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
