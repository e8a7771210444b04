"""How a picture looks, changed at random: colours, light, sharpness, what hides the person."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import jpeg

from gatedpose.errors import Range, check_ranges, ranged

SMALLEST = 4.0  # a blurred picture comes from one of at least this fraction of its side
POOR = (10, 45)  # JPEG qualities of strong compression

SHARE: Range = (0.0, 1.0)


@dataclass(frozen=True)
class Looks:
    """How far and how often looks change; InputError for a number that is not within 0 and 1."""

    colour: float = ranged(SHARE, 0.2)  # largest change of brightness, contrast and saturation
    grey: float = ranged(SHARE, 0.0)  # probability of a picture without colours
    dark: float = ranged(SHARE, 0.0)  # probability of a badly lit picture
    blur: float = ranged(SHARE, 0.0)  # probability of a picture that was smaller, by up to 4
    compress: float = ranged(SHARE, 0.0)  # probability of a strongly compressed JPEG
    occlude: float = ranged(SHARE, 0.0)  # probability of a grey patch on the person
    neighbour: float = ranged(SHARE, 0.0)  # probability of a strip with another person

    def __post_init__(self) -> None:
        check_ranges(type(self).__name__.lower(), self)


def step_generator(seed: int, step: int) -> torch.Generator:
    """Random numbers of one step of a training, the same whenever they are asked for again."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


class Draw:
    """Random numbers of one process's share of a batch, (B,) each, the same on every device."""

    def __init__(
        self, size: int, generator: torch.Generator, device: torch.device, rank: int, world: int
    ) -> None:
        self.size, self.generator, self.device = size, generator, device
        self.rank, self.world = rank, world

    def uniform(self, low: float, high: float) -> Tensor:
        """Numbers between `low` and `high`."""
        drawn = torch.rand(self.world, self.size, generator=self.generator)[self.rank]
        return (drawn * (high - low) + low).to(self.device)

    def chance(self, probability: float) -> Tensor:
        """True with this probability."""
        return self.uniform(0, 1) < probability

    def choice(self, weights: tuple[float, ...]) -> Tensor:
        """Indices into `weights`, drawn in relation to them, (B,) long."""
        bounds = torch.tensor(weights, device=self.device).cumsum(0)
        drawn = self.uniform(0, 1) * bounds[-1]
        return torch.bucketize(drawn, bounds[:-1].contiguous(), right=True)


def change_looks(images: Tensor, looks: Looks, draw: Draw) -> Tensor:
    """Pictures (B, 3, H, W) of colours in [0, 1], changed at random."""
    if looks.neighbour:
        images = _neighbour(images, looks.neighbour, draw)
    if looks.colour:
        images = _jitter(images, looks.colour, draw)
    if looks.grey:
        chosen = draw.chance(looks.grey).view(-1, 1, 1, 1)
        images = torch.where(chosen, images.mean(dim=1, keepdim=True), images)
    if looks.dark:
        chosen = draw.chance(looks.dark).view(-1, 1, 1, 1)
        gamma, light = draw.uniform(1.0, 2.2), draw.uniform(0.25, 1.0)
        dark = images.pow(gamma.view(-1, 1, 1, 1)) * light.view(-1, 1, 1, 1)
        images = torch.where(chosen, dark, images)
    if looks.blur:
        images = _shrink(images, looks.blur, draw)
    if looks.compress:
        images = _compress(images, looks.compress, draw)
    if looks.occlude:
        images = _occlude(images, looks.occlude, draw)
    return images


def _neighbour(images: Tensor, probability: float, draw: Draw) -> Tensor:
    """A strip of up to 0.35 of the width at one side shows the next picture of the batch."""
    width = images.shape[-1]
    columns = (torch.arange(width, device=images.device) + 0.5) / width
    reach = draw.uniform(0.1, 0.35) * draw.chance(probability)
    columns = torch.where(draw.chance(0.5).unsqueeze(1), columns, 1 - columns)  # (B, W)
    strip = (columns < reach.unsqueeze(1)).view(-1, 1, 1, width)
    # Shifted by half, so that the middle of the other person stands in the strip.
    others = images.roll(1, dims=0).roll(width // 2, dims=-1)
    return torch.where(strip, others, images)


def _shrink(images: Tensor, probability: float, draw: Draw) -> Tensor:
    chosen, factors = draw.chance(probability), draw.uniform(1.5, SMALLEST)
    changed = images.clone()
    for i in chosen.nonzero().flatten().tolist():
        size = [max(8, round(side / float(factors[i]))) for side in images.shape[-2:]]
        small = F.interpolate(images[i : i + 1], size=size, mode="bilinear", antialias=True)
        changed[i] = F.interpolate(small, size=images.shape[-2:], mode="bilinear")[0]
    return changed


def _compress(images: Tensor, probability: float, draw: Draw) -> Tensor:
    chosen, quality = draw.chance(probability), draw.uniform(*POOR)
    changed = images.clone()
    for i in chosen.nonzero().flatten().tolist():
        picture = (images[i] * 255).round().to(torch.uint8).cpu()
        changed[i] = (jpeg(picture, round(float(quality[i]))).float() / 255).to(images.device)
    return changed


def _jitter(images: Tensor, strength: float, draw: Draw) -> Tensor:
    brightness, contrast, saturation = (
        draw.uniform(1 - strength, 1 + strength).view(-1, 1, 1, 1) for _ in range(3)
    )
    tint = torch.stack([draw.uniform(1 - strength / 2, 1 + strength / 2) for _ in range(3)], dim=1)
    images = images * (brightness * tint.view(-1, 3, 1, 1))
    grey = images.mean(dim=1, keepdim=True)
    images = grey + saturation * (images - grey)
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (middle + contrast * (images - middle)).clamp(0, 1)


def _occlude(images: Tensor, probability: float, draw: Draw) -> Tensor:
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
