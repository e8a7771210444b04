"""Scores of predicted keypoints, on NumPy arrays and with the datasets' own formulas."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gatedpose.skeleton import LSP14

Array = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

LSP_COLUMNS: dict[str, tuple[str, ...]] = {
    "Head": ("neck", "head top"),
    "Shoulder": ("right shoulder", "left shoulder"),
    "Elbow": ("right elbow", "left elbow"),
    "Wrist": ("right wrist", "left wrist"),
    "Hip": ("right hip", "left hip"),
    "Knee": ("right knee", "left knee"),
    "Ankle": ("right ankle", "left ankle"),
}


@dataclass(frozen=True)
class Score:
    """Shares of correct keypoints, in per cent.

    Attributes:
        mean: Over all counted joints.
        per_joint: (K,) for each joint; NaN where none was counted.
        columns: The columns of published tables, "Total" last; NaN where none was counted.
        counted: Number of joints that the mean is over.
    """

    mean: float
    per_joint: tuple[float, ...]
    columns: Mapping[str, float]
    counted: int


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
    pred, target = np.asarray(pred, dtype=float), np.asarray(target, dtype=float)
    normaliser = np.asarray(normaliser, dtype=float)
    if pred.shape != target.shape or pred.ndim != 3 or pred.shape[-1] != 2:
        raise ValueError(
            f"pck: pred and target must both be (N, K, 2), got {pred.shape} and {target.shape}"
        )
    counts = np.ones(pred.shape[:2], dtype=bool) if mask is None else np.array(mask, dtype=bool)
    if counts.shape != pred.shape[:2] or normaliser.shape != pred.shape[:1]:
        raise ValueError(
            f"pck: of {pred.shape[0]} people with {pred.shape[1]} joints, mask must be (N, K) and "
            f"normaliser (N,), got {counts.shape} and {normaliser.shape}"
        )
    usable = np.isfinite(normaliser) & (normaliser > 1e-3)
    counts &= usable[:, None] & np.isfinite(target).all(axis=2)
    if not counts.any():
        raise ValueError(
            "pck: nothing to count: no joint is labelled on a person with a usable size"
        )
    placed, right = (np.where(counts[..., None], points, 0) for points in (pred, target))
    error = np.linalg.norm(placed - right, axis=2)
    hit = (error <= threshold * np.where(usable, normaliser, 0)[:, None]) & counts  # NaN: no hit
    per_joint = tuple(_percent(hit[:, k], counts[:, k]) for k in range(pred.shape[1]))
    table = {
        name: _percent(hit[:, list(joints)], counts[:, list(joints)])
        for name, joints in (columns or {}).items()
    }
    mean = _percent(hit, counts)
    return Score(mean, per_joint, {**table, "Total": mean}, int(counts.sum()))


def _percent(hit: Mask, counts: Mask) -> float:
    total = counts.sum()
    return float(100 * hit.sum() / total) if total else math.nan


def lsp_pck(pred: Array, target: Array, mask: Mask | None = None, threshold: float = 0.2) -> Score:
    """PCK of LSP, person-centric: the normaliser is the distance left shoulder - right hip.

    Args:
        pred: (N, 14, 2) in LSP's order of joints; NaN counts as a miss.
        target: (N, 14, 2).
        mask: (N, 14) bool, True where a joint is labelled; all if None. People without a labelled
            left shoulder or right hip have no normaliser and are not counted.
        threshold: Share of the normaliser.

    Returns:
        The mean over all counted joints and the columns Head (neck, head top), Shoulder, Elbow,
        Wrist, Hip, Knee, Ankle, Total of the published tables.

    Raises:
        ValueError: For other shapes.
    """
    target = np.asarray(target, dtype=float)
    if target.ndim != 3 or target.shape[1:] != (LSP14.num_keypoints, 2):
        raise ValueError(f"lsp_pck: target must be (N, 14, 2), got {target.shape}")
    shoulder, hip = LSP14.joints.index("left shoulder"), LSP14.joints.index("right hip")
    normaliser = np.linalg.norm(target[:, shoulder] - target[:, hip], axis=1)
    if mask is not None:
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != target.shape[:2]:
            raise ValueError(f"lsp_pck: mask must be {target.shape[:2]}, got {mask.shape}")
        known = mask[:, [shoulder, hip]].all(axis=1)
        normaliser = np.where(known, normaliser, np.nan)
    columns = {
        name: tuple(LSP14.joints.index(joint) for joint in joints)
        for name, joints in LSP_COLUMNS.items()
    }
    return pck(pred, target, normaliser, mask, threshold, columns)
