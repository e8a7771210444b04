"""One annotated person, whatever the dataset it comes from."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatedpose.errors import DatasetError
from gatedpose.skeleton import Skeleton


@dataclass(frozen=True)
class Sample:
    """One person in one image, in this package's coordinates (docs/conventions.md).

    Attributes:
        id: Unique within the dataset, such as "lsp/im0001".
        image: File of the picture.
        keypoints: (K, 2) float32, image pixels.
        labelled: (K,) bool; False where the annotation says nothing about the joint.
        box: (4,) float32, (x0, y0, x1, y1).
        skeleton: The K joints.
        head_box: (4,) float64, (x0, y0, x1, y1), where the dataset has one (PCKh needs it, and in
            float32 a joint of MPII's would cross the threshold).
        absent: (K,) bool, joints that are sure to be out of the picture; none of them is labelled.
            None where the dataset does not say.
        size: Width and height of the picture as the dataset has it, to be compared with the file's.
    """

    id: str
    image: Path
    keypoints: np.ndarray
    labelled: np.ndarray
    box: np.ndarray
    skeleton: Skeleton
    head_box: np.ndarray | None = None
    absent: np.ndarray | None = None
    size: tuple[float, float] | None = None

    @property
    def points(self) -> np.ndarray:
        """(N, 2), the keypoints that are labelled."""
        return np.asarray(self.keypoints[self.labelled])

    @property
    def absent_joints(self) -> np.ndarray:
        """`absent` as (K,) bool, whether the dataset says it or not."""
        return np.zeros_like(self.labelled) if self.absent is None else self.absent


def check_split(where: object, split: str, splits: Iterable[str]) -> None:
    """Raises DatasetError that names the splits unless `split` is one of them."""
    if split not in splits:
        raise DatasetError(f"{where} has the splits {', '.join(splits)}, not {split!r}")


def require_images(
    folder: Path, people: Iterable[Sample], known: Collection[str] | None = None
) -> None:
    """Sees that a folder holds people's pictures and, if all `known` files are told, no others."""
    needed = {person.image.relative_to(folder).as_posix() for person in people}
    if not folder.is_dir():
        raise DatasetError(f"{folder} is missing: the images belong into it")
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    # One listing answers for most names; a name that leads into a folder is looked up by itself.
    missing = sorted(n for n in needed - present if "/" not in n or not (folder / n).is_file())
    if missing:
        count = f"{len(missing)} of {len(needed)}"
        raise DatasetError(f"pictures are missing, {count}: {folder} lacks {first_five(missing)}")
    extra = [] if known is None else sorted(present - set(known))
    if extra:
        raise DatasetError(f"{folder} holds files that do not belong to it: {first_five(extra)}")


def first_five(texts: Sequence[str], between: str = ", ") -> str:
    """Five of the texts at most."""
    more = f"{between.rstrip(', ') or ' '}and {len(texts) - 5} more" if len(texts) > 5 else ""
    return between.join(texts[:5]) + more
