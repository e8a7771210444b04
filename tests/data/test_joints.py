"""From one dataset's joints to another's."""

from dataclasses import replace

import pytest
import torch

from gatedpose.batches.crops import Crops
from gatedpose.data.joints import (
    check_known,
    group_means,
    join_skeletons,
    joint_groups,
    named_skeleton,
)
from gatedpose.skeleton import COCO17, LSP14, MPII16, PEOPLE19, Skeleton

LSP_TO_MPII = (
    (0,), (1,), (2,), (3,), (4,), (5,), (2, 3), (8, 9), (12,), (13,),
    (6,), (7,), (8,), (9,), (10,), (11,),
)  # fmt: skip


def test_lsp_becomes_mpii_as_in_the_paper() -> None:
    assert joint_groups(LSP14, MPII16) == LSP_TO_MPII
    points = torch.arange(28.0).view(1, 14, 2)
    converted = group_means(points, LSP_TO_MPII)[0]
    assert converted[6].tolist() == [5.0, 6.0]  # hips at (4, 5) and (6, 7)
    assert converted[7].tolist() == [17.0, 18.0]  # shoulders at (16, 17) and (18, 19)


def test_there_and_back_is_the_same() -> None:
    points = torch.rand(2, 14, 2)
    there = group_means(points, joint_groups(LSP14, MPII16))
    assert torch.equal(group_means(there, joint_groups(MPII16, LSP14)), points)


def test_mirror_images_are_converted_alike() -> None:
    points = torch.rand(2, 14, 2)
    groups = joint_groups(LSP14, MPII16)
    first = group_means(points[:, list(LSP14.flip_permutation)], groups)
    torch.testing.assert_close(first, group_means(points, groups)[:, list(MPII16.flip_permutation)])


def test_a_mean_is_labelled_where_both_are() -> None:
    labelled = torch.ones(2, 14, dtype=torch.bool)
    labelled[0, 3] = labelled[1, 12] = False
    crops = Crops(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.rand(2, 14, 2), labelled)
    converted = crops.with_joints(joint_groups(LSP14, MPII16))
    assert (~converted.labelled).nonzero().tolist() == [[0, 3], [0, 6], [1, 8]]
    assert converted.images is crops.images
    assert crops.with_joints(joint_groups(LSP14, LSP14)) is crops


def test_joints_that_are_missing_are_named() -> None:
    with pytest.raises(ValueError, match="coco17 has no upper neck, head top, which mpii16 needs"):
        joint_groups(COCO17, MPII16)
    paws = Skeleton("paws", ("right hip", "paw"), (), ())
    with pytest.raises(ValueError, match="lsp14 has no paw, which paws needs"):
        joint_groups(LSP14, paws)


def test_a_set_may_lack_joints_where_it_is_asked_for() -> None:
    groups = joint_groups(LSP14, PEOPLE19, partly=True)
    assert groups[:5] == ((), (), (), (), ())  # the face
    assert [LSP14.joints[k] for (k,) in groups[5:]] == list(PEOPLE19.joints[5:])
    crops = Crops(
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
        torch.rand(2, 14, 2),
        torch.ones(2, 14, dtype=torch.bool),
    ).with_joints(groups)
    assert not crops.labelled[:, :5].any()
    assert crops.labelled[:, 5:].all()
    strange = Skeleton("kite", ("tip", "tail"), (), ())
    with pytest.raises(ValueError, match="kite and lsp14 share no joint"):
        joint_groups(strange, LSP14, partly=True)


def test_skeletons_join_by_name() -> None:
    assert join_skeletons([LSP14, PEOPLE19, COCO17]) == PEOPLE19
    one = Skeleton("one", ("left a", "right a", "b"), ((1, 0),), ((0, 2),))
    two = Skeleton("two", ("b", "left c", "right c"), ((2, 1),), ((0, 1),))
    both = join_skeletons([one, two])
    assert both.joints == ("left a", "right a", "b", "left c", "right c")
    assert both.flip_pairs == ((1, 0), (4, 3))
    assert both.limbs == ((0, 2), (2, 3))
    assert both.name == "one+two"
    assert join_skeletons([one, replace(two, name="one"), one]).name == "one"
    with pytest.raises(ValueError, match=r"kite .*shares no joint"):
        join_skeletons([one, two, Skeleton("kite", ("tip",), (), ())])
    with pytest.raises(ValueError, match="joined by name, but 'left c' and 'LEFTC' differ"):
        join_skeletons([two, Skeleton("three", ("b", "LEFTC"), (), ())])

    with pytest.raises(ValueError, match="the flip pairs of one and plain differ"):
        join_skeletons([Skeleton("plain", one.joints, (), ()), one])


def test_joints_that_nobody_knows_are_named() -> None:
    check_known(LSP14, PEOPLE19)
    check_known(MPII16, PEOPLE19)  # pelvis and thorax are left out, but known
    check_known(Skeleton("paws", ("right hip", "left_knee"), (), ()), PEOPLE19)
    paws = Skeleton("paws", ("right hip", "left kne"), (), ())
    with pytest.raises(ValueError, match=r"paws has a joint 'left kne', .* did you mean left knee"):
        check_known(paws, PEOPLE19)


def test_joints_are_the_same_however_they_are_written() -> None:
    """Wherever sets, networks and metrics meet; but names of one set stay apart."""
    mixed = Skeleton("mixed", ("tail", "RightEar", "left_ear"), ((1, 2),), ())
    assert joint_groups(COCO17, mixed, partly=True) == ((), (4,), (3,))
    assert joint_groups(mixed, COCO17, partly=True)[3:5] == ((2,), (1,))
    assert joint_groups(LSP14, Skeleton("one", ("Upper_Neck",), (), ())) == ((12,),)
    for both in ([mixed, COCO17], [COCO17, mixed]):
        joined = join_skeletons(both)
        assert set(joined.joints) == {*COCO17.joints, "tail"}
        assert {frozenset(joined.joints[end] for end in pair) for pair in joined.flip_pairs} >= {
            frozenset(("left ear", "right ear"))
        }
    assert join_skeletons([mixed, mixed]) == mixed
    wings = Skeleton("wings", ("wing+", "wing-"), (), ())
    assert join_skeletons([wings, wings]) == wings
    assert joint_groups(wings, wings) == ((0,), (1,))
    with pytest.raises(ValueError, match="share no joint"):
        joint_groups(Skeleton("wing", ("wing",), (), ()), wings, partly=True)


def test_a_skeleton_in_another_order_keeps_its_pairs_and_limbs() -> None:
    joints = [name.replace(" ", "_") for name in reversed(LSP14.joints)]
    named = named_skeleton(joints, LSP14)
    assert named.joints == tuple(joints)
    assert named.flip_pairs[0] == (13 - LSP14.flip_pairs[0][0], 13 - LSP14.flip_pairs[0][1])
    assert named_skeleton(LSP14.joints, COCO17) == LSP14
