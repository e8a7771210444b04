"""Augmentation as batched warps on the training device."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gatedpose.data.crops import FILL, PACK_MARGIN, Crops
from gatedpose.geometry import (
    CROP_MARGIN,
    compose,
    crop_matrices,
    keypoints_to_box,
    mirror,
    transform_points,
    warp,
)
from gatedpose.skeleton import Skeleton


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes; the paper names the kinds, its ranges are lost.

    Attributes:
        rotation: Largest turn in degrees, either way (the hourglass line's 30).
        rotate: Probability that an image is turned at all.
        scale: Smallest and largest magnification (the hourglass line's 0.75 and 1.25).
        shift: Largest shift, as a share of the crop.
        flip: Probability of a mirrored image, with left and right joints exchanged.
        colour: Largest change of brightness, contrast and saturation.
        half_body: Probability of a crop about one half of the body, for portraits and webcams.
        occlude: Probability of a grey patch that hides part of the person.
    """

    rotation: float = 30.0
    rotate: float = 0.6
    scale: tuple[float, float] = (0.75, 1.25)
    shift: float = 0.0
    flip: float = 0.5
    colour: float = 0.2
    half_body: float = 0.0
    occlude: float = 0.0


NONE = Augmentation(rotation=0.0, scale=(1.0, 1.0), flip=0.0, colour=0.0)


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        images: (B, 3, H, W) float, normalised RGB.
        keypoints: (B, K, 2) in input pixels.
        labelled: (B, K) bool.
        ids: Of the people, as in `Crops`.
    """

    images: Tensor
    keypoints: Tensor
    labelled: Tensor
    ids: tuple[str, ...] = ()

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
    mean: Tensor,
    std: Tensor,
    generator: torch.Generator,
    rank: int = 0,
    world: int = 1,
) -> Batch:
    """Network inputs of random similarity, colour and occlusion.

    Args:
        crops: B people, on the device of the training.
        size: (height, width) of the input.
        skeleton: For the exchange of left and right and the halves of the body.
        augmentation: Ranges.
        mean: (3,) of normalisation, for colours in [0, 1].
        std: (3,).
        generator: Of the random numbers, on the CPU.
        rank: This process. All draw for the whole batch and take their share of it, so that what
            happens to a person does not depend on the number of processes.
        world: Number of processes.

    Returns:
        The batch, on the crops' device.
    """
    device = crops.images.device
    draw = _Draw(len(crops), generator, device, rank, world)
    boxes = _person_boxes(crops)
    if augmentation.half_body:
        half = _half_body_boxes(crops, skeleton, draw)
        boxes = torch.where(draw.chance(augmentation.half_body).unsqueeze(1), half, boxes)
    matrices = _random_matrices(boxes, size, augmentation, draw)
    keypoints, labelled = transform_points(matrices, crops.keypoints), crops.labelled
    flipped = draw.chance(augmentation.flip)
    mirrored = mirror(size[1], matrices).expand_as(matrices)
    matrices = torch.where(flipped.view(-1, 1, 1), compose(mirrored, matrices), matrices)
    order = torch.tensor(skeleton.flip_permutation, device=device)
    swapped = transform_points(mirrored, keypoints)[:, order]
    keypoints = torch.where(flipped.view(-1, 1, 1), swapped, keypoints)
    labelled = torch.where(flipped.view(-1, 1), labelled[:, order], labelled)

    fill = torch.tensor(FILL, device=device).view(1, 3, 1, 1)
    images = (warp(crops.images - fill, matrices, size) + fill) / 255
    if augmentation.colour:
        images = _jitter(images, augmentation.colour, draw)
    if augmentation.occlude:
        images = _occlude(images, augmentation.occlude, draw)
    images = (images - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    return Batch(images, keypoints, labelled, crops.ids)


class _Draw:
    """Random numbers of one process's share of a batch, (B,) each, the same on every device."""

    def __init__(
        self, size: int, generator: torch.Generator, device: torch.device, rank: int, world: int
    ) -> None:
        self.size, self.generator, self.device = size, generator, device
        self.rank, self.world = rank, world

    def uniform(self, low: float, high: float) -> Tensor:
        drawn = torch.rand(self.world, self.size, generator=self.generator)[self.rank]
        return (drawn * (high - low) + low).to(self.device)

    def chance(self, probability: float) -> Tensor:
        return self.uniform(0, 1) < probability


def _person_boxes(crops: Crops) -> Tensor:
    """The whole person, as packed: the middle of the crop, (B, 4)."""
    side = crops.images.shape[-1]
    low, high = side / 2 * (1 - 1 / PACK_MARGIN), side / 2 * (1 + 1 / PACK_MARGIN)
    box = torch.tensor((low, low, high, high), device=crops.images.device)
    return box.expand(len(crops), 4)


def _half_body_boxes(crops: Crops, skeleton: Skeleton, draw: _Draw) -> Tensor:
    """Boxes (B, 4) of the upper or lower half; the whole person where too little is labelled."""
    lower_names = ("hip", "knee", "ankle", "pelvis")
    lower = torch.tensor(
        [any(name in joint for name in lower_names) for joint in skeleton.joints],
        device=crops.labelled.device,
    )
    upper = draw.chance(0.7)  # portraits are commoner than legs
    chosen = crops.labelled & torch.where(upper.unsqueeze(1), ~lower, lower)
    enough = chosen.sum(dim=1) >= 4
    usable = torch.where(enough.unsqueeze(1), chosen, torch.ones_like(chosen))
    halves = keypoints_to_box(crops.keypoints, usable)
    centre = (halves[:, :2] + halves[:, 2:]) / 2
    reach = (halves[:, 2:] - halves[:, :2]).amax(dim=1, keepdim=True) / 2
    smallest = crops.images.shape[-1] / (6 * PACK_MARGIN)
    reach = reach.clamp_min(smallest)
    halves = torch.cat((centre - reach, centre + reach), dim=1)
    return torch.where(enough.unsqueeze(1), halves, _person_boxes(crops))


def _random_matrices(
    boxes: Tensor, size: tuple[int, int], augmentation: Augmentation, draw: _Draw
) -> Tensor:
    turn = math.radians(augmentation.rotation)
    rotation = draw.uniform(-turn, turn) * draw.chance(augmentation.rotate)
    scale = draw.uniform(*augmentation.scale)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 / scale.unsqueeze(1)
    reach = augmentation.shift * 2 * half.amax(dim=1)
    centre = (
        centre + torch.stack((draw.uniform(-1, 1), draw.uniform(-1, 1)), dim=1) * reach[:, None]
    )
    moved = torch.cat((centre - half, centre + half), dim=1)
    return crop_matrices(moved, size, margin=CROP_MARGIN, rotation=rotation)


def _jitter(images: Tensor, strength: float, draw: _Draw) -> Tensor:
    brightness, contrast, saturation = (
        draw.uniform(1 - strength, 1 + strength).view(-1, 1, 1, 1) for _ in range(3)
    )
    tint = torch.stack([draw.uniform(1 - strength / 2, 1 + strength / 2) for _ in range(3)], dim=1)
    images = images * (brightness * tint.view(-1, 3, 1, 1))
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation * (images - grey)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (middle + contrast * (images - middle)).clamp(0, 1)


def _occlude(images: Tensor, probability: float, draw: _Draw) -> Tensor:
    """Hides a rectangle of up to 0.4 x 0.4 of the picture behind a random grey."""
    height, width = images.shape[-2:]
    rows = (torch.arange(height, device=images.device) + 0.5) / height
    columns = (torch.arange(width, device=images.device) + 0.5) / width
    inside = []
    for axis in (rows, columns):
        centre, half = draw.uniform(0.1, 0.9), draw.uniform(0.03, 0.2)
        inside.append((axis - centre.unsqueeze(1)).abs() < half.unsqueeze(1))
    patch = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)  # (B, H, W)
    patch = patch & draw.chance(probability).view(-1, 1, 1)
    grey = draw.uniform(0, 1).view(-1, 1, 1, 1)
    return torch.where(patch.unsqueeze(1), grey, images)
