"""Fitted maps from peaks to chances, and how far chances are from shares."""

import numpy as np
import pytest

from gatedpose.errors import InputError
from gatedpose.research import calibration
from gatedpose.research.calibration import calibration_error, fit_calibration


def test_a_fit_gives_the_shares_back() -> None:
    generator = np.random.default_rng(0)
    truth = generator.uniform(0, 1, 20_000)
    right = generator.uniform(0, 1, 20_000) < truth
    peaks = truth**2  # an over-careful network
    assert calibration_error(peaks, right)[0] > 0.1
    fitted = fit_calibration(peaks, right)
    error, points = calibration_error(fitted(peaks), right)
    assert error < 0.02
    assert sum(count for _, _, count in points) == 20_000
    with pytest.raises(InputError, match="10 joints in each of 12 groups"):
        fit_calibration(peaks[:50], right[:50])


def test_what_cannot_be_counted_is_named() -> None:
    for chances, right, message in (
        ([], [], r"M from 1, got \(0,\) and \(0,\)"),
        ([0.5], [True, False], r"got \(1,\) and \(2,\)"),
        ([0.5, np.nan], [True, False], "from 0 to 1, got nan"),
        ([0.5, 1.5], [True, False], "from 0 to 1, got 1.5; peaks become"),
    ):
        with pytest.raises(InputError, match=f"calibration_error: .*{message}"):
            calibration_error(np.array(chances), np.array(right, dtype=bool))
    peaks = np.linspace(0, 1, 4000)
    peaks[7] = np.nan
    with pytest.raises(InputError, match="fit_calibration: peaks must be finite"):
        fit_calibration(peaks, peaks > 0.5)


def test_shares_that_fall_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SHARES", (0.25, 0.5, 0.75))
    peaks = np.arange(1.0, 41.0)
    right = np.concatenate([np.zeros(10), np.ones(10), np.zeros(10), np.ones(10)]).astype(bool)
    fitted = fit_calibration(peaks, right)
    assert fitted.peaks == (0.0, 5.5, 15.5, 25.5, 35.5)
    assert fitted.chances == (0.0, 0.0, 0.5, 0.5, 1.0)
