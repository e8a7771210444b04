"""One annotated person, whatever the dataset it comes from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatedpose.skeleton import Skeleton


class DatasetError(ValueError):
    """A dataset folder that is not what its reader expects; the message names the files."""


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
    """

    id: str
    image: Path
    keypoints: np.ndarray
    labelled: np.ndarray
    box: np.ndarray
    skeleton: Skeleton
