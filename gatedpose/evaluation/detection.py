"""How well people are found: the surest box of a picture, and recall and precision of all boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import box_iou

Found = tuple[Tensor, Tensor]  # boxes (N, 4) and scores (N,), the surest first
OVERLAP = 0.5  # intersection over union from which on a box is that of a person


@dataclass(frozen=True)
class People:
    """The people of one picture.

    Attributes:
        boxes: (M, 4).
        height: Of the picture, in pixels.
    """

    boxes: Tensor
    height: float


@dataclass(frozen=True)
class Detections:
    """All boxes found in many pictures, the surest first, and what they are worth.

    Attributes:
        scores: (D,), falling.
        hits: (D,) bool, whether each is the box of a person who was not yet found.
        people: Number of people that there are.
    """

    scores: Tensor
    hits: Tensor
    people: int

    @property
    def precision(self) -> Tensor:
        """(D,), of all boxes up to each."""
        return self.hits.cumsum(0) / torch.arange(1, len(self.hits) + 1)

    @property
    def recall(self) -> Tensor:
        """(D,), of all boxes up to each."""
        return self.hits.cumsum(0) / max(1, self.people)

    def at(self, min_score: float) -> tuple[float, float]:
        """Recall and precision of the boxes whose score is at least `min_score`."""
        taken = self.hits[self.scores >= min_score]
        right = int(taken.sum())
        return right / max(1, self.people), right / max(1, len(taken))

    def recall_at(self, precision: float) -> tuple[float, float]:
        """The highest recall at which precision is at least this, and the score to ask for then."""
        good = (self.precision >= precision).nonzero().flatten()
        if not len(good):
            return 0.0, 1.0
        return float(self.recall[good[-1]]), float(self.scores[good[-1]])

    def best_score(self) -> float:
        """The score to ask for that makes the harmonic mean of recall and precision highest."""
        if not len(self.hits):
            return 0.5
        mean = 2 * self.hits.cumsum(0) / (torch.arange(1, len(self.hits) + 1) + self.people)
        return float(self.scores[mean.argmax()])


def surest_right(found: Sequence[Found], people: Sequence[People], overlap: float = OVERLAP) -> float:
    """Share of the pictures whose surest box is that of a person listed."""
    right = [
        len(boxes) > 0 and bool((box_iou(boxes[:1], one.boxes) >= overlap).any())
        for (boxes, _), one in zip(found, people, strict=True)
    ]
    return sum(right) / max(1, len(right))


def any_right(found: Sequence[Found], people: Sequence[People], overlap: float = OVERLAP) -> float:
    """Share of the people listed whom some box fits."""
    hits = total = 0
    for (boxes, _), one in zip(found, people, strict=True):
        total += len(one.boxes)
        if len(boxes) and len(one.boxes):
            hits += int((box_iou(one.boxes, boxes).amax(dim=1) >= overlap).sum())
    return hits / max(1, total)


def match(
    found: Sequence[Found],
    people: Sequence[People],
    least: float = 0.0,
    overlap: float = OVERLAP,
) -> Detections:
    """Gives every person at most one box, the surest first, as COCO's evaluation does.

    Args:
        found: Of each picture.
        people: Of each picture.
        least: People lower than this share of the picture's height do not count, nor do boxes of
            that kind that fit nobody.
        overlap: See `OVERLAP`.
    """
    scores: list[Tensor] = []
    hits: list[bool] = []
    total = 0
    for (boxes, sureness), one in zip(found, people, strict=True):
        limit = least * one.height
        counts = _heights(one.boxes) >= limit
        total += int(counts.sum())
        free = torch.ones(len(one.boxes), dtype=torch.bool)
        overlaps = box_iou(boxes, one.boxes)
        for i in sureness.argsort(descending=True).tolist():
            open_to = overlaps[i].where(free & counts, -1.0)
            hit = len(open_to) > 0 and float(open_to.max()) >= overlap
            if hit:
                free[int(open_to.argmax())] = False
            elif (overlaps[i][~counts] >= overlap).any() or _heights(boxes[i : i + 1]) < limit:
                continue
            scores.append(sureness[i])
            hits.append(hit)
    order = torch.stack(scores).argsort(descending=True) if scores else torch.zeros(0).long()
    stacked = torch.stack(scores)[order] if scores else torch.zeros(0)
    return Detections(stacked, torch.tensor(hits, dtype=torch.bool)[order], total)


def _heights(boxes: Tensor) -> Tensor:
    return boxes[:, 3] - boxes[:, 1]
