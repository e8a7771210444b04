"""What waits for the network: files that are read ahead, crops until they fill a batch."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from gatedpose.media.photos import Photo

T = TypeVar("T")
Done = TypeVar("Done")
MOST = 16  # threads; each holds a decoded photo


def default_threads() -> int:
    """As many as PyTorch computes with, since they take turns, but at most `MOST`."""
    return min(MOST, torch.get_num_threads())


def ahead(items: Iterator[T], room: Callable[[], int]) -> Iterator[T]:
    """The same items, drawn before they are asked for: futures whose work is to begin early.

    There are at most `room()` drawn and not yet yielded. (`Executor.map` has such a limit from
    Python 3.14 on.)
    """
    drawn: deque[T] = deque()
    while True:
        drawn.extend(islice(items, max(0, room() - len(drawn))))
        if not drawn:
            return
        yield drawn.popleft()


class AtOnce(Executor):
    """Does work when it is submitted, by the caller's thread."""

    def submit(self, work: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        """See `Executor`."""
        done: Future[T] = Future()
        try:
            done.set_result(work(*args, **options))
        except Exception as error:
            done.set_exception(error)
        return done


def begun(
    items: Iterable[tuple[Any, Any]], pool: Executor, read: Callable[[Any, Any], Photo]
) -> Iterator[tuple[Any, Future[Photo], Any]]:
    """Pairs of picture and boxes as (picture, future, boxes); the pool reads files.

    All others are read before the next is drawn: their givers may close them, or fill them with
    the next. An error of `items` comes as a last future, in the picture's place, too.
    """
    try:
        for image, boxes in items:
            reader = pool if isinstance(image, (str, os.PathLike, bytes)) else AtOnce()
            ahead_of_use = isinstance(image, Tensor) and not isinstance(pool, AtOnce)
            own = image.clone() if ahead_of_use else image  # of others reading makes a copy
            yield image, reader.submit(read, own, boxes), boxes
    except Exception as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        yield failed, failed, None


class Batches(Generic[T, Done]):
    """Runs the parts of several groups in common batches, and gives the results by group.

    `run` does the work of at most `size` parts; it gives as many results in the same order.
    """

    def __init__(self, run: Callable[[list[T]], list[Done]], size: int) -> None:
        self.run, self.size = run, size
        self.waiting: list[T] = []
        self.done: list[Done] = []
        self.wanted: deque[int] = deque()  # parts of the groups that are not yet given

    def add(self, count: int, parts: Iterable[T]) -> Iterator[list[Done]]:
        """Takes a group of so many parts, drawn as batches fill; gives the groups then known."""
        self.wanted.append(count)
        for part in parts:
            self.waiting.append(part)
            yield from self.known(self.size)
        yield from self.known(self.size)

    def known(self, least: int = 1) -> Iterator[list[Done]]:
        """Runs all batches of at least so many parts; gives the groups then known."""
        while len(self.waiting) >= least:
            self.done += self.run(self.waiting[: self.size])
            del self.waiting[: self.size]
        while self.wanted and len(self.done) >= self.wanted[0]:
            group = self.done[: self.wanted[0]]
            del self.done[: self.wanted.popleft()]
            yield group
