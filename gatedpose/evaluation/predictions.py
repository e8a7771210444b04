"""Predictions made elsewhere, read from files."""

import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.data.annotations import load_mat
from gatedpose.data.samples import Sample
from gatedpose.errors import InputError
from gatedpose.files.typed_json import read_json

FARTHEST = 1e7  # pixels of a prediction from the image's corner

Points = npt.NDArray[np.floating]


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
        (N, K, 2) in the order of the samples, image pixels. A joint may be NaN for all people: the
        network does not predict it.

    Raises:
        ValueError: For another format or shape, or if ids are missing or unknown; they are named.
    """
    return _stored(Path(path), "keypoints", samples, (2,)) + shift


def load_confidences(path: str | Path, samples: Sequence[Sample]) -> Points:
    """Reads the "scores" (N, K) of predictions as `load_predictions` reads their keypoints."""
    return _stored(Path(path), "scores", samples)


def _stored(path: Path, name: str, samples: Sequence[Sample], each: tuple[int, ...] = ()) -> Points:
    """An array (N, K, *each) of a file, in the order of the samples."""
    joints = samples[0].skeleton.num_keypoints
    stored = _stored_predictions(path, len(samples) * joints * max(1, math.prod(each)))
    if name not in stored:
        raise InputError(f"{path} holds {', '.join(stored) or 'nothing'}, but no {name!r}")
    words = ", ".join(("N", "K", *map(str, each)))
    ids = stored.get("ids")
    try:
        values = np.asarray(stored[name], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: {name} must be numbers ({words}): {error}") from error
    shape = (len(samples), joints, *each)
    if ids is not None:
        listed = isinstance(ids, list) or (isinstance(ids, np.ndarray) and ids.ndim == 1)
        if not listed or np.ndim(values) == 0:
            raise InputError(f"{path}: ids must be a list of {len(samples)} names")
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
    # A joint that nobody has a prediction of is one that the network does not know.
    known = ~np.isnan(values).reshape(*values.shape[:2], -1).all(axis=(0, 2))
    if not (good := np.abs(values[:, known]) <= FARTHEST).all() or not known.any():
        person = int(np.argwhere(~good)[0][0]) if known.any() else 0
        raise InputError(
            f"{path}: {name} of person {person} (of {len(values)}) are no finite numbers up to "
            f"{FARTHEST:g}"
        )
    return values


def _unzipped(path: Path, count: int) -> dict[str, Any]:
    """The arrays of an .npz file, none of which may be larger than predictions can be."""
    limit = 1000 * count + 2**20  # bytes: names of people are text of 4 bytes a letter
    with zipfile.ZipFile(path) as file:
        for part in file.infolist():
            if part.file_size > limit:
                raise InputError(
                    f"{part.filename} unpacks to {part.file_size:,} bytes, more than {limit:,}"
                )
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _stored_predictions(path: Path, count: int) -> Mapping[str, Any]:
    """What a file holds, by name; what unpacks to far more than `count` numbers is refused."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return {"keypoints": load_mat(path, "preds")}
    if suffix == ".json":
        found = read_json(path)
        if isinstance(found, list) and found and isinstance(found[0], dict):
            raise InputError(f"{path}: COCO's results are scored with --dataset coco")
    elif suffix in (".npy", ".npz"):
        try:
            found = _unzipped(path, count) if suffix == ".npz" else np.load(path, mmap_mode="r")
        except Exception as error:  # NumPy and zipfile raise many kinds on a damaged file
            raise InputError(f"{path} cannot be read as NumPy's {suffix}: {error}") from error
    else:
        raise InputError(f"{path}: predictions are .npz, .npy, .json or .mat, not {suffix!r}")
    return found if isinstance(found, dict) else {"keypoints": found}
