"""PCK by hand, its guards, and parity with a plain loop."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat

from gatedpose.evaluation.metrics import (
    AVERAGINGS,
    Averaging,
    Score,
    area_under_curve,
    lsp_pck,
    pck,
    pckh,
)

NAN = math.nan
TARGET = np.array([[[0.0, 0], [10, 0], [0, 20]], [[5, 5], [50, 5], [5, 90]]])
MASK = np.array([[True, True, False], [True, True, True]])
SIZES = np.array([10.0, 40.0])
COLUMNS = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total")


def moved(errors: list[list[float]]) -> np.ndarray:
    """Predictions that miss by so much, in 3-4-5 directions."""
    return TARGET + np.array(errors)[..., None] * np.array([0.6, -0.8])


# By hand


def test_pck_by_hand() -> None:
    pred = moved([[1, 3, 0], [7.5, 8.5, 100]])  # the reach is 2 and 8
    score = pck(pred, TARGET, SIZES, MASK, columns={"First": (0,), "Others": (1, 2)})
    assert score.per_joint == (100, 0, 0)
    assert score.mean == pytest.approx(100 * 2 / 5)
    assert score.counted == 5
    assert dict(score.columns) == {"First": 100, "Others": 0, "Total": score.mean}
    assert list(score.columns)[-1] == "Total"


def test_without_a_mask_every_joint_counts() -> None:
    score = pck(moved([[1, 3, 0], [7.5, 8.5, 100]]), TARGET, SIZES)
    assert score.per_joint == (100, 0, 50)
    assert score.counted == 6
    assert dict(score.columns) == {"Total": 50}


@pytest.mark.parametrize(("error", "right"), [(2.0, 100), (2.0000001, 0), (1.9999, 100)])
def test_the_threshold_itself_is_a_hit(error: float, right: float) -> None:
    target = np.zeros((2, 3, 2))
    pred = target.copy()
    pred[..., 1] = error
    assert pck(pred, target, np.array([10.0, 10.0]), threshold=0.2).mean == right


def test_what_was_never_counted_is_nan() -> None:
    mask = np.array([[True, False, False], [True, True, False]])
    columns = {"Both": (0, 2), "Never": (2,)}
    score = pck(TARGET, TARGET, SIZES, mask, columns=columns)
    assert score.per_joint[:2] == (100, 100)
    assert math.isnan(score.per_joint[2])
    assert math.isnan(score.columns["Never"])
    assert score.columns["Both"] == score.mean == 100


@pytest.mark.parametrize(
    ("mask", "sizes"),
    [
        (np.zeros((2, 3), dtype=bool), SIZES),
        (MASK, np.array([0.0, NAN])),
        (np.array([[True, True, True], [False, False, False]]), np.array([NAN, 40.0])),
        (np.zeros((0, 3), dtype=bool), np.zeros(0)),
    ],
)
def test_nothing_to_count(mask: np.ndarray, sizes: np.ndarray) -> None:
    people = TARGET[: len(mask)]
    with pytest.raises(ValueError, match="nothing to count"):
        pck(people, people, sizes, mask)


@pytest.mark.parametrize(
    ("pred", "target", "sizes", "mask", "message"),
    [
        ((2, 3, 2), (2, 4, 2), (2,), None, r"got \(2, 3, 2\) and \(2, 4, 2\)"),
        ((2, 3, 3), (2, 3, 3), (2,), None, r"must both be \(N, K, 2\)"),
        ((3, 2), (3, 2), (3,), None, r"must both be \(N, K, 2\)"),
        ((2, 3, 2), (2, 3, 2), (3,), None, r"2 people with 3 joints.*and \(3,\)"),
        ((2, 3, 2), (2, 3, 2), (2, 1), None, r"normaliser \(N,\)"),
        ((2, 3, 2), (2, 3, 2), (2,), (2, 2), r"got \(2, 2\)"),
        ((2, 3, 2), (2, 3, 2), (2,), (3,), r"mask must be \(N, K\)"),
    ],
)
def test_shapes_that_do_not_fit(pred, target, sizes, mask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pck(*map(np.ones, (pred, target, sizes)), None if mask is None else np.ones(mask, bool))


def test_arguments_are_not_changed() -> None:
    pred, target, sizes, mask = TARGET + 1, TARGET.copy(), np.array([NAN, 40]), MASK.copy()
    pck(pred, target, sizes, mask)
    assert np.array_equal(mask, MASK)
    assert np.array_equal(target, TARGET)
    assert np.array_equal(pred, TARGET + 1)


# LSP


def lsp_people() -> np.ndarray:
    """Two people whose left shoulder is 50 and 10 pixels from their right hip."""
    target = np.random.default_rng(0).uniform(0, 200, (2, 14, 2))
    target[:, 2] = 100  # right hip
    target[0, 9] = 130, 60  # left shoulder
    target[1, 9] = 106, 92
    return target


def test_lsp_pck_by_hand() -> None:
    target = lsp_people()
    pred = target.copy()
    pred[0, [0, 5, 6]] += (9.9, 0)  # hits: the reach is 10
    pred[0, [13, 11]] += (0, 10.1)
    pred[1, [12, 0]] += (0, 1.9)  # the reach is 2
    pred[1, [1, 4]] += (2.1, 0)
    mask = np.ones((2, 14), dtype=bool)
    mask[1, 4] = mask[1, 13] = False
    score = lsp_pck(pred, target, mask)
    assert score.counted == 26
    assert score.mean == pytest.approx(100 * 23 / 26)
    assert tuple(score.columns) == COLUMNS
    right = [200 / 3, 100, 100, 75, 100, 200 / 3, 100, 2300 / 26]
    assert list(score.columns.values()) == pytest.approx(right)
    assert lsp_pck(pred, target, mask, threshold=0.25).mean == 100


@pytest.mark.parametrize("joint", [9, 2])
def test_lsp_person_without_a_normaliser_is_not_counted(joint: int) -> None:
    target = lsp_people()
    mask = np.ones((2, 14), dtype=bool)
    mask[0, joint] = False
    pred = target.copy()
    pred[0] += 1000
    score = lsp_pck(pred, target, mask)
    assert score.counted == 14
    assert score.mean == 100
    assert score.metric == "PCK@0.2 (normaliser: left shoulder - right hip of 1 people)"
    mask[0, joint], mask[0, 0] = True, False  # another joint alone is left out
    score = lsp_pck(pred, target, mask)
    assert (score.counted, score.metric[-10:]) == (27, "right hip)")
    target[0, joint] = target[0, 11 - joint]  # the torso is a point
    score = lsp_pck(pred, target)
    assert score.counted == 14
    assert score.metric.endswith("right hip of 1 people)")


@pytest.mark.parametrize(
    ("pred", "target", "mask"),
    [
        ((2, 16, 2), (2, 16, 2), None),
        ((14, 2), (14, 2), None),
        ((2, 13, 2), (2, 14, 2), None),
        ((2, 14, 2), (2, 14, 2), (2, 5)),
        ((2, 14, 2), (2, 14, 2), (14,)),
        ((2, 14, 2), (2, 14, 2), (3, 14)),
    ],
)
def test_lsp_shapes(
    pred: tuple[int, ...], target: tuple[int, ...], mask: tuple[int, ...] | None
) -> None:
    with pytest.raises(ValueError, match=r"must (both )?be .*got"):
        lsp_pck(np.ones(pred), np.ones(target), None if mask is None else np.ones(mask, dtype=bool))


# PCKh

HEADS = np.array([[10.0, 10, 40, 50], [0, 0, 6, 8]])  # head sizes 30 and 6, half of them 15 and 3
MISSING = np.zeros((2, 16), dtype=bool)
MISSING[0, [6, 9]] = MISSING[1, [0, 8]] = True


def mpii_people() -> tuple[np.ndarray, np.ndarray]:
    """Predictions and annotations of two people."""
    target = np.random.default_rng(0).uniform(0, 100, (2, 16, 2))
    pred = target.copy()
    pred[0, [0, 1, 7]] += (15.1, 0)  # misses: right ankle, right knee, thorax
    pred[0, [2, 8]] += (9, -12)  # at 15, the threshold itself or just below
    pred[0, [6, 9]] += 500  # not annotated
    pred[1, [9, 7]] += (0, 3.1)  # misses: head top, thorax
    pred[1, 12] = NAN  # miss: right shoulder
    pred[1, 13] += (0, 2.9)
    return pred, target


@pytest.mark.parametrize(
    ("averaging", "head", "mean"),
    [
        ("hrnet", 0, 100 * (28 - 3 - 4) / (28 - 3)),  # of 14 joints of two people, three missing
        ("official", 50, 100 * (0 * 2 + 0.5 * 2 + 10) / 14),
        ("pooled16", 0, 100 * (32 - 4 - 6) / (32 - 4)),
    ],
)
def test_pckh_by_hand(averaging: Averaging, head: float, mean: float) -> None:
    pred, target = mpii_people()
    score = pckh(pred, target, HEADS, MISSING, 0.5000001, averaging)
    rates = [100.0] * 16
    rates[0] = rates[9] = rates[7] = 0
    rates[1] = rates[12] = 50
    assert score.per_joint == tuple(rates)
    assert score.counted == 28
    assert score.mean == pytest.approx(mean)
    assert tuple(score.columns) == COLUMNS
    right = [head, 75, 100, 100, 100, 75, 50, mean]
    assert list(score.columns.values()) == pytest.approx(right)


def test_pckh_leaves_out_heads_without_size() -> None:
    pred, target = mpii_people()
    boxes = HEADS.copy()
    boxes[0, 2:] = boxes[0, :2]
    for averaging in AVERAGINGS:
        score = pckh(pred, target, boxes, MISSING, averaging=averaging)
        assert score.counted == 14
    with pytest.raises(ValueError, match="nothing to count"):
        pckh(pred, target, boxes * 0, MISSING)


@pytest.mark.parametrize(
    ("heads", "missing", "text"),
    [
        (HEADS.reshape(2, 2, 2), MISSING, r"head_boxes must be \(N, 4\) .*got \(2, 2, 2\)"),
        (HEADS, MISSING.astype(float), r"missing \(N, 16\) bool, got .*float64"),
        (HEADS, MISSING[:, :14], r"\(2, 14\)"),
        (HEADS[:1], MISSING, r"\(1, 4\)"),
    ],
)
def test_pckh_shapes(heads: np.ndarray, missing: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        pckh(*mpii_people(), heads, missing)
    with pytest.raises(ValueError, match="must both be"):
        pckh(np.ones((2, 14, 2)), mpii_people()[1], HEADS, MISSING)


def test_unknown_averaging_is_named() -> None:
    with pytest.raises(ValueError, match="averaging must be one of 'hrnet'"):
        pckh(*mpii_people(), HEADS, MISSING, averaging="mean")  # type: ignore[arg-type]


PUBLISHED = {  # hrnet, official, pooled16, hrnet at 0.1, the columns
    "bearpaw-hg_s1_b1": (
        (85.085, 84.461, 86.209, 22.810),
        (95.12, 93.61, 85.53, 79.56, 84.51, 78.28, 73.38),
    ),
    "bearpaw-hg_s2_b1": (
        (87.299, 86.757, 88.196, 23.914),
        (95.80, 94.57, 88.12, 83.31, 86.24, 80.88, 77.44),
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_pckh_of_published_predictions(name: str, fixtures: Path) -> None:
    truth = loadmat(fixtures / "mpii" / "detections_our_format.mat")
    pred = loadmat(fixtures / "mpii" / f"{name}.mat")["preds"]
    boxes = truth["headboxes_src"].transpose(2, 0, 1).reshape(-1, 4)
    given = truth["pos_gt_src"].transpose(2, 0, 1), boxes, truth["jnt_missing"].T > 0
    (*totals, strict), columns = PUBLISHED[name]
    for averaging, total in zip(AVERAGINGS, totals, strict=True):
        score = pckh(pred, *given, averaging=averaging)
        assert score.mean == pytest.approx(total, abs=1e-3)
        shown = list(score.columns.values())[0 if averaging != "official" else 1 : 7]
        assert shown == pytest.approx(list(columns)[-len(shown) :], abs=0.005)
    assert pckh(pred, *given, threshold=0.1).mean == pytest.approx(strict, abs=1e-3)


def test_area_under_curve_by_hand() -> None:
    target = np.zeros((1, 2, 2))
    pred = target + np.array([[[0.25, 0], [0.75, 0]]])  # hits from 0.25 and 0.75 on
    area = area_under_curve(lambda t: pck(pred, target, np.ones(1), None, t), 1.0, steps=8)
    assert area == pytest.approx(100 * (4 * 0.5 + 2 * 1 + 1 / 2) / 8)
    assert area_under_curve(lambda t: pck(target, target, np.ones(1), None, t)) == 100


# Parity and laws


def random_people(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """With missing predictions, places, sizes and labels."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0, 100, (19, 3, 2))
    pred = target + rng.normal(0, 8, target.shape)
    for points in (pred, target):  # in x, in y or in both
        nowhere = rng.choice([NAN, math.inf, -math.inf], points.shape)
        np.copyto(points, nowhere, where=rng.random(points.shape) < 0.08)
    sizes = rng.choice([0.0, 1e-9, -10.0, NAN, math.inf], 19)
    sizes = np.where(rng.random(19) < 0.3, sizes, rng.uniform(20, 80, 19))
    return pred, target, sizes, rng.random((19, 3)) < 0.7


def loop_pck(
    pred: np.ndarray, target: np.ndarray, sizes: np.ndarray, mask: np.ndarray, threshold: float
) -> tuple[list[int], list[int]]:
    hits, counted = [0, 0, 0], [0, 0, 0]
    for n in range(len(pred)):
        if not 0.001 < sizes[n] < math.inf:
            continue
        for k in range(3):
            x, y = target[n, k]
            if not (mask[n, k] and math.isfinite(x) and math.isfinite(y)):
                continue
            counted[k] += 1
            u, v = pred[n, k]
            if math.sqrt((u - x) ** 2 + (v - y) ** 2) <= threshold * sizes[n]:
                hits[k] += 1
    return hits, counted


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0, 0.1, 0.2, 0.5])
def test_parity_with_a_loop(seed: int, threshold: float) -> None:
    people = random_people(seed)
    hits, counted = loop_pck(*people, threshold)
    score = pck(*people, threshold, columns={"Ends": (0, 2)})
    assert score.counted == sum(counted)
    assert score.mean == pytest.approx(100 * sum(hits) / sum(counted))
    right = [100 * hit / count for hit, count in zip(hits, counted, strict=True)]
    assert score.per_joint == pytest.approx(right)
    ends = 100 * (hits[0] + hits[2]) / (counted[0] + counted[2])
    assert score.columns["Ends"] == pytest.approx(ends)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(19)), st.permutations(range(3)), st.integers(0, 20))
def test_order_of_people_and_joints_does_not_matter(
    people: list[int], joints: list[int], seed: int
) -> None:
    pred, target, sizes, mask = random_people(seed)
    score: Score = pck(pred, target, sizes, mask)
    pick = np.ix_(people, joints)
    other = pck(pred[pick], target[pick], sizes[people], mask[pick])
    assert (other.mean, other.counted) == (score.mean, score.counted)
    assert other.per_joint == tuple(score.per_joint[k] for k in joints)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.1, 10), st.floats(-1000, 1000), st.integers(0, 20))
def test_units_and_origin_do_not_matter(scale: float, shift: float, seed: int) -> None:
    pred, target, sizes, mask = random_people(seed)
    score = pck(pred, target, sizes, mask)
    other = pck(scale * pred + shift, scale * target + shift, scale * sizes, mask)
    assert other == score
