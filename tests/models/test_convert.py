"""Weights of PyTorch's own files become safetensors, by the command that the error names."""

import argparse
import copy
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import Tensor

import gatedpose
from gatedpose.cli import main
from gatedpose.errors import WeightsError
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.convert import convert_weights


def tiny() -> HeatmapNetwork:
    return gatedpose.create_model("gated_hg_1s_68", width=8, depth=2, num_keypoints=3)


def channels_last(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: value.contiguous(memory_format=torch.channels_last) if value.dim() == 4 else value
        for key, value in state.items()
    }


def shared(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of floats are views of one piece of memory."""
    floats = {key: value for key, value in state.items() if value.is_floating_point()}
    flat, start, views = torch.cat([value.flatten() for value in floats.values()]), 0, {}
    for key, value in floats.items():
        views[key] = flat[start : start + value.numel()].view(value.shape)
        start += value.numel()
    return {**state, **views}


@pytest.mark.parametrize("name", ["mine.pt", "my weights.pth", "mine.ckpt"])
@pytest.mark.parametrize(
    "hold",
    [
        lambda state: state,
        channels_last,
        shared,
        lambda state: {f"module.{key}": value for key, value in state.items()},
        lambda state: {"epoch": 3, "state_dict": channels_last(state), "optimizer": {"lr": {}}},
        lambda state: {"model": {"network": state}, "scores": [0.5]},
        lambda state: {  # of Lightning
            "state_dict": {f"model.{key}": value for key, value in state.items()},
            "hyper_parameters": {"lr": 1e-3},
            "optimizer_states": [{}],
        },
        lambda state: {  # of AveragedModel
            "n_averaged": torch.tensor(3),
            **{f"module.{key}": t for key, t in state.items()},
        },
        lambda state: {  # of timm's train.py
            "state_dict": state,
            "args": argparse.Namespace(lr=1e-3, crop=None),
            "epoch": 3,
        },
        lambda state: {"my_pose_net": state, "step": torch.tensor(3).item()},
    ],
)
def test_the_command_of_the_message_works(
    hold: Callable[[dict[str, Tensor]], Any], name: str, tmp_path: Path
) -> None:
    model, file = tiny(), tmp_path / name
    torch.save(hold(copy.deepcopy(dict(model.state_dict()))), file)
    with pytest.raises(WeightsError) as refused:
        gatedpose.load_weights(tiny(), file)
    [command] = re.findall(r"gatedpose (convert .*)", str(refused.value))
    words = shlex.split(command)
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0, told.output
    loaded = tiny()
    gatedpose.load_weights(loaded, words[-1])
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    again = CliRunner().invoke(main, words)
    assert again.exit_code == 1
    assert "exists: name another file" in again.output


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([torch.zeros(2)], "holds no table of weights but a list"),
        ({"epoch": 3}, "it is not plain which of its parts are the weights; it holds 'epoch'"),
        ({"a": {"x": torch.zeros(1)}, "b": {"x": torch.zeros(1)}}, "it holds 'a', 'b'"),
        ({"model": {}}, r"in.pt, 'model': it is not plain .* it holds nothing"),
    ],
)
def test_what_holds_no_weights(held: object, message: str, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "in.pt")
    told = CliRunner().invoke(
        main, ["convert", str(tmp_path / "in.pt"), str(tmp_path / "o.safetensors")]
    )
    assert told.exit_code == 1
    assert re.search(message, told.output)
    assert not (tmp_path / "o.safetensors").exists()


def test_no_code_is_run(tmp_path: Path) -> None:
    torch.save({"model": Trap(tmp_path / "sprung")}, tmp_path / "in.pt")
    (tmp_path / "noise.pt").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "empty.pt").write_bytes(b"")
    for name in ("in.pt", "noise.pt", "empty.pt"):
        arguments = ["convert", str(tmp_path / name), str(tmp_path / "o.safetensors")]
        told = CliRunner().invoke(main, arguments)
        assert told.exit_code == 1
        assert f"{name} cannot be read as tensors alone" in told.output
    assert not (tmp_path / "sprung").exists()
    absent = CliRunner().invoke(main, ["convert", str(tmp_path / "no.pt"), "o.safetensors"])
    assert "no.pt cannot be read: No such file" in absent.output
    wrong = CliRunner().invoke(main, ["convert", str(tmp_path / "in.pt"), str(tmp_path / "o.pt")])
    assert "does not end in .safetensors" in wrong.output


def test_averaged_weights_that_are_passed_over_are_named(tmp_path: Path) -> None:
    one, other = ({"a": torch.tensor([value])} for value in (1.0, 2.0))
    held = {"state_dict": one, "state_dict_ema": other, "optimizer": {"state": {}}}
    torch.save(held, tmp_path / "in.pt")
    target = tmp_path / "o.safetensors"
    told = CliRunner().invoke(main, ["convert", str(tmp_path / "in.pt"), str(target)])
    assert "took the weights in 'state_dict', and passed over those in 'state_dict_ema'" in (
        told.stderr
    )
    assert load_file(target)["a"] == 1


def test_no_other_class_is_made(tmp_path: Path) -> None:
    held = {
        "state_dict": {"a": torch.zeros(1)},
        "args": argparse.Namespace(out=Trap(tmp_path / "x")),
    }
    torch.save(held, tmp_path / "in.pt")
    with pytest.raises(WeightsError, match="cannot be read as tensors alone"):
        convert_weights(tmp_path / "in.pt", tmp_path / "o.safetensors")
    assert not (tmp_path / "x").exists()
