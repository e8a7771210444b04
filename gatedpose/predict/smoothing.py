"""Smoothing in time: the One Euro filter, and its settings for joints."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.errors import InputError

Values = npt.NDArray[np.floating[Any]]


class OneEuro:
    """The One Euro filter (Casiez, Roussel and Vogel, CHI 2012): steady at rest, quick in motion.

    A low-pass filter of each number apart, whose cutoff frequency rises with the number's speed.

    Args:
        min_cutoff: Cutoff in Hz at rest; lower means steadier and later.
        beta: Hz that the cutoff rises for each unit of speed; higher means less lag in motion.
        speed_cutoff: Cutoff in Hz for the speed itself.

    Raises:
        ValueError: If a cutoff is not positive, beta is negative, or one of them infinite.
    """

    def __init__(
        self, min_cutoff: float = 1.0, beta: float = 0.0, speed_cutoff: float = 1.0
    ) -> None:
        cutoffs = 0 < min_cutoff < math.inf and 0 < speed_cutoff < math.inf
        if not (cutoffs and 0 <= beta < math.inf):
            raise InputError(
                f"OneEuro: cutoffs must be positive and beta at least 0, all finite; got "
                f"min_cutoff {min_cutoff}, beta {beta}, speed_cutoff {speed_cutoff}"
            )
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._last: tuple[float, Values, Values] | None = None  # time, filtered values and speeds

    def __call__(self, time: float, values: Values, scale: float = 1.0) -> Values:
        """Filters the next values.

        Args:
            time: Seconds, later than at the last call.
            values: Any shape, the same at each call; the first are returned as they are. One that
                is not known may be NaN: it begins anew with the next that is.
            scale: Length that speeds are measured in: with a person's size, one beta serves near
                and far people.

        Returns:
            A new array.

        Raises:
            ValueError: If the time is not later, the shape another, or the scale not positive.
        """
        if not scale > 0:
            raise InputError(f"OneEuro: scale must be positive, got {scale}")
        values = np.array(values)  # the caller's may be used again
        if self._last is None:
            self._last = time, values, np.zeros_like(values)
            return values.copy()
        before, filtered, speeds = self._last
        if not time > before or values.shape != filtered.shape:
            raise InputError(
                f"OneEuro: need values {filtered.shape} later than {before} s, got {values.shape} "
                f"at {time} s"
            )
        filtered = np.where(np.isnan(filtered), values, filtered)
        speeds = np.where(np.isnan(speeds), 0, speeds)
        elapsed = time - before
        speed = (values - filtered) / elapsed / scale
        speeds = speeds + _weight(elapsed, self.speed_cutoff) * (speed - speeds)
        weight = _weight(elapsed, self.min_cutoff + self.beta * np.abs(speeds))
        self._last = time, filtered + weight * (values - filtered), speeds
        return self._last[1].copy()


def _weight(elapsed: float, cutoff: Any) -> Any:
    """Share of the new value in exponential smoothing with a cutoff frequency in Hz."""
    turn = 2 * math.pi * cutoff * elapsed
    return turn / (1 + turn)


def joint_filter() -> OneEuro:
    """The filter that suits joints whose speeds are measured in heights of the person."""
    return OneEuro(min_cutoff=1.0, beta=10.0)
