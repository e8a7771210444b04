"""Threads that read ahead of the network."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

import torch

T = TypeVar("T")
MOST = 16  # threads; each holds a decoded photo


def default_threads() -> int:
    """As many as PyTorch computes with, since they take turns, but at most `MOST`."""
    return min(MOST, torch.get_num_threads())


def ahead(items: Iterator[T], room: Callable[[], int]) -> Iterator[T]:
    """The same items, drawn before they are asked for: futures whose work is to begin early.

    (`Executor.map` has such a limit from Python 3.14 on.)

    Args:
        items: Drawn from the caller's thread.
        room: How many may be drawn and not yet yielded; at least 1. Asked before each is yielded.
    """
    drawn: deque[T] = deque()
    while True:
        drawn.extend(islice(items, max(0, room() - len(drawn))))
        if not drawn:
            return
        yield drawn.popleft()
