"""Augmentation as batched warps on the training device."""

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from gatedpose.batches.crops import FILL, PACK_MARGIN, Crops
from gatedpose.batches.looks import SHARE, Draw, Looks, change_looks
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.errors import InputError, ranged
from gatedpose.geometry import (
    compose,
    crop_matrices,
    keypoints_to_box,
    mirror,
    transform_points,
    warp,
)
from gatedpose.skeleton import Skeleton

HEAD = ("nose", "eye", "ear", "head", "neck", "thorax", "shoulder")
PARTS = (  # words in joints' names: upper body to the hips, to the chest, to the shoulders; legs
    (*HEAD, "elbow", "wrist", "hip", "pelvis"),
    (*HEAD, "elbow"),
    HEAD,
    ("hip", "pelvis", "knee", "ankle"),
)


@dataclass(frozen=True)
class Augmentation(Looks):
    """Ranges of the random changes; the paper names the kinds, its ranges are lost.

    Those of rotation and scale are the hourglass line's. Raises InputError for a number out of its
    range, a scale that is largest first, or parts of which none is ever taken.
    """

    rotation: float = ranged((0.0, 180.0), 30.0)  # largest turn in degrees, either way
    rotate: float = ranged(SHARE, 0.6)  # probability that an image is turned at all
    scale: tuple[float, float] = ranged((0.1, 10.0), (0.75, 1.25))  # least and most magnification
    shift: float = ranged(SHARE, 0.0)  # largest, as a share of the crop without its margin
    flip: float = ranged(SHARE, 0.5)  # probability of a mirrored image
    half_body: float = ranged(SHARE, 0.0)  # probability of a crop about a part of the body
    # How often that part is the upper body to the hips, to the chest, to the shoulders, or the
    # legs, in relation to each other.
    parts: tuple[float, float, float, float] = ranged((0.0, 1e6), (0.7, 0.0, 0.0, 0.3))

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.scale) != 2 or self.scale[0] > self.scale[1]:
            raise InputError(f"augmentation: scale must be (smallest, largest), got {self.scale}")
        if len(self.parts) != len(PARTS) or not sum(self.parts):
            raise InputError(f"augmentation: parts must be 4 and not all 0, got {self.parts}")


NONE = Augmentation(rotation=0.0, scale=(1.0, 1.0), flip=0.0, colour=0.0)


@dataclass(frozen=True)
class Batch:
    """What one training step sees."""

    images: Tensor  # (B, 3, H, W), normalised RGB
    keypoints: Tensor  # (B, K, 2) in input pixels; NaN for joints that are out of the picture
    labelled: Tensor  # (B, K) bool; those are labelled, too
    ids: tuple[str, ...] = ()  # of the people, as in `Crops`

    def split(self, size: int) -> list["Batch"]:
        """Parts of `size` people, in their order."""
        return [
            Batch(self.images[part], self.keypoints[part], self.labelled[part], self.ids[part])
            for part in (slice(i, i + size) for i in range(0, len(self.images), size))
        ]


def augment(
    crops: Crops,
    size: tuple[int, int],
    skeleton: Skeleton,
    augmentation: Augmentation,
    preprocessing: Preprocessing,
    generator: torch.Generator,
    rank: int = 0,
    world: int = 1,
) -> Batch:
    """Network inputs of `size` (height, width) of B people, changed at random, on their device.

    All processes of a `world` draw for the whole batch and take their share of it by their `rank`,
    so that what happens to a person does not depend on the number of processes.
    """
    device = crops.images.device
    draw = Draw(len(crops), generator, device, rank, world)
    boxes = _person_boxes(crops)
    if augmentation.half_body:
        half = _half_body_boxes(crops, skeleton, augmentation.parts, draw)
        boxes = torch.where(draw.chance(augmentation.half_body).unsqueeze(1), half, boxes)
    matrices = _random_matrices(boxes, size, augmentation, draw)
    keypoints = transform_points(matrices, crops.keypoints)
    keypoints = keypoints.masked_fill(crops.absent.unsqueeze(2), math.nan)
    labelled = crops.labelled | crops.absent
    flipped = draw.chance(augmentation.flip)
    mirrored = mirror(size[1], matrices).expand_as(matrices)
    matrices = torch.where(flipped.view(-1, 1, 1), compose(mirrored, matrices), matrices)
    order = torch.tensor(skeleton.flip_permutation, device=device)
    swapped = transform_points(mirrored, keypoints)[:, order]
    keypoints = torch.where(flipped.view(-1, 1, 1), swapped, keypoints)
    labelled = torch.where(flipped.view(-1, 1), labelled[:, order], labelled)

    fill = torch.tensor(FILL, device=device).view(1, 3, 1, 1)
    images = (warp(crops.images - fill, matrices, size) + fill) / 255
    images = change_looks(images, augmentation, draw)
    return Batch(preprocessing.normalise(images), keypoints, labelled, crops.ids)


def _person_boxes(crops: Crops) -> Tensor:
    """The whole person, as packed: the middle of the crop, (B, 4)."""
    side = crops.images.shape[-1]
    low, high = side / 2 * (1 - 1 / PACK_MARGIN), side / 2 * (1 + 1 / PACK_MARGIN)
    box = torch.tensor((low, low, high, high), device=crops.images.device)
    return box.expand(len(crops), 4)


def _half_body_boxes(
    crops: Crops, skeleton: Skeleton, parts: tuple[float, ...], draw: Draw
) -> Tensor:
    """Boxes (B, 4) of a part of the body; the whole person where too little is labelled."""
    device = crops.labelled.device
    names = [_words(name) for name in skeleton.joints]
    masks = [[not words.isdisjoint(part) for words in names] for part in PARTS]
    drawn = draw.choice(parts)
    chosen = crops.labelled & torch.tensor(masks, device=device)[drawn]
    enough = chosen.sum(dim=1, keepdim=True) >= 4
    halves = keypoints_to_box(crops.keypoints, chosen | ~enough)
    centre = (halves[:, :2] + halves[:, 2:]) / 2
    reach = (halves[:, 2:] - halves[:, :2]).amax(dim=1, keepdim=True) / 2
    reach = reach.clamp_min(crops.images.shape[-1] / (6 * PACK_MARGIN))
    halves = torch.cat((centre - reach, centre + reach), dim=1)
    return torch.where(enough, halves, _person_boxes(crops))


def _words(name: str) -> set[str]:
    """Words of a joint's name: of "RShoulder2" r and shoulder, and no ear of "rear"."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def _random_matrices(
    boxes: Tensor, size: tuple[int, int], augmentation: Augmentation, draw: Draw
) -> Tensor:
    turn = math.radians(augmentation.rotation)
    rotation = draw.uniform(-turn, turn) * draw.chance(augmentation.rotate)
    scale = draw.uniform(*augmentation.scale)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 / scale.unsqueeze(1)
    reach = augmentation.shift * 2 * half.amax(dim=1)
    shift = torch.stack((draw.uniform(-1, 1), draw.uniform(-1, 1)), dim=1)
    centre = centre + shift * reach.unsqueeze(1)
    moved = torch.cat((centre - half, centre + half), dim=1)
    return crop_matrices(moved, size, rotation=rotation)
