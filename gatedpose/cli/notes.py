"""What the package's log says, shown beside the output of a command."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from tqdm import tqdm

LOG = logging.getLogger("gatedpose")


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record))


@contextmanager
def notes_shown() -> Iterator[None]:
    """Shows what is logged meanwhile above progress bars; of several processes, the first's."""
    first = os.environ.get("RANK", "0") == "0"
    shown = _Lines(lambda line: tqdm.write(line, file=sys.stderr))
    with _logged_to(shown if first else logging.NullHandler()):
        yield


@contextmanager
def notes_kept() -> Iterator[list[str]]:
    """A list that what is logged meanwhile goes to, and not to the screen."""
    lines: list[str] = []
    with _logged_to(_Lines(lines.append)):
        yield lines


def notes_for_json(as_json: bool) -> list[str]:
    """What is logged until the end, for the one object that a command prints with --json."""
    return click.get_current_context().with_resource(notes_kept()) if as_json else []


@contextmanager
def _logged_to(handler: logging.Handler) -> Iterator[None]:
    handlers, level = LOG.handlers[:], LOG.level
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.handlers[:] = handlers
        LOG.setLevel(level)
