"""Who is in a picture: boxes in every form, the network's own look, one line of Python."""

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.tv_tensors import BoundingBoxes

import gatedpose
from gatedpose.catalogue import WORDS
from gatedpose.errors import BoxError, DetectorError, InputError, UnknownModelError
from gatedpose.media.demo import demo_image
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.variants import find_word
from gatedpose.pose import Pose
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.looks import SURE_CALIBRATED, CloserLook, LookAgain, box_about, first_look
from gatedpose.predict.people import as_people, boxes_of_each, find_people
from gatedpose.predict.predictor import Predictor
from gatedpose.skeleton import LSP14, Skeleton

H, W = 60, 90
THREE = Skeleton("three", ("right dot", "left dot", "middle dot"), ((0, 1),), ((0, 2), (1, 2)))


# Boxes


def test_boxes_with_scores_without_flat_and_none() -> None:
    found = as_people([[1, 2, 30, 40], [5, 6, 20, 50]], H, W)
    assert found[:, :4].tolist() == [[1, 2, 30, 40], [5, 6, 20, 50]]
    assert found[:, 4].isnan().all()
    found = as_people(np.array([[1, 2, 30, 40, 0.5], [5, 6, 20, 50, 1.0]]), H, W)
    assert found.tolist() == [[1, 2, 30, 40, 0.5], [5, 6, 20, 50, 1.0]]
    assert as_people([1, 2, 30, 40, 0.25], H, W).tolist() == [[1, 2, 30, 40, 0.25]]
    assert as_people((1, 2, 30, 40), H, W)[:, :4].tolist() == [[1, 2, 30, 40]]
    assert as_people(as_people([1, 2, 30, 40], H, W), H, W)[:, 4].isnan().all()
    for nobody in ([], np.zeros((0, 4)), torch.zeros(0, 5)):
        assert as_people(nobody, H, W).shape == (0, 5)


@pytest.mark.parametrize(
    ("form", "row"),
    [("XYXY", [1, 2, 31, 42]), ("XYWH", [1, 2, 30, 40]), ("CXCYWH", [16, 22, 30, 40])],
)
def test_boxes_that_know_their_format(form: str, row: list[int]) -> None:
    boxes = BoundingBoxes([row], format=form, canvas_size=(H, W))  # type: ignore[call-overload]
    assert as_people(boxes, H, W)[:, :4].tolist() == [[1, 2, 31, 42]]
    assert [one.tolist() for one in boxes_of_each(boxes, 1)] == [[1, 2, 31, 42]]


def test_turned_boxes_are_refused() -> None:
    row = [1.0, 2.0, 30.0, 40.0, 0.5]
    boxes = BoundingBoxes([row], format="XYWHR", canvas_size=(H, W))  # type: ignore[call-overload]
    with pytest.raises(BoxError, match="boxes of format XYWHR are turned"):
        as_people(boxes, H, W)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 30]], r"or \(N, 5\) with a score behind; got shape \(1, 3\)"),
        ([[1, 2, 3, 9, 0.5], [1, 2, 30, 40, 50]], r"box 1 is \[1.0, 2.0, 30.0, 40.0, 50.0\]"),
        ([[0.9, 1, 2, 30, 40]], "a score from 0 to 1"),
        ([[50, 20, 10, 5]], r"no area.*If they are \(x, y, width, height\), .*\(50, 20, 60, 25\)"),
        ([[50, 20, 10, 5, 0.5]], r"no area.*\(x, y, width, height\), .*\(50, 20, 60, 25\)"),
        ([[50, 20, 10, 5], [80, 2, 30, 5]], "no area: boxes are .* and y0 < y1$"),
        ([[0.1, 0.2, 0.5, 0.9]], "in pixels, not in shares of the image$"),
        (np.zeros((2, 3, 4)), "must have shape"),
        ("people", "must be numbers"),
        (torch.tensor(1.0), "must have shape"),
        (SimpleNamespace(xyxy=[[1, 2, 30, 40]]), "got SimpleNamespace: give its xyxy$"),
    ],
)  # fmt: skip
def test_bad_boxes(boxes: object, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        as_people(boxes, H, W)  # type: ignore[arg-type]


def test_scores_of_a_detector_reach_the_poses() -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=14, width=8)
    predictor = Predictor(model, detector=lambda image: [[5, 5, 40, 50, 0.75], [9, 9, 30, 30, 0.5]])
    image = torch.zeros(3, H, W, dtype=torch.uint8)
    poses = predictor(image)
    assert [pose.box_score for pose in poses] == [0.75, 0.5]
    assert poses[0].box.tolist() == [5, 5, 40, 50]
    assert poses[0].to_dict()["box_score"] == 0.75
    assert Pose.from_dict(poses[0].to_dict(), LSP14).box_score == 0.75
    [pose] = predictor(image, [5, 5, 40, 50])
    assert pose.box_score is None
    assert "box_score" not in pose.to_dict()
    with pytest.raises(DetectorError, match="a score from 0 to 1"):
        find_people(lambda image: [[5, 5, 40, 50, 7]], image)


# The network's own look


class Told(HeatmapNetwork):
    """Heatmaps with peaks of one height at four corners of the crop, whatever it shows."""

    def __init__(self, height: float, joints: int = 14) -> None:
        super().__init__(joints, 3, 3, 1, 4)
        self.stem = nn.Conv2d(3, 3, 1)
        self.height = height

    def forward(self, images: Tensor) -> Tensor:
        maps = images.new_zeros(
            len(images), 1, self.num_keypoints, *(s // 4 for s in images.shape[2:])
        )
        for joint in range(self.num_keypoints):
            y, x = divmod(joint % 4, 2)
            maps[:, :, joint, 24 + 16 * y, 24 + 16 * x] = self.height
        return maps


def test_a_first_look_gives_the_box_about_the_joints() -> None:
    predictor = Predictor(Told(0.9), LSP14, decoder="argmax")
    image = torch.zeros(3, 200, 320, dtype=torch.uint8)
    found = box_about(first_look(predictor, image), image)
    # The crop has 256 px for 1.25 * 320: cells at 98 and 162 px are 153.125 and 253.125 - 50 - 40.
    scale = 1.25 * 320 / 256
    low, high = 98 * scale - 40, 162 * scale - 40
    low_y, high_y = 98 * scale - 100, 162 * scale - 100
    more = 0.075 * (high - low)
    expected = [low - more, low_y - more, high + more, high_y + more]
    assert found is not None
    assert found.tolist() == pytest.approx(expected, abs=1e-3)
    assert box_about(first_look(Predictor(Told(0.1), LSP14), image), image) is None


def test_the_network_looks_twice_or_at_the_whole() -> None:
    image = torch.zeros(3, 200, 320, dtype=torch.uint8)
    predictor = Predictor(Told(0.9), LSP14)
    about = box_about(first_look(predictor, image), image)
    [closer] = predictor(image, "whole")
    np.testing.assert_array_equal(closer.box, about)
    assert closer.box[2] - closer.box[0] < 160
    assert closer.box_score is None
    [pose] = Predictor(Told(0.1), LSP14)(image, "whole")  # no joints for a second look
    assert pose.box.tolist() == [0, 0, 320, 200]
    [pose] = Predictor(Told(0.9, 3), THREE)(image, "whole")  # own joints may be no person's
    assert pose.box.tolist() == [0, 0, 320, 200]
    # Of what skeleton, nobody knows: no people are looked for.
    [pose] = Predictor(Told(0.1, 3), THREE)(image)
    assert pose.box.tolist() == [0, 0, 320, 200]
    with pytest.raises(ValueError, match="boxes that are a word must be one of 'whole'"):
        predictor(image, "all")  # type: ignore[call-overload]


class Finds(PersonFinder):
    """Tells two boxes of scores of its choice."""

    def __init__(self, *scores: float) -> None:
        super().__init__(gatedpose.create_model("gated_finder_320"), min_score=0.34)
        self.scores = torch.tensor(scores)

    def find(self, image: Any, min_score: float | None = None) -> tuple[Tensor, Tensor]:
        boxes = torch.tensor([[5.0, 6, 105, 196], [20, 30, 90, 160]])[: len(self.scores)]
        kept = self.scores >= (self.min_score if min_score is None else min_score)
        return boxes[kept], self.scores[kept]


class Sees(Told):
    """Is surer of the joints in bright crops."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean(dim=(1, 2, 3)) > 0
        return super().forward(images) * torch.where(bright, 1.0, 0.5)[:, None, None, None, None]


@pytest.mark.parametrize(
    ("scores", "finders"),
    [((0.9, 0.6), True), ((0.3, 0.2), True), ((0.02,), False), ((), False)],
)
def test_of_two_boxes_of_one_person_the_surer_is_taken(
    scores: tuple[float, ...], finders: bool
) -> None:
    look = CloserLook(Predictor(Sees(0.9), LSP14))
    look.finder = Finds(*scores)
    image = torch.zeros(3, 200, 320, dtype=torch.uint8)
    image[:, :, :110] = 255  # where the finder sees a person; the first look's box is in the middle
    assert (look(image).tolist() == [[5, 6, 105, 196]]) == finders
    assert look(255 - image)[0, 0] > 100
    look.finder = Finds(*scores)
    near = CloserLook(Predictor(Told(0.1), LSP14))  # no joints to speak of
    near.finder = look.finder
    assert near(image).tolist() == [[0, 0, 320, 200]]


@pytest.mark.parametrize(
    ("scores", "height", "sure", "found"),
    [
        ((0.8, 0.75), 0.3, 0.5, [0.8, 0.75]),  # the finder is sure of both
        ((0.8, 0.6), 0.3, 0.5, [0.8]),  # of one, and the joints do not speak for the other
        ((0.8, 0.6), 0.4, 0.5, [0.8, 0.6]),  # as they do here
        ((0.6, 0.4), 0.33, 0.5, []),  # it is in doubt about both, and rightly
        ((0.6, 0.2), 0.9, 0.5, [0.6]),
        ((0.2, 0.15), 0.9, 0.5, [0.9]),  # of none, but the joints are
        ((0.2, 0.15), 0.7, 0.8, []),  # nor are the joints
        ((0.02,), 0.9, 0.5, []),  # there is nothing to look at
        ((), 0.9, 0.5, []),
    ],
)
def test_another_look(
    scores: tuple[float, ...], height: float, sure: float, found: list[float]
) -> None:
    look = LookAgain(Finds(*scores), Predictor(Told(height), LSP14, decoder="argmax"))
    look.sure = sure
    image = torch.zeros(3, 200, 320, dtype=torch.uint8)
    people = look(image)
    assert people[:, 4].tolist() == pytest.approx(found)
    if scores and scores[0] == 0.2 and found:  # of equals the finder's
        assert people[0, :4].tolist() == [5, 6, 105, 196]


def test_a_person_is_found_and_a_wall_is_not() -> None:
    predictor = Predictor("fast")
    [pose] = predictor(demo_image(), "whole")
    x, y = pose.keypoints[pose.skeleton.joints.index("head top")]
    assert 150 < x < 300
    assert y < 150
    noise = torch.randint(0, 256, (3, 200, 300), generator=torch.Generator().manual_seed(0)).byte()
    for nobody in (noise, torch.full((3, 200, 300), 128, dtype=torch.uint8)):
        assert first_look(predictor, nobody).scores.mean() < SURE_CALIBRATED
        assert predictor(nobody) == []


# One line


def test_predict_takes_a_photo_or_several(tmp_path: Path) -> None:
    with Image.open(demo_image()) as photo:
        photo.convert("RGB").resize((200, 160)).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    box = [20, 5, 180, 155]
    [pose] = gatedpose.predict(path, box, model="fast")
    assert pose.skeleton.num_keypoints == len(pose.scores)
    several = gatedpose.predict([path, str(path)], [None, [box, box]], model="fast")
    assert [len(poses) for poses in several][1] == 2
    for table in (np.array([box, box]), torch.tensor([[box], [box]])):  # a row an image
        pair = gatedpose.predict([path, path], table, model="fast")
        assert [len(poses) for poses in pair] == [1, 1]
    np.testing.assert_allclose(several[1][0].keypoints, pose.keypoints, atol=1e-3)
    with pytest.raises(InputError, match="2 images need a list of as many boxes"):
        gatedpose.predict([path, path], [box], model="fast")
    assert gatedpose.predict([], model="fast") == []


def test_bgr_is_turned_and_never_guessed(tmp_path: Path) -> None:
    with Image.open(demo_image()) as photo:
        rgb = np.asarray(photo.convert("RGB").resize((200, 160)))
    predictor = Predictor("fast")
    [wanted] = predictor(rgb, "whole")
    [found] = predictor(rgb[..., ::-1], "whole", channels="bgr")
    np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
    planes = torch.from_numpy(rgb[..., ::-1].copy()).permute(2, 0, 1)
    [[found]] = predictor([planes], "whole", channels="bgr")
    np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
    [[found]] = predictor.stream([(rgb[..., ::-1], "whole")], channels="bgr")
    np.testing.assert_array_equal(found.keypoints, wanted.keypoints)
    finder = PersonFinder()
    for mine, theirs in zip(finder.find(rgb), finder.find(planes, channels="bgr"), strict=True):
        assert torch.equal(mine, theirs)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    with pytest.raises(InputError, match='channels="bgr" is for arrays and tensors'):
        predictor(tmp_path / "a.png", channels="bgr")
    with pytest.raises(InputError, match="channels must be one of 'rgb', 'bgr', got 'gbr'"):
        predictor(rgb, channels="gbr")


def test_words_for_models() -> None:
    for word, name in WORDS.items():
        assert find_word(word) == name
        assert name in [*gatedpose.list_models(), *gatedpose.list_models(pretrained=True)]
    assert find_word("gated_hg_4s_144.lsp") == "gated_hg_4s_144.lsp"
    with pytest.raises(UnknownModelError, match="unknown model 'balanecd'; did you mean balanced"):
        Predictor("balanecd")


def test_num_classes_is_num_keypoints() -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_classes=5, width=8)
    assert model.num_keypoints == 5
    with pytest.raises(InputError, match="are the same, got 5 and 6"):
        gatedpose.create_model("gated_hg_1s_68", num_keypoints=5, num_classes=6)

    class Timms(nn.Module):
        num_classes = 3

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 3, 4, 4)

        def forward(self, images: Tensor) -> Tensor:
            return self.head(images)[:, None]

    [pose] = Predictor(Timms(), THREE)(torch.zeros(3, H, W, dtype=torch.uint8))
    assert pose.keypoints.shape == (3, 2)
    with pytest.raises(TypeError, match="Linear does not say its num_keypoints"):
        Predictor(nn.Linear(2, 2), THREE)


def test_an_untrained_network_says_so() -> None:
    with pytest.warns(UserWarning, match="GatedHourglass is untrained, its keypoints mean nothing"):
        Predictor(gatedpose.create_model("gated_hg_1s_68", num_keypoints=14))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Predictor("fast")
