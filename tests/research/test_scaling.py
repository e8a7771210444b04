"""Lines through times, worked by hand, and what is timed along each axis."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from gatedpose.cli import main
from gatedpose.errors import InputError
from gatedpose.research import scaling
from gatedpose.research.bench import Timing
from gatedpose.research.scaling import draw_scaling, fit_line, measure_scaling, scaling_table

TIMING = Timing("a", "eager", "float32", 8, (256, 256), 10.0, 800.0, 0.9, 0.02, 100.4)


def timings(*milliseconds: float) -> list[Timing]:
    return [replace(TIMING, milliseconds=time) for time in milliseconds]


def test_times_on_a_line() -> None:
    line = fit_line("stacks", (1, 2, 4), timings(30.0, 40.0, 60.0))
    assert line.line == pytest.approx((10.0, 20.0))
    assert line.deviation == pytest.approx(0, abs=1e-9)
    assert (line.model, line.axis, line.values) == ("a", "stacks", (1, 2, 4))


def test_times_off_the_line() -> None:
    bent = fit_line("stacks", (1, 2, 4), timings(30.0, 50.0, 60.0))
    assert 0.05 < bent.deviation < 0.25
    slope, start = bent.line
    assert bent.deviation == pytest.approx(abs(50 / (2 * slope + start) - 1))
    table = scaling_table([bent])
    assert "| a (float32) | stacks | 1 | 4 | 30.0, 50.0, 60.0 |" in table
    assert table.endswith(f"| {100 * bent.deviation:.0f} % |")
    assert draw_scaling([bent, bent]).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["hrnet_w32", "gated_finder_320", "x.onnx"])
def test_networks_without_stacks_are_refused_first(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} has no number of stacks to change"):
        next(measure_scaling(name))


@pytest.mark.slow
def test_command(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "BATCHES", (1, 2, 3))
    monkeypatch.setattr(scaling, "SIDES", (64, 128, 192))
    monkeypatch.setattr(scaling, "STACKS", (1, 2, 3))
    plot = tmp_path / "scaling.png"
    options = ["--scaling", "--mode", "eager", "--seconds", "0.01", "--plot", str(plot), "--json"]
    told = CliRunner().invoke(main, ["bench", "gated_hg_1s_68", *options])
    assert told.exit_code == 0, told.output
    rows = json.loads(told.stdout)
    axes = ["images in a batch", "pixels of an image", "stacks"]
    assert [row["axis"] for row in rows] == axes
    assert [row["values"] for row in rows] == [[1, 2, 3], [64**2, 128**2, 192**2], [1, 2, 3]]
    assert all(len(row["milliseconds"]) == 3 for row in rows)
    assert plot.read_bytes().startswith(b"\x89PNG")
