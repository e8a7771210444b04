"""How OpenVINO and onnxruntime convert networks and run them; see `gatedpose.engines.engine`."""

import logging
import os
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.engines.kept import Parts

Precision: TypeAlias = Literal["float32", "bfloat16", "int8"]
Run: TypeAlias = Callable[[Tensor], Tensor]
Shape: TypeAlias = tuple[int, int, int, int]
log = logging.getLogger(__name__)


def openvino() -> Any:
    """OpenVINO's package, without the one that reports its use to its makers."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of its version
        import openvino as package
    return package


@cache
def openvino_core() -> Any:
    """OpenVINO's core, one for the life of the process.

    If two go in the order they came, the next signal, Ctrl-C for example, is a segmentation fault
    (OpenVINO 2026.4): the second gives back a stack for signals that the first has freed.
    """
    return openvino().Core()


def convert_openvino(graph: nn.Module, example: Tensor, dims: list[int]) -> Any:
    """OpenVINO's model of a module that takes images of `dims`, -1 where any will do."""
    ov = openvino()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes that become constants, and of deprecation
        traced: Any = torch.jit.trace(graph, example, check_trace=False)
        return ov.convert_model(traced, input=[ov.PartialShape(dims)])


def openvino_parts(model: Any) -> Parts:
    """What OpenVINO writes of a model: its "xml" and its "bin"."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.xml"
        try:
            openvino().save_model(model, path, compress_to_fp16=False)
        except RuntimeError as error:  # "iostream error"
            raise OSError(
                f"OpenVINO cannot write into {folder}, is it full? TMPDIR names another ({error})"
            ) from error
        return {"xml": path.read_bytes(), "bin": path.with_suffix(".bin").read_bytes()}


def to_openvino(graph: nn.Module, shape: Shape) -> Parts:
    """A module converted for batches of any size."""
    images = torch.zeros(shape, dtype=torch.float32)
    return openvino_parts(convert_openvino(graph, images, [-1, shape[1], -1, -1]))


def openvino_graph(graph: nn.Module) -> Run:
    """Has OpenVINO run a module on batches of images of any size, in float32."""
    return openvino_run(to_openvino(graph, (2, 3, 256, 256)), "float32", None)


def compile_openvino(model: Any, precision: Precision) -> Any:
    """A model made ready for the CPU. Around eight bits there is bfloat16 where it is native.

    All threads work on one batch: of several streams OpenVINO 2026.4 prepares the weights at the
    same time, and now and then mixes up those of eight bits. They are not tied to processors: of
    several programs with a thread each all would be tied to the first.
    """
    here = capabilities()
    if precision == "int8" and "INT8" not in here:
        log.warning("this processor has no instructions for eight bits: float32 may be faster")
    low = precision == "bfloat16" or (precision == "int8" and "BF16" in here)
    config = {
        "INFERENCE_PRECISION_HINT": "bf16" if low else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return openvino_core().compile_model(model, "CPU", config)


def capabilities() -> list[str]:
    """What OpenVINO finds the processor to have instructions for, "BF16" and "INT8" for example."""
    return list(openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def openvino_run(parts: Parts, precision: Precision, shape: Shape | None) -> Run:
    """What runs a converted module; best for batches of `shape`, None for those of any shape."""
    if precision == "int8" and shape is None:
        return cut_in_powers(lambda exact: openvino_run(parts, precision, exact))
    model = openvino_core().read_model(parts["xml"], parts["bin"])
    if shape:
        model.reshape(list(shape))
    compiled, local = compile_openvino(model, precision), threading.local()

    def run(images: Tensor) -> Tensor:
        if not hasattr(local, "request"):  # a request is for one thread at a time
            local.request = compiled.create_infer_request()
        found = local.request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        # By NumPy: PyTorch's threads would go on waiting for work in the way of the engine's.
        return torch.from_numpy(found[0].copy())

    return run


def cut_in_powers(prepare: Callable[[Shape], Run]) -> Run:
    """Runs batches of any size as batches of powers of two, each prepared when it is first needed.

    Eight-bit convolutions of 3x3 come out wrong in OpenVINO 2026.4 where the batch may have any
    size, and right where its size is known.
    """
    runs, lock = dict[Shape, Run](), threading.Lock()

    def prepared(shape: Any) -> Run:
        with lock:
            if shape not in runs:
                runs[shape] = prepare(shape)
            return runs[shape]

    def run(images: Tensor) -> Tensor:
        count = len(images)
        powers = [1 << bit for bit in reversed(range(count.bit_length())) if count >> bit & 1]
        parts = torch.split(images, powers)
        return torch.cat([prepared(tuple(part.shape))(part) for part in parts])

    return run


def convert_onnx(
    graph: nn.Module, images: Tensor, shapes: Any, names: Sequence[str] = ("heatmaps",)
) -> Any:
    """PyTorch's ONNX program of a module; `shapes` are as for `torch.export.export`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of parts of PyTorch that its exporter still uses
        return torch.onnx.export(
            graph,
            (images,),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["images"],
            output_names=list(names),
            verbose=False,
        )


def any_batch() -> Any:
    """An axis of any length, for `convert_onnx`; PyTorch 2.7 needs a greatest one."""
    return torch.export.Dim("batch", max=2**31 - 1)


def to_onnx(graph: nn.Module, shape: Shape) -> Parts:
    """A module converted for any number of images of one size."""
    images = torch.zeros(shape, dtype=torch.float32)
    program = convert_onnx(graph, images, ({0: any_batch()},))
    return {"onnx": program.model_proto.SerializeToString()}


def onnxruntime_session(model: bytes | Path) -> Any:
    """The session of an ONNX model, in memory or in a file, on the CPU; it reports to nobody."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the first import
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnxruntime_run(parts: Parts, precision: Precision, shape: Shape | None) -> Run:
    """As `openvino_run`; one for all shapes."""
    session = onnxruntime_session(parts["onnx"])
    first = [session.get_outputs()[0].name]
    return lambda images: torch.from_numpy(session.run(first, {"images": images.numpy()})[0])
