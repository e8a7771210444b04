"""Images in folders, where links may lead to the same twice or in circles."""

import glob
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from gatedpose.media.images import READ, hints, readable

LOG = logging.getLogger(__name__)


def find_images(source: str | os.PathLike[str]) -> list[Path]:
    """Lists the images that a file, a folder or a glob pattern stands for, at least one.

    A file is taken whatever its suffix. Of a folder's own files (not those of folders in it) and
    of a pattern's, such as "photos/**/*", those are taken whose suffix is a picture's and that are
    not hidden; the log counts the others. A file that links lead to twice is taken once. Numbers in
    names are sorted by value: im2.jpg comes before im10.jpg.

    Raises:
        FileNotFoundError: If there is no such file or folder, or no image in it.
    """
    if not os.fspath(source):  # Path("") is the folder that one is in
        raise FileNotFoundError("an empty name stands for no picture: is a variable not set?")
    path = Path(source)
    if path.is_file():
        return [path]
    pattern = os.path.join(glob.escape(str(path)), "*") if path.is_dir() else str(path)
    if not glob.has_magic(pattern):
        if path.exists():
            raise FileNotFoundError(f"{path} is a pipe or device: give - and its bytes by < {path}")
        raise FileNotFoundError(f"there is no file or folder {path} (looked from {Path.cwd()})")
    files = [file for file in map(Path, _glob_once(pattern)) if file.is_file()]
    readable()  # has Pillow know the kinds
    known = sorted(end for end, kind in Image.registered_extensions().items() if kind in READ)
    named = [file for file in files if file.suffix.lower() in known]
    images = _real_files(named)
    others = Counter(file.suffix.lower() or "without suffix" for file in files)
    others.subtract(file.suffix.lower() for file in named)
    passed = [f"{count} {suffix}" for suffix, count in sorted(others.items()) if count]
    if len(named) > len(images):
        passed.append(f"{len(named) - len(images)} that links lead to again")
    there = ", ".join(passed) + hints(suffix for suffix, count in others.items() if count)
    if not images:
        text = f"no image in {path}; image files end in {', '.join(known)}"
        raise FileNotFoundError(f"{text}; there are {there}" if passed else text)
    if passed:
        LOG.warning(f"{path}: {len(images)} pictures; files passed over: {there}")
    return sorted(images, key=lambda file: re.sub(r"\d+", lambda n: n[0].zfill(20), str(file)))


def _real_files(files: Iterable[Path]) -> list[Path]:
    """Each real file once, by its shortest name that is no link if there is one."""
    by_place: dict[str, Path] = {}
    for file in sorted(files, key=lambda file: (file.is_symlink(), len(file.parts), str(file))):
        by_place.setdefault(os.path.realpath(file), file)
    return list(by_place.values())


def _glob_once(pattern: str) -> list[str]:
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
            found += _glob_once(below if head else os.path.relpath(below))
    return list(dict.fromkeys(found))


def _folders(start: str) -> Iterator[str]:
    """A folder and all below it that are not hidden, each real one once; links come last."""
    seen, starts = set[str](), [start]

    def tell(error: OSError) -> None:
        LOG.warning(f"{error.filename} cannot be looked into: {error.strerror}")

    for top in starts:
        for folder, names, _ in os.walk(top, onerror=tell):  # does not enter links
            if (real := os.path.realpath(folder)) in seen:
                names.clear()
                continue
            seen.add(real)
            yield folder
            names[:] = sorted(name for name in names if not name.startswith("."))
            starts += filter(os.path.islink, (os.path.join(folder, name) for name in names))
