"""Whether scores of joints are the chances that they say, and the map that makes peaks such.

For package_weights.py and people_scores.py.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import isotonic_regression

from gatedpose.data.samples import Sample
from gatedpose.errors import InputError
from gatedpose.evaluation.metrics import torso_lengths
from gatedpose.evaluation.plots import new_figure, png
from gatedpose.evaluation.run import Evaluation
from gatedpose.models.calibration import Calibration, Numbers

REACH = 0.2  # of the torso: what a score is the chance of
# Where joints, sorted by their peaks, are parted into groups to fit a map on; low peaks get small
# ones, since there the chance changes most.
SHARES = (0.005, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.25, 0.4, 0.6, 0.8)
FEWEST = 10  # joints of such a group
GROUPS = 10  # equal parts of 0 to 1 that chances are compared in


def known_joints(
    result: Evaluation, samples: Sequence[Sample]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Scores of all joints whose truth is known, and whether each is right.

    Args:
        result: What a network predicted of them.
        samples: People of joints with shoulders and hips.

    Returns:
        (M,) scores and (M,) bool: the labelled joints of people with a torso, right within a fifth
        of it, and the joints that are out of the picture, which are never right.
    """
    target, labelled, absent = (
        np.stack([getattr(sample, name) for sample in samples])
        for name in ("keypoints", "labelled", "absent_joints")
    )
    torso = torso_lengths(target, labelled, samples[0].skeleton)[:, None]
    predicted = np.isfinite(result.keypoints).all(axis=2)
    right = (np.linalg.norm(result.keypoints - target, axis=2) <= REACH * torso) & labelled
    known = predicted & ((labelled & np.isfinite(torso)) | absent)
    return result.scores[known], right[known]


def fit_calibration(peaks: Numbers, right: npt.NDArray[np.bool_]) -> Calibration:
    """The map that makes peaks into chances: shares of right joints among peaks of like height.

    It begins at a chance of 0 for no peak at all.

    Args:
        peaks: (M,) of joints whose truth is known.
        right: (M,) bool, whether each lies within a fifth of the torso; False for joints that are
            out of the picture.
    """
    cuts = [round(share * len(peaks)) for share in SHARES]
    if np.diff([0, *cuts, len(peaks)]).min() < FEWEST:
        raise InputError(f"fit_calibration: {len(peaks)} joints are not {FEWEST} for each group")
    groups = np.split(np.argsort(peaks, kind="stable"), cuts)
    heights = [round(float(peaks[group].mean()), 4) for group in groups]
    chances = isotonic_regression([right[group].mean() for group in groups]).x
    knots = dict(zip(heights[::-1], (round(float(c), 4) for c in chances[::-1]), strict=True))
    rising = sorted((height, chance) for height, chance in knots.items() if height > 0)
    return Calibration((0.0, *(h for h, _ in rising)), (0.0, *(c for _, c in rising)))


def calibration_error(
    chances: Numbers, right: npt.NDArray[np.bool_]
) -> tuple[float, list[tuple[float, float, int]]]:
    """How far chances are from shares, and a reliability plot's points.

    Args:
        chances: (M,) predicted.
        right: (M,) bool.

    Returns:
        The expected calibration error: the mean distance between mean chance and share of right
        joints over `GROUPS`, weighted by their size; and these two and the size of each group.
    """
    place = np.minimum((chances * GROUPS).astype(int), GROUPS - 1)
    points = [
        (float(chances[mine].mean()), float(right[mine].mean()), int(mine.sum()))
        for mine in (place == group for group in range(GROUPS))
        if mine.any()
    ]
    error = sum(abs(chance - share) * count for chance, share, count in points) / len(chances)
    return error, points


def plot_reliability(
    people: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]],
) -> bytes:
    """Shares of right joints over their scores, a line for each set of people, as PNG."""
    figure = new_figure(5, 5)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1)
    for name, (scores, right) in people.items():
        error, points = calibration_error(scores, right)
        axes.plot(
            *zip(*((x, y) for x, y, _ in points), strict=True), "o-", label=f"{name}: {error:.3f}"
        )
    axes.set_xlabel("score")
    axes.set_ylabel("share of joints within a fifth of the torso")
    axes.legend(title="expected calibration error", fontsize=8)
    return png(figure)
