"""How well people are found: the surest box of a picture, and recall and precision of all boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou
from tqdm import tqdm

from gatedpose.batches.pictures import read_labelled
from gatedpose.media.images import read_image
from gatedpose.predict.finder import MIN_SCORE, PersonFinder

Found = tuple[Tensor, Tensor]  # boxes (N, 4) and scores (N,), the surest first
Listed = tuple[Tensor, float]  # boxes (M, 4) of people in a picture, and its height in pixels
LOWEST = 0.001  # score of the least sure boxes that are scored
OVERLAP = 0.5  # intersection over union from which on a box is that of a person


@dataclass(frozen=True)
class Detections:
    """All boxes found in many pictures, the surest first, and what they are worth."""

    scores: Tensor  # (D,), falling
    hits: Tensor  # (D,) bool, whether each is the box of a person who was not yet found
    people: int  # that there are

    @property
    def precision(self) -> Tensor:
        """(D,), of all boxes up to each."""
        return self.hits.cumsum(0) / torch.arange(1, len(self.hits) + 1)

    @property
    def ends(self) -> Tensor:
        """(D,) bool, whether the next score is lower: nobody can ask for a part of equal ones."""
        return torch.cat((self.scores.diff() < 0, torch.ones_like(self.hits[:1])))

    def at(self, min_score: float) -> tuple[float, float]:
        """Recall and precision of the boxes whose score is at least `min_score`."""
        taken = self.hits[self.scores >= min_score]
        right = int(taken.sum())
        return right / max(1, self.people), right / max(1, len(taken))

    def recall_at(self, precision: float) -> tuple[float, float]:
        """The highest recall at which precision is at least this, and the score to ask for then."""
        good = (self.ends & (self.precision >= precision)).nonzero().flatten()
        if not len(good):
            return 0.0, 1.0
        score = float(self.scores[good[-1]])
        return self.at(score)[0], score

    def best_score(self) -> float:
        """The score to ask for that makes the harmonic mean of recall and precision highest."""
        if not len(self.hits):
            return 0.5
        mean = 2 * self.hits.cumsum(0) / (torch.arange(1, len(self.hits) + 1) + self.people)
        return float(self.scores[mean.where(self.ends, -1.0).argmax()])


def surest_right(found: Sequence[Found], people: Sequence[Listed]) -> float:
    """Share of the pictures whose surest box is that of a person listed."""
    right = [
        bool((box_iou(boxes[:1], listed) >= OVERLAP).any())
        for (boxes, _), (listed, _) in zip(found, people, strict=True)
    ]
    return sum(right) / max(1, len(right))


def any_right(found: Sequence[Found], people: Sequence[Listed]) -> float:
    """Share of the people listed whom some box fits."""
    hits = total = 0
    for (boxes, _), (listed, _) in zip(found, people, strict=True):
        total += len(listed)
        hits += int((box_iou(listed, boxes) >= OVERLAP).any(dim=1).sum())
    return hits / max(1, total)


def match(found: Sequence[Found], people: Sequence[Listed], least: float = 0.0) -> Detections:
    """Gives every person at most one box, the surest first, as COCO's evaluation does.

    People lower than `least`, a share of the picture's height, do not count, nor do boxes of that
    kind that fit nobody.
    """
    scores: list[float] = []
    hits: list[bool] = []
    total = 0
    for (boxes, sureness), (listed, height) in zip(found, people, strict=True):
        limit = least * height
        counts = _heights(listed) >= limit
        total += int(counts.sum())
        free = torch.ones(len(listed), dtype=torch.bool)
        overlaps = box_iou(boxes, listed)
        for i in sureness.argsort(descending=True).tolist():
            open_to = overlaps[i].where(free & counts, -1.0)
            hit = len(open_to) > 0 and float(open_to.max()) >= OVERLAP
            if hit:
                free[int(open_to.argmax())] = False
            elif (overlaps[i][~counts] >= OVERLAP).any() or _heights(boxes[i : i + 1]) < limit:
                continue
            scores.append(float(sureness[i]))
            hits.append(hit)
    ranked, order = torch.tensor(scores).sort(descending=True)
    return Detections(ranked, torch.tensor(hits, dtype=torch.bool)[order], total)


def _heights(boxes: Tensor) -> Tensor:
    return boxes[:, 3] - boxes[:, 1]


def evaluate_finder(
    name: str,
    folder: Path,
    split: str = "val",
    *,
    least: float = 0.0,
    precision: float = 0.8,
    min_score: float | None = None,
) -> dict[str, Any]:
    """Scores a finder on pictures with people's boxes, from whole files, as users use it.

    The folder is as for `gatedpose.batches.pictures.read_labelled`, `least` as for `match`; the
    recall is told at a `precision`, and both at a `min_score`, the finder's own if None.
    """
    finder = PersonFinder(name, min_score=LOWEST)
    found: list[Found] = []
    people: list[Listed] = []
    for labelled in tqdm(read_labelled(folder, split), desc=name):
        image = read_image(labelled.path)
        found.append(finder.find(image))
        people.append((labelled.pixels(*image.shape[1:]), image.shape[1]))
    detections = match(found, people, least)
    recall, score = detections.recall_at(precision)
    taken = MIN_SCORE if min_score is None else min_score
    recall_there, precision_there = detections.at(taken)
    return {
        "model": name,
        "pictures": len(found),
        "people": detections.people,
        "least": least,
        "surest_right": surest_right(found, people),
        "any_right": any_right(found, people),
        "precision": precision,
        "recall_at_precision": recall,
        "score_at_precision": score,
        "min_score": taken,
        "recall": recall_there,
        "precision_at_min_score": precision_there,
        "best_score": detections.best_score(),
    }


def finder_text(facts: dict[str, Any]) -> str:
    """`evaluate_finder` for people."""
    return f"""{facts["model"]}: {facts["pictures"]} pictures, {facts["people"]} people \
of at least {facts["least"]:.3g} of the picture's height, IoU {OVERLAP}
  surest box of a picture is that of a person listed   {facts["surest_right"]:.1%} of pictures
  some box is that of a person listed (any size)       {facts["any_right"]:.1%} of people
  recall at a precision of {facts["precision"]:.2f}                        \
{facts["recall_at_precision"]:.1%}, scores from {facts["score_at_precision"]:.3f}
  recall and precision of scores from {facts["min_score"]:.3f}            {facts["recall"]:.1%}, \
{facts["precision_at_min_score"]:.1%}
  highest mean of both                                 scores from {facts["best_score"]:.3f}"""
