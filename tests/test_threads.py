"""Threads that work ahead: what comes when."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest
import torch

from gatedpose.threads import Here, default_threads, in_order


def test_results_come_in_order_though_the_first_is_the_last_to_be_done() -> None:
    others_done = Event()

    def work(number: int) -> int:
        if number == 0:
            assert others_done.wait(10)
        if number == 2:
            others_done.set()
        return number

    with ThreadPoolExecutor(3) as pool:
        futures = (pool.submit(work, number) for number in range(5))
        assert list(in_order(futures, lambda: 3)) == [0, 1, 2, 3, 4]


def test_no_more_are_begun_than_there_is_room_for() -> None:
    begun = []

    def begin() -> Iterator[Future[int]]:
        for number in range(6):
            begun.append(number)
            yield Here().submit(int, number)

    rooms = iter([2, 1, 3, 1, 1, 1, 1])
    results = in_order(begin(), lambda: next(rooms))
    seen = [(next(results), len(begun)) for _ in range(6)]
    assert seen == [(0, 2), (1, 2), (2, 5), (3, 5), (4, 5), (5, 6)]
    assert next(results, None) is None


def test_what_fails_raises_when_its_turn_comes() -> None:
    results = in_order((Here().submit(int, text) for text in ("1", "x", "3")), lambda: 3)
    assert next(results) == 1
    with pytest.raises(ValueError, match="'x'"):
        next(results)


def test_threads_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert default_threads() == 3
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert default_threads() == 16
