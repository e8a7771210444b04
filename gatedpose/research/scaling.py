"""How the time of a network grows with batch, size of the input and number of stacks."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatedpose.catalogue import is_finder, markdown
from gatedpose.device import keep_freed_memory
from gatedpose.errors import InputError
from gatedpose.evaluation.plots import BLUE, GREY, new_figure, png
from gatedpose.research.bench import Timing, benchmark
from gatedpose.research.peers import PEERS
from gatedpose.research.ways import Mode

BATCHES, SIDES, STACKS = (1, 2, 4, 8, 16), (128, 192, 256, 320, 384), (1, 2, 4, 6, 8)
FIXED_BATCH = 4  # while size and stacks change


@dataclass(frozen=True)
class Scaling:
    """Times along one axis, and the straight line that fits them best."""

    model: str
    how: str  # dtype, and whether it is compiled
    axis: str  # "images in a batch", "pixels of an image" or "stacks"
    values: tuple[int, ...]
    milliseconds: tuple[float, ...]  # of a batch, median
    line: tuple[float, float]  # (milliseconds a unit, milliseconds at 0), of least relative squares
    deviation: float  # largest distance of a time from the line, in relation to the line


def measure_scaling(
    name: str, mode: Mode = "eager", device: str = "cpu", seconds: float = 1.0
) -> Iterator[Scaling]:
    """Times a variant of the zoo along each axis while the others are fixed.

    These are batches of 1 to 16 at 256 px, inputs of 128 to 384 px and 1 to 8 stacks, the latter
    two in batches of 4; each point is timed for `seconds` in each of three rounds. The process
    keeps its freed memory (see `gatedpose.device`): it is the network's operations that are timed,
    not the system's zeroing of pages, which begins at some size of tensors.
    """
    if name in PEERS or is_finder(name) or name.endswith(".onnx"):
        raise InputError(f"measure_scaling: {name} has no number of stacks to change")

    def time(batches: Sequence[int] = (FIXED_BATCH,), **changes: object) -> Iterator[Timing]:
        shared: Any = {"device": device, "seconds": seconds, **changes}
        return benchmark([name], [mode], batches, **shared)

    keep_freed_memory()
    sizes = itertools.chain(*(time(size=(side, side)) for side in SIDES))
    stacks = itertools.chain(*(time(stacks=number) for number in STACKS))
    yield fit_line("images in a batch", BATCHES, list(time(BATCHES)))
    yield fit_line("pixels of an image", [side**2 for side in SIDES], list(sizes))
    yield fit_line("stacks", STACKS, list(stacks))


def fit_line(axis: str, values: Sequence[int], timings: Sequence[Timing]) -> Scaling:
    """The line through times along an axis."""
    times = np.array([timing.milliseconds for timing in timings])
    slope, start = np.polyfit(values, times, 1, w=1 / times)
    line = slope * np.array(values) + start
    return Scaling(
        model=timings[0].model,
        how=timings[0].how,
        axis=axis,
        values=tuple(values),
        milliseconds=tuple(times.tolist()),
        line=(float(slope), float(start)),
        deviation=float(np.abs(times / line - 1).max()),
    )


def scaling_table(scalings: Sequence[Scaling]) -> str:
    """Markdown: a line for each axis."""
    lines = []
    for s in scalings:
        times = ", ".join(f"{time:.1f}" for time in s.milliseconds)
        ends = str(s.values[0]), str(s.values[-1])
        off = f"{100 * s.deviation:.0f} %"
        lines.append((f"{s.model} ({s.how})", s.axis, *ends, times, off))
    columns = "model", "time against", "from:", "to:", "ms a batch", "off the line:"
    return markdown(columns, lines)


def draw_scaling(scalings: Sequence[Scaling]) -> bytes:
    """Times and lines, a panel for each, as PNG."""
    figure = new_figure(4 * len(scalings), 3.2)
    [panels] = figure.subplots(1, len(scalings), squeeze=False)
    for s, axes in zip(scalings, panels, strict=True):
        ends = np.array([0, s.values[-1]])
        axes.plot(ends, s.line[0] * ends + s.line[1], color=GREY)
        axes.plot(s.values, s.milliseconds, "o", color=BLUE)
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(s.axis)
        axes.set_ylabel("ms a batch")
        axes.set_title(f"{s.model}: within {100 * s.deviation:.0f} % of a line", fontsize=9)
    return png(figure)
