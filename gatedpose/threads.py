"""Work that threads do ahead of time, with its results in order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, TypeVar

import torch

T = TypeVar("T")
MOST = 16  # readers; each holds a decoded photo


def default_threads() -> int:
    """As many as PyTorch computes with, since they take turns, but at most `MOST`."""
    return min(MOST, torch.get_num_threads())


class Here(Executor):
    """Does what it is given at once, in the caller's thread; errors come with the result."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """See `concurrent.futures.Executor`."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def in_order(futures: Iterator[Future[T]], room: Callable[[], int]) -> Iterator[T]:
    """Results one after the other; what fails raises when its turn comes.

    Args:
        futures: Each begun as it is drawn from here.
        room: How many may be begun and not yet yielded; at least 1. Asked before each result.
    """
    begun: deque[Future[T]] = deque()
    while True:
        begun.extend(islice(futures, max(0, room() - len(begun))))
        if not begun:
            return
        yield begun.popleft().result()
