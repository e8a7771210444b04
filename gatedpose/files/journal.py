"""A file of JSON objects, one a line, that is added to and resumed."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from gatedpose.errors import InputError
from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import held, write_whole

Row = dict[str, Any]


def changes_of(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Which fields are not as before, in words; "" if none."""
    names = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    return ", ".join(f"{key} {before.get(key)!r} -> {now.get(key)!r}" for key in names)


class JsonLines:
    """A file of JSON objects, one a line, that keeps what was added when the program is killed.

    It is locked while it is open: two programs cannot add to it at once. `rows` are all its
    objects, without "made_by", what made them, which the first line says.

    Args:
        path: The folder must exist.
        resume: Whether to go on with what a file holds, but for a last line that was cut off; else
            it is begun anew.
        made_by: See above; InputError to resume what something else has made.
        keep: Whether a line that is there already still holds; the others are taken out.
        check: Whether a line has what a line needs.
    """

    def __init__(
        self,
        path: Path,
        resume: bool,
        made_by: Mapping[str, Any] | None = None,
        keep: Callable[[Row], bool] = lambda row: True,
        check: Callable[[Row], bool] = lambda row: True,
    ) -> None:
        self.path, self.made_by, self._check = path, made_by, check
        self.rows: list[Row] = []
        guard = path.with_name(f".{path.name}.lock")
        with ExitStack() as opened:
            opened.enter_context(held(guard, f"{path} is being written by another program"))
            if resume and path.exists():
                self._resume(keep)
            self._file: BinaryIO = opened.enter_context(path.open("ab" if resume else "wb"))
            self._opened = opened.pop_all()

    def _resume(self, keep: Callable[[Row], bool]) -> None:
        text, newline, _ = self.path.read_bytes().rpartition(b"\n")
        rows = [self._row(n, line) for n, line in enumerate(text.splitlines(), 1)]
        if rows and self.made_by is not None:
            self._check_maker(rows[0].pop("made_by", None))
        self.rows = [row for row in rows if keep(row)]
        if len(self.rows) == len(rows):
            os.truncate(self.path, len(text + newline))
        else:
            write_whole(self.path, "".join(map(self._line, range(len(self.rows)), self.rows)))

    def _check_maker(self, before: Any) -> None:
        now = json.loads(to_json(self.made_by))
        if not isinstance(before, dict):
            changes = "its first line does not say what made it"
        else:
            changes = changes_of(before, now)
        if changes:
            raise InputError(
                f"{self.path} was made otherwise ({changes}): resume it as it was begun, begin "
                "anew with --overwrite, or take another folder"
            )

    def _row(self, number: int, line: bytes) -> Row:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not self._check(row):
            kind = "no such line" if isinstance(row, dict) else "no JSON object"
            raise InputError(f"{self.path}, line {number}: {kind} but {line[:40]!r}")
        return row

    def _line(self, number: int, row: Row) -> str:
        first = number == 0 and self.made_by is not None
        return to_json({**row, "made_by": self.made_by} if first else row) + "\n"

    def add(self, row: Row) -> None:
        """Appends an object; it is in the system's hands when this returns."""
        self._file.write(self._line(len(self.rows), row).encode())
        self._file.flush()
        self.rows.append(row)

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()
