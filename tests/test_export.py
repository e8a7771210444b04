"""Exported networks give in their runtime what they give in PyTorch."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import gatedpose
from gatedpose.cli import main
from gatedpose.export import FORMATS, METADATA, Format, export, input_facts
from gatedpose.heatmaps import decode
from gatedpose.media.demo import demo_image
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.predict.exported import ExportedNetwork
from gatedpose.skeleton import LSP14, PEOPLE19, Skeleton

TRIO = Skeleton("trio", ("right", "left", "top"), ((0, 1),), ((0, 2), (1, 2)))
SIZE = (64, 128)
# Its own files, and parts of PyTorch that its exporter still uses.
pytestmark = pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")
each_format = pytest.mark.parametrize("format", ["onnx", "torch-export"])


@pytest.fixture
def network() -> GatedHourglass:
    torch.manual_seed(0)
    return GatedHourglass(GatedHourglassConfig(width=8, stacks=2, num_keypoints=3)).train()


def run(path: Path, format: Format, images: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of a file, opened anew."""
    if format == "onnx":
        session = onnxruntime.InferenceSession(path.read_bytes())
        return [torch.from_numpy(out) for out in session.run(None, {"images": images.numpy()})]
    with torch.no_grad():
        return list(torch.export.load(path).module()(images))


@each_format
@pytest.mark.parametrize("with_decode", [False, True])
def test_same_as_in_pytorch(
    network: GatedHourglass, tmp_path: Path, format: Format, with_decode: bool
) -> None:
    done = export(
        network, tmp_path / "x", format,
        skeleton=TRIO, size=SIZE, dynamic_batch=True, with_decode=with_decode,
    )  # fmt: skip
    assert network.training  # as it was
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (done.bytes, done.batches) == ((tmp_path / "x").stat().st_size, (1, 3, 8))
    assert done.heatmap_difference <= 1e-4
    assert done.keypoint_difference <= 0.01
    images = torch.randn(5, 3, *SIZE)  # a number of images that it was not checked with
    with torch.no_grad():
        heatmaps = network.eval()(images)[:, -1]
    found = run(tmp_path / "x", format, images)
    assert done.outputs == ("heatmaps", "keypoints", "scores")[: len(found)]
    torch.testing.assert_close(found[0], heatmaps, atol=1e-4, rtol=0)
    assert len(found) == (3 if with_decode else 1)
    for got, want in zip(found[1:], decode(heatmaps), strict=False):
        torch.testing.assert_close(got, want, atol=0.01, rtol=0)


def test_a_calibration_is_of_its_own_joints_only() -> None:
    model = gatedpose.create_model("gated_hg_1s_68.people", pretrained=True)
    others = Skeleton("others", PEOPLE19.joints[::-1], (), PEOPLE19.limbs)
    assert input_facts(model, PEOPLE19, SIZE)["calibration"]
    assert gatedpose.Predictor(model, others).calibration is None
    assert input_facts(model, others, SIZE)["calibration"] is None


@pytest.mark.parametrize("format", FORMATS)
def test_files_follow_neither_autocast_nor_the_default_dtype(
    network: GatedHourglass, tmp_path: Path, format: Format
) -> None:
    path = tmp_path / {"onnx": "x.onnx", "openvino": "x.xml", "torch-export": "x.pt2"}[format]
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            export(network, path, format, skeleton=TRIO, size=SIZE)
    finally:
        torch.set_default_dtype(torch.float32)
    images = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        wanted = network.eval()(images)[:, -1:]
    torch_export = format == "torch-export"
    found = run(path, format, images)[0][None] if torch_export else ExportedNetwork(path)(images)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


@each_format
def test_one_image_at_once_by_default(
    network: GatedHourglass, tmp_path: Path, format: Format
) -> None:
    done = export(network, tmp_path / "x", format, size=SIZE)
    assert done.batches == (1,)
    run(tmp_path / "x", format, torch.randn(1, 3, *SIZE))
    with pytest.raises(Exception, match=r"(?i)dimension|size"):
        run(tmp_path / "x", format, torch.randn(2, 3, *SIZE))


@each_format
def test_half_precision(network: GatedHourglass, tmp_path: Path, format: Format) -> None:
    whole = export(network, tmp_path / "whole", format, size=SIZE)
    half = export(network, tmp_path / "half", format, size=SIZE, half=True)
    assert whole.heatmap_difference < 1e-5 < half.heatmap_difference < 0.02
    assert half.bytes < whole.bytes
    [heatmaps] = run(tmp_path / "half", format, torch.randn(1, 3, *SIZE))
    assert heatmaps.dtype == torch.float32
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@each_format
def test_says_inside_how_to_feed_it(
    network: GatedHourglass, tmp_path: Path, format: Format
) -> None:
    path = tmp_path / "x"
    network.skeleton = TRIO
    network.pretrained_cfg = {"input_size": (3, *SIZE)}  # the size that it learnt at
    export(network, path, format)
    if format == "onnx":
        session = onnxruntime.InferenceSession(path.read_bytes())
        text = session.get_modelmeta().custom_metadata_map[METADATA]
    else:
        extra = {METADATA: ""}
        torch.export.load(io.BytesIO(path.read_bytes()), extra_files=extra)
        text = extra[METADATA]
    facts = json.loads(text)
    assert facts == json.loads(json.dumps(input_facts(network, TRIO, SIZE)))
    assert (facts["size"], facts["stride"]) == ([64, 128], 4)
    assert facts["mean"] == [0.485, 0.456, 0.406]
    assert "with antialiasing" in facts["crop"]  # what else a plain warp does to joints
    assert Skeleton.from_dict(facts["skeleton"]) == TRIO


def test_bad_input_writes_nothing(
    network: GatedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(ValueError, match=r"must be one of 'onnx', .* got 'tflite'"):
        export(network, path, "tflite")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="export: skeleton 'lsp14' has 14 joints, the model has 3"):
        export(network, path, skeleton=LSP14)
    with pytest.raises(TypeError, match=r"must be a gatedpose.Skeleton, got 'trio'"):
        export(network, path, skeleton="trio")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"export: takes a network of the zoo.*got DataParallel"):
        export(torch.nn.DataParallel(network), path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple"):
        export(network, path, size=(96, 64))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        export(network, tmp_path / "none" / "x.onnx", size=(64, 64))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'onnxruntime.*pip install "gatedpose\[export\]"'):
        export(network, path)
    assert not list(tmp_path.iterdir())


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--size", "64x128", "--with-decode"]
    done = CliRunner().invoke(main, ["export", "gated_hg_1s_68.lsp", *options])
    assert done.exit_code == 0, done.output
    assert "wrote gated_hg_1s_68.lsp.onnx" in done.output
    assert "onnxruntime against PyTorch in float32, on noise, batches of 1: heatmaps" in done.output
    session = onnxruntime.InferenceSession(Path("gated_hg_1s_68.lsp.onnx").read_bytes())
    text = session.get_modelmeta().custom_metadata_map[METADATA]
    assert Skeleton.from_dict(json.loads(text)["skeleton"]) == LSP14
    image = np.zeros((1, 3, 64, 128), dtype=np.float32)
    keypoints, scores = session.run(["keypoints", "scores"], {"images": image})
    assert (keypoints.shape, scores.shape) == ((1, 14, 2), (1, 14))
    for arguments, message in (
        (["cu_net_2"], "cu_net_2 has no weights"),
        (["gated_hg_1s_68", "--size", "64"], "is not HEIGHTxWIDTH"),
        (["gated_hg_1s_68", "--size", "65x64"], "multiple"),
    ):
        failed = CliRunner().invoke(main, ["export", *arguments])
        assert failed.exit_code != 0
        assert message in failed.output
    assert len(list(tmp_path.iterdir())) == 1


def test_weights_of_others_are_not_lost(tmp_path: Path) -> None:
    weights = tmp_path / "pytorch_model.bin"
    weights.write_bytes(b"x")
    options = ["--format", "openvino", "--out", str(weights.with_suffix(".xml"))]
    failed = CliRunner().invoke(main, ["export", "gated_hg_1s_68", *options])
    assert failed.exit_code == 1
    assert f"{weights} is there, and not of" in failed.output
    assert weights.read_bytes() == b"x"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained weights as ONNX, with keypoints."""
    path = tmp_path_factory.mktemp("example") / "x.onnx"
    model = gatedpose.create_model("gated_hg_1s_68.people", pretrained=True)
    return export(model, path, skeleton=PEOPLE19, with_decode=True).path


@pytest.mark.parametrize("scale", [1, 4])
def test_example_gives_what_the_predictor_gives(scale: int, example: Path, tmp_path: Path) -> None:
    """To 0.1 px of the photo, lying on its side, shrunk by 2.6 and by 10; with chances."""
    with Image.open(demo_image()) as small:
        large = small.resize((scale * small.width, scale * small.height), Image.Resampling.BICUBIC)
    photo, box = tmp_path / "photo.png", [scale * v for v in (30.3, -20.0, 460.0, 540.7)]
    large.getexif()[0x0112] = 6  # to be turned to the right
    large.transpose(Image.Transpose.ROTATE_90).save(photo, exif=large.getexif())
    script = Path(__file__).parents[1] / "examples" / "onnx_numpy.py"
    words = [script, example, photo, ",".join(map(str, box))]
    command = [sys.executable, *map(str, words)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    [pose] = gatedpose.Predictor("gated_hg_1s_68.people")(photo, [box])
    found = np.array([[float(v) for v in re.findall(r"-?\d+\.\d+", line)] for line in told])
    assert [line[:15].strip() for line in told] == list(PEOPLE19.joints)
    sure = pose.scores > 0.5
    assert sure.sum() >= 3
    assert np.abs(found[sure, :2] - pose.keypoints[sure]).max() < 0.1
    assert np.abs(found[:, 2] - pose.scores).max() < 0.02
