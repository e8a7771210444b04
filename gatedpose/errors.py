"""All errors of this package, in one tree.

    GatedPoseError
    ├── InputError (ValueError)          an argument, option or field that is no good
    │   ├── InputTypeError (TypeError)   ... that is of another kind altogether
    │   ├── UnknownModelError            a name that the zoo does not have
    │   └── JsonError (DatasetError)     a file that is no JSON, or none that can be trusted
    ├── MissingPackageError (ImportError)  an extra that is not installed
    ├── DivergedError (FloatingPointError)  a training whose loss is no number any more
    ├── ImageError (ValueError)          no readable picture
    ├── VideoError (ValueError)          no readable video
    ├── BoxError (ValueError)            a box without a pixel of the picture
    ├── DetectorError (ValueError)       a detector that returns no boxes
    ├── DatasetError (ValueError)        a dataset's folder or file
    ├── WeightsError (RuntimeError)      weights that are missing, damaged or of another network
    └── PortError (OSError)              a port that cannot be listened on

Each is also one of Python's own kinds, so that `except ValueError` catches what it looks like.
"""

import difflib
import importlib
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, fields, is_dataclass
from typing import Any, TypeAlias

# Lowest and highest number that is good; of whole numbers if both are.
Range: TypeAlias = tuple[int, int] | tuple[float, float]


class GatedPoseError(Exception):
    """Anything that this package raises about what it was given."""


class InputError(GatedPoseError, ValueError):
    """An argument, an option or a field that is no good; the text says what would be."""


class InputTypeError(InputError, TypeError):
    """Something of another kind than what is wanted."""


class MissingPackageError(GatedPoseError, ImportError):
    """A package that an extra brings is not installed; the text names the pip command."""


class DivergedError(GatedPoseError, FloatingPointError):
    """A training whose loss or weights are not finite any more."""


class UnknownModelError(InputError):
    """A name that no variant, tag or source of the zoo has."""


class ImageError(GatedPoseError, ValueError):
    """A source that is no readable image; the text says what came and what would be right."""


class VideoError(GatedPoseError, ValueError):
    """A source that is no readable video, or frames that make none; the text says which."""


class BoxError(GatedPoseError, ValueError):
    """A box that holds no pixel of the image, or is no box at all."""


class DetectorError(GatedPoseError, ValueError):
    """A detector of people returned something else than boxes; the text says what."""


class DatasetError(GatedPoseError, ValueError):
    """A dataset folder that is not what its reader expects; the message names the files."""


class JsonError(InputError, DatasetError):
    """A file that is no JSON, or holds numbers that no computer's float holds."""


class WeightsError(GatedPoseError, RuntimeError):
    """Weights that do not exist, cannot be fetched, are damaged or belong to another network."""


class PortError(GatedPoseError, OSError):
    """A port that cannot be listened on; the text says which and what to try."""


def require(module: str, what: str, package: str) -> Any:
    """A module that an extra brings; MissingPackageError that says `what` needs it if it is not."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(f'{what}: pip install "{package}"') from error


def check_choice(what: str, choice: str, choices: tuple[str, ...]) -> None:
    """Raises InputError that names the choices unless `choice` is one of them."""
    if choice not in choices:
        raise InputError(f"{what} must be one of {', '.join(map(repr, choices))}, got {choice!r}")


def check_flags(what: str, **flags: object) -> None:
    """Raises InputTypeError for an option that is no bool: the text "false" would count as True."""
    for name, value in flags.items():
        if isinstance(value, str | bytes) or value not in (True, False):
            raise InputTypeError(f"{what}: {name} must be True or False, got {value!r:.80}")


def in_range(value: object, limits: Range) -> bool:
    """Whether a value is a finite number within limits, whole if they are."""
    kind = numbers.Integral if all(isinstance(limit, int) for limit in limits) else numbers.Real
    right = isinstance(value, kind) and not isinstance(value, bool)
    return right and limits[0] <= value <= limits[1]  # type: ignore[operator]


def check_range(what: str, value: object, limits: Range, count: int | None = None) -> None:
    """Raises InputError unless a number, or each of `count` numbers, is within limits."""
    each = [value] if count is None else value
    right = isinstance(each, list | tuple) and len(each) == (count or 1)
    if not (right and all(in_range(number, limits) for number in each)):  # type: ignore[attr-defined]
        whole = "whole " if isinstance(limits[0], int) else ""
        many = f"a {whole}number" if count is None else f"{count} {whole}numbers"
        raise InputError(
            f"{what} must be {many} from {limits[0]:.7g} to {limits[1]:.7g}, got {value!r:.80}"
        )


def ranged(limits: Range, default: Any) -> Any:
    """A field of a dataclass whose numbers `check_ranges` holds against limits."""
    return field(default=default, metadata={"range": limits})


def check_ranges(what: str, recipe: Any) -> None:
    """Raises InputError that names all numbers among a dataclass's fields that are out of range.

    Of a field that holds several numbers each must be in range; None is.
    """
    kinds = [kind for kind in reversed(type(recipe).__mro__) if is_dataclass(kind)]
    declared = [one for kind in kinds for one in fields(kind) if "range" in one.metadata]
    wrong = []
    for name, limits in {one.name: one.metadata["range"] for one in declared}.items():
        value = getattr(recipe, name)
        each: Sequence[object] = (value,)
        if isinstance(value, Mapping):
            each = list(value.values())
        elif isinstance(value, (tuple, list)):
            each = value
        if not all(number is None or in_range(number, limits) for number in each):
            wrong.append(f"{name} {value!r} (from {limits[0]} to {limits[1]})")
    if wrong:
        raise InputError(f"{what}: out of range: {', '.join(wrong)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known ones that are close, or all."""
    known = list(known)
    close = difflib.get_close_matches(name, known)
    return f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
