"""Recall and precision of boxes, worked by hand."""

import pytest
import torch

from gatedpose.evaluation.detection import Detections, Listed, any_right, match, surest_right


def people(*boxes: list[float], height: float = 100.0) -> Listed:
    return torch.tensor(boxes, dtype=torch.float32).view(-1, 4), height


def found(*rows: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    table = torch.tensor(rows, dtype=torch.float32).view(-1, 5)
    return table[:, :4], table[:, 4]


PEOPLE = [people([0, 0, 10, 20], [30, 0, 40, 30]), people([0, 0, 8, 8]), people()]
FOUND = [
    found([0, 0, 10, 18, 0.9], [1, 0, 10, 20, 0.8], [70, 0, 90, 30, 0.7], [30, 0, 40, 20, 0.2]),
    found([0, 0, 8, 7, 0.6]),
    found([0, 0, 50, 50, 0.3]),
]


def test_every_person_is_found_once() -> None:
    result = match(FOUND, PEOPLE)
    assert result.people == 3
    assert result.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.3, 0.2])
    assert result.hits.tolist() == [True, False, False, True, False, True]
    assert result.at(0.6) == (2 / 3, 2 / 4)
    assert result.at(0.95) == (0, 0)
    recall, score = result.recall_at(0.5)
    assert (recall, score) == pytest.approx((1.0, 0.2))
    assert result.recall_at(0.9) == pytest.approx((1 / 3, 0.9))
    # harmonic means: 2/4, 2/5, 2/6, 4/7, 4/8, 6/9
    assert result.best_score() == pytest.approx(0.2)


def test_small_people_and_boxes_do_not_count() -> None:
    result = match(FOUND, PEOPLE, least=0.15)  # at least 15 pixels high
    assert result.people == 2
    assert result.scores.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.3, 0.2])
    assert result.hits.tolist() == [True, False, False, False, True]


def test_a_large_box_about_a_small_person_does_not_count_either() -> None:
    result = match([found([0, 0, 10, 16, 0.9])], [people([0, 0, 10, 14])], least=0.15)
    assert (result.people, len(result.scores)) == (0, 0)


def test_nothing_found_and_nobody_there() -> None:
    result = match([found(), found()], [people([0, 0, 9, 9]), people()])
    assert (result.people, len(result.hits)) == (1, 0)
    assert result.at(0.5) == (0, 0)
    assert result.recall_at(0.8) == (0.0, 1.0)
    assert result.best_score() == 0.5


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 1, 0, 3], [1, 2, 0, 3]])
def test_boxes_of_one_score_count_together(order: list[int]) -> None:
    hits = torch.tensor([True, True, False, False])[order]
    result = Detections(torch.tensor([0.9, 0.9, 0.9, 0.5]), hits, people=2)
    assert result.recall_at(0.9) == (0.0, 1.0)  # not the two hits alone, which nobody can ask for
    assert result.recall_at(0.6) == pytest.approx((1.0, 0.9))
    assert result.at(0.9) == pytest.approx((1.0, 2 / 3))
    one = torch.tensor([True])  # 2 / 3 of it, 4 / 7 of all; the 4 / 4 of two is not to be had
    few = torch.cat((one, hits & (hits.cumsum(0) == 1)))
    fewer = Detections(torch.tensor([0.9, *[0.5] * 4]), few, people=2)
    assert fewer.best_score() == pytest.approx(0.9)


def test_the_surest_box_and_any_box() -> None:
    assert surest_right(FOUND, PEOPLE) == pytest.approx(2 / 3)
    assert any_right(FOUND, PEOPLE) == 1.0
    unfit = found([0, 0, 10, 9, 0.9])
    assert any_right([unfit, *FOUND[1:]], PEOPLE) == pytest.approx(1 / 3)
    assert any_right([found()], [people([0, 0, 9, 9])]) == 0
