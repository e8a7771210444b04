"""A person's joints, drawn and handed to others."""

import json
import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gatedpose
from gatedpose.errors import InputTypeError
from gatedpose.evaluation.reports import pose_text
from gatedpose.pose import Pose, draw, to_supervision
from gatedpose.skeleton import PEOPLE19, Skeleton

H, W = 60, 90
THREE = Skeleton("three", ("right dot", "left dot", "middle dot"), ((0, 1),), ((0, 2), (1, 2)))


def test_joints_that_are_not_found_are_marked() -> None:
    points = np.array([[10, 20], [30, 20], [20, 35]], np.float32)
    scores = np.array([0.9, 0.34, 0.1], np.float32)
    pose = Pose(points, scores, np.array([0, 0, 40, 40], np.float32), THREE, trust=0.35)
    assert pose.found.tolist() == [True, False, False]
    facts = json.loads(json.dumps(pose.to_dict()))
    assert facts["unsure"] == list(THREE.joints[1:])
    assert Pose.from_dict(facts, THREE).found.tolist() == [True, False, False]
    nearly = replace(pose, scores=np.array([0.9, 0.3496, 0.1], np.float32)).to_dict()
    assert nearly["unsure"] == ["middle dot"]  # as whoever reads 0.35 finds it
    text = pose_text({"image": "a.jpg", "picture": "-", "poses": [facts]}).splitlines()
    assert [line.endswith("not found") for line in text[2:]] == [False, True, True]
    black = Image.new("RGB", (40, 40))
    drawn = np.asarray(pose.draw(black))
    assert drawn[20, 10].any()
    assert not drawn[20, 30].any()  # hollow, and so no limb from the first joint
    assert drawn[15:26, 25:36].any()  # but a ring about it
    assert not drawn[35, 20].any()
    assert np.asarray(pose.draw(black, min_score=0.1))[35, 20].any()


def test_a_pose_draws_itself(tmp_path: Path) -> None:
    keypoints = np.array([[20.5, 20.5], [60.5, 20.5], [40.5, 50.5]], np.float32)
    box = np.array([10, 10, 80, 55], np.float32)
    pose = Pose(keypoints, np.ones(3, np.float32), box, THREE, box_score=0.5)
    grey = np.full((H, W, 3), 77, np.uint8)
    picture = pose.draw(grey)
    assert picture.size == (W, H)
    assert picture.getpixel((40, 50)) == (110, 225, 90)
    assert (grey == 77).all()
    boxed = np.asarray(pose.draw(picture, box=True))
    other = replace(pose, keypoints=keypoints + 5, trust=0.5)
    both = np.asarray(gatedpose.draw(grey, [pose, other]))
    assert np.abs(both - np.asarray(other.draw(picture), float)).mean() < 1
    assert (np.asarray(gatedpose.draw(grey, [])) == grey).all()
    blue = np.full((H, W, 3), (255, 0, 0), np.uint8)  # as OpenCV has it
    assert gatedpose.draw(blue, [pose], channels="bgr").getpixel((1, 1)) == (0, 0, 255)
    assert (boxed != np.asarray(picture)).any()
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size


# What others take


TRIPLE = Pose(
    np.array([[10.5, 20.5], [1.0, 2.0], [0.5, 0.5]], dtype=np.float32),
    np.array([0.9, 0.3, 0.6], dtype=np.float32),
    np.array([0, 0, 30, 40], dtype=np.float32),
    Skeleton("trio", ("a", "b", "c"), (), ()),
)


def test_pose_for_numpy_and_coco() -> None:
    assert TRIPLE.to_numpy().tolist() == pytest.approx(
        np.array([[10.5, 20.5, 0.9], [1, 2, 0.3], [0.5, 0.5, 0.6]])
    )
    assert TRIPLE.to_coco(7, category_id=3) == {
        "image_id": 7,
        "category_id": 3,
        "keypoints": pytest.approx([10, 20, 0.9, 0.5, 1.5, 0.3, 0, 0, 0.6], abs=1e-4),
        "score": pytest.approx(0.6, abs=1e-6),
    }
    json.dumps(TRIPLE.to_coco("a.jpg"))
    assert json.loads(json.dumps(TRIPLE.to_coco(np.int64(7), np.int32(3))))["image_id"] == 7


def test_coco_gets_its_joints_in_its_order() -> None:
    points = np.arange(38, dtype=np.float32).reshape(19, 2) + np.float32(0.7)
    scores = np.linspace(0, 0.18, 19, dtype=np.float32)[::-1]
    names = tuple(name.title().replace(" ", "") for name in PEOPLE19.joints[::-1])  # "LeftEye"
    mixed = Skeleton("mixed", names, (), ())
    row = Pose(points[::-1], scores[::-1], TRIPLE.box, mixed).to_coco(1)
    assert row["keypoints"][:6] == [0.2, 1.2, 0.18, 2.2, 3.2, 0.17]
    assert (len(row["keypoints"]), row["score"]) == (51, pytest.approx(0.1))


def test_poses_are_compared_by_their_numbers() -> None:
    same = pickle.loads(pickle.dumps(TRIPLE))
    assert same == TRIPLE
    assert [TRIPLE].index(same) == 0
    assert replace(TRIPLE, track=3) != TRIPLE != replace(TRIPLE, scores=TRIPLE.scores / 2)
    assert TRIPLE.to_dict() != TRIPLE


def test_pose_from_dict() -> None:
    facts = json.loads(json.dumps(TRIPLE.to_dict()))
    assert facts["keypoints"]["a"] == [10.5, 20.5, 0.9]  # no digits that float32 does not have
    pose = Pose.from_dict(facts, TRIPLE.skeleton)
    np.testing.assert_allclose(pose.to_numpy(), TRIPLE.to_numpy(), atol=1e-3)
    assert (pose.keypoints.dtype, pose.box.tolist(), pose.track) == (
        np.float32,
        [0, 0, 30, 40],
        None,
    )
    assert Pose.from_dict({**facts, "track": 3}, TRIPLE.skeleton).to_dict()["track"] == 3
    for bad in ({}, {**facts, "box": [1, 2]}, {**facts, "keypoints": {"a": [1, 2, 3]}}):
        with pytest.raises(ValueError, match="no pose of skeleton 'trio'"):
            Pose.from_dict(bad, TRIPLE.skeleton)


@pytest.mark.filterwarnings("ignore:OpenCV .* is not installed")
def test_poses_for_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    found = to_supervision([TRIPLE, TRIPLE])
    assert found.xy.tolist() == [[[10, 20], [0.5, 1.5], [0, 0]]] * 2
    assert found.keypoint_confidence.shape == (2, 3)
    np.testing.assert_array_equal(found.visible, [TRIPLE.found, TRIPLE.found])  # guesses are not
    assert found.detection_confidence.tolist() == pytest.approx([0.6, 0.6])
    assert found.data == {}
    followed = to_supervision([replace(TRIPLE, track=7), replace(TRIPLE, track=3)])
    assert followed[1].data["track"].tolist() == [3]
    with pytest.raises(ValueError, match="there are no poses"):
        to_supervision([])
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ImportError, match=r'pip install "supervision>=0\.31"'):
        to_supervision([TRIPLE])


@pytest.mark.filterwarnings("ignore:OpenCV .* is not installed")
def test_a_lone_pose_is_taken_and_those_of_several_images_are_not() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    assert draw(picture, TRIPLE).tobytes() == draw(picture, [TRIPLE]).tobytes()
    assert to_supervision(TRIPLE).xy.shape == (1, 3, 2)
    for taker in (lambda poses: draw(picture, poses), to_supervision):
        for wrong, kind in (([[TRIPLE]], "list"), (None, "NoneType")):
            with pytest.raises(
                InputTypeError, match=f"takes the poses of one image, got a {kind};"
            ):
                taker(wrong)
    assert "flip_pairs" not in repr(TRIPLE)
    blue = np.zeros((40, 40, 3), np.uint8)
    blue[..., 0] = 200  # OpenCV's
    assert TRIPLE.draw(blue, channels="bgr").getpixel((39, 39)) == (0, 0, 200)
