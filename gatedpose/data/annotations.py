"""Annotation files read so that whatever is wrong is named: file, row and field."""

import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.errors import DatasetError, require

LONGEST_NAME = 255  # bytes of a file's, on all usual file systems


def load_mat(file: Path, name: str, **options: Any) -> Any:
    """The variable `name` of a MATLAB file, through `scipy.io.loadmat` with `options`."""
    scipy = require("scipy.io", f"reading {file.name} needs SciPy", "gatedpose[train]")
    try:
        return scipy.loadmat(file, **options)[name]
    except Exception as error:  # scipy raises many kinds on a damaged file
        raise DatasetError(
            f"{file} cannot be read as a MATLAB file with '{name}': {error}"
        ) from error


def plain_id(value: object) -> int | str | None:
    """What rows call one another by, a number (1 for 1.0 and NumPy's 1) or a name; None if neither.

    >>> [plain_id(value) for value in (10**20, 1.0, "7", 1.5, True, None)]
    [100000000000000000000, 1, '7', None, None, None]
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Integral):
        return int(value)
    whole = isinstance(value, numbers.Real) and float(value).is_integer()
    return int(float(value)) if whole else None  # type: ignore[arg-type]  # seen to be a number


@dataclass(frozen=True)
class Row:
    """One entry of an annotation file; DatasetError if it is not a table of fields."""

    file: Path  # where it stands
    name: str  # what messages call it, "annotations[7]" for example
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            kind = type(self.values).__name__
            raise DatasetError(f"{self.file}, {self.name}: must hold named fields, got {kind}")

    def error(self, key: str, text: str) -> DatasetError:
        """An error about the field `key`."""
        return DatasetError(f"{self.file}, {self.name}, field '{key}': {text}")

    def get(self, key: str) -> Any:
        """The field `key`, which must be there."""
        if key not in self.values:
            raise self.error(key, "is missing")
        return self.values[key]

    def identity(self, key: str = "id") -> int | str:
        """The field `key`, by which other rows name this one or this one another."""
        value = self.get(key)
        if (found := plain_id(value)) is None:
            raise self.error(key, f"must be a number or a name, got {value!r:.80}")
        return found

    def choice(self, key: str, allowed: tuple[Any, ...]) -> Any:
        """The field `key`, which must be one of `allowed`."""
        value = self.get(key)
        if value not in allowed:
            raise self.error(key, f"must be {' or '.join(map(str, allowed))}, got {value!r:.80}")
        return value

    def file_name(self, key: str = "file_name") -> str:
        """The field `key`, which must name a file within a folder, with slashes for backslashes."""
        value = self.get(key)
        text = value if isinstance(value, str) else ""
        name = PurePosixPath(text if "/" in text else text.replace("\\", "/"))
        lengths = [len(part.encode(errors="replace")) for part in name.parts]
        if not 0 < max(lengths, default=0) <= LONGEST_NAME:
            raise self.error(key, f"must be a file name, got {value!r:.80}")
        if name.is_absolute() or ".." in name.parts or ":" in name.parts[0]:
            raise self.error(
                key, f"must lie in the folder of images, as 'a.jpg' does, got {value!r:.80}"
            )
        return name.as_posix()

    def numbers(self, key: str, shape: tuple[int, ...] = ()) -> npt.NDArray[np.float64]:
        """The field `key` as finite numbers of a `shape`, () for a single one."""
        try:
            numbers = np.array(self.get(key), dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.error(key, f"must be numbers of shape {shape}: {error}") from error
        if numbers.shape != shape:
            raise self.error(key, f"must have shape {shape}, got {numbers.shape}")
        if not (np.abs(numbers) <= np.finfo(np.float32).max).all():
            raise self.error(key, "holds values that are not finite numbers of 32 bits")
        return numbers


def rows(file: Path, name: str, entries: Any) -> list[Row]:
    """Rows of a list of JSON objects, which messages call "name[0]" and so on."""
    if not isinstance(entries, list):
        kind = type(entries).__name__
        raise DatasetError(f"{file}: '{name}' must be a list of objects, got {kind}")
    return [Row(file, f"{name}[{i}]", entry) for i, entry in enumerate(entries)]
