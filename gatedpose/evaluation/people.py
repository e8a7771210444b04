"""Scores of everyday people, half of whom may be out of sight."""

import math
from dataclasses import replace

import numpy as np

from gatedpose.evaluation.metrics import (
    SHORTEST,
    Array,
    Mask,
    Score,
    limb_columns,
    pck,
    torso_lengths,
)
from gatedpose.skeleton import Skeleton

# COCO's spread of what annotators mark, as a share of the root of a person's
# area: twice its sigma.
OKS_SPREAD = {
    "Shoulder": 2 * 0.079, "Elbow": 2 * 0.072, "Wrist": 2 * 0.062,
    "Hip": 2 * 0.107, "Knee": 2 * 0.087, "Ankle": 2 * 0.089,
}  # fmt: skip


def torso_pck(
    pred: Array, target: Array, mask: Mask, skeleton: Skeleton, threshold: float = 0.2
) -> Score:
    """PCK of people whose half may be out of sight: the normaliser is the torso's diagonal.

    That is left shoulder - right hip as for LSP, or right shoulder - left hip where the first is
    not labelled. People with neither are not counted. Arguments are as of `lsp_pck`, of K joints
    with the limbs'. The columns are Head (whatever of neck and head top there is), those of the
    limbs, Limbs (the twelve together) and Total.
    """
    target, mask = np.asarray(target, dtype=float), np.asarray(mask, dtype=bool)
    normaliser = torso_lengths(target, mask, skeleton)
    limbs = limb_columns(skeleton)
    head = tuple(k for k, name in enumerate(skeleton.joints) if name in ("neck", "head top"))
    columns = {"Head": head} if head else {}
    columns |= {**limbs, "Limbs": tuple(k for pair in limbs.values() for k in pair)}
    score = pck(pred, target, normaliser, mask, threshold, columns)
    people = int(((normaliser > SHORTEST) & mask.any(axis=1)).sum())
    return replace(score, metric=f"{score.metric} (normaliser: the torso of {people} people)")


def mean_oks(pred: Array, target: Array, mask: Mask, areas: Array, skeleton: Skeleton) -> float:
    """COCO's object keypoint similarity over the twelve joints of the limbs, mean over people.

    Arrays are (N, K, 2), the mask (N, K) bool, areas (N,) in square pixels. What is predicted and
    not finite has a similarity of 0; people without a joint that counts do not count. Returns per
    cent, NaN if nobody counts.
    """
    limbs = limb_columns(skeleton)
    joints = [k for pair in limbs.values() for k in pair]
    spread = np.repeat([OKS_SPREAD[name] for name in limbs], 2)
    error = np.linalg.norm(np.asarray(pred, float) - np.asarray(target, float), axis=2)[:, joints]
    counts = np.asarray(mask, dtype=bool)[:, joints]
    scale = spread**2 * np.asarray(areas, float)[:, None]
    alike = np.nan_to_num(np.exp(-(error**2) / (2 * scale)))
    people = counts.any(axis=1)
    means = (alike * counts).sum(axis=1)[people] / counts.sum(axis=1)[people]
    return float(100 * means.mean()) if people.any() else math.nan
