"""PCK of the torso and mean OKS, by hand."""

import math

import numpy as np
import pytest

from gatedpose.evaluation.people import mean_oks, torso_pck
from gatedpose.skeleton import COCO17, PEOPLE19

PLACE = {name: k for k, name in enumerate(PEOPLE19.joints)}


def people() -> tuple[np.ndarray, np.ndarray]:
    """Two people whose torsos are 50 and 10 px across, from left shoulder to right hip."""
    target = np.random.default_rng(0).uniform(0, 100, (2, 19, 2))
    for person, (x, y) in enumerate(((30.0, 40.0), (6.0, 8.0))):
        target[person, PLACE["left shoulder"]] = (20, 20)
        target[person, PLACE["right hip"]] = (20 + x, 20 + y)
    return target, np.ones((2, 19), dtype=bool)


def test_hits_within_a_fifth_of_the_torso() -> None:
    target, mask = people()
    pred = target + np.array((9.99, 0.0))  # 0.2 of the first torso, all of the second
    score = torso_pck(pred, target, mask, PEOPLE19)
    assert score.mean == score.columns["Limbs"] == score.columns["Head"] == 50
    assert "the torso of 2 people" in score.metric
    assert list(score.columns) == [
        "Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Limbs", "Total",
    ]  # fmt: skip
    assert "Head" not in torso_pck(pred[:, :17], target[:, :17], mask[:, :17], COCO17).columns


def test_the_other_diagonal_stands_in_and_people_without_either_are_not_counted() -> None:
    target, mask = people()
    mask[:, PLACE["left shoulder"]] = False
    target[0, PLACE["right shoulder"]], target[0, PLACE["left hip"]] = (0, 0), (0, 100)
    mask[1, PLACE["left hip"]] = False
    score = torso_pck(target + np.array((0.0, 19.99)), target, mask, PEOPLE19)
    assert (score.mean, score.counted) == (100.0, 18)
    assert "the torso of 1 people" in score.metric
    assert torso_pck(target + np.array((0.0, 20.1)), target, mask, PEOPLE19).mean == 0


def test_people_whose_torso_is_a_point_are_not_told_as_counted() -> None:
    target, mask = people()
    target[1, PLACE["right hip"]] = target[1, PLACE["left shoulder"]]
    score = torso_pck(target, target, mask, PEOPLE19)
    assert score.counted == 19
    assert "the torso of 1 people" in score.metric


def test_similarity_by_the_formula() -> None:
    target, mask = people()
    mask[:] = False
    mask[0, [PLACE["left wrist"], PLACE["nose"]]] = True  # the nose is no limb
    pred = target.copy()
    pred[0, PLACE["left wrist"]] += (3, 4)
    pred[0, PLACE["nose"]] += 1000
    wanted = math.exp(-25 / (2 * 400 * (2 * 0.062) ** 2))
    areas = np.array([400.0, 100.0])
    assert mean_oks(pred, target, mask, areas, PEOPLE19) == pytest.approx(100 * wanted)
    pred[0, PLACE["left wrist"]] = np.nan
    assert mean_oks(pred, target, mask, areas, PEOPLE19) == 0
    assert math.isnan(mean_oks(pred, target, np.zeros_like(mask), areas, PEOPLE19))
