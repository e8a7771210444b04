"""Labels judged by the predictions of trained networks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gatedpose.batches.corrections import Corrections
from gatedpose.data.samples import Sample
from gatedpose.errors import InputError


@dataclass(frozen=True)
class Rule:
    """When a label counts as wrong. Distances are shares of the longer side of the person's box.

    Left and right are exchanged where that brings a person's labels nearer to every network's
    prediction by `better` on average, a distance beyond `far` counting as `far`. A joint is dropped
    if it then still lies farther than `far` from every prediction, and all have the confidence
    `sure`; no joint is if that is None.
    """

    better: float = 0.08
    far: float = 0.25
    sure: float | None = None

    def __post_init__(self) -> None:
        if min(self.better, self.far) <= 0 or not 0 <= (self.sure or 0) <= 1:
            raise InputError(f"distances must be positive and sure a confidence, got {self}")


def find_corrections(
    samples: Sequence[Sample],
    keypoints: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    rule: Rule,
    about: dict[str, str] | None = None,
) -> Corrections:
    """Judges the labels of N people with the same K joints by the predictions of M networks.

    Keypoints are (M, N, K, 2), image pixels, scores (M, N, K); labels of a joint that is NaN say
    nothing. `about` is written beside the corrections.
    """
    skeleton, ids = samples[0].skeleton, [sample.id for sample in samples]
    labels = np.stack([sample.keypoints for sample in samples])
    labelled = np.stack([sample.labelled for sample in samples])
    boxes = np.stack([sample.box for sample in samples])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)[:, None]
    known = np.isfinite(keypoints).all(axis=(0, 1, 3))  # what a network does not predict is NaN

    def distances(labels: np.ndarray) -> np.ndarray:  # (M, N, K)
        return np.asarray(np.linalg.norm(keypoints - labels, axis=3) / sides)

    def mean(distances: np.ndarray, labelled: np.ndarray) -> np.ndarray:  # (M, N)
        counts = labelled & known
        near = np.where(counts, distances.clip(max=rule.far), 0)
        return np.asarray(near.sum(axis=2) / counts.sum(axis=1).clip(min=1))

    flip = list(skeleton.flip_permutation)
    gain = mean(distances(labels), labelled) - mean(distances(labels[:, flip]), labelled[:, flip])
    swap = gain.min(axis=0) > rule.better
    labels[swap], labelled[swap] = labels[swap][:, flip], labelled[swap][:, flip]
    sure = scores.min(axis=0) >= (2 if rule.sure is None else rule.sure)
    wrong = labelled & (distances(labels).min(axis=0) > rule.far) & sure
    return Corrections(
        swapped=tuple(ids[i] for i in np.flatnonzero(swap)),
        dropped={
            ids[i]: tuple(skeleton.joints[k] for k in np.flatnonzero(wrong[i]))
            for i in np.flatnonzero(wrong.any(axis=1))
        },
        about=about or {},
    )
