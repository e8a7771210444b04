"""What becomes of a process's memory once it is freed."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # of malloc.h
LARGEST = 2**30  # bytes of a block that is kept: tensors of a network, but no whole dataset


def keep_freed_memory() -> bool:
    """Makes the process keep the memory it frees, for what it asks next.

    glibc hands large freed blocks back to the system, which zeroes each page anew when it is asked
    again; the tensors of a network on the CPU are such blocks, time and again. Kept, they are
    ready. The process then holds on to the most memory that it ever needed, but for blocks of more
    than 1 GiB. `gatedpose.optimize` does this on CPUs, and so do all commands.

    Returns:
        Whether it could be done: on Linux with glibc, and there with its own `malloc`.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    # Older versions refuse a threshold above 32 MiB, see mallopt(3): then all blocks are kept.
    no_separate_blocks = mallopt(M_MMAP_THRESHOLD, LARGEST) or mallopt(M_MMAP_MAX, 0)
    return bool(no_separate_blocks and mallopt(M_TRIM_THRESHOLD, -1))
