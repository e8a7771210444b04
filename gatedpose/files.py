"""Files that a crash leaves whole."""

import dataclasses
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from huggingface_hub.dataclasses import type_validator

from gatedpose.errors import did_you_mean


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lends a name in the same folder to write to; afterwards that file takes the place of `path`.

    An older file stays as it was until the new one is on the disk, and for good if the writing
    fails. A symbolic link is followed. The suffix is kept, for those who tell formats by it.

    Raises:
        OSError: As the system does, FileNotFoundError for a missing folder for example.
    """
    target = Path(path).resolve()
    if not target.parent.exists():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    name = f".{target.stem[:100]}.{secrets.token_hex(4)}.part{target.suffix}"
    part = target.with_name(name)
    try:
        yield part
        with _named_errors(path):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink()  # still there only if something went wrong


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file through `whole_file`; text as UTF-8."""
    with whole_file(path) as part, _named_errors(path):
        part.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def whole_folder(path: str | os.PathLike[str], files: Collection[str]) -> Iterator[Path]:
    """Lends a new folder beside `path` to fill; afterwards that one takes the place of `path`.

    Args:
        path: Its parent must exist. A symbolic link is followed.
        files: What an older folder may hold; it stays as it was if the writing fails.

    Raises:
        FileExistsError: See `check_replaceable`.
        FileNotFoundError: If there is no parent.
    """
    check_replaceable(path, files)
    target = Path(path).resolve()
    if not target.parent.exists():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    old = part.with_suffix(".old")
    try:
        with _named_errors(path):
            part.mkdir()
        yield part
        with _named_errors(path):
            if target.exists():
                target.rename(old)
            part.rename(target)
        shutil.rmtree(old, ignore_errors=True)  # only now that the new one is in its place
    finally:
        shutil.rmtree(part, ignore_errors=True)


def check_replaceable(path: str | os.PathLike[str], files: Collection[str]) -> None:
    """Raises FileExistsError if `path` is there and no folder of such files alone.

    What else it holds would be lost with it.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{path} is a file, not a folder to replace")
    others = {p.name for p in target.iterdir()} - set(files) if target.exists() else set()
    if others:
        raise FileExistsError(
            f"{path} holds other files than {', '.join(sorted(files))}, {min(others)} for example, "
            "which would be lost: take a new folder"
        )


@contextmanager
def _named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error


class JsonLines:
    """A file of JSON objects, one a line, that keeps what was added when the program is killed.

    Args:
        path: The folder must exist.
        resume: Whether to go on with what a file holds, but for a last line that was cut off; else
            it is begun anew.

    Attributes:
        rows: All objects of the file, in order.

    Raises:
        ValueError: If a whole line of the file is no JSON object.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        whole = b""
        if resume and path.exists():
            text, newline, _ = path.read_bytes().rpartition(b"\n")
            self.rows = [self._row(n, line) for n, line in enumerate(text.splitlines(), 1)]
            whole = text + newline
        self._file = path.open("ab")
        self._file.truncate(len(whole))

    def _row(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise ValueError(f"{self.path}, line {number}: no JSON object but {line[:40]!r}")
        return row

    def add(self, row: dict[str, Any]) -> None:
        """Appends an object; it is in the system's hands when this returns."""
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        self.rows.append(row)

    def __enter__(self) -> "JsonLines":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


Fields = TypeVar("Fields")


def from_json(kind: type[Fields], values: Any, where: str, base: Fields | None = None) -> Fields:
    """An instance of a dataclass from what `dataclasses.asdict` and JSON make of one.

    Args:
        kind: The dataclass; its fields may be dataclasses, or tuples of them.
        values: Object of JSON. It may leave fields out that have a default or that `base` has.
        where: Its name, for messages.
        base: What the fields that are left out are taken from.

    Raises:
        ValueError: For a field that is unknown (with a near match), missing, or of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be an object of JSON, got {values!r:.80}")
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise ValueError(f"{where} has no field {name!r}; {did_you_mean(str(name), hints)}")
    given = {
        name: _typed(value, hints[name], f"{where}, field {name!r}", getattr(base, name, None))
        for name, value in values.items()
    }
    try:
        if base is not None:
            return dataclasses.replace(base, **given)  # type: ignore[type-var]
        return kind(**given)
    except TypeError as error:  # a field without a default is missing
        raise ValueError(f"{where}: {error}") from error


def _typed(value: Any, hint: Any, where: str, base: Any) -> Any:
    """A value as its field's type wants it: JSON has lists for tuples, and 1 for 1.0."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where, base)
    kinds = get_args(hint)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(each) != len(value):
            raise ValueError(f"{where} must have {len(each)} values, got {value!r:.80}")
        items = zip(value, each, strict=True)
        return tuple(_typed(item, k, f"{where}[{i}]", None) for i, (item, k) in enumerate(items))
    if get_origin(hint) is dict and isinstance(value, Mapping):
        return {
            key: _typed(item, kinds[1], f"{where}[{key!r}]", None) for key, item in value.items()
        }
    if type(value) is int and float in (hint, *kinds):
        value = float(value)
    try:
        type_validator(where, value, hint)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: got {value!r:.80}, and not {_words(hint)}") from error
    return value


def _words(hint: Any) -> str:
    return getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
