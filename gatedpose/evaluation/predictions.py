"""Predictions made elsewhere, read from files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from gatedpose.data.annotations import load_json, load_mat
from gatedpose.data.samples import Sample
from gatedpose.errors import InputError

Points = npt.NDArray[np.floating[Any]]


def load_predictions(path: str | Path, samples: Sequence[Sample], shift: float = 0.0) -> Points:
    """Reads predictions made elsewhere, one set of keypoints for each sample.

    Formats by suffix:

    - .npz: "keypoints" (N, K, 2) and, if there are, "ids" (N,): what `Evaluation.save` writes.
    - .npy: (N, K, 2).
    - .json: nested lists (N, K, 2), or an object with "keypoints" and, if there are, "ids".
    - .mat: "preds" (N, K, 2) as pytorch-pose and HRNet write it.

    With ids, predictions may come in any order; without, in that of the samples.

    Args:
        path: The file; nothing in it is unpickled.
        samples: N people.
        shift: Added to x and y to get this package's coordinates, in which the first pixel's centre
            is (0.5, 0.5): -0.5 where it is (1, 1), as for MPII, and 0.5 where it is (0, 0).

    Returns:
        (N, K, 2) in the order of the samples, image pixels.

    Raises:
        ValueError: For another format or shape, or if ids are missing or unknown; they are named.
    """
    return _stored(Path(path), "keypoints", samples, (2,)) + shift


def load_confidences(path: str | Path, samples: Sequence[Sample]) -> Points:
    """Reads the "scores" of predictions, see `load_predictions`.

    Returns:
        (N, K) in the order of the samples.

    Raises:
        ValueError: As `load_predictions`, or for a file without.
    """
    return _stored(Path(path), "scores", samples)


def _stored(path: Path, name: str, samples: Sequence[Sample], each: tuple[int, ...] = ()) -> Points:
    """An array (N, K, *each) of a file, in the order of the samples."""
    stored = _stored_predictions(path)
    if name not in stored:
        raise InputError(f"{path} holds {', '.join(stored) or 'nothing'}, but no {name!r}")
    words = ", ".join(("N", "K", *map(str, each)))
    ids = stored.get("ids")
    try:
        values = np.asarray(stored[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {name} must be numbers ({words}): {error}") from error
    shape = (len(samples), samples[0].skeleton.num_keypoints, *each)
    if ids is not None:
        place = {str(name): i for i, name in enumerate(ids)}
        wanted = [sample.id for sample in samples]
        missing = [name for name in wanted if name not in place]
        unknown = sorted(set(place) - set(wanted))
        if missing or unknown or len(ids) != len(place) or len(ids) != len(values):
            raise InputError(
                f"{path}: ids must be those of the {len(wanted)} people, once each; "
                f"missing: {', '.join(missing[:3]) or 'none'}; unknown: "
                f"{', '.join(unknown[:3]) or 'none'}; {len(ids)} ids for {len(values)} predictions"
            )
        values = values[[place[name] for name in wanted]]
    if values.shape != shape:
        raise InputError(f"{path}: {name} must be ({words}) = {shape}, got {values.shape}")
    return values


def _stored_predictions(path: Path) -> Mapping[str, Any]:
    """What a file holds, by name: "keypoints" and perhaps "ids"."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return {"keypoints": load_mat(path, "preds")}
    if suffix == ".json":
        found = load_json(path)
    elif suffix in (".npy", ".npz"):
        try:
            with path.open("rb") as file:
                found = np.load(file, allow_pickle=False)
                found = dict(found) if suffix == ".npz" else found
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise InputError(f"{path} cannot be read as NumPy's {suffix}: {error}") from error
    else:
        raise InputError(f"{path}: predictions are .npz, .npy, .json or .mat, not {suffix!r}")
    return found if isinstance(found, dict) else {"keypoints": found}
