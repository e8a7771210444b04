"""What is drawn ahead, and when."""

from collections.abc import Iterator

import pytest
import torch

from gatedpose.predict.queues import Batches, ahead, default_threads


def test_no_more_are_drawn_than_there_is_room_for() -> None:
    drawn = []

    def items() -> Iterator[int]:
        for number in range(6):
            drawn.append(number)
            yield number

    rooms = iter([2, 1, 3, 1, 1, 1, 1])
    results = ahead(items(), lambda: next(rooms))
    seen = [(next(results), len(drawn)) for _ in range(6)]
    assert seen == [(0, 2), (1, 2), (2, 5), (3, 5), (4, 5), (5, 6)]
    assert next(results, None) is None


def test_threads_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert default_threads() == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert default_threads() == 16


def test_groups_share_batches_and_come_whole_in_order() -> None:
    ran: list[list[int]] = []

    def square(parts: list[int]) -> list[int]:
        ran.append(parts)
        return [part**2 for part in parts]

    batches = Batches(square, 3)
    assert list(batches.add(2, [1, 2])) == []
    assert list(batches.add(0, [])) == []
    assert list(batches.add(5, iter([3, 4, 5, 6, 7]))) == [[1, 4], []]
    assert ran == [[1, 2, 3], [4, 5, 6]]
    assert list(batches.known()) == [[9, 16, 25, 36, 49]]
    assert ran[2:] == [[7]]
    assert list(batches.known()) == []
