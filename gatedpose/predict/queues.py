"""What waits for the network: files that are read ahead, crops until they fill a batch."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import Any, Generic, TypeVar

import torch

from gatedpose.media.photos import Photo

T = TypeVar("T")
Done = TypeVar("Done")
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


def begun(
    items: Iterable[tuple[Any, Any]], pool: Executor | None, read: Callable[[Any, Any], Any]
) -> Iterator[tuple[Any, Any, Any]]:
    """Pairs of picture and boxes as (picture, picture or future, boxes); the pool reads files.

    Where there is a pool, all others are read before the next is drawn. An error of `items` comes
    as a last future, in the picture's place, too.
    """
    try:
        for image, boxes in items:
            if not pool or isinstance(image, Photo):
                yield image, image, boxes
            elif isinstance(image, (str, os.PathLike, bytes)):
                yield image, pool.submit(read, image, boxes), boxes
            else:
                yield image, _at_once(read, image, boxes), boxes
    except Exception as error:
        failed: Future[Any] = Future()
        failed.set_exception(error)
        yield failed, failed, None


def _at_once(read: Callable[[Any, Any], Any], image: Any, boxes: Any) -> Future[Any]:
    """Reads what its giver may close, or fill with the next picture, when that is drawn."""
    done: Future[Any] = Future()
    try:
        own = image.clone() if isinstance(image, torch.Tensor) else image  # else reading copies
        done.set_result(read(own, boxes))
    except Exception as error:
        done.set_exception(error)
    return done


def result_of(pool: Executor | None, work: Callable[..., T], *arguments: Any) -> Callable[[], T]:
    """What gives the result of work that the pool begins, or that is done here if it is None."""
    if pool:
        return pool.submit(work, *arguments).result
    done = work(*arguments)
    return lambda: done


class Batches(Generic[T, Done]):
    """Runs the parts of several groups in common batches, and gives the results by group.

    Args:
        run: Does the work of at most `size` parts; as many results in the same order.
        size: Of a batch.
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
