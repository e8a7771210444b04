"""Kept engines give what PyTorch gives, whole, copied, in threads; what happens where one lacks."""

import copy
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatedpose
from gatedpose.catalogue import WEIGHTS_DIR, weights_table
from gatedpose.data.readers import read_dataset
from gatedpose.engines import engine as engines
from gatedpose.engines import kept, quantise, runtimes
from gatedpose.engines.engine import EngineNetwork, overflows
from gatedpose.engines.quantise import (
    find_ranges,
    ranges_file,
    rounded_scores,
    save_ranges,
    stored_ranges,
)
from gatedpose.errors import InputError, WeightsError
from gatedpose.geometry import CROP_MARGIN
from gatedpose.media.demo import demo_image
from gatedpose.media.images import read_image
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig

SHAPE = (2, 3, 64, 128)
EXACT: Any = {"precision": "float32", "example_shape": SHAPE}
ROUNDED: Any = {"engine": "openvino", "precision": "int8", "example_shape": SHAPE}
each_engine = pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
pytestmark = [pytest.mark.filterwarnings("default::DeprecationWarning", "default::FutureWarning")]


@pytest.fixture(scope="session")
def cache(kept_files: None) -> Path:
    """Where converted networks lie."""
    return kept.cache_folder()


@pytest.fixture(scope="module")
def small() -> GatedHourglass:
    torch.manual_seed(0)
    config = GatedHourglassConfig(width=8, stacks=2, num_keypoints=3, depth=2)
    network = GatedHourglass(config).eval()
    network.pretrained_cfg = {"architecture": "small", "input_size": (3, 64, 128)}
    for name, value in network.named_parameters():
        if name.endswith("alpha"):
            value.data.normal_()
    return network


def heatmaps(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)[:, -1:]


@each_engine
def test_same_as_in_pytorch(small: GatedHourglass, engine: Any) -> None:
    fast = gatedpose.optimize(small, engine=engine, **EXACT)
    assert isinstance(fast, EngineNetwork)
    assert (fast.engine, fast.precision, fast.compiled_for) == (engine, "float32", SHAPE)
    images = torch.randn(5, 3, 64, 128)
    wanted = heatmaps(small, images)
    for number in (1, 2, 5):
        found = fast(images[:number])
        assert (found.shape, found.dtype) == (wanted[:number].shape, torch.float32)
        torch.testing.assert_close(found, wanted[:number], atol=1e-3, rtol=0)
    strided = images.transpose(2, 3).contiguous().transpose(2, 3)[::2].double().requires_grad_()
    torch.testing.assert_close(fast(strided), wanted[::2], atol=1e-3, rtol=0)
    assert fast(images[:0]).shape == (0, *wanted.shape[1:])
    first = fast(images)
    fast(torch.zeros_like(images))
    torch.testing.assert_close(first, wanted, atol=1e-3, rtol=0)  # not written over
    with pytest.raises(ValueError, match="multiples of 16, got 60 x 128"):
        fast(images[:, :, :60])
    with pytest.raises(RuntimeError, match="only predicts"):
        fast.train()
    with pytest.raises(InputError, match="runs networks on the CPU"):
        fast.to("cuda")


def test_other_sizes(small: GatedHourglass) -> None:
    images = torch.randn(1, 3, 128, 64)
    fast = gatedpose.optimize(small, engine="openvino", **EXACT)
    torch.testing.assert_close(fast(images), heatmaps(small, images), atol=1e-3, rtol=0)
    shape: Any = tuple(np.array(SHAPE))
    fast = gatedpose.optimize(small, engine="onnxruntime", example_shape=shape)
    with pytest.raises(InputError, match="prepared for images of 64 x 128, got 128 x 64"):
        fast(images)


@each_engine
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_is_kept_follows_neither_autocast_nor_the_default_dtype(
    small: GatedHourglass, engine: Any, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path))
    torch.set_default_dtype(dtype)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            fast = gatedpose.optimize(small, engine=engine, **EXACT)
    finally:
        torch.set_default_dtype(torch.float32)
    images = torch.randn(SHAPE)
    torch.testing.assert_close(fast(images), heatmaps(small, images), atol=1e-4, rtol=0)


@each_engine
def test_copies_and_threads(small: GatedHourglass, engine: Any) -> None:
    fast = gatedpose.optimize(small, engine=engine, **EXACT)
    many = [torch.randn(1 + i % 3, 3, 64, 128) for i in range(16)]
    wanted = [heatmaps(small, images) for images in many]
    for network in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        with ThreadPoolExecutor(4) as pool:
            for found, want in zip(pool.map(network, many), wanted, strict=True):
                torch.testing.assert_close(found, want, atol=1e-3, rtol=0)


def test_kept_and_made_anew_where_damaged(
    small: GatedHourglass, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"engine": "openvino", **EXACT}
    wanted = gatedpose.optimize(small, **options)
    made: list[int] = []
    convert = engines.CONVERTERS["openvino"]

    def counting(*args: Any) -> Any:
        made.append(1)
        return convert(*args)

    monkeypatch.setitem(engines.CONVERTERS, "openvino", counting)
    images = torch.randn(SHAPE)
    gatedpose.optimize(small, **options)
    assert not made
    [file] = cache.glob("small.openvino.float32-*")
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for damaged in (whole[:-1], whole[:-9] + bytes(9), b"", b"[]\n", flipped):
        file.write_bytes(damaged)
        made.clear()
        again = gatedpose.optimize(small, **options)
        assert made == [1]
        torch.testing.assert_close(again(images), wanted(images))
    made.clear()
    other = copy.deepcopy(small)
    other.heads[1].bias.data += 1  # type: ignore[union-attr,operator]
    found = gatedpose.optimize(other, **options)(images)
    torch.testing.assert_close(found, wanted(images) + 1, atol=1e-4, rtol=0)
    assert made == [1]
    monkeypatch.setattr(engines, "package_version", lambda name: "another")
    gatedpose.optimize(small, **options)
    assert made == [1, 1]


def test_without_a_place_for_the_cache(
    small: GatedHourglass,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "gatedpose")
    (tmp_path / "file").touch()
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path / "file"))
    fast = gatedpose.optimize(small, engine="openvino", example_shape=SHAPE)
    assert fast(torch.zeros(SHAPE)).shape == (2, 1, 3, 16, 32)
    assert "not kept for the next time" in caplog.text
    assert "and kept" not in caplog.text


def test_without_room_for_openvinos_files(
    small: GatedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full_disk: Any
) -> None:
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path))
    full_disk(1000)
    with pytest.raises(OSError, match=r"OpenVINO cannot write into .*TMPDIR names another"):
        gatedpose.optimize(small, engine="openvino", **EXACT)
    full_disk()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="tells where threads may run")
def test_threads_are_not_tied_to_processors(small: GatedHourglass) -> None:
    fast = gatedpose.optimize(small, engine="openvino", **EXACT)
    here, tied = os.sched_getaffinity(0), []
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(lambda: [fast(torch.rand(SHAPE)) for _ in range(20)])
        while not done.done():
            for task in Path("/proc/self/task").iterdir():
                with suppress(ProcessLookupError):  # it has ended
                    tied.append(os.sched_getaffinity(int(task.name)) != here)
    assert len(done.result()) == 20
    assert tied
    assert not any(tied)


def test_ctrl_c_after_two_openvino_networks() -> None:
    """The signal's stack is still there when both networks are gone, first come first gone."""
    pytest.importorskip("openvino")
    code = """
import os, signal, time, torch
from gatedpose.engines.runtimes import openvino_graph
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
runs = [openvino_graph(torch.nn.Conv2d(3, 3, 1).eval()) for _ in range(2)]
for run in runs:
    assert run(torch.zeros(2, 3, 64, 128)).shape == (2, 3, 64, 128)
del run
while runs:
    del runs[0]
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)  # the signal may be a moment late
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-X", "faulthandler", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr


def test_missing_engine(small: GatedHourglass, monkeypatch: pytest.MonkeyPatch) -> None:
    find = engines.importlib.util.find_spec
    hidden = ("openvino", "onnxruntime")
    monkeypatch.setattr(
        engines.importlib.util, "find_spec", lambda name: None if name in hidden else find(name)
    )
    with pytest.raises(ImportError, match=r'needs openvino: pip install "gatedpose\[fast\]"'):
        gatedpose.optimize(small, engine="openvino")
    with pytest.raises(ImportError, match=r'needs onnxruntime: pip install "gatedpose\[export\]"'):
        gatedpose.optimize(small, engine="onnxruntime")


def test_chosen_once(
    small: GatedHourglass, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gatedpose")
    first = gatedpose.optimize(small, example_shape=SHAPE)
    assert "measuring engines, once for this machine" in caplog.text
    assert "ms a picture: torch" in caplog.text
    caplog.clear()
    second = gatedpose.optimize(small, example_shape=SHAPE)
    assert "measuring" not in caplog.text
    assert "measured once on this machine" in caplog.text
    assert str(first) == str(second)


def test_eight_bits(small: GatedHourglass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(8, 3, 64, 128)
    ranges = find_ranges(small, images.split(4))
    with pytest.raises(WeightsError, match="small has no ranges of activations for eight bits"):
        gatedpose.optimize(small, **ROUNDED)
    monkeypatch.setattr(quantise, "WEIGHTS_DIR", tmp_path)
    save_ranges(small, ranges)
    stored = stored_ranges(small)
    assert stored.keys() == ranges.keys()
    fast = gatedpose.optimize(small, ranges=stored, **ROUNDED)
    wanted = heatmaps(small, images)
    assert (fast(images) - wanted).abs().mean() < 0.1 * wanted.std()
    torch.testing.assert_close(fast(images[:3]), fast(images)[:3], atol=0.05, rtol=0)
    assert fast(images[:0]).shape == (0, *wanted.shape[1:])
    other = copy.deepcopy(small)
    other.heads[1].bias.data += 1  # type: ignore[union-attr,operator]
    with pytest.raises(WeightsError, match="of other weights than this network has"):
        stored_ranges(other)
    ranges.pop("images")
    with pytest.raises(WeightsError, match="of another network"):
        gatedpose.optimize(small, ranges=ranges, **ROUNDED)


@pytest.mark.parametrize("channels", [32, 5])
def test_eight_bits_do_not_overflow(channels: int) -> None:
    """The largest products there are: without VNNI their sums of two leave 16 bits."""
    conv = torch.nn.Conv2d(channels, 4, 3, padding=1)
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0]).view(4, 1, 1, 1)
    conv.weight.data = 0.5 * signs.expand_as(conv.weight).clone()
    conv.weight.data[3, ::2] *= -1  # neighbours of two signs
    ranges = {"images": (0.0, 2.0), "0": (0.0, 2.0)}
    images = torch.full((2, channels, 6, 9), 2.0)
    sums = 9 * channels * torch.tensor([1.0, -1.0, 1.0, 0.0]).view(4, 1, 1)
    if channels % 2:
        sums[3] = -9.0
    for anywhere in {overflows(), True}:
        network = quantise.quantised(torch.nn.Sequential(torch.nn.ReLU(), conv), ranges, anywhere)
        parts = runtimes.to_openvino(network, tuple(images.shape))  # type: ignore[arg-type]
        run = runtimes.openvino_run(parts, "int8", tuple(images.shape))  # type: ignore[arg-type]
        found = run(images)[:, :, 1:-1, 1:-1] - conv.bias.view(-1, 1, 1)
        torch.testing.assert_close(found, sums.expand_as(found), atol=0.1, rtol=0.01)


def test_ranges_that_suit_every_processor_are_as_narrow_as_can_be() -> None:
    weight = torch.tensor([[0.9, 0.3, -0.8, 0.1, -0.7], [-0.5, -0.5, 0.2, -0.9, 1.0]])
    conv = torch.nn.Conv2d(5, 2, 1)
    conv.weight.data = weight.view(2, 5, 1, 1)
    narrow, wide = (quantise.QuantisedConv(conv, anywhere) for anywhere in (False, True))
    torch.testing.assert_close(narrow.scale * 127, torch.tensor([0.9, 1.0]))
    torch.testing.assert_close(wide.scale * 127, torch.tensor([1.2, 1.0]))  # 0.9 + 0.3; 0.5 + 0.5


def test_processor_without_eight_bits(
    small: GatedHourglass, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ranges = find_ranges(small, [torch.randn(2, 3, 64, 128)])
    monkeypatch.setattr(runtimes, "capabilities", lambda: ["FP32"])
    fast = gatedpose.optimize(small, ranges=ranges, **ROUNDED)
    assert "no instructions for eight bits" in caplog.text
    assert fast(torch.zeros(SHAPE)).isfinite().all()


def test_bad_input(small: GatedHourglass) -> None:
    with pytest.raises(InputError, match="engine must be one of 'auto', 'torch'"):
        gatedpose.optimize(small, engine="tflite")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="precision must be one of 'auto', 'float32'"):
        gatedpose.optimize(small, precision="int4")  # type: ignore[arg-type]
    with pytest.raises(InputError, match='"int8" needs engine "openvino"'):
        gatedpose.optimize(small, engine="torch", precision="int8")
    with pytest.raises(InputError, match="onnxruntime computes in 'float32', not in 'bfloat16'"):
        gatedpose.optimize(small, engine="onnxruntime", precision="bfloat16")
    with pytest.raises(InputError, match="neither dtype= nor compile="):
        gatedpose.optimize(small, engine="openvino", compile=True)


@pytest.mark.slow
@each_engine
def test_keypoints_of_a_photo(engine: Any) -> None:
    model = gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True).eval()
    options = {**EXACT, "example_shape": (1, 3, 256, 256)}
    fast = gatedpose.optimize(model, engine=engine, **options)
    photo, box = demo_image(), (30.0, -20.0, 460.0, 540.0)
    [pose], [same] = (gatedpose.Predictor(network)(photo, [box]) for network in (model, fast))
    assert abs(pose.keypoints - same.keypoints).max() < 0.1
    assert abs(pose.scores - same.scores).max() < 1e-3


def test_kept_parts(cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path / "new" / "folder"))
    parts = {"a": b"1\n2", "b": b"", "c": bytes(range(256))}
    assert kept.keep("x", {"v": 1}, lambda: parts) == parts
    assert kept.keep("x", {"v": 1}, dict) == parts
    assert kept.keep("x", {"v": 2}, dict) == {}
    assert len(list(kept.cache_folder().iterdir())) == 2


def test_parts_without_room_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    full_disk: Any,
) -> None:
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path))
    parts = {"a": bytes(10_000)}
    full_disk(1000)
    found = kept.keep("x", {}, lambda: parts)
    full_disk()
    assert found == parts
    assert f"not kept for the next time: {tmp_path}" in caplog.text
    assert not list(tmp_path.iterdir())


def test_one_makes_what_several_ask_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path))
    made: list[int] = []

    def make() -> dict[str, bytes]:
        made.append(1)
        time.sleep(0.3)
        return {"a": b"1"}

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: kept.keep("x", {"v": 1}, make), range(4)))
    assert found == [{"a": b"1"}] * 4
    assert made == [1]
    assert [path.suffix for path in tmp_path.iterdir()] == [".zip"]  # and no lock is left


def test_a_cache_that_cannot_be_looked_into(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(kept.Path, "is_file", closed)
    assert kept.keep("x", {}, lambda: {"a": b"1"}) == {"a": b"1"}
    assert "Permission denied" in caplog.text
    assert "GATEDPOSE_CACHE names a folder" in caplog.text


def test_without_a_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(kept.Path, "home", homeless)
    monkeypatch.setenv("GATEDPOSE_CACHE", str(tmp_path))
    assert kept.cache_folder() == tmp_path
    monkeypatch.delenv("GATEDPOSE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert kept.keep("x", {}, lambda: {"a": b"1"}) == {"a": b"1"}


def test_eight_bits_of_any_number_of_pictures() -> None:
    """OpenVINO 2026.4 has 3x3 convolutions wrong where the batch is dynamic."""
    model = gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True).eval()
    photo = torch.nn.functional.interpolate(read_image(demo_image())[None] / 255, (128, 64))
    images = torch.cat([(photo - 0.45) / 0.225 * (1 + i / 9) for i in range(8)])
    fast = gatedpose.optimize(model, **{**ROUNDED, "example_shape": (8, 3, 128, 64)})
    wanted = fast(images)
    assert (wanted - heatmaps(model, images)).abs().mean() < 0.01
    for number in (1, 3, 7):
        torch.testing.assert_close(fast(images[:number]), wanted[:number], atol=0.02, rtol=0)
    other = fast(images.transpose(2, 3))
    assert (other - heatmaps(model, images.transpose(2, 3))).abs().mean() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gated_hg_1s_68.lsp", "gated_hg_2s_128.lsp"])
def test_eight_bits_move_few_joints(real_data: Path, name: str) -> None:
    model = gatedpose.create_model(name, pretrained=True).eval()
    options: Any = {"engine": "openvino", "example_shape": (8, 3, 256, 256)}
    ways = (gatedpose.optimize(model, precision=p, **options) for p in ("float32", "int8"))
    people = read_dataset("lsp", real_data / "lsp", "val")[::5]  # 40
    pairs = [(person.image, person.box[None]) for person in people]
    exact, rounded = (
        [pose for [pose] in gatedpose.Predictor(network, batch_size=8).stream(pairs)]
        for network in ways
    )
    moved = []
    for person, one, other in zip(people, exact, rounded, strict=True):
        crop = 256 / (CROP_MARGIN * max(person.box[2:] - person.box[:2]))  # its pixels in one
        moved.append(crop * np.linalg.norm(one.keypoints - other.keypoints, axis=1))
    least = {"gated_hg_1s_68.lsp": 0.94}.get(name, 0.95)  # the smallest falls short
    assert (np.concatenate(moved) < 2).mean() >= least


def test_what_is_no_range(small: GatedHourglass) -> None:
    images = torch.zeros(1, 3, 64, 128)
    with pytest.raises(InputError, match="find_ranges: there are no batches"):
        find_ranges(small, [])
    with pytest.raises(InputError, match="find_ranges: activations are not finite"):
        find_ranges(small, [images, images / 0])
    ranges = find_ranges(small, [images])
    for bad in ((2.0, 3.0), (1.0, -1.0), (0.0, float("nan"))):
        with pytest.raises(InputError, match="hold 0, as find_ranges gives them; images has"):
            gatedpose.optimize(small, ranges={**ranges, "images": bad}, **ROUNDED)


WITH_RANGES = [path.name.removesuffix(".int8.json") for path in WEIGHTS_DIR.glob("*.int8.json")]


@pytest.mark.parametrize("name", WITH_RANGES)
def test_weights_come_with_ranges(name: str) -> None:
    for dataset, score in rounded_scores(name).items():
        assert score > weights_table()[name].scores[dataset]["mean"] - 0.3
    model = gatedpose.create_model(name, pretrained=True)
    ranges = stored_ranges(model)
    assert all(low <= 0 < high for low, high in ranges.values())
    assert ranges_file(model).stat().st_size < 13_000
