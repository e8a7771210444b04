"""What a heatmap's peak is worth: the chance that its joint lies within a fifth of the torso.

Peaks of different networks and trainings mean different things. A map from peak to chance, fitted
on people that were not trained on, makes scores comparable, and one threshold fits all.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.errors import InputError

Numbers = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Calibration:
    """A monotone map from peaks to chances, straight between its knots and level beyond them.

    Attributes:
        peaks: Heights of peaks, rising.
        chances: The chance at each of them, 0 to 1, not falling.

    Raises:
        InputError: If there are not as many chances as peaks, fewer than two, or they fall.
    """

    peaks: tuple[float, ...]
    chances: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "peaks", tuple(map(float, self.peaks)))
        object.__setattr__(self, "chances", tuple(map(float, self.chances)))
        peaks, chances = np.array(self.peaks), np.array(self.chances)
        if len(peaks) != len(chances) or len(peaks) < 2:
            raise InputError(
                f"Calibration: needs two or more peaks and as many chances, got {len(peaks)} and "
                f"{len(chances)}"
            )
        good = (np.diff(peaks) > 0).all() and (np.diff(chances) >= 0).all()
        if not good or not ((chances >= 0) & (chances <= 1)).all() or not np.isfinite(peaks).all():
            raise InputError(
                f"Calibration: is not monotone: peaks must rise and chances not fall, from 0 to 1; "
                f"got {self.peaks} and {self.chances}"
            )

    def __call__(self, peaks: Numbers) -> npt.NDArray[np.float32]:
        """Chances of peaks, of the same shape; float32."""
        return np.interp(peaks, self.peaks, self.chances).astype(np.float32)
