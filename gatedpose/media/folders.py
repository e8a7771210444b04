"""Files below folders, where links may lead to the same twice or in circles."""

import glob
import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

LOG = logging.getLogger(__name__)


def real_files(files: Iterable[Path]) -> list[Path]:
    """Each real file once, by its shortest name that is no link if there is one."""
    by_place: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: (file.is_symlink(), len(file.parts), str(file))):
        by_place.setdefault(os.path.realpath(file), file)
    return list(by_place.values())


def glob_once(pattern: str) -> list[str]:
    """What `glob.glob` finds, but "**" enters each real folder once: links may lead in circles."""
    parts = Path(pattern).parts
    if "**" not in parts:
        return glob.glob(pattern)  # leaves out hidden files
    place = parts.index("**")
    head, rest = os.path.join("", *parts[:place]), parts[place + 1 :] or ("*",)
    found = []
    for start in glob.glob(head) if head else [os.curdir]:
        for folder in _folders(start):
            below = os.path.join(glob.escape(folder), *rest)
            found += glob_once(below if head else os.path.relpath(below))
    return list(dict.fromkeys(found))


def _folders(start: str) -> Iterator[str]:
    """A folder and all below it that are not hidden, each real one once; links come last."""
    seen: set[str] = set()
    folders, links = deque([start]), deque[str]()
    while folders or links:
        folder = (folders or links).popleft()
        if (real := os.path.realpath(folder)) in seen or not os.path.isdir(folder):
            continue
        seen.add(real)
        yield folder
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
        except OSError as error:
            LOG.warning(f"{folder} cannot be looked into: {error.strerror}")
            continue
        for inner in (os.path.join(folder, name) for name in names):
            (links if os.path.islink(inner) else folders).append(inner)
