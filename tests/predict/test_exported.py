"""Exported files run as networks, with what they say of themselves."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner

import gatedpose
from gatedpose.cli import main
from gatedpose.errors import InputError, InputTypeError, WeightsError
from gatedpose.export import export
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.predict.exported import ExportedNetwork
from gatedpose.skeleton import Skeleton

TRIO = Skeleton("trio", ("right", "left", "top"), ((0, 1),), ((0, 2), (1, 2)))
KINDS = {"x.onnx": "onnx", "x.xml": "openvino"}
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")


@pytest.fixture(scope="module")
def network() -> GatedHourglass:
    torch.manual_seed(0)
    return GatedHourglass(GatedHourglassConfig(width=8, stacks=2, num_keypoints=3)).eval()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_same_as_in_pytorch(
    network: GatedHourglass, tmp_path: Path, name: str, dynamic: bool
) -> None:
    options: Any = {"size": (64, 128), "with_decode": dynamic, "dynamic_batch": dynamic}
    done = export(network, tmp_path / name, KINDS[name], skeleton=TRIO, **options)  # type: ignore[arg-type]
    assert done.heatmap_difference < 1e-4
    assert done.bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    exported = ExportedNetwork(tmp_path / name)
    assert exported.skeleton == TRIO
    assert exported.pretrained_cfg["input_size"] == (3, 64, 128)
    many = [torch.randn(1 + i % 3, 3, 64, 128) for i in range(6)]
    with torch.no_grad():
        wanted = [network(images)[:, -1:] for images in many]
    for runs in (exported, copy.deepcopy(exported), pickle.loads(pickle.dumps(exported))):
        with ThreadPoolExecutor(3) as pool:
            for found, want in zip(pool.map(runs, many), wanted, strict=True):
                torch.testing.assert_close(found, want, atol=1e-3, rtol=0)
    assert exported(torch.zeros(0, 3, 64, 128)).shape == (0, 1, 3, 16, 32)
    with pytest.raises(
        InputError, match=r"takes images of \(B, 3, 64, 128\), got \(1, 3, 64, 64\)"
    ):
        exported(torch.zeros(1, 3, 64, 64))
    photo = np.random.default_rng(0).integers(0, 255, (90, 70, 3), dtype=np.uint8)
    [same] = gatedpose.Predictor(network, TRIO, size=(64, 128))(photo)
    for model in (exported, str(tmp_path / name)):
        [pose] = gatedpose.Predictor(model)(photo)
        assert np.abs(pose.keypoints - same.keypoints).max() < 0.1
    with pytest.raises(InputError, match=r"x\.\w+ runs on the CPU, not on 'cuda'"):
        gatedpose.Predictor(tmp_path / name, device="cuda")
    with pytest.raises(InputTypeError, match=r"images are torch.uint8 and must be floats"):
        exported(torch.zeros(1, 3, 64, 128, dtype=torch.uint8))


def test_bad_files(network: GatedHourglass, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"are \.onnx or \.xml files"):
        ExportedNetwork(tmp_path / "x.pt2")
    with pytest.raises(WeightsError, match="there is no"):
        ExportedNetwork(tmp_path / "x.onnx")
    for name in KINDS:
        (tmp_path / name).write_bytes(b"no network")
        (tmp_path / "x.bin").write_bytes(b"")
        with pytest.raises(WeightsError, match="cannot be run"):
            ExportedNetwork(tmp_path / name)
        export(network, tmp_path / name, KINDS[name], size=(64, 64))  # type: ignore[arg-type]
        with pytest.raises(WeightsError, match=r"be fed .*give gatedpose\.export\.export"):
            ExportedNetwork(tmp_path / name)
    with pytest.raises(InputError, match="openvino has no half"):
        export(network, tmp_path / "y.xml", "openvino", half=True)
    with pytest.raises(InputError, match="onnx has no int8"):
        export(network, tmp_path / "y.onnx", "onnx", int8=True)
    with pytest.raises(InputError, match="eight bits wrongly where a file takes any number"):
        export(network, tmp_path / "y.xml", "openvino", int8=True, dynamic_batch=True)
    with pytest.raises(InputError, match=r"does not end in \.xml"):
        export(network, tmp_path / "y", "openvino")


def test_openvinos_files_are_made_once(
    network: GatedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino = pytest.importorskip("openvino")
    saved, save = [], openvino.save_model
    monkeypatch.setattr(openvino, "save_model", lambda *a, **k: saved.append(a) or save(*a, **k))
    export(network, tmp_path / "x.xml", "openvino", size=(64, 64))
    assert len(saved) == 1


@pytest.mark.parametrize("name", KINDS)
def test_copies_need_no_file(network: GatedHourglass, tmp_path: Path, name: str) -> None:
    export(network, tmp_path / name, KINDS[name], skeleton=TRIO, size=(64, 64))  # type: ignore[arg-type]
    exported = ExportedNetwork(tmp_path / name)
    packed, images = pickle.dumps(exported), torch.randn(2, 3, 64, 64)
    for file in tmp_path.iterdir():
        file.unlink()
    copied = pickle.loads(packed)
    assert copied.skeleton == TRIO
    torch.testing.assert_close(copied(images), exported(images))


def test_parts_of_openvinos_files_belong_together(network: GatedHourglass, tmp_path: Path) -> None:
    other = copy.deepcopy(network)
    torch.nn.init.normal_(other.heads[-1].weight)
    for name, model in (("a", network), ("b", other)):
        export(model, tmp_path / f"{name}.xml", "openvino", skeleton=TRIO, size=(64, 64))
    moved = tmp_path / "m \u00fc" / "c.XML"
    moved.parent.mkdir()
    moved.write_bytes((tmp_path / "a.xml").read_bytes())
    with pytest.raises(WeightsError, match=r"needs .*c\.bin, which is not there"):
        ExportedNetwork(moved)
    good = (tmp_path / "a.bin").read_bytes()
    beside = moved.with_suffix(".bin")
    others = (tmp_path / "b.bin").read_bytes()
    assert len(others) == len(good)  # OpenVINO alone takes it without a word
    for bad in (others, good[:-1] + bytes([good[-1] ^ 1]), good[:100]):
        beside.write_bytes(bad)
        with pytest.raises(WeightsError, match=r"c\.bin is damaged, or not the one"):
            ExportedNetwork(moved)
    beside.write_bytes(good)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            ExportedNetwork(moved)(images), network(images)[:, -1:], atol=1e-3, rtol=0
        )


def test_finders_are_no_pose_networks(tmp_path: Path) -> None:
    path = tmp_path / "f.onnx"
    export(gatedpose.create_model("gated_finder_320"), path, size=(64, 64))
    with pytest.raises(WeightsError, match=r"f\.onnx finds people, not joints"):
        ExportedNetwork(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": [64.5, 64]}, "'input_size' must be"),
        ({"size": [64, 128]}, r"said to take \[3, 64, 128\] .* but takes \[3, 64, 64\]"),
        ({"std": [0.2, 0, 0.2]}, "'std' must be 3 numbers"),
        ({"mean": [float("nan")] * 3}, "'mean' must be 3 numbers"),
        ({"skeleton": {**asdict(TRIO), "joints": ["a", "b", "c", "d"]}}, "gives 3 maps"),
        ({"calibration": {"peaks": [0, 1]}}, "chances"),
    ],
)
def test_what_a_file_says_is_held_against_it(
    network: GatedHourglass, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.onnx"
    export(network, path, skeleton=TRIO, size=(64, 64))
    file = onnx.load(path)
    [note] = file.metadata_props
    note.value = json.dumps({**json.loads(note.value), **changes})
    path.write_bytes(file.SerializeToString())
    with pytest.raises(WeightsError, match=message):
        ExportedNetwork(path)
    del file.metadata_props[:]  # as another converter leaves it
    path.write_bytes(file.SerializeToString())
    with pytest.raises(WeightsError, match=r"\(no 'skeleton'\): export it anew"):
        ExportedNetwork(path)


@pytest.mark.slow
def test_command(tmp_path: Path) -> None:
    runner, file = CliRunner(), str(tmp_path / "p.xml")
    made = runner.invoke(
        main, ["export", "gated_hg_2s_128", "--format", "openvino", "--int8", "--out", file]
    )
    assert made.exit_code == 0, made.output
    assert "OpenVINO against PyTorch in float32" in made.output
    words = ["predict", "--demo", "--json", "--out", str(tmp_path / "p.png"), "--overwrite"]
    for model in (file, "gated_hg_1s_68"):
        done = runner.invoke(main, [*words, "--model", model])
        assert done.exit_code == 0, done.output
    refused = runner.invoke(main, [*words, "--model", file, "--fast"])
    assert "says itself how it runs" in refused.output
