"""Devices and processes of a training."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gatedpose.training.devices import make_accelerator
from gatedpose.training.recipes import RECIPES
from gatedpose.training.run import train


def test_precision_is_that_of_the_last_call() -> None:
    for precision in ("no", "bf16", "no"):
        assert make_accelerator(precision).mixed_precision == precision


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_fp16_needs_a_gpu_before_anything_is_read(tmp_path: Path) -> None:
    recipe = replace(RECIPES["finetune"], precision="fp16")
    with pytest.raises(ValueError, match='"fp16" needs a GPU, and training would run on the CPU'):
        train("gated_hg_1s_68", recipe, {"own": tmp_path / "none"}, tmp_path / "out")


def test_processes_that_would_train_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"do not know each other .* set ACCELERATE_USE_CPU=1"):
        make_accelerator("no")


def test_missing_accelerate_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'accelerate: pip install "gatedpose\[train\]"'):
        train("gated_hg_1s_68", RECIPES["finetune"], {"own": tmp_path}, tmp_path / "out")
