"""The bound by operations and bytes, counted by hand."""

import pytest
import torch
from torch import nn

from gatedpose.engines.rates import copy_rate, matrix_rate
from gatedpose.research.roofline import best_seconds


def test_each_convolution_is_bound_by_what_takes_longer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    images = torch.randn(2, 3, 4, 6)
    # Operations: 2 * (2 * 8 * 24) * 27 = 20,736 and 2 * (2 * 2 * 24) * 8 = 1,536.
    # Numbers moved: 144 + 384 + 216 = 744 and 384 + 96 + 16 = 496.
    full, half = torch.float32, torch.bfloat16
    # Slow memory, slow arithmetic, then one convolution bound by either.
    assert best_seconds(network, images, full, 10.0, 1e9) == pytest.approx((744 + 496) * 4 / 10)
    assert best_seconds(network, images, half, 10.0, 1e9) == pytest.approx((744 + 496) * 2 / 10)
    assert best_seconds(network, images, full, 1e9, 10.0) == pytest.approx((20736 + 1536) / 10)
    assert best_seconds(network, images, full, 4.0, 10.0) == pytest.approx(20736 / 10 + 496 * 4 / 4)
    assert not network[0]._forward_hooks


def test_transposed_convolutions_work_for_each_input_pixel() -> None:
    network, images = nn.ConvTranspose2d(3, 8, 4, 2, 1), torch.randn(2, 3, 4, 6)
    # Operations: 2 * (2 * 3 * 24) * (8 * 16) = 36,864; numbers moved: 144 + 2 * 8 * 96 + 384.
    assert best_seconds(network, images, torch.float32, 1e9, 10.0) == pytest.approx(36864 / 10)
    assert best_seconds(network, images, torch.float32, 10.0, 1e9) == pytest.approx(2064 * 4 / 10)


def test_linear_layers_count() -> None:
    # Operations: 2 * (2 * 5 * 4) * 3 = 240; numbers moved: 2 * 5 * (3 + 4) + 12.
    tokens = torch.randn(2, 5, 3)
    assert best_seconds(nn.Linear(3, 4), tokens, torch.float32, 1e9, 10.0) == pytest.approx(24)
    assert best_seconds(nn.Linear(3, 4), tokens, torch.float32, 4.0, 1e9) == pytest.approx(82)


def test_a_machine_has_rates() -> None:
    assert 1e7 < copy_rate("cpu") < 1e13
    assert 1e8 < matrix_rate("cpu", torch.float32) < 1e15
    assert copy_rate("cpu") == copy_rate("cpu")  # measured once
