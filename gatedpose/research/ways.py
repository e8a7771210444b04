"""Ways to run a network that is timed: eager, compiled, exported, in a kept engine."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.evaluation.plots import BLUE, GREEN, GREY, ORANGE, RED
from gatedpose.export import export, onnx_session
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.choice import fast_precision
from gatedpose.models.engines import check_installed
from gatedpose.models.folding import FoldedNetwork
from gatedpose.models.optimize import OptimizedNetwork, Shape, make_fast, optimize
from gatedpose.models.quantise import find_ranges, quantised
from gatedpose.models.runtimes import openvino_run, to_openvino

Run: TypeAlias = Callable[[Tensor], object]
Mode: TypeAlias = Literal["eager", "optimized", "onnx", "openvino", "openvino-int8"]
MODES: dict[Mode, str] = {  # and their colours
    "eager": GREY,
    "optimized": BLUE,
    "onnx": GREEN,
    "openvino": ORANGE,
    "openvino-int8": RED,
}


@dataclass(frozen=True)
class Way:
    """A function from images to heatmaps, and how it computes them."""

    model: str
    mode: Mode
    network: nn.Module
    run: Run
    dtype: torch.dtype = torch.float32
    compiled: str = ""


def way_of(name: str, mode: Mode, network: nn.Module, shape: Shape) -> Way:
    """A network made ready to run one way, for batches of one shape."""
    if mode == "onnx":
        assert isinstance(network, HeatmapNetwork)  # see `_pairs`
        with tempfile.TemporaryDirectory() as folder:
            path = export(network, Path(folder) / "x.onnx", size=shape[2:], dynamic_batch=True).path
            return Way(name, mode, network, onnx_session(path.read_bytes()))
    if mode in ("openvino", "openvino-int8"):
        return _openvino_way(name, mode, network, shape)
    if mode == "eager":
        return Way(name, mode, network, torch.inference_mode()(network))
    fast = _fast(network, shape)
    compiled = "compiled" if fast.compiled_for else f"not compiled: {fast.reason}"
    return Way(name, mode, network, fast, fast.dtype, f", {compiled}")


def _openvino_way(name: str, mode: Mode, network: nn.Module, shape: Shape) -> Way:
    """As `optimize` has OpenVINO run it, but peers too, and with ranges of noise for eight bits."""
    check_installed("openvino")
    needed = FoldedNetwork(network) if isinstance(network, HeatmapNetwork) else network
    precision = fast_precision("openvino")
    how = f", {precision}"
    if mode == "openvino-int8":
        noise = torch.randn((2, *shape[1:]), generator=torch.Generator().manual_seed(0))
        needed, precision, how = quantised(network, find_ranges(network, [noise])), "int8", ", int8"
    run = openvino_run(to_openvino(needed, shape), precision, shape)
    return Way(name, mode, network, run, compiled=how)


def _fast(network: nn.Module, shape: Shape) -> OptimizedNetwork:
    if isinstance(network, HeatmapNetwork):
        fast = optimize(network, example_shape=shape, engine="torch")
        assert isinstance(fast, OptimizedNetwork)
        return fast
    return make_fast(network, "auto", "auto", shape)
