"""Boxes as maps and back: a centre map and the distances to a box's four sides.

Sources: Zhou, Wang & Krähenbühl, "Objects as Points", 2019 (a peak at each box's centre); Tian et
al., "FCOS", ICCV 2019 (distances to the sides); Liu et al., "Training-Time-Friendly Network for
Real-Time Object Detection", AAAI 2020 (Gaussians as wide and high as the box, whose cells all learn
the distances). The maps are raw: channel 0 is the log-odds of a centre, channels 1 to 4 are the
logarithms of the distances to the left, upper, right and lower side, in cells. Cell (m, n) is
centred on pixel (8 (m + 0.5), 8 (n + 0.5)).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BOX_STRIDE = 8  # image pixels a cell
BOX_CHANNELS = 5
REACH = 0.54 / 6  # standard deviation of the Gaussian over the side of its box, as TTFNet has it
LEAST = 1 / 6  # the smallest standard deviation, in cells: a box then has its one cell
LEARNT = 0.1  # cells where the Gaussian is higher learn the distances
VOTE = 0.5  # overlap with a peak's box from which on another cell's box is of the same person
HEARD = 0.02  # centre score from which on a cell has a say in the boxes about it
OVERLAP = 0.5  # intersection over union from which on two boxes are of the same person
MOST = 100  # boxes of a picture
FARTHEST = 7.0  # largest logarithm of a distance: about 1,100 cells


@dataclass(frozen=True)
class BoxTargets:
    """What the maps of B pictures are to be."""

    centres: Tensor  # (B, h, w), 1 in the cell that holds a box's centre, falling off about it
    boxes: Tensor  # (B, h, w, 4), the box that a cell belongs to, in pixels
    weights: Tensor  # (B, h, w), how much a cell counts for its box; the cells of a box sum to 1
    known: Tensor  # (B, h, w), 1 where the centre map is known, 0 where it is not


def cell_centres(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates of the cells' centres: x (w,) and y (h,)."""
    x = (torch.arange(width, device=like.device) + 0.5) * BOX_STRIDE
    y = (torch.arange(height, device=like.device) + 0.5) * BOX_STRIDE
    return x.to(like.dtype), y.to(like.dtype)


def encode_boxes(boxes: Tensor, size: tuple[int, int], known: Tensor) -> BoxTargets:
    """Targets of maps (h, w) for boxes (B, M, 4) in pixels, NaN for none, whose centres are inside.

    `known` (B, h, w) is as in `BoxTargets`, but the centres of boxes are known, whatever it says. A
    cell belongs to the box whose Gaussian is highest there.
    """
    there = ~boxes.isnan().any(dim=-1)  # (B, M)
    filled = boxes.nan_to_num(0.0)
    x, y = cell_centres(*size, filled)
    middle = (filled[..., :2] + filled[..., 2:]) / 2
    middle = (middle / BOX_STRIDE).floor().add(0.5).mul(BOX_STRIDE)  # of the cell that holds it
    sigma = (filled[..., 2:] - filled[..., :2]) * REACH
    sigma = sigma.clamp_min(LEAST * BOX_STRIDE)
    across = torch.exp(-((x - middle[..., :1]) / sigma[..., :1]).square() / 2)  # (B, M, w)
    down = torch.exp(-((y - middle[..., 1:]) / sigma[..., 1:]).square() / 2)  # (B, M, h)
    gaussians = down.unsqueeze(-1) * across.unsqueeze(-2) * there[..., None, None]
    centres, owner = gaussians.max(dim=1)  # (B, h, w)
    owned = torch.gather(filled, 1, owner.flatten(1).unsqueeze(-1).expand(-1, -1, 4))
    weights = centres * (centres > LEARNT)
    total = torch.zeros_like(filled[..., 0]).scatter_add_(1, owner.flatten(1), weights.flatten(1))
    share = torch.gather(total.clamp_min(1e-6), 1, owner.flatten(1)).view_as(weights)
    return BoxTargets(
        centres,
        owned.view(*centres.shape, 4),
        weights / share,
        torch.where(centres == 1, torch.ones_like(known), known),
    )


def boxes_of_cells(maps: Tensor) -> Tensor:
    """The box in pixels that each cell tells of: raw maps (B, 5, h, w) -> (B, h, w, 4)."""
    x, y = cell_centres(maps.shape[-2], maps.shape[-1], maps)
    left, up, right, down = (maps[:, 1:].clamp(max=FARTHEST).exp() * BOX_STRIDE).unbind(dim=1)
    row = y.unsqueeze(-1)
    return torch.stack((x - left, row - up, x + right, row + down), dim=-1)


def peaks_of_cells(maps: Tensor) -> Tensor:
    """(B, h, w): how sure a cell is of a centre, where none of its neighbours is surer; else 0."""
    centres = maps[:, 0].sigmoid()
    highest = F.max_pool2d(centres.unsqueeze(1), 3, 1, 1).squeeze(1)
    return centres * (centres == highest)


def decode_boxes(maps: Tensor, min_score: float) -> list[tuple[Tensor, Tensor]]:
    """Boxes of peaks of at least `min_score`; of two that overlap by more than half the surer one.

    All cells about a peak have learnt its box. So its box is the mean of theirs, of those that
    overlap the peak's own by half or more, weighted by their centre scores (box voting: Gidaris &
    Komodakis, ICCV 2015).

    Returns for each picture of raw maps (B, 5, h, w) its boxes (N, 4) in pixels, which may reach
    outside, and scores (N,), the surest first; N is from 0 to `MOST`.
    """
    maps = maps.float()
    found = []
    told = zip(peaks_of_cells(maps), boxes_of_cells(maps), maps[:, 0].sigmoid(), strict=True)
    for peaks, cells, centres in told:
        chosen = (peaks >= min_score) & (peaks > 0)
        scores = peaks[chosen]
        heard = centres >= HEARD
        boxes = vote(cells[chosen], cells[heard], centres[heard])
        kept = surest(boxes, scores)[:MOST]
        found.append((boxes[kept], scores[kept]))
    return found


def vote(boxes: Tensor, voters: Tensor, weights: Tensor) -> Tensor:
    """For each of N boxes the weighted mean of those of M voters that overlap it, (N, 4)."""
    shares = ((overlaps(boxes, voters) >= VOTE) * weights).unsqueeze(-1)  # (N, M, 1)
    total = shares.sum(dim=1)
    return torch.where(total > 0, (shares * voters).sum(dim=1) / total, boxes)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes (N, 4) and others (M, 4).

    It is torchvision's `box_iou`, whose import takes half as long as a start of all else.
    """
    low, high = boxes[:, None].chunk(2, dim=2)
    other_low, other_high = others.chunk(2, dim=1)
    shared = (torch.minimum(high, other_high) - torch.maximum(low, other_low)).clamp_min(0).prod(2)
    areas = (high - low).prod(dim=2) + (other_high - other_low).prod(dim=1)
    return shared / (areas - shared)


def surest(boxes: Tensor, scores: Tensor) -> list[int]:
    """Which boxes no surer one that is kept overlaps by more than half: torchvision's `nms`."""
    order = scores.argsort(descending=True, stable=True)
    over = (overlaps(boxes[order], boxes[order]) > OVERLAP).tolist()
    kept: list[int] = []
    for row in range(len(order)):
        if not any(over[surer][row] for surer in kept):
            kept.append(row)
    return order[kept].tolist()
