"""How far the scores of joints are the chances that they say."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gatedpose.data.samples import Sample
from gatedpose.evaluation.people import torso_lengths
from gatedpose.evaluation.plots import new_figure, png
from gatedpose.evaluation.run import Evaluation
from gatedpose.models.calibration import calibration_error

REACH = 0.2  # of the torso: what a score is the chance of


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
