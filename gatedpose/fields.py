"""Dataclasses from JSON: every field's name and type is checked."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from huggingface_hub.dataclasses import type_validator

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
            close = difflib.get_close_matches(str(name), hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(hints)}"
            raise ValueError(f"{where} has no field {name!r}; {hint}")
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
