"""Poses are drawn at the right pixel, in the right colour."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from gatedpose.media import drawing
from gatedpose.media.drawing import draw_people
from gatedpose.pose import Pose
from gatedpose.skeleton import Skeleton

H, W = 12, 20
CHAIN = Skeleton("chain3", ("right a", "left b", "c"), ((0, 1),), ((0, 2),))


@pytest.fixture
def photo() -> np.ndarray:
    """Noise."""
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def planes(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


Scene = tuple[Tensor, Pose, Pose]


@pytest.fixture
def scene() -> Scene:
    """A grey image (3, 60, 90) with two people of three joints."""
    first, second = (
        Pose(np.array(points, np.float32), np.ones(3, np.float32), np.array(box), CHAIN)
        for points, box in (
            ([[10.5, 20.5], [40.5, 50.5], [30.5, 20.5]], [4, 10, 44, 56]),
            ([[70.5, 10.5], [80.5, 40.5], [70.5, 30.5]], [60, 2, 86, 50]),
        )
    )
    return torch.full((3, 60, 90), 77, dtype=torch.uint8), first, second


def unseen(pose: Pose) -> Pose:
    return replace(pose, scores=pose.scores * 0)


def changed(picture: Tensor) -> Tensor:
    return (picture != 77).any(dim=0)


def test_draws_joints_and_limbs_where_they_are(scene: Scene) -> None:
    image, *poses = scene
    before = image.clone()
    picture = draw_people(image, poses, scale=1)
    assert picture.shape == image.shape
    assert picture.dtype == torch.uint8
    assert torch.equal(image, before)
    for x, y, side in ((10, 20, "right"), (40, 50, "left"), (30, 20, "middle"), (80, 40, "left")):
        assert tuple(picture[:, y, x].tolist()) == drawing.COLOURS[side]
    marks = changed(picture)
    assert marks[20, 10:31].all()  # the limb of the first person
    assert marks[10:31, 70].all()  # and of the second
    assert not marks[:, 48:64].any()  # nothing between the two people
    rows, columns = torch.where(marks[:, 35:48])  # the joint without a limb is centred on itself
    assert (rows.double().mean() + 0.5).item() == pytest.approx(50.5, abs=0.05)
    assert (columns.double().mean() + 35.5).item() == pytest.approx(40.5, abs=0.05)


@pytest.mark.parametrize("names", ["left b,right a,c", "RightA,LeftB,c", "rechte a,linke b,c"])
def test_sides_are_those_of_names_else_of_flip_pairs(names: str, scene: Scene) -> None:
    image, first, _ = scene
    own = replace(CHAIN, joints=tuple(names.split(",")))
    picture = draw_people(image, [replace(first, skeleton=own)], scale=1)
    sides = ["left", "right", "middle"] if names[0] == "l" else ["right", "left", "middle"]
    for (x, y), side in zip(((10, 20), (40, 50), (30, 20)), sides, strict=True):
        assert tuple(picture[:, y, x].tolist()) == drawing.COLOURS[side]


@pytest.mark.parametrize("bad", ["unsure", "NaN score", "NaN point", "infinite point"])
def test_joints_left_out(bad: str, scene: Scene) -> None:
    image, *poses = scene
    first = poses[0]
    if "score" in bad or bad == "unsure":
        first.scores[0] = math.nan if "NaN" in bad else 0.09
    else:
        first.keypoints[0, 1] = math.nan if "NaN" in bad else math.inf
    picture = draw_people(image, poses, scale=10)
    assert not changed(picture)[:, :240].any()  # neither the joint nor the limb to it
    assert changed(picture)[205, 305]
    assert changed(picture)[205, 705]  # the other person is whole
    first.keypoints[0], first.scores[0] = first.keypoints[1], 0  # it has no say in the width either
    assert torch.equal(picture, draw_people(image, poses, scale=10))


def test_joints_that_are_not_sure_are_hollow(scene: Scene) -> None:
    image, first, _ = scene
    first.scores[1] = 0.15  # the joint without a limb, at (40.5, 50.5)
    marks = changed(draw_people(image, [first], scale=10))
    assert not marks[504:507, 404:407].any()
    assert marks[505, 398:404].any()
    assert marks[505, 407:413].any()


def test_scores_are_written_on_boxes(scene: Scene) -> None:
    image, first, second = scene
    nobody = [unseen(first), unseen(second)]
    plain = draw_people(image, nobody, boxes=True, scale=1)
    scored = [replace(nobody[0], box_score=0.75), nobody[1]]
    picture = draw_people(image, scored, boxes=True, scale=1)
    rows, columns = torch.where((picture != plain).any(dim=0))
    assert rows.min() >= 8
    assert rows.max() < 30
    assert columns.min() >= 2
    assert columns.max() < 44


def test_large_images_are_drawn_to_the_pixel_in_the_colour_of_the_side(scene: Scene) -> None:
    image = torch.full((3, 2050, 2100), 77, dtype=torch.uint8)  # too large for smooth edges
    points = np.array([[10.5, 20.5], [60.5, 20.5], [10.5, 70.5]])
    fork = Skeleton("fork3", CHAIN.joints, (), ((0, 1), (0, 2)))
    picture = draw_people(image, [replace(scene[1], keypoints=points, skeleton=fork)])
    for strip, side, place in ((picture[:, :, 30], "middle", 20), (picture[:, 40], "right", 10)):
        found = [i for i, rgb in enumerate(strip.T.tolist()) if tuple(rgb) == drawing.COLOURS[side]]
        assert place in found
        assert len(found) == 2


def test_min_score_is_inclusive_and_fill_shows_the_score(scene: Scene) -> None:
    image, first, _ = scene
    colour = torch.tensor(drawing.COLOURS["left"], dtype=torch.uint8)[:, None, None]
    filled = []
    for score in (0.25, 0.6, 1.0):
        first.scores[1] = score
        picture = draw_people(image, [first], min_score=0.25, scale=10)[:, 400:600, 350:480]
        filled.append(int((picture == colour).all(dim=0).sum()))
    assert 0 < filled[0] < filled[1] < filled[2]


@pytest.mark.parametrize(
    ("size", "scale", "factor"),
    [((60, 90), None, 6), ((60, 90), 2, 2), ((256, 100), None, 2), ((20, 512), None, 1)],
)
def test_small_images_are_enlarged(
    size: tuple[int, int], scale: int | None, factor: int, scene: Scene
) -> None:
    image = torch.full((3, *size), 77, dtype=torch.uint8)
    pose = replace(scene[1], keypoints=np.array([[5.5, 5.5], [9.5, 8.5], [50.25, 10.75]]))
    picture = draw_people(image, [pose], scale=scale)
    assert picture.shape == (3, factor * size[0], factor * size[1])
    x, y = int(50.25 * factor), int(10.75 * factor)
    assert tuple(picture[:, y, x].tolist()) == drawing.COLOURS["middle"]


def test_boxes(scene: Scene) -> None:
    image, *poses = scene
    marks = changed(draw_people(image, map(unseen, poses), boxes=True, scale=1))
    assert torch.where(marks.any(dim=0))[0][[0, -1]].tolist() == pytest.approx([4, 86], abs=2)
    assert torch.where(marks.any(dim=1))[0][[0, -1]].tolist() == pytest.approx([2, 56], abs=2)
    assert not marks[14:52, 8:40].any()
    assert not marks[6:46, 64:82].any()


def test_nobody_changes_nothing_and_far_points_are_harmless(
    photo: np.ndarray, scene: Scene
) -> None:
    far = replace(scene[1], keypoints=np.full((3, 2), 1e12))
    for poses in ([], [far]):
        assert torch.equal(draw_people(photo, poses, scale=1), planes(photo))


def test_contact_sheet(photo: np.ndarray) -> None:
    sheet = drawing.contact_sheet([photo, 255 - photo, photo], columns=2)
    assert sheet.dtype == torch.uint8
    assert sheet.shape == (3, 2 * (H + 4) + 4, 2 * (W + 4) + 4)
    assert torch.equal(sheet[:, 4 : 4 + H, W + 8 : 2 * W + 8], planes(255 - photo))
    assert torch.equal(sheet[:, H + 8 : 2 * H + 8, 4 : 4 + W], planes(photo))
    assert (sheet[:, H + 8 :, W + 8 :] == 255).all()
