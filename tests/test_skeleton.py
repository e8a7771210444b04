"""Joint orders and flip pairs as the datasets publish them, and what makes a skeleton invalid."""

import pytest

from gatedpose.skeleton import COCO17, LSP14, MPII16, PEOPLE19, SKELETONS, Skeleton

# As in docs/conventions.md, spelt apart from the package.
LEGS = ("r ankle", "r knee", "r hip", "l hip", "l knee", "l ankle")
ARMS = ("r wrist", "r elbow", "r shoulder", "l shoulder", "l elbow", "l wrist")
ORDERS = {
    "mpii16": (*LEGS, "pelvis", "thorax", "upper neck", "head top", *ARMS),
    "lsp14": (*LEGS, *ARMS, "neck", "head top"),
    "coco17": (
        "nose", "l eye", "r eye", "l ear", "r ear", "l shoulder", "r shoulder", "l elbow",
        "r elbow", "l wrist", "r wrist", "l hip", "r hip", "l knee", "r knee", "l ankle", "r ankle",
    ),
}  # fmt: skip
ORDERS["people19"] = (*ORDERS["coco17"], "neck", "head top")
FLIP_PAIRS = {
    "mpii16": {(0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)},
    "lsp14": {(0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)},
    "coco17": {(2, 1), (4, 3), (6, 5), (8, 7), (10, 9), (12, 11), (14, 13), (16, 15)},
}
FLIP_PAIRS["people19"] = FLIP_PAIRS["coco17"]

every = pytest.mark.parametrize(
    "skeleton", [MPII16, LSP14, COCO17, PEOPLE19], ids=lambda one: one.name
)


def test_the_table_holds_every_skeleton_under_its_name() -> None:
    assert SKELETONS == {"mpii16": MPII16, "lsp14": LSP14, "coco17": COCO17, "people19": PEOPLE19}


@every
def test_joint_order(skeleton: Skeleton) -> None:
    sides = {"r": "right", "l": "left"}
    order = [name.split(" ", 1) for name in ORDERS[skeleton.name]]
    assert skeleton.joints == tuple(
        " ".join((sides.get(first, first), *rest)) for first, *rest in order
    )
    assert skeleton.num_keypoints == int(skeleton.name[-2:])


@every
def test_flip_pairs_are_right_and_left_of_one_name(skeleton: Skeleton) -> None:
    assert set(skeleton.flip_pairs) == FLIP_PAIRS[skeleton.name]
    for right, left in skeleton.flip_pairs:
        name = skeleton.joints[right]
        assert name.startswith("right ")
        assert skeleton.joints[left] == name.replace("right", "left")
    paired = {index for pair in skeleton.flip_pairs for index in pair}
    sided = {i for i, name in enumerate(skeleton.joints) if name.startswith(("right ", "left "))}
    assert paired == sided


@every
def test_flip_permutation_is_an_involution(skeleton: Skeleton) -> None:
    flip = skeleton.flip_permutation
    assert tuple(flip[flip[k]] for k in range(skeleton.num_keypoints)) == tuple(range(len(flip)))
    moved = {(k, flip[k]) for k in range(len(flip)) if k < flip[k]}
    assert moved == {(min(pair), max(pair)) for pair in FLIP_PAIRS[skeleton.name]}


@every
def test_limbs_reach_every_joint_and_are_symmetric(skeleton: Skeleton) -> None:
    flip = skeleton.flip_permutation
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert len(limbs) == len(skeleton.limbs)
    assert frozenset.union(*limbs) == set(range(skeleton.num_keypoints))
    assert {frozenset(flip[k] for k in limb) for limb in limbs} == limbs


@pytest.mark.parametrize(
    ("joints", "pairs", "limbs", "message"),
    [
        ((), (), (), "names must be given and differ"),
        (("a", "b", "a"), (), (), "names must be given and differ"),
        (("a", "b", "c"), ((0, 3),), (), "must index 3 joints"),
        (("a", "b", "c"), (), ((-1, 2),), "must index 3 joints"),
        (("a", "b", "c"), (), ((1, 3),), "must index 3 joints"),
        (("a", "b", "c"), ((0, 1), (2, 1)), (), "one flip pair only"),
        (("a", "b", "c"), ((1, 1),), (), "one flip pair only"),
    ],
)
def test_invalid_skeletons(
    joints: tuple[str, ...],
    pairs: tuple[tuple[int, int], ...],
    limbs: tuple[tuple[int, int], ...],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=f"'bad'.*{message}"):
        Skeleton("bad", joints, pairs, limbs)
