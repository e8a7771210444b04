"""Where networks run, and what becomes of memory that they free."""

import ctypes
import sys
import textwrap
from typing import TYPE_CHECKING

from gatedpose.errors import InputError

if TYPE_CHECKING:
    import torch  # takes a second, which keep_freed_memory has no need of

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8  # of malloc.h
LARGEST = 2**30  # bytes of a block that is kept: tensors of a network, but no whole dataset


def find_device(name: "str | int | torch.device", meta: bool = False) -> "torch.device":
    """The device called `name`, seen to be there and to compute; a number is that of a GPU.

    With `meta`, "meta" will do, too: shapes only, and nothing is computed. InputError if it is not
    there.
    """
    import torch

    try:
        device = torch.device(f"cuda:{name}" if str(name).isdecimal() else name)
        if not (meta and device.type == "meta"):
            torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ValueError) as error:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append("mps")
        reason = str(error).partition("\n")[0]
        short = textwrap.shorten(reason, 160, placeholder=" ...")
        raise InputError(
            f"the device {str(name)!r} cannot be used ({short}); there are {', '.join(there)}"
        ) from error
    return device


def keep_freed_memory() -> bool:
    """Makes the process keep the memory it frees, for what it asks next.

    glibc hands large freed blocks back to the system, which zeroes each page anew when it is asked
    again; the tensors of a network on the CPU are such blocks, time and again. Kept, they are
    ready. The process then holds on to the most memory that it ever needed, but for blocks of more
    than 1 GiB. `gatedpose.optimize` does this on CPUs, and so do all commands. New threads share
    one pool: each would else keep the most that it ever needed, and a server has many.

    Returns:
        Whether it could be done: on Linux with glibc, and there with its own `malloc`.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    mallopt(M_ARENA_MAX, 1)
    # Older versions refuse a threshold above 32 MiB, see mallopt(3): then all blocks are kept.
    no_separate_blocks = mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_MAX, 0)
    return bool(no_separate_blocks and mallopt(M_TRIM_THRESHOLD, -1))
