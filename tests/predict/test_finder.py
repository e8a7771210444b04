"""People found in whole pictures, by a network whose maps are written by hand."""

import math

import pytest
import torch
from skimage.data import astronaut
from torch import Tensor, nn

import gatedpose
from gatedpose.errors import ImageError, InputError, WeightsError
from gatedpose.predict.finder import BoxChance, PersonFinder, letterbox
from gatedpose.predict.people import find_people

NAME = "gated_finder_320"


@pytest.fixture
def told() -> PersonFinder:
    """A finder that sees a person of 48 x 96 input pixels about cell (5, 7) of every picture."""
    model = gatedpose.create_model(NAME, width=8, depth=3)
    finder = PersonFinder(model, min_score=0.4)

    def maps(images: Tensor) -> Tensor:
        told.shape = tuple(images.shape)
        out = torch.full((1, 1, 5, images.shape[2] // 8, images.shape[3] // 8), -9.0)
        out[0, 0, 0, 5, 7] = 1.5
        out[0, 0, 1:, 5, 7] = told.sides.log()
        return out

    told = Told(maps)
    told.sides = torch.tensor([3.0, 6.0, 3.0, 6.0])  # cells to left, top, right, bottom
    told.size_multiple = model.size_multiple
    finder.model = told.eval()
    return finder


class Told(nn.Module):
    def __init__(self, maps) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, images: Tensor) -> Tensor:
        return self.maps(images)


def test_a_picture_is_put_in_the_middle_of_as_small_an_input_as_holds_it() -> None:
    matrix, shape = letterbox(480, 640, 320, 64)
    assert shape == (256, 320)
    assert matrix.tolist() == [[0.5, 0, 0], [0, 0.5, 8]]
    matrix, shape = letterbox(100, 50, 320, 64)
    assert shape == (320, 192)
    assert torch.allclose(matrix, torch.tensor([[3.2, 0, 16], [0, 3.2, 0]]))
    assert letterbox(2, 2000, 320, 64)[1] == (64, 320)


def test_boxes_come_back_in_pixels_of_the_picture(told: PersonFinder) -> None:
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    boxes, _ = told.find(image)
    assert told.model.shape == (1, 3, 256, 320)
    # cell (5, 7) is (60, 44) of the input, 8 of whose rows are above the picture; scale 1/2
    assert boxes.tolist() == [[2 * (60 - 24), 0, 2 * (60 + 24), 2 * (44 + 48 - 8)]]  # cut at 0
    told.chance = BoxChance(bias=0.25, peak=2.0, share=0.5)  # 96 x 168 of 640 x 480 pixels
    [chance] = told.find(image)[1].tolist()
    odds = 0.25 + 2 * 1.5 + 0.5 * math.log(96 * 168 / (640 * 480))
    assert chance == pytest.approx(1 / (1 + math.exp(-odds)))
    assert torch.equal(find_people(told, image)[:, :4], boxes)


def test_an_optimised_finder_finds_the_same() -> None:
    model = gatedpose.create_model(NAME, pretrained=True)
    fast = PersonFinder(gatedpose.optimize(model, engine="openvino", precision="float32"))
    boxes, scores = fast.find(astronaut())
    same, sure = PersonFinder(model).find(astronaut())
    assert len(same) == 1
    assert torch.allclose(boxes, same, atol=0.5)
    assert torch.allclose(scores, sure, atol=1e-3)


def test_a_small_box_is_worth_less_than_a_large_one_of_the_same_peak() -> None:
    boxes = torch.tensor([[0.0, 0, 60, 80], [0, 0, 6, 8], [0, 0, 60, 80]])
    large, small, unsure = BoxChance()(torch.tensor([0.3, 0.3, 0.29]), boxes, 6000.0).tolist()
    assert 0 < small < unsure < large < 1
    for chance in (0.0, 0.02, 0.5, 1.0):
        least = BoxChance().least_peak(chance)
        whole = BoxChance()(torch.tensor([least]), torch.tensor([[0.0, 0, 60, 100]]), 6000.0)
        assert whole.item() == pytest.approx(chance, abs=1e-6)


@pytest.mark.parametrize("least", [0.0, 0.2, 0.6])
def test_a_least_score_leaves_out_what_is_below_and_nothing_else(least: float) -> None:
    finder = PersonFinder(min_score=least)
    image = torch.from_numpy(astronaut()).permute(2, 0, 1)
    boxes, scores = finder.find(image)
    every, chances = finder.find(image, 0.0)
    torch.testing.assert_close(scores, chances[chances >= least])
    torch.testing.assert_close(boxes, every[chances >= least])
    assert (chances.diff() <= 0).all()


def test_boxes_do_not_follow_autocast() -> None:
    torch.manual_seed(0)
    model = gatedpose.create_model("gated_finder_320", width=8, depth=2)
    finder, image = PersonFinder(model, min_score=0.0), torch.randint(0, 256, (3, 900, 1200))
    plain = finder.find(image.to(torch.uint8))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = finder.find(image.to(torch.uint8))
    assert len(plain[0])
    assert torch.equal(plain[0], rounded[0])
    torch.nn.init.constant_(next(model.parameters()), math.nan)
    with pytest.raises(WeightsError, match="maps are not finite"):
        finder.find(image.to(torch.uint8))


def test_a_box_outside_of_the_picture_is_left_out(told: PersonFinder) -> None:
    told.model.sides = torch.ones(4)  # rows 36 to 52; 29.4 to 34.6 of 64 hold the picture
    boxes, scores = told.find(torch.zeros(3, 32, 2000, dtype=torch.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_a_box_smaller_than_a_pixel_is_nobody(told: PersonFinder) -> None:
    told.model.sides = torch.full((4,), 0.05)  # of cells: boxes of 0.8 pixels of the input
    image = torch.zeros(3, 480, 640, dtype=torch.uint8)
    assert told.find(image)[0][0].tolist() == pytest.approx([119.2, 71.2, 120.8, 72.8])
    assert len(told.find(image[:, ::4, ::4])[0]) == 0


def test_nobody_is_an_empty_list() -> None:
    finder = PersonFinder(gatedpose.create_model(NAME, width=8, depth=3))
    image = torch.randint(0, 255, (3, 90, 60), dtype=torch.uint8)
    boxes, scores = finder.find(image)
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)
    assert find_people(finder, image).shape == (0, 5)


def test_what_is_no_finder_or_no_picture_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="network of joints"):
        PersonFinder(gatedpose.create_model("gated_hg_1s_68", width=8, num_keypoints=5))
    finder = PersonFinder(gatedpose.create_model(NAME, width=8, depth=3))
    (tmp_path / "a.jpg").write_text("no")
    for size in (0, -5, "320", 320.5):
        with pytest.raises(InputError, match="PersonFinder: size, pixels, must be a whole number"):
            PersonFinder(size=size)  # type: ignore[arg-type]
    for score in (2.0, float("nan")):
        with pytest.raises(InputError, match="find: min_score must be a number from 0 to 1"):
            PersonFinder().find(torch.zeros(3, 8, 8, dtype=torch.uint8), score)
    with pytest.raises(ImageError):
        finder.find(tmp_path / "a.jpg")
