"""JSON, typed and strict: what is wrong with a file is named, and no bare NaN is written."""

import dataclasses
import gzip
import io
import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from gatedpose.errors import InputError, JsonError, did_you_mean

LARGEST_JSON = 200  # times its compressed size
MOST_DIGITS = 308  # of a whole number: a float holds as large ones


def parse_json(data: bytes | str, where: str) -> Any:
    """What JSON holds; a whole number of more digits than a float can have becomes infinite.

    JsonError for what is none, and for a name that an object has twice: one would be lost.
    """

    def whole(digits: str) -> int | float:
        return int(digits) if len(digits) <= MOST_DIGITS else float(digits)

    def named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"an object has {twice!r} twice, of which one would be lost")
        return table

    try:
        return json.loads(data, parse_int=whole, object_pairs_hook=named)
    except (ValueError, RecursionError) as error:
        raise JsonError(f"{where} cannot be read as JSON: {error}") from error


def read_json(path: Path) -> Any:
    """What a .json or .json.gz file holds; JsonError if that is none."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            limit = LARGEST_JSON * len(data) + 2**20
            with gzip.open(io.BytesIO(data)) as file:
                data = file.read(limit + 1)
            if len(data) > limit:
                raise InputError(f"it unpacks to more than {limit:,} bytes")
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise JsonError(f"{path} cannot be read as JSON: {error}") from error
    return parse_json(data, str(path))


def to_json(value: Any, **options: Any) -> str:
    """JSON of `value`, which may hold finite numbers only: InputError for others.

    Text that is no Unicode, as names of files may be, is written as `to_text` has it.
    """
    try:
        text = json.dumps(value, allow_nan=False, **options)
        if "\\ud" in text:  # half of a pair, perhaps
            text = json.dumps(_in_unicode(value), allow_nan=False, **options)
        return text
    except ValueError as error:
        raise InputError(f"a result is no number, and JSON has no word for it: {error}") from error


def to_text(name: str) -> str:
    r"""A name of Unicode alone: a byte 0xff that is none, which Python has as \udcff, is spelt."""
    return name.encode("utf-8", "backslashreplace").decode()


def _in_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return to_text(value)
    if isinstance(value, Mapping):
        return {_in_unicode(key): _in_unicode(item) for key, item in value.items()}
    return list(map(_in_unicode, value)) if isinstance(value, (list, tuple)) else value


Fields = TypeVar("Fields")


def from_json(kind: type[Fields], values: Any, where: str, base: Fields | None = None) -> Fields:
    """An instance of a dataclass from what `dataclasses.asdict` and JSON make of one.

    `values` may leave fields out that have a default or that `base` has; `where` is what messages
    call them. Fields may be dataclasses, or tuples of them. InputError names the field that is
    wrong.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be an object of JSON, got {values!r:.80}")
    hints = get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise InputError(f"{where} has no field {name!r}; {did_you_mean(str(name), hints)}")
    given = {
        name: _typed(value, hints[name], f"{where}, field {name!r}", getattr(base, name, None))
        for name, value in values.items()
    }
    try:
        if base is not None:
            return dataclasses.replace(base, **given)  # type: ignore[type-var]
        return kind(**given)
    except TypeError as error:  # a field without a default is missing
        raise InputError(f"{where}: {error}") from error


def _typed(value: Any, hint: Any, where: str, base: Any) -> Any:
    """A value as its field's type wants it: JSON has lists for tuples, and 1 for 1.0."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where, base)
    kinds = get_args(hint)
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        each = kinds[:1] * len(value) if kinds[-1] is Ellipsis else kinds
        if len(each) != len(value):
            raise InputError(f"{where} must have {len(each)} values, got {value!r:.80}")
        items = zip(value, each, strict=True)
        return tuple(_typed(item, k, f"{where}[{i}]", None) for i, (item, k) in enumerate(items))
    if get_origin(hint) is dict and isinstance(value, Mapping):
        return {
            key: _typed(item, kinds[1], f"{where}[{key!r}]", None) for key, item in value.items()
        }
    if type(value) is int and float in (hint, *kinds):
        value = float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {value} is no finite number")
    from huggingface_hub.dataclasses import type_validator  # takes long

    try:
        type_validator(where, value, hint)
    except (TypeError, ValueError) as error:
        wanted = getattr(hint, "__name__", None) or str(hint).replace("typing.", "")
        if get_origin(hint) is Literal:  # all there are
            wanted = " or ".join(map(repr, kinds))
        raise InputError(f"{where}: got {value!r:.80}, and not {wanted}") from error
    return value
