"""Devices and processes of a training, through accelerate."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

from gatedpose.engines.rates import emulates_bfloat16
from gatedpose.errors import InputError, require
from gatedpose.training.groups import Precision

# What launchers set that changes a training, what it is to be, and what says so instead.
INHERITED = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("1", "the recipe's accumulate"),
    "ACCELERATE_GRADIENT_CLIPPING": ("none", "the recipe's clip"),
    "ACCELERATE_DYNAMO_BACKEND": ("no", "the recipe's compile"),
    "ACCELERATE_USE_DEEPSPEED": ("false", "nothing: it is not supported"),
    "ACCELERATE_USE_FSDP": ("false", "nothing: it is not supported"),
    "ACCELERATE_USE_MEGATRON_LM": ("false", "nothing: it is not supported"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("false", "nothing: it is not supported"),
}
LOG = logging.getLogger(__name__)
OFF = ("", "0", "false", "no", "none", "off")


def make_accelerator(precision: Precision) -> Any:
    """The `accelerate.Accelerator` of this process.

    InputError for fp16 where there is no GPU, several processes that accelerate would let train
    apart, or a variable that asks for another training than the recipe. The log says where bf16
    would be slow.
    """
    for package in ("accelerate", "matplotlib", "tensorboard"):  # before hours of work
        require(package, f"training needs {package}", "gatedpose[train]")
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    rules = {**INHERITED, "ACCELERATE_MIXED_PRECISION": (precision, "the recipe's precision")}
    for name, (right, instead) in rules.items():
        if os.environ.get(name, "").lower() not in (*OFF, right):
            raise InputError(
                f"{name}={os.environ[name]} asks for another training than the recipe, which has "
                f"{right}: unset it; what happens is said by {instead}"
            )
    AcceleratorState._reset_state()  # else an earlier training of this program fixes precision
    plain = Accelerator()
    if precision == "fp16" and plain.device.type == "cpu":
        raise InputError(
            'precision "fp16" needs a GPU, and training would run on the CPU: take "bf16" or "no"'
        )
    if precision == "bf16" and plain.device.type == "cpu" and emulates_bfloat16():
        LOG.warning(
            "this processor has no bfloat16, and is many times slower with it: train with "
            "--precision no, a finder with --no-bf16"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) != plain.num_processes:
        raise InputError(
            "these processes do not know each other and would train apart; on a CPU set "
            "ACCELERATE_USE_CPU=1"
        )
    AcceleratorState._reset_state()
    return Accelerator(mixed_precision=precision)


@contextmanager
def stopping() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM or Ctrl-C comes; a second Ctrl-C interrupts as usual.

    In another thread than the main one, which alone gets signals, they do what they did before.
    """
    came: list[int] = []
    heard = (signal.SIGTERM, signal.SIGINT) if current_thread() is main_thread() else ()
    before = {number: signal.getsignal(number) for number in heard}

    def note(number: int, frame: object) -> None:
        came.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT] or signal.default_int_handler)

    try:
        for number in before:
            signal.signal(number, note)
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
