"""How fast networks run here: time, memory, and photos to poses, in each way of running them."""

import copy
import functools
import itertools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.catalogue import is_finder, markdown
from gatedpose.engines.rates import copy_rate, matrix_rate, timer
from gatedpose.errors import InputError
from gatedpose.evaluation.plots import new_figure, png
from gatedpose.models.zoo import create_model
from gatedpose.predict.predictor import Predictor
from gatedpose.research.peers import KEYPOINTS, PEERS
from gatedpose.research.roofline import best_seconds
from gatedpose.research.scores import SCORES, scores_of
from gatedpose.research.ways import (
    MODES,
    Mode,
    Way,
    can_run,
    check_runnable,
    needed,
    prepared,
    way_of,
)
from gatedpose.skeleton import LSP14

Facts: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Timing:
    """How fast a network runs."""

    model: str
    # Float32 as `create_model` gives it, in a plain program ("eager"); what `gatedpose.optimize`
    # makes of it, and of the process ("optimized"); its file in onnxruntime ("onnx", not of peers);
    # or OpenVINO, in bfloat16 where the processor has it, or as the name says.
    mode: Mode
    how: str  # dtype, and whether it is compiled
    batch: int  # images at once
    size: tuple[int, int]  # (height, width) of the input
    images_per_second: float  # of the median batch
    milliseconds: float  # a batch takes, median
    start: float  # seconds until the first batch is done, of a network that is built and converted
    spread: float  # between the quartiles of a batch's times, in relation to the median
    # Most memory of tensors at once, without weights, in 1e6 bytes; None if not counted.
    peak_mb: float | None
    # Share of the speed that the device's rates allow, see `gatedpose.research.roofline`; None
    # where it was not asked for, in eight bits, and of files.
    roofline: float | None = None


def benchmark(
    names: Sequence[str],
    modes: Sequence[Mode] = ("eager", "optimized"),
    batches: Sequence[int] = (8,),
    *,
    size: tuple[int, int] = (256, 256),
    device: str = "cpu",
    seconds: float = 3.0,
    rounds: int = 3,
    roofline: bool = False,
    cpu_seconds: bool = False,
    **config: Any,
) -> Iterator[Timing]:
    """Times networks of the zoo and peers, with fresh weights, which take as long as trained ones.

    All networks of a mode and batch size are timed in turn, several times, so that a change of the
    machine's speed does not favour one. Eager ones come first: optimising one changes the process,
    see `Timing`.

    Args:
        names: Of the zoo, of `PEERS`, or paths of ONNX files, which may be of any network of
            images; a batch of those that take only one is that many runs.
        modes: Ways to run each, see `Timing`.
        batches: Images at once.
        size: (height, width) of the input.
        device: Such as "cpu" or "cuda".
        seconds: To time each for, in each round.
        rounds: How often.
        roofline: Whether to measure the device's rates, too, and state the share of them.
        cpu_seconds: Whether to count the processor's seconds, on machines that others use: then
            with one thread (OMP_NUM_THREADS=1).
        **config: Fields of the zoo's networks to change, see `create_model`.

    Yields:
        A `Timing` for each mode, batch size and network, in this order.
    """
    for mode, batch in itertools.product(_in_order(names, modes, device), batches):
        shape = (batch, 3, *size)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
        chosen = [name for name in names if can_run(name, mode)]
        networks = [_network(name, size, device, config) for name in chosen]
        ways = [way_of(name, mode, n, shape) for name, n in zip(chosen, networks, strict=True)]
        for way, measured in _measure(ways, images, seconds, rounds, cpu_seconds):
            yield _timing(way, images, measured, roofline)


def _in_order(names: Sequence[str], modes: Sequence[Mode], device: str) -> list[Mode]:
    """Each mode once, "eager" first."""
    check_runnable(names, modes)
    kept = [mode for mode in modes if mode not in ("eager", "optimized")]
    if kept and torch.device(device).type != "cpu":
        raise InputError(f"benchmark: {kept[0]} is timed on the CPU, not on {device!r}")
    return [mode for mode in MODES if mode in modes]


def _network(name: str, size: tuple[int, int], device: str, config: Facts) -> nn.Module:
    torch.manual_seed(0)
    if name.endswith(".onnx"):
        return nn.Identity()  # the file is all there is
    if name in PEERS:
        if config:
            raise InputError(f"benchmark: {name} has no {', '.join(config)} to change")
        return PEERS[name](size).eval().to(device)
    keypoints = None if is_finder(name) else KEYPOINTS
    return create_model(name, num_keypoints=keypoints, **config).eval().to(device)


def _measure(
    ways: Sequence[Way], images: Tensor, seconds: float, rounds: int, cpu: bool
) -> Iterator[tuple[Way, Any]]:
    """`torch.utils.benchmark.Measurement` of each, taken in turns."""
    timers = [timer(functools.partial(way.run, images), cpu) for way in ways]
    turns = [[t.blocked_autorange(min_run_time=seconds) for t in timers] for _ in range(rounds)]
    for way, mine in zip(ways, zip(*turns, strict=True), strict=True):
        [merged] = type(mine[0]).merge(mine)
        yield way, merged


def _timing(way: Way, images: Tensor, measured: Any, roofline: bool) -> Timing:
    batch, _, *size = images.shape
    bound = _bound(way, images, way.dtype) if roofline and way.dtype else None
    return Timing(
        model=way.model,
        mode=way.mode,
        how=way.how,
        batch=batch,
        size=(size[0], size[1]),
        images_per_second=batch / measured.median,
        milliseconds=1000 * measured.median,
        start=way.start,
        spread=measured.iqr / measured.median,
        peak_mb=peak_mb(lambda: way.run(images), images.device)
        if way.mode in ("eager", "optimized")
        else None,
        roofline=None if bound is None else bound / measured.median,
    )


def _bound(way: Way, images: Tensor, dtype: torch.dtype) -> float:
    """Seconds that the device's rates allow a batch at best."""
    device = str(images.device)
    rates = copy_rate(device), matrix_rate(device, dtype)
    # Peers were changed when they were optimised.
    network = copy.deepcopy(needed(way.network)).float().to("meta")
    return best_seconds(network, images.to("meta"), dtype, *rates)


def peak_mb(work: Callable[[], object], device: torch.device) -> float:
    """Most bytes of new tensors that live at once while `work` is done, in millions."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    from torch.profiler import profile

    with profile(profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text("utf-8"))["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    return max(itertools.accumulate(size for _, size in changes), default=0) / 1e6


def measure_pipeline(
    name: str, mode: Mode, batch: int, device: str = "cpu", photos: int = 96
) -> Facts:
    """Photos to poses against a network of the zoo alone, which gets as many crops, in turns.

    Photos are noise of 512 x 512 in memory, each taken for one person; `share` is the rate of
    photos in relation to that of the network.
    """
    if name in PEERS or is_finder(name) or name.endswith(".onnx"):
        raise InputError(f"measure_pipeline: {name} is no network of the zoo that finds keypoints")
    model = create_model(name, num_keypoints=KEYPOINTS)
    network = prepared(model, mode, device, (batch, 3, 256, 256))
    predictor = Predictor(network, LSP14, batch_size=batch)
    crops = torch.randn(batch, 3, 256, 256, device=predictor.device)
    photo = torch.randint(0, 256, (512, 512, 3), dtype=torch.uint8).permute(2, 0, 1)

    def alone() -> None:
        for _ in range(0, photos, batch):
            predictor.heatmaps(crops)

    def from_photos() -> None:
        list(predictor.stream([(photo, [[0.0, 0.0, 512.0, 512.0]])] * photos))

    timers = timer(alone), timer(from_photos)
    turns = [[t.timeit(1).mean for t in timers] for _ in range(3)]
    network_rate, photo_rate = (
        photos / statistics.median(times) for times in zip(*turns, strict=True)
    )
    rates = {"photos_per_second": photo_rate, "network_per_second": network_rate}
    share = photo_rate / network_rate
    return {"model": name, "mode": mode, "batch": batch, **rates, "share": share}


def table(timings: Sequence[Timing], reference: str) -> str:
    """Markdown: ratios to the reference in its fastest mode first, then what they come from."""
    best = {
        batch: max(t.images_per_second for t in timings if (t.model, t.batch) == (reference, batch))
        for batch in {t.batch for t in timings}
    }
    eager = {(t.model, t.batch): t.images_per_second for t in timings if t.mode == "eager"}
    lines = []
    for t in timings:
        own = eager.get((t.model, t.batch))
        scores = scores_of(t.model, t.mode == "openvino-int8")
        cells = {
            "model": t.model,
            "mode": f"{t.mode} ({t.how})",
            "batch:": str(t.batch),
            f"times {reference}:": f"{t.images_per_second / best[t.batch]:.2f}",
            "times own eager:": f"{t.images_per_second / own:.2f}" if own else "-",
            "images/s:": f"{t.images_per_second:.1f}",
            "ms a batch:": f"{t.milliseconds:.1f}",
            "start, s:": f"{t.start:.1f}",
            "spread:": f"{100 * t.spread:.0f} %",
            "peak MB:": "-" if t.peak_mb is None else f"{t.peak_mb:.0f}",
            "roofline:": "-" if t.roofline is None else f"{100 * t.roofline:.0f} %",
            "PCK, lsp-val / people-val:": " / ".join(
                f"{scores[name]:.2f}" if name in scores else "-" for name in SCORES
            ),
        }
        lines.append(cells)
    return markdown(list(lines[0]), [list(cells.values()) for cells in lines])


def draw(timings: Sequence[Timing]) -> bytes:
    """Images per second as bars, a panel for each batch size, as PNG."""
    batches = sorted({t.batch for t in timings})
    names = list(dict.fromkeys(t.model for t in timings))
    modes = [mode for mode in MODES if any(t.mode == mode for t in timings)]
    figure = new_figure(6 * len(batches), 1 + 0.3 * len(names) * len(modes))
    step = 0.8 / max(3, len(modes))  # models are 1 apart
    [panels] = figure.subplots(1, len(batches), squeeze=False)
    for batch, axes in zip(batches, panels, strict=True):
        for shift, mode in enumerate(modes):
            mine = [t for t in timings if (t.mode, t.batch) == (mode, batch)]
            places = [names.index(t.model) + (shift - (len(modes) - 1) / 2) * step for t in mine]
            rates = [t.images_per_second for t in mine]
            bars = axes.barh(places, rates, 0.92 * step, color=MODES[mode], label=mode)
            axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel(f"images a second, batches of {batch}")
    axes.legend(fontsize=8)
    return png(figure)
