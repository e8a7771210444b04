"""Random views of whole pictures: zoom, aspect, shift, mirror and colours, with the boxes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gatedpose.batches.looks import SHARE, Draw, Looks, change_looks
from gatedpose.batches.pictures import PAD, Pictures
from gatedpose.boxmaps import BOX_STRIDE, cell_centres
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.errors import InputError, ranged
from gatedpose.geometry import transform_points, warp


@dataclass(frozen=True)
class Views(Looks):
    """Ranges of the random changes."""

    zoom: tuple[float, float] = ranged((0.05, 20.0), (0.7, 1.5))  # 1 is a picture that fits
    close: float = ranged(SHARE, 0.15)  # probability of a zoom of up to `closest`
    closest: float = ranged((1.0, 20.0), 3.0)
    aspect: float = ranged((1.0, 10.0), 1.2)  # largest stretching, either way
    restretch: float = ranged((1.0, 10.0), 1.6)  # of pictures whose own aspect is not known
    flip: float = ranged(SHARE, 0.5)  # probability of a mirrored picture
    seen: float = ranged(SHARE, 0.35)  # share of a box that must be in view for it to be learnt
    least: float = ranged((0.0, 1e4), 14.0)  # pixels, longer side of the smallest box to learn
    colour: float = 0.25
    grey: float = 0.08
    dark: float = 0.08
    blur: float = 0.08

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.zoom) != 2 or self.zoom[0] > self.zoom[1]:
            raise InputError(f"views: zoom must be (smallest, largest), got {self.zoom}")


@dataclass(frozen=True)
class ViewBatch:
    """What one training step sees."""

    images: Tensor  # (B, 3, H, W), normalised RGB
    boxes: Tensor  # (B, M, 4) in input pixels, NaN for none
    known: Tensor  # (B, H/8, W/8), 1 where the centre map is known


def draw_views(
    pictures: Pictures,
    indices: Tensor,
    size: tuple[int, int],
    views: Views,
    preprocessing: Preprocessing,
    generator: torch.Generator,
) -> ViewBatch:
    """Network inputs of `size` (height, width): random views of the pictures at `indices` (B,)."""
    draw = Draw(len(indices), generator, indices.device, 0, 1)
    matrices = _random_matrices(pictures, indices, size, views, draw)
    packed = pictures.images[indices].float()
    images = (warp(packed - PAD, matrices, size) + PAD) / 255
    images = preprocessing.normalise(change_looks(images, views, draw))
    placed = _moved(pictures.padded(indices), matrices)
    limit = placed.new_tensor((size[1], size[0]))
    inside = torch.cat((placed[..., :2].clamp_min(0), placed[..., 2:].minimum(limit)), dim=-1)
    sides = (inside[..., 2:] - inside[..., :2]).clamp_min(0)
    whole = placed[..., 2:] - placed[..., :2]
    seen = sides.prod(dim=-1) / whole.prod(dim=-1).clamp_min(1e-6)
    learnt = (seen >= views.seen) & (sides.amax(dim=-1) >= views.least)
    doubtful = ~learnt & (seen > 0)
    sizes = pictures.sizes[indices]
    extent = _moved(torch.cat((torch.zeros_like(sizes), sizes), dim=1)[:, None], matrices)
    known = _known(inside, learnt, doubtful, pictures.complete[indices], extent, size)
    return ViewBatch(images, inside.masked_fill(~learnt.unsqueeze(-1), torch.nan), known)


def _random_matrices(
    pictures: Pictures, indices: Tensor, size: tuple[int, int], views: Views, draw: Draw
) -> Tensor:
    """(B, 2, 3), from packed pictures to the input."""
    sizes = pictures.sizes[indices]
    target = sizes.new_tensor((size[1], size[0]))
    fit = (target / sizes).amin(dim=1)
    zoom = _between(*views.zoom, draw)
    zoom = torch.where(draw.chance(views.close), _between(1.0, views.closest, draw), zoom)
    most = torch.where(pictures.stretched[indices], views.restretch, views.aspect)
    stretch = most ** draw.uniform(-0.5, 0.5)
    scale = (fit * zoom).unsqueeze(1) * torch.stack((stretch, 1 / stretch), dim=1)
    room = target - scale * sizes  # negative where the picture is larger than the input
    shift = room * torch.stack((draw.uniform(0, 1), draw.uniform(0, 1)), dim=1)
    flipped = draw.chance(views.flip)
    across = torch.where(flipped, -scale[:, 0], scale[:, 0])
    x = torch.where(flipped, target[0] - shift[:, 0], shift[:, 0])
    zero = torch.zeros_like(x)
    rows = (across, zero, x, zero, scale[:, 1], shift[:, 1])
    return torch.stack(rows, dim=1).view(-1, 2, 3)


def _between(low: float, high: float, draw: Draw) -> Tensor:
    """Numbers whose logarithms are uniform."""
    return low * (high / low) ** draw.uniform(0, 1)


def _moved(boxes: Tensor, matrices: Tensor) -> Tensor:
    """Boxes (B, M, 4) by matrices without a turn."""
    corners = transform_points(matrices, boxes.reshape(len(boxes), -1, 2))
    corners = corners.view(*boxes.shape[:2], 2, 2)
    return torch.cat((corners.amin(dim=2), corners.amax(dim=2)), dim=-1)


def _known(
    boxes: Tensor,
    learnt: Tensor,
    doubtful: Tensor,
    complete: Tensor,
    extent: Tensor,
    size: tuple[int, int],
) -> Tensor:
    """(B, h, w), 0 in doubtful boxes, and outside all boxes where a picture is not complete."""
    h, w = size[0] // BOX_STRIDE, size[1] // BOX_STRIDE
    x, y = cell_centres(h, w, boxes)

    def cover(some: Tensor) -> Tensor:  # (B, M, 4) -> (B, M, h, w)
        across = (x >= some[..., :1]) & (x < some[..., 2:3])
        down = (y >= some[..., 1:2]) & (y < some[..., 3:])
        return down.unsqueeze(-1) & across.unsqueeze(-2)

    inside = cover(boxes)  # comparisons with NaN are false
    people = (inside & learnt[..., None, None]).any(dim=1)
    doubt = (inside & doubtful[..., None, None]).any(dim=1)
    beyond = ~cover(extent).any(dim=1)
    return ((complete.view(-1, 1, 1) | people | beyond) & ~(doubt & ~people)).float()
