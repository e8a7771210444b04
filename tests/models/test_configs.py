"""Saved networks whose config.json or weights were tampered with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import gatedpose
from gatedpose.errors import GatedPoseError, InputError, WeightsError
from gatedpose.export import export
from gatedpose.models.saved import save_model
from gatedpose.skeleton import LSP14

Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    small = gatedpose.create_model("gated_hg_1s_68", num_keypoints=14, width=8, depth=2)
    save_model(small, folder, LSP14)
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in saved.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def everywhere(config: dict[str, Any]) -> None:
    """Keypoints that all fields agree upon, and the weights do not."""
    for part in (config, config["pretrained_cfg"], config["model_args"]):
        part["num_classes"] = 16
    config.pop("skeleton")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(num_classes=16), "num_classes is 16; num_classes of pretrained_cfg"),
        (everywhere, "has 14 keypoints, what describes it says 16"),
        (lambda c: c["model_args"].update(num_classes=16), "num_classes of model_args is 16"),
        (lambda c: c["model_args"].update(in_chans=4), "input_size is 3; in_chans is 4"),
        (lambda c: c["pretrained_cfg"].update(std=[0, 0, 0]), "'std' must be 3 numbers from 0.0"),
        (lambda c: c["pretrained_cfg"].update(mean=[float("nan")] * 3), "'mean' must be 3 numbers"),
        (lambda c: c["pretrained_cfg"].update(mean=[0.5]), "'mean' must be 3 numbers"),
        (lambda c: c["pretrained_cfg"].update(input_size=[3, 10**6, 256]), "'input_size' must be"),
        (lambda c: c["pretrained_cfg"].update(nonsense=1), "unknown field 'nonsense'"),
        (lambda c: c["skeleton"]["joints"].pop(), "flip pairs and limbs must index 13 joints"),
        (lambda c: c["skeleton"].update(flip_pairs=[[0, 10**400]]), "no skeleton"),
        (lambda c: c["skeleton"].update(flip_pairs=[[0, 14]]), "must index 14 joints"),
        (lambda c: c["skeleton"].update(limbs=[[0]]), "no skeleton"),
        (lambda c: c["skeleton"].update(limbs=3), "no skeleton"),
        (lambda c: c.update(skeleton={"name": "kite"}), "no skeleton"),
        (lambda c: c.update(pretrained_cfg=[]), "'pretrained_cfg' must be an object"),
        (lambda c: c.pop("pretrained_cfg"), "without 'pretrained_cfg' it has the unknown field"),
        (lambda c: c["pretrained_cfg"].update(mean=[123.7, 116.3, 103.5]), "colours are from 0"),
        (lambda c: c["pretrained_cfg"].update(std=[1e-30] * 3), "'std' must be 3 numbers"),
        (lambda c: c["model_args"].update(pretrained=True), "the unknown field 'pretrained'"),
        (lambda c: c["model_args"].update(features_only=True), "the unknown field 'features_only'"),
        (lambda c: c["model_args"].update(cache_dir="/x"), "the unknown field 'cache_dir'"),
        (lambda c: c["skeleton"].update(flip_pairs=[]), "not the one that is known as 'lsp14'"),
        (lambda c: c["skeleton"]["joints"].reverse(), "not the one that is known as 'lsp14'"),
        (lambda c: c.update(calibration={"peaks": [0, 1], "chances": [1, 0]}), "not monotone"),
        (lambda c: c.update(calibration=[1]), "'calibration': .* mapping"),
        (lambda c: c.update(architecture=7), "the name of an 'architecture'"),
        (lambda c: c["model_args"].update(width=4096), "does not fit this network"),
        (lambda c: c["model_args"].update(depth="deep"), "depth must be an integer"),
    ],
)  # fmt: skip
def test_each_field_is_held_against_the_others(model: Path, change: Change, message: str) -> None:
    path = model / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(GatedPoseError, match=message):
        gatedpose.create_model(f"local-dir:{model}", pretrained=True)


def test_other_keypoints_are_fresh_where_the_caller_asks(model: Path) -> None:
    network = gatedpose.create_model(f"local-dir:{model}", pretrained=True, num_keypoints=5)
    assert network.num_keypoints == 5


def test_no_memory_before_the_weights_fit(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((model / "config.json").read_text())
    config["model_args"]["width"] = 4096
    (model / "config.json").write_text(json.dumps(config))
    made: list[str] = []
    kept = torch.nn.Conv2d.__init__

    def watched(conv: torch.nn.Conv2d, *args: Any, **options: Any) -> None:
        kept(conv, *args, **options)
        made.append(conv.weight.device.type)

    monkeypatch.setattr(torch.nn.Conv2d, "__init__", watched)
    with pytest.raises(WeightsError, match="does not fit"):
        gatedpose.create_model(f"local-dir:{model}", pretrained=True)
    assert set(made) == {"meta"}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("heads.0.weight", float("nan"), "heads.0.weight holds values that are not finite"),
        ("heads.0.bias", float("-inf"), "heads.0.bias holds values that are not finite"),
        ("running_var", -1.0, "running_var holds a variance below 0"),
    ],
)
def test_weights_are_finite(model: Path, key: str, value: float, message: str) -> None:
    path = model / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    name = next(name for name in tensors if name.endswith(key))
    tensors[name].view(-1)[0] = value
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(WeightsError, match=message):
        gatedpose.create_model(f"local-dir:{model}", pretrained=True)


def test_weights_that_half_precision_does_not_hold(model: Path, tmp_path: Path) -> None:
    path = model / "model.safetensors"
    tensors = safetensors.torch.load_file(path)
    tensors["heads.0.bias"][0] = 1e6
    safetensors.torch.save_file(tensors, path)
    name = f"local-dir:{model}"
    network = gatedpose.create_model(name, pretrained=True)
    with pytest.raises(WeightsError, match=r"heads\.0\.bias .* not finite \(torch\.float16\)"):
        gatedpose.create_model(name, pretrained=True, dtype=torch.float16)
    file = tmp_path / "half.pt2"
    with pytest.raises(InputError, match="would give values that are no numbers"):
        export(network, file, "torch-export", half=True, size=(64, 64))
    assert not file.exists()
