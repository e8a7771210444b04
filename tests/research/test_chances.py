"""Fitted maps from peaks to chances, and how far chances are from shares."""

import numpy as np
import pytest

from gatedpose.errors import InputError


def test_a_fit_gives_the_shares_back(example) -> None:
    chances = example("chances")
    generator = np.random.default_rng(0)
    truth = generator.uniform(0, 1, 20_000)
    right = generator.uniform(0, 1, 20_000) < truth
    peaks = truth**2  # an over-careful network
    assert chances.calibration_error(peaks, right)[0] > 0.1
    fitted = chances.fit_calibration(peaks, right)
    error, points = chances.calibration_error(fitted(peaks), right)
    assert error < 0.02
    assert sum(count for _, _, count in points) == 20_000
    with pytest.raises(InputError, match="50 joints are not 10 for each"):
        chances.fit_calibration(peaks[:50], right[:50])


def test_shares_that_fall_are_pooled(monkeypatch: pytest.MonkeyPatch, example) -> None:
    chances = example("chances")
    monkeypatch.setattr(chances, "SHARES", (0.25, 0.5, 0.75))
    peaks = np.arange(1.0, 41.0)
    right = np.concatenate([np.zeros(10), np.ones(10), np.zeros(10), np.ones(10)]).astype(bool)
    fitted = chances.fit_calibration(peaks, right)
    assert fitted.peaks == (0.0, 5.5, 15.5, 25.5, 35.5)
    assert fitted.chances == (0.0, 0.0, 0.5, 0.5, 1.0)
