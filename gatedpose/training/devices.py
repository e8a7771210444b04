"""Devices and processes of a training, through accelerate."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gatedpose.errors import InputError, MissingPackageError
from gatedpose.training.groups import Precision


def make_accelerator(precision: Precision) -> Any:
    """The `accelerate.Accelerator` of this process.

    Raises:
        ImportError: Without accelerate.
        ValueError: For fp16 where there is no GPU, or several processes that accelerate would let
            train apart.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise MissingPackageError(
            'training needs accelerate: pip install "gatedpose[train]"'
        ) from error
    AcceleratorState._reset_state()  # else an earlier training of this program fixes precision
    plain = Accelerator()
    if precision == "fp16" and plain.device.type == "cpu":
        raise InputError(
            'precision "fp16" needs a GPU, and training would run on the CPU: take "bf16" or "no"'
        )
    if int(os.environ.get("WORLD_SIZE", "1")) != plain.num_processes:
        raise InputError(
            "these processes do not know each other and would train apart; on a CPU set "
            "ACCELERATE_USE_CPU=1"
        )
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision)


@contextmanager
def sigterm() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM comes, which does no more than that."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
