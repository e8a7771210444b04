"""Ways to run a network that is timed: eager, compiled, exported, in a kept engine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gatedpose.engines.choice import Choice, fast_precision
from gatedpose.engines.engine import check_installed
from gatedpose.engines.folding import FoldedNetwork
from gatedpose.engines.optimize import make_fast, optimize
from gatedpose.engines.quantise import find_ranges, quantised
from gatedpose.engines.runtimes import (
    Precision,
    Shape,
    compile_openvino,
    onnxruntime_run,
    onnxruntime_session,
    openvino_core,
    openvino_run,
    to_onnx,
    to_openvino,
)
from gatedpose.errors import InputError, check_choice
from gatedpose.evaluation.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED
from gatedpose.export import LastStack
from gatedpose.models.base import HeatmapNetwork
from gatedpose.research.peers import PEERS

Run: TypeAlias = Callable[[Tensor], object]
AnyRun = TypeVar("AnyRun", bound=Run)
Mode: TypeAlias = Literal[
    "eager", "optimized", "onnx", "openvino", "openvino-float32", "openvino-int8"
]
MODES: dict[Mode, str] = {  # and their colours
    "eager": GREY,
    "optimized": BLUE,
    "onnx": GREEN,
    "openvino": ORANGE,
    "openvino-float32": PURPLE,
    "openvino-int8": RED,
}
# What `optimize` is asked for.
ENGINES: dict[Mode, tuple[Choice, Precision | Literal["auto"]]] = {
    "optimized": ("torch", "auto"),
    "onnx": ("onnxruntime", "float32"),
    "openvino": ("openvino", "auto"),
    "openvino-float32": ("openvino", "float32"),
    "openvino-int8": ("openvino", "int8"),
}


@dataclass(frozen=True)
class Way:
    """A function from images to heatmaps, and how it computes them."""

    model: str
    mode: Mode
    network: nn.Module
    run: Run
    start: float  # seconds from the network, or the file made of it, to the first batch
    # None where no roofline is told: in eight bits and of files.
    dtype: torch.dtype | None = torch.float32
    how: str = "float32"  # precision, and whether it is compiled


def can_run(name: str, mode: Mode) -> bool:
    """Whether a mode can run a network: peers are not exported, and engines alone run files."""
    if name.endswith(".onnx"):
        return mode in ("onnx", "openvino", "openvino-float32")
    return not (name in PEERS and mode == "onnx")


def check_runnable(names: Sequence[str], modes: Sequence[Mode]) -> None:
    """Raises InputError for an unknown mode, and for a network that none of the modes can run."""
    for mode in modes:
        check_choice("benchmark: mode", mode, tuple(MODES))
    for name in names:
        if not any(can_run(name, mode) for mode in modes):
            ways = ", ".join(mode for mode in MODES if can_run(name, mode))
            raise InputError(f"benchmark: {name} runs in {ways}, not in {', '.join(modes)}")


def way_of(name: str, mode: Mode, network: nn.Module, shape: Shape) -> Way:
    """A network made ready to run one way, for batches of one shape."""
    if name.endswith(".onnx"):
        check_installed("onnxruntime", run_only=True)  # tells the input's size, too
        if mode != "onnx":
            check_installed("openvino")
        precision = fast_precision("openvino") if mode == "openvino" else "float32"
        run, start = _started(lambda: _file_run(Path(name), mode, precision, shape), shape)
        return Way(name, mode, network, run, start, None, precision)
    if mode == "onnx":
        check_installed("onnxruntime")
        parts = to_onnx(LastStack(network), (2, *shape[1:]))  # as `export` has it
        onnxruntime_session(parts["onnx"])  # its import is not timed
        run, start = _started(lambda: onnxruntime_run(parts, "float32", shape), shape)
        return Way(name, mode, network, run, start)
    if mode.startswith("openvino"):
        return _openvino_way(name, mode, network, shape)
    device = next(network.parameters()).device
    if mode == "eager":
        run, start = _started(lambda: torch.inference_mode()(network), shape, device)
        return Way(name, mode, network, run, start)
    fast, start = _started(lambda: make_fast(needed(network), "auto", "auto", shape), shape, device)
    compiled = "compiled" if fast.compiled_for else f"not compiled: {fast.reason}"
    how = f"{str(fast.dtype).removeprefix('torch.')}, {compiled}"
    return Way(name, mode, network, fast, start, fast.dtype, how)


def _started(
    prepare: Callable[[], AnyRun], shape: Shape, device: torch.device | None = None
) -> tuple[AnyRun, float]:
    """What runs batches, and how many seconds passed until the first was done."""
    images, begin = torch.zeros(shape, device=device), time.perf_counter()
    run = prepare()
    run(images)
    return run, time.perf_counter() - begin


def _openvino_way(name: str, mode: Mode, network: nn.Module, shape: Shape) -> Way:
    """As `optimize` has OpenVINO run it, but peers too, and with ranges of noise for eight bits."""
    check_installed("openvino")
    graph = needed(network)
    precision = fast_precision("openvino") if mode == "openvino" else "float32"
    if mode == "openvino-int8":
        graph, precision = quantised(network, find_ranges(network, [noise(shape)])), "int8"
    parts = to_openvino(graph, shape)
    run, start = _started(lambda: openvino_run(parts, precision, shape), shape)
    dtype = None if precision == "int8" else getattr(torch, precision)
    return Way(name, mode, network, run, start, dtype, precision)


def _file_run(path: Path, mode: Mode, precision: Precision, shape: Shape) -> Run:
    """Runs an ONNX file of any input on noise of its own size, as often as makes a batch."""
    if not path.is_file():
        raise InputError(f"benchmark: there is no file {path}")
    try:
        session = onnxruntime_session(path)
    except Exception as error:  # engines raise anything
        raise InputError(f"benchmark: {path} is no network in ONNX: {error}") from error
    [told, *others] = session.get_inputs()
    if others or len(told.shape) != 4:
        raise InputError(f"benchmark: {path} takes more, or else, than one batch of images")
    last = told.shape[-1] == 3  # channels
    asked = (shape[0], *shape[2:], 3) if last else shape
    dims = [n if isinstance(n, int) else a for n, a in zip(told.shape, asked, strict=True)]
    kinds = {"tensor(int32)": np.int32, "tensor(uint8)": np.uint8, "tensor(float16)": np.float16}
    pixels = np.random.default_rng(0).uniform(0, 1 if told.type == "tensor(float)" else 255, dims)
    feed, times = pixels.astype(kinds.get(told.type, np.float32)), -(-shape[0] // dims[0])
    if mode == "onnx":
        return lambda images: [session.run(None, {told.name: feed}) for _ in range(times)]
    model = openvino_core().read_model(path)
    model.reshape(dims)
    request = compile_openvino(model, precision).create_infer_request()
    return lambda images: [request.infer([feed], share_inputs=True) for _ in range(times)]


def prepared(network: HeatmapNetwork, mode: Mode, device: str, shape: Shape) -> nn.Module:
    """A network of the zoo as `optimize` makes it for a mode, with ranges of noise for int8."""
    if mode == "eager":
        return network.to(device)
    engine, precision = ENGINES[mode]
    ranges = find_ranges(network, [noise(shape)]) if precision == "int8" else None
    return optimize(
        network, device, example_shape=shape, engine=engine, precision=precision, ranges=ranges
    )


def noise(shape: Shape) -> Tensor:
    """Two images to find ranges on, of networks that are timed only."""
    return torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0))


def needed(network: nn.Module) -> nn.Module:
    """What prediction needs of a network of the zoo; a peer as it is."""
    return FoldedNetwork(network) if isinstance(network, HeatmapNetwork) else network
