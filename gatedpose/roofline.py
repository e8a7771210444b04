"""What a machine could do at best with a network: operations and bytes against its own rates.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model", CACM 2009. Only
convolutions are counted, each as reading its input and weights and writing its output once: norms,
ReLUs, gates and sums could be part of them. So the bound is one that no program can beat, and a
share of it says how much is left.
"""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Machine:
    """Measured rates of a device in one dtype.

    Attributes:
        bytes_per_second: Read and written by a copy of 256 MB.
        flops_per_second: Of a product of two square matrices of 4,096 (1,024 on a CPU).
    """

    bytes_per_second: float
    flops_per_second: float


@functools.cache
def measure_machine(device: str, dtype: torch.dtype) -> Machine:
    """Measures a device's copy bandwidth and matrix rate; takes a second, and once only."""
    source = torch.zeros(2**28 // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    side = 1024 if device == "cpu" else 4096
    matrix = torch.randn(side, side, device=device).to(dtype)
    copying = _seconds(lambda: target.copy_(source), device)
    multiplying = _seconds(lambda: matrix @ matrix, device)
    return Machine(2 * 2**28 / copying, 2 * side**3 / multiplying)


def best_seconds(network: nn.Module, images: Tensor, dtype: torch.dtype, machine: Machine) -> float:
    """The least time that the convolutions of a network can take, one after the other."""
    total = 0.0
    width = torch.empty((), dtype=dtype).element_size()

    def count(conv: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        flops = 2 * output.numel() * conv.weight[0].numel()
        moved = width * (inputs[0].numel() + output.numel() + conv.weight.numel())
        total += max(flops / machine.flops_per_second, moved / machine.bytes_per_second)

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _seconds(work: Callable[[], object], device: str) -> float:
    """The best of some runs."""
    times = []
    for _ in range(8):
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
