"""Scores of predicted keypoints, on NumPy arrays and with the datasets' own formulas.

A joint's error counts as a hit up to and including the threshold; a prediction that is not finite
is a miss. COCO's AP is in `gatedpose.evaluation.coco_results`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gatedpose.catalogue import AVERAGINGS, Averaging
from gatedpose.errors import InputError, check_choice, check_range
from gatedpose.skeleton import LSP14, MPII16, Skeleton

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

LSP_TORSO = ("left shoulder", "right hip")
DIAGONALS = (LSP_TORSO, ("right shoulder", "left hip"))  # of a torso
LIMBS = ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")  # columns of a left and a right
SHORTEST = 1e-3  # pixels, of a normaliser: people are not counted by a shorter one
HEAD_SIZE = 0.6  # of the diagonal of MPII's head box


@dataclass(frozen=True)
class Score:
    """Shares of correct keypoints, in per cent.

    Attributes:
        mean: Over all counted joints.
        per_joint: (K,) for each joint; NaN where none was counted. Empty for AP.
        columns: The columns of published tables, "Total" last; NaN where none was counted.
        counted: Number of annotated joints that could be scored; for AP, of results.
        metric: What the figures are, "PCK@0.2" for example.
    """

    mean: float
    per_joint: tuple[float, ...]
    columns: Mapping[str, float]
    counted: int
    metric: str


def pck(
    pred: Array,
    target: Array,
    normaliser: Array,
    mask: Mask | None = None,
    threshold: float = 0.2,
    columns: Mapping[str, tuple[int, ...]] | None = None,
) -> Score:
    """Percentage of correct keypoints: those within `threshold * normaliser` of the annotation.

    Args:
        pred: (N, K, 2) predicted; NaN counts as a miss.
        target: (N, K, 2) annotated, in the same coordinates.
        normaliser: (N,) length for each person, in pixels. People whose normaliser is not finite or
            below one thousandth of a pixel are not counted.
        mask: (N, K) bool, True where a joint counts; all if None.
        threshold: Share of the normaliser that an error may reach.
        columns: Joints of each table column; only "Total" if None.

    Returns:
        The score; its mean is over all counted joints alike.

    Raises:
        ValueError: For shapes that do not fit, or if nothing is left to count.

    Example:
        >>> target = np.array([[[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]]])
        >>> pred = target + np.array([[[1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]])
        >>> pck(pred, target, np.array([10.0])).per_joint
        (100.0, 0.0, 100.0)
    """
    hit, counts = _hits(pred, target, normaliser, mask, threshold)
    table = {
        name: _percent(hit[:, list(joints)], counts[:, list(joints)])
        for name, joints in (columns or {}).items()
    }
    mean = _percent(hit, counts)
    table["Total"] = mean
    return Score(mean, _rates(hit, counts), table, int(counts.sum()), f"PCK@{threshold:g}")


def _hits(
    pred: Array, target: Array, normaliser: Array, mask: Mask | None, threshold: float
) -> tuple[Mask, Mask]:
    """Which joints are right and which are counted, both (N, K); arguments as in `pck`."""
    pred, target = np.asarray(pred, dtype=float), np.asarray(target, dtype=float)
    normaliser = np.asarray(normaliser, dtype=float)
    if pred.shape != target.shape or pred.ndim != 3 or pred.shape[-1] != 2:
        raise InputError(
            f"pck: pred and target must both be (N, K, 2), got {pred.shape} and {target.shape}"
        )
    counts = np.ones(pred.shape[:2], dtype=bool) if mask is None else np.array(mask, dtype=bool)
    if counts.shape != pred.shape[:2] or normaliser.shape != pred.shape[:1]:
        raise InputError(
            f"pck: of {pred.shape[0]} people with {pred.shape[1]} joints, mask must be (N, K) and "
            f"normaliser (N,), got {counts.shape} and {normaliser.shape}"
        )
    usable = np.isfinite(normaliser) & (normaliser > SHORTEST)
    counts &= usable[:, None] & np.isfinite(target).all(axis=2)
    if not counts.any():
        raise InputError(
            "pck: nothing to count: no joint is labelled on a person with a usable size"
        )
    placed, right = (np.where(counts[..., None], points, 0) for points in (pred, target))
    error = np.linalg.norm(placed - right, axis=2)
    check_range("threshold", threshold, (0.0, 1e6))
    hit = (error <= threshold * np.where(usable, normaliser, 0)[:, None]) & counts  # NaN: no hit
    return hit, counts


def _rates(hit: Mask, counts: Mask) -> tuple[float, ...]:
    return tuple(_percent(hit[:, k], counts[:, k]) for k in range(hit.shape[1]))


def _percent(hit: Mask, counts: Mask) -> float:
    total = counts.sum()
    return float(100 * hit.sum() / total) if total else math.nan


def _mean(rates: Array) -> float:
    known = rates[np.isfinite(rates)]
    return float(known.mean()) if len(known) else math.nan


def lsp_pck(
    pred: Array,
    target: Array,
    mask: Mask | None = None,
    threshold: float = 0.2,
    skeleton: Skeleton = LSP14,
) -> Score:
    """PCK of LSP, person-centric: the normaliser is the distance left shoulder - right hip.

    Args:
        pred: (N, 14, 2); NaN counts as a miss.
        target: (N, 14, 2).
        mask: (N, 14) bool, True where a joint is labelled; all if None. People without a labelled
            left shoulder or right hip have no normaliser and are not counted.
        threshold: Share of the normaliser.
        skeleton: The order of the joints.

    Returns:
        The mean over all counted joints and the columns Head (neck, head top), Shoulder, Elbow,
        Wrist, Hip, Knee, Ankle, Total of the published tables. The metric says of how many people
        it is, if some have no normaliser.

    Raises:
        ValueError: For other shapes.
    """
    target = np.asarray(target, dtype=float)
    if target.ndim != 3 or target.shape[1:] != (LSP14.num_keypoints, 2):
        raise InputError(f"lsp_pck: target must be (N, 14, 2), got {target.shape}")
    mask = np.ones(target.shape[:2], bool) if mask is None else np.asarray(mask, dtype=bool)
    if mask.shape != target.shape[:2]:
        raise InputError(f"lsp_pck: mask must be {target.shape[:2]}, got {mask.shape}")
    normaliser = torso_lengths(target, mask, skeleton, (LSP_TORSO,))
    columns = {"Head": joint_indices(skeleton, ("neck", "head top")), **limb_columns(skeleton)}
    score = pck(pred, target, normaliser, mask, threshold, columns)
    people = int((normaliser > SHORTEST).sum())
    of = f" of {people} people" if people < len(target) else ""
    return replace(score, metric=f"{score.metric} (normaliser: left shoulder - right hip{of})")


def torso_lengths(
    target: Array, mask: Mask, skeleton: Skeleton, diagonals: Sequence[tuple[str, str]] = DIAGONALS
) -> npt.NDArray[np.float64]:
    """(N,) lengths of the first of a torso's diagonals that is labelled; NaN where none is."""
    target, lengths = np.asarray(target, dtype=float), np.full(len(target), np.nan)
    for ends in reversed(diagonals):
        a, b = joint_indices(skeleton, ends)
        found = np.linalg.norm(target[:, a] - target[:, b], axis=1)
        lengths = np.where(mask[:, [a, b]].all(axis=1), found, lengths)
    return lengths


def has_lsp_torso(mask: Mask, skeleton: Skeleton) -> bool:
    """Whether joints (N, K) are LSP's 14, and anybody has the labels that `lsp_pck` measures by."""
    lsp = set(skeleton.joints) == set(LSP14.joints)
    return lsp and bool(mask[:, joint_indices(skeleton, LSP_TORSO)].all(axis=1).any())


def joint_indices(skeleton: Skeleton, names: Sequence[str]) -> tuple[int, ...]:
    """Where the joints of these names are."""
    return tuple(skeleton.joints.index(name) for name in names)


def limb_columns(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """The right and left joint of each limb, by the column of published tables."""
    return {
        limb: joint_indices(skeleton, (f"right {limb.lower()}", f"left {limb.lower()}"))
        for limb in LIMBS
    }


def pckh(
    pred: Array,
    target: Array,
    head_boxes: Array,
    missing: Mask,
    threshold: float = 0.5,
    averaging: Averaging = "hrnet",
) -> Score:
    """PCKh of MPII: the normaliser is 0.6 times the diagonal of the annotated head box.

    Three ways of averaging have been published under this one name, so a figure is comparable only
    with others of its kind (Andriluka et al., CVPR 2014, for the metric):

    - "hrnet": over the 14 joints without pelvis and thorax, weighted by how often each is
      annotated; Head is the head top alone. HRNet's code and most papers since.
    - "official": the plain mean of those 14 joints' rates; Head is the mean of upper neck and head
      top, so that the total is also the mean of the seven columns.
    - "pooled16": all annotated joints of all kinds alike, pelvis and thorax among them; Head is the
      head top.

    PCKh@0.1 is at a threshold of 0.1; HRNet's own code reads its curve at 0.11 under that name.

    Args:
        pred: (N, 16, 2) in MPII's order of joints; NaN counts as a miss.
        target: (N, 16, 2), in the same coordinates.
        head_boxes: (N, 4), each (x0, y0, x1, y1). People whose box has no size are not counted.
        missing: (N, 16) bool, True where the annotation lacks the joint; occluded joints count.
        threshold: Share of the head size.
        averaging: See above.

    Returns:
        The score; a column other than Head is the mean of its right and left joint.

    Raises:
        ValueError: For other shapes, an unknown averaging, or if nothing is left to count.
    """
    check_choice("pckh: averaging", averaging, AVERAGINGS)
    head_boxes, missing = np.asarray(head_boxes, dtype=float), np.asarray(missing)
    people, joints = len(head_boxes), MPII16.num_keypoints
    got = head_boxes.shape, missing.shape, missing.dtype
    if got != ((people, 4), (people, joints), np.dtype(bool)):
        raise InputError(
            f"pckh: head_boxes must be (N, 4) and missing (N, {joints}) bool, got "
            f"{head_boxes.shape} and {missing.shape} of {missing.dtype}"
        )
    head_size = HEAD_SIZE * np.linalg.norm(head_boxes[:, 2:] - head_boxes[:, :2], axis=1)
    hit, counts = _hits(pred, target, head_size, ~missing, threshold)
    rates = np.array(_rates(hit, counts))
    head = ("upper neck", "head top") if averaging == "official" else ("head top",)
    columns = {"Head": joint_indices(MPII16, head), **limb_columns(MPII16)}
    table = {name: _mean(rates[list(column)]) for name, column in columns.items()}
    without = [j for j, name in enumerate(MPII16.joints) if name not in ("pelvis", "thorax")]
    if averaging == "pooled16":
        mean = _percent(hit, counts)
    elif averaging == "official":
        mean = _mean(rates[without])
    else:
        mean = _percent(hit[:, without], counts[:, without])
    table["Total"], name = mean, f"PCKh@{threshold:g} ({averaging})"
    return Score(mean, tuple(rates.tolist()), table, int(counts.sum()), name)


def area_under_curve(
    score_at: Callable[[float], Score], largest: float = 0.5, steps: int = 50
) -> float:
    """Mean of a score over thresholds from 0 to `largest`, by the trapezoidal rule, in per cent.

    Args:
        score_at: The score at a threshold, such as
            `lambda t: pckh(pred, target, head_boxes, missing, threshold=t)`.
        largest: Last threshold; MPII's is 0.5.
        steps: Intervals; MPII's are of 0.01.

    Example:
        >>> target = np.zeros((1, 2, 2))
        >>> pred = target + [[[0.5, 0.0], [2.0, 0.0]]]  # hits from 0.25 and from 1 on
        >>> area_under_curve(lambda t: pck(pred, target, np.array([2.0]), None, t), steps=1000)
        25.025
    """
    means = [score_at(largest * step / steps).mean for step in range(steps + 1)]
    return (sum(means) - (means[0] + means[-1]) / 2) / steps
