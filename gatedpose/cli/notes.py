"""What the package's log says, shown beside the output of a command."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from tqdm import tqdm

LOG = logging.getLogger("gatedpose")


class _Shown(logging.Handler):
    """Writes each line to the standard error output, above progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _Kept(logging.Handler):
    """Appends each line to a list."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def notes_shown() -> Iterator[None]:
    """Shows what is logged meanwhile; of several processes, the first one's alone."""
    first = os.environ.get("RANK", "0") == "0"
    with _logged_to(_Shown() if first else logging.NullHandler()):
        yield


@contextmanager
def notes_kept() -> Iterator[list[str]]:
    """A list that what is logged meanwhile goes to, and not to the screen."""
    lines: list[str] = []
    with _logged_to(_Kept(lines)):
        yield lines


def notes_for_json(as_json: bool) -> list[str]:
    """For commands that print one object: what is logged until the end, if it is to hold that."""
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
