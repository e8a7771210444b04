"""Freed memory that stays: counted in pages that the system had to bring back."""

import functools
import subprocess
import sys

import pytest

from gatedpose.device import keep_freed_memory

FAULTS = """
import resource, torch
from gatedpose.device import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(64 * 2**20, dtype=torch.uint8)  # written, and freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{prepare}
faults(), faults()  # until the freed blocks lie side by side
print(faults())
"""


@functools.cache
def faults_of(prepare: str) -> int:
    program = [sys.executable, "-c", FAULTS.format(prepare=prepare)]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    return int(told.splitlines()[-1])


@pytest.mark.skipif(not keep_freed_memory(), reason="not glibc")
@pytest.mark.parametrize(
    "prepare",
    [
        "keep_freed_memory()",
        "import gatedpose\n"
        "model = gatedpose.create_model('gated_hg_1s_68', width=8, depth=2)\n"
        "gatedpose.optimize(model, compile=False)",
        "from gatedpose.cli import main\nmain(['recipe', 'lsp'], standalone_mode=False)",
    ],
    ids=["asked for", "optimize", "commands"],
)
def test_freed_memory_is_used_again(prepare: str) -> None:
    # 5 times 64 MiB are 81,920 pages of 4 KiB, or 160 of 2 MiB.
    assert faults_of(prepare) < faults_of("") / 4


SHARED = """
import threading, torch
from gatedpose.device import keep_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20

def work(megabytes, done, go):
    torch.zeros(megabytes * 2**20, dtype=torch.uint8)  # written, and freed at once
    done.set()
    go.wait()  # as an idle thread of a server

{prepare}
before, go = resident(), threading.Event()
for number in range(8):
    done = threading.Event()
    threading.Thread(target=work, args=(24 - number, done, go)).start()
    done.wait()
print(resident() - before)
go.set()
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="not glibc")
def test_threads_share_the_memory_that_is_kept() -> None:
    """Eight threads that need 24 MiB each, one after the other, keep one such block."""
    program = [sys.executable, "-c", SHARED.format(prepare="keep_freed_memory()")]
    told = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    assert int(told) < 48


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())  # musl
    assert keep_freed_memory() is False
