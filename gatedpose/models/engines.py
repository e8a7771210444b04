"""Networks that a kept engine runs on the CPU: OpenVINO or onnxruntime instead of PyTorch.

Both take a network as data: it is converted once, kept on the disk (see `gatedpose.models.kept`),
and starts at once from then on. None reports to anybody what it is used for.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.errors import InputError
from gatedpose.models.base import HeatmapNetwork, check_images
from gatedpose.models.folding import FoldedNetwork
from gatedpose.models.kept import Facts, Parts, keep
from gatedpose.models.quantise import Ranges, quantised, weights_digest

Engine: TypeAlias = Literal["openvino", "onnxruntime"]
Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
Run: TypeAlias = Callable[[Tensor], Tensor]
Shape: TypeAlias = tuple[int, int, int, int]
# An engine's packages and the pip command that brings them.
NEEDS: dict[Engine, tuple[tuple[str, ...], str]] = {
    "openvino": (("openvino",), 'pip install "gatedpose[fast]"'),
    "onnxruntime": (("onnxruntime", "onnx", "onnxscript"), 'pip install "gatedpose[export]"'),
}
PRECISIONS: dict[Engine, tuple[Precision, ...]] = {
    "openvino": ("float32", "bfloat16", "int8"),
    "onnxruntime": ("float32",),
}
log = logging.getLogger(__name__)
# Before the first import: these packages would call home otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class EngineNetwork(nn.Module):
    """A network that OpenVINO or onnxruntime runs on the CPU, made by `to_engine`.

    It can be copied and pickled, and called from several threads at once; it holds no parameters.

    Attributes:
        engine: Which one.
        precision: What it computes in.
        compiled_for: Shape (B, C, H, W) of the batches that it is fastest with; it takes others.

    Args:
        parts: The converted network.
        facts: What `compiled_for` and the checks of images need; see `to_engine`.

    Shape: (B, C, H, W) normalised images of any float dtype -> (B, 1, K, H/4, W/4) float32.
    """

    def __init__(
        self,
        parts: Parts,
        engine: Engine,
        precision: Precision,
        model: HeatmapNetwork,
        shape: Shape,
    ) -> None:
        super().__init__()
        self.num_keypoints, self.pretrained_cfg = model.num_keypoints, model.pretrained_cfg
        self.in_channels, self.size_multiple = model.in_channels, model.size_multiple
        self.engine, self.precision, self.compiled_for = engine, precision, shape
        self.parts = parts
        self._lock, self._runs = threading.Lock(), dict[Shape | None, Run]()
        self.eval()

    def __getstate__(self) -> dict[str, Any]:
        """All but what lives in this process only."""
        return {k: v for k, v in self.__dict__.items() if k not in ("_lock", "_runs")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock, self._runs = threading.Lock(), {}

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        if isinstance(images, Tensor) and images.is_floating_point():
            images = images.float()
        check_images(images, self.in_channels, self.size_multiple, torch.float32)
        if self.engine == "onnxruntime" and images.shape[2:] != self.compiled_for[2:]:
            height, width = self.compiled_for[2:]
            raise InputError(
                f"forward: onnxruntime was prepared for images of {height} x {width}, got "
                f"{images.shape[2]} x {images.shape[3]}; give optimize their example_shape"
            )
        images = images.contiguous()
        if images.device.type != "cpu":
            raise InputError(f"forward: {self.engine} runs on the CPU, images on {images.device}")
        size = self.compiled_for[0] if images.shape[1:] == self.compiled_for[1:] else len(images)
        parts = torch.split(images, size)
        return torch.cat([self._run_for(part)(part) for part in parts])

    def _run_for(self, images: Tensor) -> Run:
        """What runs batches of this shape: prepared for just that one, or for any."""
        shape = self.compiled_for if tuple(images.shape) == self.compiled_for else None
        with self._lock:
            if shape not in self._runs:
                self._runs[shape] = SESSIONS[self.engine](self.parts, self.precision, shape)
            return self._runs[shape]

    def prepare(self) -> "EngineNetwork":
        """Makes the first call as fast as the others."""
        self(torch.zeros(self.compiled_for))
        return self

    def to(self, *args: Any, **kwargs: Any) -> "EngineNetwork":
        """Refuses other devices; dtypes are the engine's."""
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            raise InputError(f"{self.engine} runs networks on the CPU, not on {str(device)!r}")
        return self

    def train(self, mode: bool = True) -> "EngineNetwork":
        """Refuses training mode."""
        if mode:
            raise RuntimeError("an optimised network only predicts; train the one it is made from")
        return super().train(mode)

    def extra_repr(self) -> str:
        """What `print` shows."""
        return f"{self.engine}, {self.precision}, fastest for {self.compiled_for}"


def installed() -> list[Engine]:
    """The engines whose packages are here."""
    return [
        engine
        for engine, (packages, _) in NEEDS.items()
        if all(importlib.util.find_spec(name) for name in packages)
    ]


def check_installed(engine: Engine) -> None:
    """Raises ImportError, with the pip command, unless an engine's packages are here."""
    packages, command = NEEDS[engine]
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"optimize: engine {engine!r} needs {', '.join(missing)}: {command}")


def to_engine(
    model: HeatmapNetwork,
    engine: Engine,
    precision: Precision,
    shape: Shape,
    ranges: Ranges | None = None,
) -> EngineNetwork:
    """A network converted for an engine, or taken from those that were kept.

    Args:
        model: A network of the zoo, trained.
        engine: Which.
        precision: What to compute in.
        shape: (B, C, H, W) of the batches to be fastest with.
        ranges: Of activations, for "int8".

    Raises:
        ImportError: If the engine is not installed.
        InputError: For a precision that it does not have here.
    """
    check_installed(engine)
    if precision not in PRECISIONS[engine]:
        known = ", ".join(map(repr, PRECISIONS[engine]))
        raise InputError(f"optimize: {engine} computes in {known}, not in {precision!r}")
    kind = "int8" if precision == "int8" else "float32"  # bfloat16 is the engine's own matter
    facts = _facts(model, engine, kind, ranges)
    facts["size"] = "any" if engine == "openvino" else list(shape[2:])

    def convert() -> Parts:
        log.info("preparing the network for %s, once for this machine ...", engine)
        start = time.perf_counter()
        graph = FoldedNetwork(model) if ranges is None else quantised(model, ranges)
        parts = CONVERTERS[engine](graph, (2, *shape[1:]))
        log.info("prepared in %.1f s and kept", time.perf_counter() - start)
        return parts

    name = f"{model.pretrained_cfg.get('architecture', 'network')}.{engine}.{kind}"
    return EngineNetwork(keep(name, facts, convert), engine, precision, model, shape)


def _facts(model: HeatmapNetwork, engine: Engine, kind: str, ranges: Ranges | None) -> Facts:
    """All that a converted network depends on."""
    packages = ("torch", "gatedpose", *NEEDS[engine][0])
    return {
        "structure": hashlib.sha256(repr(model).encode()).hexdigest(),
        "weights": weights_digest(model),
        "ranges": hashlib.sha256(json.dumps(ranges).encode()).hexdigest(),
        "kind": kind,
        "versions": {name: package_version(name) for name in packages},
    }


def package_version(package: str) -> str:
    """Of an installed package; "none" of a checkout that is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


# OpenVINO.


def openvino() -> Any:
    """OpenVINO's package, without the one that reports its use to its makers."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of its version
        import openvino as package
    return package


def _to_openvino(graph: nn.Module, shape: Shape) -> Parts:
    ov = openvino()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that become constants, and of deprecation
        traced = torch.jit.trace(graph, torch.zeros(shape), check_trace=False)
        model = ov.convert_model(traced, input=[ov.PartialShape([-1, shape[1], -1, -1])])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.xml"
        ov.save_model(model, path, compress_to_fp16=False)
        return {"xml": path.read_bytes(), "bin": path.with_suffix(".bin").read_bytes()}


def _openvino_run(parts: Parts, precision: Precision, shape: Shape | None) -> Run:
    ov = openvino()
    core = ov.Core()
    model = core.read_model(parts["xml"], parts["bin"])
    if shape:
        model.reshape(list(shape))
    fast = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    low = precision == "bfloat16" or (precision == "int8" and fast)
    config = {
        "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled, local = core.compile_model(model, "CPU", config), threading.local()

    def run(images: Tensor) -> Tensor:
        if not hasattr(local, "request"):  # a request is for one thread at a time
            local.request = compiled.create_infer_request()
        [heatmaps] = local.request.infer([images.numpy()], share_inputs=True).values()
        return torch.from_numpy(heatmaps)

    return run


# onnxruntime.


def _to_onnx(graph: nn.Module, shape: Shape) -> Parts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts of PyTorch that its exporter still uses
        program = torch.onnx.export(
            graph,
            (torch.zeros(shape),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["heatmaps"],
            verbose=False,
        )
    assert program is not None  # it is, with dynamo
    return {"onnx": program.model_proto.SerializeToString()}


def _onnxruntime_run(parts: Parts, precision: Precision, shape: Shape | None) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        parts["onnx"], options, providers=["CPUExecutionProvider"]
    )
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


CONVERTERS: dict[Engine, Callable[[nn.Module, Shape], Parts]] = {
    "openvino": _to_openvino,
    "onnxruntime": _to_onnx,
}
SESSIONS: dict[Engine, Callable[[Parts, Precision, Shape | None], Run]] = {
    "openvino": _openvino_run,
    "onnxruntime": _onnxruntime_run,
}
