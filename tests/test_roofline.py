"""The bound by operations and bytes, counted by hand."""

import pytest
import torch
from torch import nn

from gatedpose.roofline import Machine, best_seconds, measure_machine


def test_each_convolution_is_bound_by_what_takes_longer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))
    images = torch.randn(2, 3, 4, 6)
    # Operations: 2 * (2 * 8 * 24) * 27 = 20,736 and 2 * (2 * 2 * 24) * 8 = 1,536.
    # Numbers moved: 144 + 384 + 216 = 744 and 384 + 96 + 16 = 496.
    slow_memory = Machine(bytes_per_second=10.0, flops_per_second=1e9)
    slow_maths = Machine(bytes_per_second=1e9, flops_per_second=10.0)
    both = Machine(bytes_per_second=4.0, flops_per_second=10.0)
    full, half = torch.float32, torch.bfloat16
    assert best_seconds(network, images, full, slow_memory) == pytest.approx((744 + 496) * 4 / 10)
    assert best_seconds(network, images, half, slow_memory) == pytest.approx((744 + 496) * 2 / 10)
    assert best_seconds(network, images, full, slow_maths) == pytest.approx((20736 + 1536) / 10)
    assert best_seconds(network, images, full, both) == pytest.approx(20736 / 10 + 496 * 4 / 4)
    assert not network[0]._forward_hooks


def test_a_machine_has_rates() -> None:
    machine = measure_machine("cpu", torch.float32)
    assert 1e7 < machine.bytes_per_second < 1e13
    assert 1e8 < machine.flops_per_second < 1e15
