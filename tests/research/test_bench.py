"""What is timed, counted and printed; no test depends on how fast this machine is."""

import importlib.util
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import gatedpose
from gatedpose.catalogue import weights_table
from gatedpose.cli import main
from gatedpose.device import keep_freed_memory
from gatedpose.engines.optimize import make_fast
from gatedpose.errors import InputError
from gatedpose.research import bench
from gatedpose.research.bench import Timing, benchmark, peak_mb, table
from gatedpose.research.peers import PEERS
from gatedpose.research.scores import draw_scores, scores_of


def test_networks_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch, conv_macs) -> None:
    monkeypatch.setattr(bench, "copy_rate", lambda device: 1e15)
    monkeypatch.setattr(bench, "matrix_rate", lambda device, dtype: 1e9)
    names = ["gated_hg_1s_68", "hourglass_1s_256", "gated_finder_320"]
    quick = {"size": (64, 128), "seconds": 0.01, "rounds": 2}
    timings = list(benchmark(names, ["eager"], [2], **quick, roofline=True))
    assert [(t.model, t.mode, t.batch, t.size) for t in timings] == [
        (name, "eager", 2, (64, 128)) for name in names
    ]
    for t in timings:
        assert t.images_per_second == pytest.approx(2000 / t.milliseconds)
        assert t.how == "float32"
        # At the least the stem's first output, 64 channels of half the size, and batch norm's.
        assert t.peak_mb > 2 * 2 * 64 * 32 * 64 * 4 / 1e6
    hourglass = gatedpose.create_model(names[1], num_keypoints=14, device="meta")
    bound = 2 * 2 * conv_macs(hourglass, (64, 128)) / 1e9  # seconds of two pictures
    assert timings[1].roofline * timings[1].milliseconds / 1000 == pytest.approx(bound)
    assert timings[0].roofline > 0


def test_what_no_way_can_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(main, ["bench", str(tmp_path / "x.onnx")])
    assert done.exit_code == 1
    assert "x.onnx runs in onnx, openvino, openvino-float32, not in eager, optimized" in done.output
    (tmp_path / "x.onnx").write_bytes(b"no network")
    for words, message in (
        ([str(tmp_path / "x.onnx"), "--mode", "onnx"], "x.onnx is no network in ONNX: "),
        (["resnet_*"], "no model fits resnet_*"),
    ):
        assert message in CliRunner().invoke(main, ["bench", *words]).output
    for engine in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, engine, None)
        words = ["bench", str(tmp_path / "x.onnx"), "--mode", "openvino"]
        done = CliRunner().invoke(main, words)
        assert f"engine {engine!r} needs {engine}: pip install" in done.output


@pytest.mark.slow
def test_optimised_and_exported_networks_are_timed() -> None:
    quick = {"size": (64, 64), "seconds": 0.01, "rounds": 1}
    modes = ["optimized", "onnx"]
    fast, exported = benchmark(["gated_hg_1s_68"], modes, [2], **quick)
    assert fast.how.partition(", ")[0] in ("float32", "bfloat16")
    assert fast.how.endswith(", compiled")
    assert exported.peak_mb is None


@pytest.mark.slow
def test_files_of_others_are_timed(tmp_path: Path) -> None:
    file = tmp_path / "nhwc.onnx"  # as MoveNet takes them: one picture, channels last, int32

    class Likewise(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.float().mean((1, 2))

    torch.onnx.export(
        Likewise().eval(), (torch.zeros(1, 32, 48, 3, dtype=torch.int32),), file, dynamo=True
    )
    quick = {"size": (64, 64), "seconds": 0.01, "rounds": 1}
    modes = ["eager", "onnx", "openvino-float32", "openvino-int8"]
    names = ["gated_hg_1s_68", str(file)]
    rows = list(benchmark(names, modes, [3], **quick, roofline=True))
    found = [(t.model, t.mode) for t in rows]
    assert (str(file), "onnx") in found
    assert (str(file), "openvino-float32") in found
    assert not {(str(file), "eager"), (str(file), "openvino-int8")} & set(found)
    assert all(t.start > 0 for t in rows)
    compared = {(t.model, t.mode) for t in rows if t.roofline is not None}
    assert compared == {("gated_hg_1s_68", mode) for mode in modes[:3]}
    with pytest.raises(ValueError, match="there is no file"):
        list(benchmark([str(tmp_path / "none.onnx")], ["onnx"]))


def test_scores_stand_beside_speed() -> None:
    people = weights_table()["gated_hg_1s_68.people"].scores["people-val"]["mean"]
    assert 80 < people < 100
    assert scores_of("gated_hg_1s_68", False) == {
        "lsp-val": pytest.approx(82.178571),  # of its .lsp
        "people-val": people,
    }
    assert scores_of("gated_hg_1s_68", True)["lsp-val"] > 81.8
    assert scores_of("hrnet_w32", False) == {}
    own = weights_table()["gated_hg_1s_68.people"].scores["lsp-val"]["mean"]
    for name in ("fast", "gated_hg_1s_68.people"):
        assert scores_of(name, False) == {"lsp-val": own, "people-val": people}
    row = Timing("gated_hg_1s_68", "eager", "float32", 8, (256, 256), 10.0, 800.0, 1.5, 0.02, None)
    assert draw_scores([row, replace(row, model="hrnet_w32")]).startswith(b"\x89PNG")


def test_memory_is_counted_by_hand() -> None:
    images = torch.rand(2, 3, 8, 16)  # 3,072 bytes
    assert peak_mb(lambda: (images + 1) * 2, images.device) == pytest.approx(0.006144, rel=0.02)
    four_times = peak_mb(lambda: images.repeat(4, 1, 1, 1), images.device)
    assert four_times == pytest.approx(0.012288, rel=0.02)


def test_ratios_come_from_the_reference_in_its_fastest_mode() -> None:
    slow = Timing("a", "eager", "float32", 8, (256, 256), 10.0, 800.0, 1.5, 0.02, 100.4, 0.456)
    rows = [
        slow,
        replace(slow, mode="optimized", images_per_second=40.0),
        replace(slow, model="b", images_per_second=20.0, peak_mb=None),
        replace(slow, model="b", mode="optimized", images_per_second=100.0),
        replace(slow, model="c", mode="onnx"),
    ]
    lines = table(rows, "a").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert [row[3:5] for row in cells] == [
        ["0.25", "1.00"], ["1.00", "4.00"], ["0.50", "1.00"], ["2.50", "5.00"], ["0.25", "-"],
    ]  # fmt: skip
    assert "times a" in lines[0]
    assert cells[0][5:] == ["10.0", "800.0", "1.5", "2 %", "100", "46 %", "- / -"]
    assert cells[2][9] == "-"
    assert bench.draw(rows).startswith(b"\x89PNG")


def test_bars_of_many_modes_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(bench, "png", lambda figure: drawn.append(figure) or b"")
    one = Timing("a", "eager", "float32", 8, (256, 256), 10.0, 800.0, 1.5, 0.02, None)
    bench.draw([replace(one, model=name, mode=mode) for name in "ab" for mode in bench.MODES])
    [axes] = drawn[0].axes
    ends = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches)
    assert len(ends) == 2 * len(bench.MODES)
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends))


@pytest.mark.parametrize("name", ["hrnet_w32", "gated_finder_320", "x.onnx"])
def test_photos_are_for_networks_of_keypoints_of_the_zoo(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} is no network of the zoo that finds keypoints"):
        bench.measure_pipeline(name, "eager", 2)


@pytest.mark.parametrize("mode", ["eager", "openvino-int8"])
def test_photos_to_poses(mode: bench.Mode) -> None:
    if mode != "eager":
        pytest.importorskip("openvino")
    facts = bench.measure_pipeline("gated_hg_1s_68", mode, 2, photos=4)
    assert facts["share"] == facts["photos_per_second"] / facts["network_per_second"] > 0
    assert (facts["model"], facts["mode"], facts["batch"]) == ("gated_hg_1s_68", mode, 2)


@pytest.mark.parametrize("name", list(PEERS))
def test_peers_give_heatmaps(name: str) -> None:
    if name == "vitpose_base" and not importlib.util.find_spec("transformers"):
        with pytest.raises(ImportError, match='pip install "transformers"'):
            PEERS[name]((256, 192))
        return
    network, images = PEERS[name]((256, 192)).eval(), torch.randn(1, 3, 256, 192)
    with torch.no_grad():
        heatmaps = network(images)
    assert heatmaps.shape == (1, 1, 14, 64, 48)
    fast = make_fast(network, torch.bfloat16, False, (1, 3, 256, 192))
    assert (fast(images) - heatmaps).abs().max() < 0.1 * heatmaps.abs().max()


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="mode must be one of 'eager', 'optimized', 'onnx', "):
        list(benchmark(["gated_hg_1s_68"], ["fast"]))
    with pytest.raises(ValueError, match="onnx is timed on the CPU, not on 'cuda'"):
        list(benchmark(["gated_hg_1s_68"], ["onnx"], device="cuda"))
    with pytest.raises(gatedpose.UnknownModelError, match="did you mean gated_hg_1s_68"):
        list(benchmark(["gated_hg_1s_6"], ["eager"], size=(64, 64)))
    with pytest.raises(ValueError, match="hrnet_w32 has no stacks to change"):
        list(benchmark(["hrnet_w32"], ["eager"], stacks=2))
    with pytest.raises(ValueError, match="multiples of 64"):
        list(benchmark(["gated_hg_1s_68"], ["eager"], size=(64, 100)))


def test_command(tmp_path) -> None:
    options = ["--size", "64x64", "--batch", "1", "--batch", "2", "--seconds", "0.01"]
    options += ["--mode", "eager", "--plot", str(tmp_path / "bench.png")]
    options += ["--plot-scores", str(tmp_path / "scores.png")]
    told = CliRunner().invoke(main, ["bench", "gated_hg_1s_68", *options, "--json"])
    assert told.exit_code == 0, told.output
    assert [row["batch"] for row in json.loads(told.stdout)] == [1, 2]
    for name in ("bench.png", "scores.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    told = CliRunner().invoke(main, ["bench", "gated_hg_1s_68", "--against", "cu_net_8"])
    assert told.exit_code == 2
    assert "cu_net_8 is not among gated_hg_1s_68" in told.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--pipeline --scaling", "--pipeline does not go with --scaling"),
        ("--pipeline --plot x.png", "--plot does not go with --pipeline"),
        ("--pipeline --seconds 9", "--seconds does not go with --pipeline"),
        ("--scaling --batch 8", "--batch does not go with --scaling"),
        ("--scaling --size 64x64", "--size does not go with --scaling"),
    ],
)
def test_options_that_would_not_be_used_are_refused(options: str, message: str) -> None:
    told = CliRunner().invoke(main, ["bench", *options.split()])
    assert told.exit_code == 2
    assert message in told.output


def example(name: str, *arguments: str) -> str:
    script = Path(__file__).parents[2] / "examples" / name
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_training_is_timed() -> None:
    options = ["--size", "64", "--batch-size", "4", "--steps", "1", "--turns", "1", "--json"]
    ways = ["--way", "float32", "--way", "bf16-checkpointing"]
    plain, recomputed = json.loads(example("benchmark_training.py", *options, *ways))
    assert (plain["way"], recomputed["way"]) == ("float32", "bf16-checkpointing")
    assert min(plain[rate] for rate in ("same", "fresh", "drawing")) > 0
    assert recomputed["peak_mb"] < plain["peak_mb"]


@pytest.mark.slow
@pytest.mark.skipif(not keep_freed_memory(), reason="not glibc")
def test_kept_memory_is_timed() -> None:
    options = ["--model", "gated_hg_1s_68", "--batch-size", "1", "--turns", "1"]
    lines = example("benchmark_allocator.py", *options).splitlines()
    assert [line.partition(",")[0] for line in lines] == ["predicting", "learning", "held at most"]
    assert all("returned" in line and "kept" in line and "ratio" in line for line in lines)


@pytest.mark.slow
def test_imports_are_timed() -> None:
    lines = example("benchmark_import.py", "--turns", "1").splitlines()
    assert lines[1].endswith("1.00 of timm's")
    names = [line.partition(":")[0] for line in lines[2:]]
    assert names == ["import gatedpose", "gatedpose --help"]
