"""Boxes as maps: targets worked by hand, and back again exactly."""

import math

import pytest
import torch
from torch import Tensor

from gatedpose import boxmaps
from gatedpose.boxmaps import (
    BOX_CHANNELS,
    boxes_of_cells,
    decode_boxes,
    encode_boxes,
    peaks_of_cells,
)
from gatedpose.training.losses import finder_loss

NONE = [math.nan] * 4
SIZE = (4, 6)  # cells; 32 x 48 pixels


def known(value: float = 1.0) -> Tensor:
    return torch.full((2, *SIZE), value)


def targets_of(*boxes: list[list[float]], value: float = 1.0):
    return encode_boxes(torch.tensor(boxes), SIZE, known(value))


def perfect_maps(boxes: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    """Raw maps (B, 5, h, w) that say exactly what the targets of `boxes` say."""
    targets = encode_boxes(boxes, size, torch.ones(len(boxes), *size))
    maps = torch.zeros(len(boxes), BOX_CHANNELS, *size)
    maps[:, 0] = torch.logit(targets.centres.clamp(1e-6, 1 - 1e-6))
    x = (torch.arange(size[1]) + 0.5) * 8
    y = ((torch.arange(size[0]) + 0.5) * 8)[:, None]
    left, up, right, down = targets.boxes.unbind(-1)
    sides = torch.stack((x - left, y - up, right - x, down - y), dim=1)
    maps[:, 1:] = (sides / 8).clamp_min(1e-6).log()
    return maps


def test_targets_by_hand() -> None:
    # centre (20, 12) is in cell (1, 2), whose centre it is; sigma (0.54 * 24 / 6, 0.54 * 16 / 6)
    targets = targets_of([[8, 4, 32, 20], NONE], [NONE, NONE])
    centres = targets.centres[0]
    assert centres[1, 2] == 1
    assert (centres == 1).sum() == 1
    assert centres[1, 3].item() == pytest.approx(math.exp(-((8 / 2.16) ** 2) / 2))
    assert centres[2, 2].item() == pytest.approx(math.exp(-((8 / 1.44) ** 2) / 2), rel=1e-4)
    assert targets.boxes[0, 1, 2].tolist() == [8, 4, 32, 20]
    assert targets.weights[0, 1, 2] == 1  # the only cell above 0.1
    assert targets.weights[0].sum() == 1
    assert targets.centres[1].max() == 0
    assert targets.weights[1].max() == 0


def test_the_centre_is_the_cell_that_holds_it() -> None:
    targets = targets_of([[9, 9, 30, 14], NONE], [[0, 0, 47, 31], [1, 1, 6, 6]])
    assert targets.centres[0, 1, 2] == 1  # (19.5, 11.5)
    assert targets.centres[1, 1, 2] == 1  # (23.5, 15.5)
    assert targets.centres[1, 0, 0] == 1


def test_every_box_weighs_one_and_a_cell_belongs_to_the_nearest() -> None:
    targets = targets_of([[0, 0, 40, 32], [24, 0, 48, 32]], [[0, 0, 200, 32], NONE])
    assert targets.weights[0].sum().item() == pytest.approx(2)
    assert targets.boxes[0, 2, 2].tolist() == [0, 0, 40, 32]
    assert targets.boxes[0, 2, 4].tolist() == [24, 0, 48, 32]


def test_a_centre_is_known_whatever_the_rest_is() -> None:
    targets = targets_of([[8, 4, 32, 20], NONE], [NONE, NONE], value=0.0)
    assert targets.known.sum() == 1
    assert targets.known[0, 1, 2] == 1


def test_boxes_come_back_exactly() -> None:
    boxes = torch.tensor([[[8.0, 4, 32, 20], NONE], [[0.5, 1, 15, 30], [20, 3, 47, 29]]])
    first, second = decode_boxes(perfect_maps(boxes), 0.5)
    assert torch.allclose(first[0], boxes[0, :1], atol=1e-4)
    order = second[0][:, 0].argsort()
    assert torch.allclose(second[0][order], boxes[1], atol=1e-4)
    assert (second[1] > 0.99).all()


def test_no_peak_is_an_empty_list_of_boxes() -> None:
    maps = torch.full((2, BOX_CHANNELS, *SIZE), -9.0)
    for boxes, scores in decode_boxes(maps, 0.3):
        assert boxes.shape == (0, 4)
        assert scores.shape == (0,)


def test_of_boxes_that_overlap_the_surest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = torch.full((1, BOX_CHANNELS, 2, 8), -9.0)
    maps[0, 1:] = math.log(4.0)  # 64 x 64 pixels about each cell
    maps[0, 0, 0, 1], maps[0, 0, 0, 4], maps[0, 0, 0, 7] = 1.0, 2.0, 0.0
    [(all_three, _)] = decode_boxes(maps, 0.3)  # each shares 40 of 88 columns
    assert all_three[:, 0].tolist() == [36 - 32, 12 - 32, 60 - 32]
    with monkeypatch.context() as patch:
        patch.setattr(boxmaps, "MOST", 1)
        assert len(decode_boxes(maps, 0.3)[0][0]) == 1
    monkeypatch.setattr(boxmaps, "OVERLAP", 0.4)
    [(boxes, scores)] = decode_boxes(maps, 0.3)
    assert boxes[:, 0].tolist() == [36 - 32]
    assert scores.tolist() == pytest.approx([1 / (1 + math.exp(-2))])


def test_cells_about_a_peak_vote_for_its_box() -> None:
    maps = torch.full((2, BOX_CHANNELS, 2, 8), -9.0)
    maps[:, 1:] = math.log(4.0)  # 64 x 64 pixels about each cell
    maps[:, 0, 0, 2] = math.log(3.0)  # a score of 3 / 4
    maps[:, 0, 0, 3] = 0.0  # 1 / 2; 8 pixels to the right
    maps[1, 1:, 0, 3] = math.log(0.5)  # too small a box to be the same person's
    [(first, _), (second, _)] = decode_boxes(maps, 0.3)
    assert first.tolist() == [pytest.approx([-12 + 8 * 0.5 / 1.25, -28, 52 + 8 * 0.5 / 1.25, 36])]
    assert second.tolist() == [pytest.approx([-12, -28, 52, 36])]


def test_peaks_are_those_of_their_neighbourhood() -> None:
    maps = torch.zeros(2, BOX_CHANNELS, 3, 5)
    maps[0, 0, 1, 1], maps[0, 0, 1, 2] = 2.0, 1.0
    peaks = peaks_of_cells(maps)
    assert peaks[0, 1, 1].item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert peaks[0, 1, 2] == 0
    assert peaks[0, 0, 4] == 0.5


def test_distances_are_logarithms_of_cells() -> None:
    maps = torch.zeros(2, BOX_CHANNELS, 2, 3)
    maps[1, 1, 1, 2] = math.log(2.0)
    assert boxes_of_cells(maps)[1, 1, 2].tolist() == pytest.approx([20 - 16, 12 - 8, 28, 20])


def test_the_loss_is_least_where_maps_are_the_targets() -> None:
    boxes = torch.tensor([[[8.0, 4, 32, 20], NONE], [[0.5, 1, 15, 30], [20, 3, 47, 29]]])
    targets = encode_boxes(boxes, SIZE, known())
    maps = perfect_maps(boxes).requires_grad_()
    centres, sides = finder_loss(maps, targets)
    assert sides.item() == pytest.approx(0, abs=1e-5)
    worse = maps.detach().clone()
    worse[:, 1:] += 0.2
    assert finder_loss(worse, targets)[1] > 0.1
    worse[:, 0] = 0.0
    assert finder_loss(worse, targets)[0] > centres
    (centres + sides).backward()
    assert maps.grad is not None
    assert maps.grad.isfinite().all()


def test_what_is_not_known_costs_nothing() -> None:
    nobody = torch.tensor([[NONE], [NONE]])
    maps = torch.full((2, BOX_CHANNELS, *SIZE), 3.0)
    centres, sides = finder_loss(maps, encode_boxes(nobody, SIZE, known(0.0)))
    assert centres == 0
    assert sides == 0
    assert finder_loss(maps, encode_boxes(nobody, SIZE, known()))[0] > 10
