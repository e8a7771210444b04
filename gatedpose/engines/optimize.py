"""One call for the right way to run a network on this machine: `optimize`."""

import inspect
import itertools
import logging
import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.catalogue import ENGINES, PRECISIONS
from gatedpose.device import find_device, keep_freed_memory
from gatedpose.engines.choice import Choice, choose_engine, fast_precision
from gatedpose.engines.engine import EngineNetwork, check_installed, to_engine
from gatedpose.engines.folding import FoldedNetwork, PredictsOnly
from gatedpose.engines.quantise import Ranges, check_ranges, stored_ranges
from gatedpose.engines.rates import emulates_bfloat16, matrix_rate
from gatedpose.engines.runtimes import Precision, Shape
from gatedpose.errors import InputError, check_choice, check_flags, check_range
from gatedpose.models.base import HeatmapNetwork, check_batch, check_images, check_network, hand_on

Auto: TypeAlias = Literal["auto"]
# PyTorch limits recompilations of a function, which all networks share unless they are kept apart.
APART: Any = (
    {"isolate_recompiles": True}
    if "isolate_recompiles" in inspect.signature(torch.compile).parameters
    else {}  # before torch 2.14 or so: from the ninth network on compilation fails
)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LOG = logging.getLogger(__name__)


class OptimizedNetwork(PredictsOnly):
    """A network made ready for prediction by `optimize`, which describes it.

    Attributes:
        dtype: What it computes in. Batch norms keep float32.
        compiled_for: Shape (B, C, H, W) of the batches that compiled code runs, None if there is
            none. Other numbers of images are cut or padded to it, other sizes run eagerly.
        reason: Why it is not compiled; "" if it is. A copy of a compiled network is not: compiled
            code keeps the weights that it was made with. Nor is one that has been loaded with other
            weights, moved or cast; `compile_for` does it anew.

    Shape: (B, C, H, W) normalised images of any float dtype -> (B, 1, K, H/4, W/4) float32.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        hand_on(network, self)
        self.network, self.dtype = network.to(memory_format=torch.channels_last), dtype
        others = (m for m in network.modules() if not isinstance(m, nn.BatchNorm2d))
        for parameter in itertools.chain(*(m.parameters(recurse=False) for m in others)):
            parameter.data = parameter.data.to(dtype)
        self.compiled_for: Shape | None = None
        self.reason = "not asked for"
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self._threads: int | None = None  # that compiled code was made for; None once told

    def compile_for(self, shape: Shape) -> None:
        """Compiles for batches of one shape and runs it once; raises what the compiler raises."""
        from torch._inductor import config as inductor  # takes seconds

        like = next(self.network.parameters())
        option = "freezing" if like.device.type == "cpu" else "triton.cudagraphs"
        compiled: Callable[[Tensor], Tensor] = torch.compile(
            self._run,
            fullgraph=True,  # an error where PyTorch would run parts eagerly
            dynamic=False,
            **APART,
        )
        # As one of torch.compile's `options` freezing comes too late to make weights constants.
        exact = torch.autocast(like.device.type, enabled=False)
        with torch.inference_mode(), exact, inductor.patch({option: True}):
            compiled(torch.zeros(shape, dtype=torch.float32, device=like.device))
        self._compiled, self.compiled_for, self.reason = compiled, shape, ""
        self._threads = torch.get_num_threads()

    def _forget(self, reason: str) -> None:
        """Goes on without compiled code, which has constants of what the network was."""
        if self.compiled_for:
            self._compiled, self.compiled_for, self.reason = None, None, reason

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self.compiled_for:
            state.update(_compiled=None, compiled_for=None, reason="a copy")
        return state

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """As of any module; see `reason`."""
        self._forget("loaded with other weights")
        return super().load_state_dict(*args, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "OptimizedNetwork":
        like = next(self.network.parameters())
        kind = like.device, like.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        like = next(self.network.parameters())
        if kind != (like.device, like.dtype):
            self._forget("moved or cast")
            self.dtype = like.dtype
        return self

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        check_batch(images)
        with torch.autocast(images.device.type, enabled=False):  # it rounds itself
            return self._fast(images)

    def _fast(self, images: Tensor) -> Tensor:
        shape = self.compiled_for
        if not (self._compiled and shape and len(images) and images.shape[1:] == shape[1:]):
            return self._run(images)
        if images.device.type == "cpu" and self._threads not in (None, torch.get_num_threads()):
            warnings.warn(
                f"optimize: compiled for {self._threads} threads and is now given "
                f"{torch.get_num_threads()}, so that PyTorch compiles it again, which takes up to "
                "a minute or two: call torch.set_num_threads before optimize",
                stacklevel=4,
            )
            self._threads = None
        # Code is compiled for tensors made in inference mode, and these need not be.
        alias = torch.empty(0, dtype=torch.float32, device=images.device)
        images = alias.set_(images.float().contiguous())  # type: ignore[call-overload]
        size, count = shape[0], len(images)
        if missing := -count % size:
            images = torch.cat((images, images.new_zeros(missing, *images.shape[1:])))
        # CUDA graphs overwrite their output the next time.
        maps = [self._compiled(part).clone() for part in torch.split(images, size)]
        return torch.cat(maps)[:count]

    def _run(self, images: Tensor) -> Tensor:
        """Rounds the images, too: in compiled code no copy of them outlives the first layer."""
        # Both at once takes twice as long.
        images = images.to(self.dtype).contiguous(memory_format=torch.channels_last)
        return self.network(images).float()  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """What `print` shows."""
        how = f"compiled for {self.compiled_for}" if self.compiled_for else f"eager: {self.reason}"
        return f"{self.dtype}, channels_last, {how}"


def optimize(
    model: HeatmapNetwork,
    device: str | int | torch.device | None = None,
    dtype: torch.dtype | Auto = "auto",
    compile: bool | Auto = "auto",
    example_shape: Shape | None = None,
    *,
    engine: Choice | Auto = "auto",
    precision: Precision | Auto = "auto",
    ranges: Ranges | None = None,
) -> OptimizedNetwork | EngineNetwork:
    """A copy of a network that predicts the last stack's heatmaps as fast as this machine can.

    It is folded (see `gatedpose.engines.folding`) and in half precision where the device is fast at
    it. On a CPU a kept engine runs it, see `gatedpose.engines.engine`: it is converted once, in
    seconds, and starts at once from then on. PyTorch runs it in channels_last, compiled by
    torch.compile, with CUDA graphs on GPUs; that takes up to a minute in each process. With
    it a process on a CPU keeps the memory it frees from now on, see `gatedpose.device`.

    Args:
        model: A network of the zoo, trained.
        device: Where to run; the model's own if None.
        dtype: "auto", torch.float32, torch.bfloat16 or torch.float16. "auto" is bfloat16 on GPUs
            that have it and float16 on others; on CPUs bfloat16 where they multiply matrices
            faster in it, which is measured.
        compile: "auto" compiles and, where that fails, warns why and goes on without; True fails
            then; False does not compile.
        example_shape: (B, C, H, W) of the batches to compile for, 8 of the model's own size if
            None. In code by torch.compile fewer images cost as much as B.
        engine: "openvino", "onnxruntime" or "torch". "auto" is the fastest of those installed,
            which is measured once a machine and told to the log; on GPUs, or with `dtype` or
            `compile`, it is "torch".
        precision: "float32", "bfloat16" or "int8", which needs a kept engine and, unless it has
            the zoo's weights, `ranges`. "auto" is bfloat16 where the processor has it, as `dtype`.
        ranges: Of activations, for "int8", see `gatedpose.engines.quantise`.

    Returns:
        Heatmaps (B, 1, K, H/4, W/4) in float32 from an `OptimizedNetwork`, which PyTorch runs, or
        an `EngineNetwork`. `Predictor` takes either like any network.

    Raises:
        ValueError: For a device that is not there, another dtype, engine or precision, or a shape
            that the network cannot take.
        ImportError: If the engine is not installed; names the pip command.
        WeightsError: If there are no ranges for "int8".
        RuntimeError: If `compile` is True and compilation fails.
    """
    check_network("optimize", model)
    check_choice("optimize: engine", engine, ENGINES)
    check_choice("optimize: precision", precision, PRECISIONS)
    if compile != "auto":
        check_flags("optimize", compile=compile)
    if example_shape is not None:
        check_range("optimize: example_shape", example_shape, (1, 65_536), count=4)
    if "auto" not in (dtype, precision) or (ranges is not None and precision != "int8"):
        raise InputError(
            'optimize: give dtype= or precision=, and ranges= only for precision="int8"; got '
            f"{dtype}, {precision!r}"
        )
    wanted = next(model.parameters()).device if device is None else find_device(device)
    if dtype != "auto" and dtype not in DTYPES:
        known = ", ".join(map(str, DTYPES))
        raise InputError(f'optimize: dtype must be "auto" or one of {known}, got {dtype!r}')
    own = (8, model.in_channels, *model.pretrained_cfg["input_size"][1:])
    shape: Any = tuple(map(int, example_shape or own))  # NumPy's numbers are not JSON's
    check_images(torch.empty(shape, device="meta"), model.in_channels, model.size_multiple)
    if engine == "auto":
        engine = _choose(model, wanted, dtype, compile, shape, precision)
    if wanted.type == "cpu" and (dtype == torch.bfloat16 or precision == "bfloat16"):
        _warn_if_emulated(engine)
    if engine == "torch":
        if precision == "int8":
            raise InputError('optimize: "int8" needs engine "openvino", not torch')
        dtype = dtype if precision == "auto" else getattr(torch, precision)
        return make_fast(FoldedNetwork(model).to(wanted), dtype, compile, shape)
    if wanted.type != "cpu" or dtype != "auto" or compile != "auto":
        raise InputError(
            f"optimize: {engine} runs networks on the CPU and takes precision= and neither dtype= "
            f"nor compile=; got {str(wanted)!r}, {dtype}, {compile}"
        )
    check_installed(engine)
    check_ranges(ranges or {})
    keep_freed_memory()
    precision = fast_precision(engine) if precision == "auto" else precision
    ranges = (ranges or stored_ranges(model)) if precision == "int8" else None
    fast = to_engine(model, engine, precision, shape, ranges)
    fast(torch.zeros(shape))  # the first call takes longer
    return fast


def _warn_if_emulated(engine: str) -> None:
    if emulates_bfloat16():
        done = "PyTorch is many times slower with it" if engine == "torch" else "float32 is taken"
        LOG.warning(f"this processor has no bfloat16: {done}; give precision float32")


def _choose(
    model: HeatmapNetwork,
    device: torch.device,
    dtype: Any,
    compile: Any,
    shape: Shape,
    precision: str,
) -> Choice:
    if device.type != "cpu" or dtype != "auto" or compile != "auto":
        return "torch"
    if precision == "int8":  # no other has it
        return "openvino"
    best = choose_engine(
        model, shape, lambda: make_fast(FoldedNetwork(model), "auto", False, shape)
    )
    return "torch" if (best, precision) == ("onnxruntime", "bfloat16") else best


def make_fast(
    network: nn.Module, dtype: torch.dtype | Auto, compile: bool | Auto, shape: Shape
) -> OptimizedNetwork:
    """What `optimize` does to a folded network, for any that has `num_keypoints` and a config."""
    device = next(network.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    fast = OptimizedNetwork(network, fast_dtype(device) if dtype == "auto" else dtype).eval()
    if compile:
        try:
            fast.compile_for(shape)
        except Exception as error:  # compilers raise anything
            first = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            fast.reason = f"torch.compile failed: {first}"
            if compile is True:
                raise RuntimeError(f"optimize: {fast.reason}") from error
            warnings.warn(f"optimize: runs without {fast.reason}", stacklevel=3)
    return fast


def fast_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which networks are fast on a device: known of GPUs, measured on CPUs."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device.type != "cpu":
        return torch.float32
    if emulates_bfloat16():
        return torch.float32
    half, full = (matrix_rate("cpu", dtype) for dtype in (torch.bfloat16, torch.float32))
    return torch.bfloat16 if half > 1.25 * full else torch.float32
