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
        ValueError: If a cutoff is not positive, or beta is negative.
    """

    def __init__(
        self, min_cutoff: float = 1.0, beta: float = 0.0, speed_cutoff: float = 1.0
    ) -> None:
        if not (min_cutoff > 0 and speed_cutoff > 0 and beta >= 0):
            raise InputError(
                f"OneEuro: cutoffs must be positive and beta at least 0, got min_cutoff "
                f"{min_cutoff}, beta {beta}, speed_cutoff {speed_cutoff}"
            )
        self.min_cutoff, self.beta, self.speed_cutoff = min_cutoff, beta, speed_cutoff
        self._last: tuple[float, Values, Values] | None = None  # time, filtered values and speeds

    def __call__(self, time: float, values: Values, scale: float = 1.0) -> Values:
        """Filters the next values.

        Args:
            time: Seconds, later than at the last call.
            values: Any shape, the same at each call; the first are returned as they are.
            scale: Length that speeds are measured in: with a person's size, one beta serves near
                and far people.

        Raises:
            ValueError: If the time is not later, or the shape another.
        """
        values = np.asarray(values)
        if self._last is None:
            self._last = time, values, np.zeros_like(values)
            return values
        before, filtered, speeds = self._last
        if not time > before or values.shape != filtered.shape:
            raise InputError(
                f"OneEuro: need values {filtered.shape} later than {before} s, got {values.shape} "
                f"at {time} s"
            )
        elapsed = time - before
        speed = (values - filtered) / elapsed / scale
        speeds = speeds + _weight(elapsed, self.speed_cutoff) * (speed - speeds)
        weight = _weight(elapsed, self.min_cutoff + self.beta * np.abs(speeds))
        self._last = time, filtered + weight * (values - filtered), speeds
        return self._last[1]


def _weight(elapsed: float, cutoff: Any) -> Any:
    """Share of the new value in exponential smoothing with a cutoff frequency in Hz."""
    turn = 2 * math.pi * cutoff * elapsed
    return turn / (1 + turn)


def joint_filter() -> OneEuro:
    """The filter that suits joints whose speeds are measured in heights of the person."""
    return OneEuro(min_cutoff=1.0, beta=10.0)
