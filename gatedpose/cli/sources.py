"""What `gatedpose predict` is given: files, folders, patterns, addresses, standard input."""

import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from gatedpose.errors import ImageError
from gatedpose.files.typed_json import to_text
from gatedpose.media.download import LARGEST, download, file_name, is_url
from gatedpose.media.folders import find_images

STDIN = "-"


@dataclass(frozen=True)
class Source:
    """One picture."""

    name: str  # as results call it: the path, the address, or "-"
    file: Path  # or what a file of that picture may be called
    remote: bool = False  # whether it is no file
    data: bytes | None = None  # what standard input held

    def load(self) -> Path | bytes:
        """The file, or the bytes of what is none."""
        if self.data is not None:
            return self.data
        return download(self.name) if self.remote else self.file

    def state(self) -> dict[str, int]:
        """What tells a file from another one of the same name."""
        if self.remote:
            return {}
        found = self.file.stat()
        # Microseconds: nanoseconds are more than a double holds, which many read numbers as.
        return {"bytes": found.st_size, "modified": found.st_mtime_ns // 1000}


def find_sources(words: Sequence[str]) -> list[Source]:
    """The pictures that words of the command line stand for, each once, at least one a word."""
    found: dict[str, Source] = {}
    for word in dict.fromkeys(words):
        if word == STDIN:  # not by another thread later: Ctrl-C would not end its waiting
            found[word] = Source(word, Path("stdin"), remote=True, data=_standard_input())
        elif is_url(word):
            found[word] = Source(word, Path(file_name(word)), remote=True)
        else:
            for path in find_images(word):
                found.setdefault(real_name(str(path)), Source(str(path), path))
    return list(found.values())


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ImageError(f"standard input has more than {LARGEST:,} bytes")
    return data


def real_name(name: str) -> str:
    """A photo under one name, however it is called; an address as it is."""
    return name if name == STDIN or is_url(name) else to_text(str(Path(name).resolve()))


def in_line(name: str) -> str:
    """A name for a line of text, which must not hold the end of one."""
    return name if name.isprintable() else repr(name)


def targets(sources: Sequence[Source], folder: Path, suffix: str | None) -> dict[str, Path]:
    """Where the picture of each source goes, by its name, ordered as below their common folder.

    A JPEG is drawn as JPEG and keeps its name; other files get .png for their suffix, or all of
    them `suffix`. Two of one name keep their old suffix as well, a.gif.png, or are numbered.
    """
    places: dict[str, Path] = {}
    parents = [source.file.absolute().parent for source in sources if not source.remote]
    root = Path(os.path.commonpath(parents)) if parents else Path()
    for source in sources:
        file = source.file if source.remote else source.file.absolute().relative_to(root)
        new = file.with_suffix(suffix_of(file)) if suffix is None else file.with_suffix(suffix)
        new = file if suffix_of(new, "") == suffix_of(file, "") else new
        places[source.name] = folder / new
    wanted, taken = Counter(places.values()), set[Path]()
    for source in sources:
        place = places[source.name]
        if wanted[place] > 1:
            place = place.with_name(f"{source.file.name}{place.suffix}")
        first, number = place, 1
        while place in taken:
            number += 1
            place = first.with_stem(f"{first.stem}-{number}")
        places[source.name] = place
        taken.add(place)
    read = {source.file.resolve() for source in sources if not source.remote}
    for place in places.values():
        if place.resolve() in read:
            raise click.BadParameter(
                f"{place} is one of the photos themselves: take another folder", param_hint="--out"
            )
    return places


def suffix_of(file: Path, other: str = ".png") -> str:
    """The suffix that a drawing of a file gets: .jpg for a JPEG, .png for a PNG, or `other`."""
    kind = file.suffix.lower()
    return {".jpg": ".jpg", ".jpeg": ".jpg", ".png": ".png"}.get(kind, other)


def check_not_read(
    sources: list[Source], out: Path, drawings: Iterable[Path], patterns: Sequence[str]
) -> None:
    """Refuses to draw where the same words would take drawings for photos the next time."""
    into = out.resolve()
    places = {source.file.parent.resolve() for source in sources if not source.remote}
    recursive = any("**" in pattern for pattern in patterns)
    holds = into in places or (recursive and places & set(into.parents))
    whole = [(pattern, os.path.abspath(pattern)) for pattern in patterns]
    named = (
        p for drawing in drawings for p, path in whole if Path(os.path.abspath(drawing)).match(path)
    )
    if (pattern := next(named, None)) or holds:
        why = f"{pattern} names files in {out}" if pattern else f"{out} holds the photos"
        raise click.BadParameter(
            f"{why}: the pictures drawn there would be taken for photos the next time; name "
            "another folder, or give --no-pictures",
            param_hint="--out",
        )
