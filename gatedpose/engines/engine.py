"""Networks that a kept engine runs on the CPU: OpenVINO or onnxruntime instead of PyTorch.

Both take a network as data: it is converted once, kept on the disk (see `gatedpose.engines.kept`),
and starts at once from then on. None reports to anybody what it is used for.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.engines.folding import FoldedNetwork, PredictsOnly
from gatedpose.engines.kept import Parts, keep
from gatedpose.engines.quantise import IMAGES, Ranges, quantised, weights_digest
from gatedpose.engines.runtimes import (
    Precision,
    Run,
    Shape,
    onnxruntime_run,
    openvino_run,
    to_onnx,
    to_openvino,
)
from gatedpose.errors import InputError, MissingPackageError
from gatedpose.files.typed_json import to_json
from gatedpose.models.base import HeatmapNetwork, check_images, hand_on

Engine: TypeAlias = Literal["openvino", "onnxruntime"]
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


class EngineNetwork(PredictsOnly):
    """A network that OpenVINO or onnxruntime runs on the CPU, made by `to_engine`.

    It can be copied and pickled, and called from several threads at once; it holds no parameters.
    It is fastest with batches of `compiled_for` (B, C, H, W), and takes others.

    Shape: (B, C, H, W) normalised images of any float dtype -> (B, 1, K, H/4, W/4) float32.
    """

    in_channels: int
    size_multiple: int

    def __init__(
        self, parts: Parts, engine: Engine, precision: Precision, shape: Shape, digest: str
    ) -> None:
        super().__init__()
        self.digest = digest
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
        check_images(images, self.in_channels, self.size_multiple)
        if self.engine == "onnxruntime" and images.shape[2:] != self.compiled_for[2:]:
            height, width = self.compiled_for[2:]
            raise InputError(
                f"forward: onnxruntime was prepared for images of {height} x {width}, got "
                f"{images.shape[2]} x {images.shape[3]}; give optimize their example_shape"
            )
        images = images.detach().float().contiguous()
        if images.device.type != "cpu":
            raise InputError(f"forward: {self.engine} runs on the CPU, images on {images.device}")
        # Of no image OpenVINO's maps had no size, and a later network crashed.
        some = images if len(images) else images.new_zeros(1, *images.shape[1:])
        size = self.compiled_for[0] if images.shape[1:] == self.compiled_for[1:] else len(some)
        found = [self._run_for(part)(part) for part in torch.split(some, size)]
        return (found[0] if len(found) == 1 else torch.cat(found))[: len(images)]

    def _run_for(self, images: Tensor) -> Run:
        """What runs batches of this shape: prepared for just that one, or for any."""
        shape = self.compiled_for if tuple(images.shape) == self.compiled_for else None
        with self._lock:
            if shape not in self._runs:
                self._runs[shape] = SESSIONS[self.engine](self.parts, self.precision, shape)
            return self._runs[shape]

    def to(self, *args: Any, **kwargs: Any) -> "EngineNetwork":
        """Refuses other devices; dtypes are the engine's."""
        device, *_ = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type != "cpu":
            raise InputError(f"{self.engine} runs networks on the CPU, not on {str(device)!r}")
        return self

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


def check_installed(engine: Engine, run_only: bool = False) -> None:
    """Raises ImportError, with the pip command, unless an engine's packages are here.

    With `run_only` the one that runs converted networks is enough.
    """
    packages, command = NEEDS[engine]
    needed = packages[:1] if run_only else packages
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingPackageError(f"engine {engine!r} needs {', '.join(missing)}: {command}")


def to_engine(
    model: HeatmapNetwork,
    engine: Engine,
    precision: Precision,
    shape: Shape,
    ranges: Ranges | None = None,
) -> EngineNetwork:
    """A trained network converted for an engine, or taken from those that were kept.

    `shape` is that of the batches (B, C, H, W) to be fastest with, `ranges` are for "int8".
    """
    check_installed(engine)
    if precision not in PRECISIONS[engine]:
        known = ", ".join(map(repr, PRECISIONS[engine]))
        raise InputError(f"optimize: {engine} computes in {known}, not in {precision!r}")
    kind = "int8" if precision == "int8" else "float32"  # bfloat16 is the engine's own matter
    anywhere = bool(ranges) and overflows()
    digest = weights_digest(model)
    facts = {  # all that a converted network depends on
        "structure": hashlib.sha256(repr(model).encode()).hexdigest(),
        "weights": digest,
        "ranges": hashlib.sha256(to_json(ranges).encode()).hexdigest(),
        "kind": kind,
        "anywhere": anywhere,
        "versions": {p: package_version(p) for p in ("torch", "gatedpose", *NEEDS[engine][0])},
        "size": "any" if engine == "openvino" else list(shape[2:]),
    }

    def convert() -> Parts:
        log.info("preparing the network for %s ...", engine)
        start = time.perf_counter()
        with torch.autocast("cpu", enabled=False):  # its rounding would be kept, too
            graph = quantised(model, ranges, anywhere) if ranges else FoldedNetwork(model)
            parts = CONVERTERS[engine](graph, (2, *shape[1:]))
        log.info("prepared in %.1f s", time.perf_counter() - start)
        return parts

    name = f"{model.pretrained_cfg.get('architecture', 'network')}.{engine}.{kind}"
    made = EngineNetwork(keep(name, facts, convert), engine, precision, shape, digest)
    hand_on(model, made)
    return made


@functools.cache
def overflows() -> bool:
    """Whether sums of two eight-bit products overflow on this processor, see `QuantisedConv`.

    It runs a convolution of the largest values there are, which takes a tenth of a second.
    """
    conv = nn.utils.skip_init(nn.Conv2d, 16, 16, 1, bias=False, dtype=torch.float32)
    nn.init.ones_(conv.weight)
    network = quantised(nn.Sequential(nn.ReLU(), conv), {IMAGES: (0.0, 1.0), "0": (0.0, 1.0)})
    shape = (1, 16, 8, 8)
    found = openvino_run(to_openvino(network, shape), "int8", shape)(torch.ones(shape))
    return bool((found < 15).any())  # 16, or half of it


def package_version(package: str) -> str:
    """Of an installed package; "none" of a checkout that is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


CONVERTERS: dict[Engine, Callable[[nn.Module, Shape], Parts]] = {
    "openvino": to_openvino,
    "onnxruntime": to_onnx,
}
SESSIONS: dict[Engine, Callable[[Parts, Precision, Shape | None], Run]] = {
    "openvino": openvino_run,
    "onnxruntime": onnxruntime_run,
}
