"""What this machine can do: rates of matrix products and of copies."""

import functools
import time
from collections.abc import Callable
from typing import Any

import torch


def timer(work: Callable[[], object], cpu_seconds: bool = False) -> Any:
    """PyTorch's `torch.utils.benchmark.Timer` of `work`, on all threads; it waits for GPUs.

    With `cpu_seconds` the processor's seconds count, those of all threads, and not the clock's.
    """
    from torch.utils.benchmark import Timer

    clock: Any = {"timer": time.process_time} if cpu_seconds else {}
    return Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads(), **clock)


@functools.cache
def copy_rate(device: str) -> float:
    """Bytes a second, read and written, that a device copies of 256 MB; measured once."""
    source = torch.zeros(2**28 // 4, device=device)
    target = torch.empty_like(source)
    return 2 * 2**28 / _best(lambda: target.copy_(source))


@functools.cache
def matrix_rate(device: str, dtype: torch.dtype, side: int | None = None) -> float:
    """Operations a second in the product of two square matrices; measured once."""
    side = side or (1024 if device == "cpu" else 4096)
    own = torch.Generator(device).manual_seed(0)  # the caller's numbers stay as they were
    matrix = torch.randn(side, side, device=device, generator=own).to(dtype)
    return 2 * side**3 / _best(lambda: matrix @ matrix)


def emulates_bfloat16() -> bool:
    """Whether this processor has no bfloat16, and PyTorch is many times slower with it.

    Measured on small matrices: large ones would take seconds.
    """
    half, full = (matrix_rate("cpu", dtype, 128) for dtype in (torch.bfloat16, torch.float32))
    return half < full / 5


def _best(work: Callable[[], object]) -> float:
    return float(min(timer(work).blocked_autorange(min_run_time=0.2).times))
