"""Devices and processes of a training."""

import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gatedpose.errors import InputError
from gatedpose.training import devices
from gatedpose.training.devices import make_accelerator, stopping
from gatedpose.training.recipes import RECIPES
from gatedpose.training.run import train


def test_bfloat16_that_would_be_slow_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever processor this is: some emulate it, and take a hundred times as long."""
    for emulated in (True, False):
        monkeypatch.setattr(devices, "emulates_bfloat16", lambda answer=emulated: answer)
        caplog.clear()
        for precision in ("no", "bf16"):
            make_accelerator(precision)
        assert ("has no bfloat16" in caplog.text) == emulated
        assert len(caplog.records) == emulated


def test_precision_is_that_of_the_last_call() -> None:
    for precision in ("no", "bf16", "no"):
        assert make_accelerator(precision).mixed_precision == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_needs_a_gpu_before_anything_is_read(tmp_path: Path) -> None:
    recipe = replace(RECIPES["finetune"], precision="fp16")
    with pytest.raises(ValueError, match='"fp16" needs a GPU, and training would run on the CPU'):
        train("gated_hg_1s_68", recipe, {"own": tmp_path / "none"}, tmp_path / "out")


def test_trainings_in_other_threads_get_no_signals() -> None:
    def train() -> list[int]:
        with stopping() as came:
            return came

    before = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(train).result() == []
    assert signal.getsignal(signal.SIGINT) == before


def test_processes_that_would_train_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"do not know each other .* set ACCELERATE_USE_CPU=1"):
        make_accelerator("no")


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "the recipe, which has 1: .* accumulate"),
        ("ACCELERATE_MIXED_PRECISION", "bf16", "the recipe, which has no: .* precision"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "compile"),
        ("ACCELERATE_GRADIENT_CLIPPING", "1.0", "clip"),
        ("ACCELERATE_USE_FSDP", "true", "it is not supported"),
    ],
)
def test_a_launcher_does_not_change_the_training(
    name: str, value: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=rf"{name}={value} asks for another training .*{field}"):
        make_accelerator("no")


def test_what_a_launcher_always_sets_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `accelerate launch` sets them without options, or with the recipe's own precision."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "1")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "NO")
    for precision in ("no", "bf16"):
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", precision)
        made = make_accelerator(precision)
        assert (made.mixed_precision, made.gradient_accumulation_steps) == (precision, 1)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # the launcher's default
    assert make_accelerator("bf16").mixed_precision == "bf16"


def test_missing_accelerate_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'accelerate: pip install "gatedpose\[train\]"'):
        train("gated_hg_1s_68", RECIPES["finetune"], {"own": tmp_path}, tmp_path / "out")
