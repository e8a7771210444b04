"""What a heatmap's peak is worth: the chance that its joint lies within a fifth of the torso.

Peaks of different networks and trainings mean different things. A map from peak to chance, fitted
on people that were not trained on, makes scores comparable, and one threshold fits all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.errors import InputError, require

SHARES = (0.005, 0.01, 0.02, 0.04, 0.07, 0.11, 0.16, 0.25, 0.4, 0.6, 0.8)  # of the joints, from low
FEWEST = 10  # joints of a group

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


def fit_calibration(
    peaks: Numbers, right: npt.NDArray[np.bool_], shares: Sequence[float] = SHARES
) -> Calibration:
    """The map that makes peaks into chances: shares of right joints among peaks of like height.

    It begins at a chance of 0 for no peak at all.

    Args:
        peaks: (M,) of joints whose truth is known.
        right: (M,) bool, whether each lies within a fifth of the torso; False for joints that are
            out of the picture.
        shares: Where the sorted joints are parted into groups. Low peaks get small ones, since
            there the chance changes most.

    Raises:
        InputError: For fewer than ten joints a group, shapes that differ, or peaks that are no
            finite numbers.
    """
    peaks, right = np.asarray(peaks), np.asarray(right)
    cuts = [round(share * len(peaks)) for share in shares] if peaks.ndim == 1 else []
    sizes = np.diff([0, *cuts, len(peaks)])
    if peaks.shape != right.shape or peaks.ndim != 1 or sizes.min() < FEWEST:
        raise InputError(
            f"fit_calibration: needs (M,) peaks and as many bools, M for {FEWEST} joints in each "
            f"of {len(sizes)} groups; got {peaks.shape} and {right.shape}"
        )
    if not np.isfinite(peaks).all():
        raise InputError("fit_calibration: peaks must be finite; leave out the joints without one")
    groups = np.split(np.argsort(peaks, kind="stable"), cuts)
    heights = [round(float(peaks[group].mean()), 4) for group in groups]
    optimize = require("scipy.optimize", "fitting a calibration needs SciPy", "gatedpose[train]")
    chances = optimize.isotonic_regression([right[group].mean() for group in groups]).x
    knots = dict(zip(heights[::-1], (round(float(c), 4) for c in chances[::-1]), strict=True))
    rising = sorted((height, chance) for height, chance in knots.items() if height > 0)
    return Calibration((0.0, *(h for h, _ in rising)), (0.0, *(c for _, c in rising)))


def calibration_error(
    chances: Numbers, right: npt.NDArray[np.bool_], groups: int = 10
) -> tuple[float, list[tuple[float, float, int]]]:
    """How far chances are from shares, and a reliability plot's points.

    Args:
        chances: (M,) predicted.
        right: (M,) bool.
        groups: Equal parts of 0 to 1.

    Returns:
        The expected calibration error: the mean distance between mean chance and share of right
        joints over the groups, weighted by their size; and these two and the size of each group.

    Raises:
        InputError: For shapes that differ, nothing at all, or chances that are none.
    """
    chances, right = np.asarray(chances), np.asarray(right)
    if chances.shape != right.shape or chances.ndim != 1 or not len(chances):
        raise InputError(
            "calibration_error: needs (M,) chances and as many bools, M from 1, got "
            f"{chances.shape} and {right.shape}"
        )
    if wrong := chances[~((chances >= 0) & (chances <= 1))].tolist():
        raise InputError(
            f"calibration_error: chances must be from 0 to 1, got {wrong[0]:g}; peaks become "
            "chances by fit_calibration"
        )
    place = np.minimum((chances * groups).astype(int), groups - 1)
    points = [
        (float(chances[mine].mean()), float(right[mine].mean()), int(mine.sum()))
        for mine in (place == group for group in range(groups))
        if mine.any()
    ]
    error = sum(abs(chance - share) * count for chance, share, count in points) / len(chances)
    return error, points
