"""Networks for other runtimes: ONNX, torch.export or OpenVINO, checked on the spot.

The exported graph takes normalised crops and gives the last stack's heatmaps, and keypoints if
asked for. What a program must know to feed it is written inside, see `input_facts`.
"""

import copy
import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from gatedpose.boxmaps import BOX_STRIDE, boxes_of_cells, peaks_of_cells
from gatedpose.catalogue import DEFAULT_DECODER
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.engines.engine import check_installed
from gatedpose.engines.kept import Parts
from gatedpose.engines.quantise import quantised, stored_ranges
from gatedpose.engines.runtimes import (
    any_batch,
    compile_openvino,
    convert_onnx,
    convert_openvino,
    onnxruntime_session,
    openvino_core,
    openvino_parts,
)
from gatedpose.errors import InputError, check_choice, check_flags, check_range
from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import target_of, write_whole
from gatedpose.geometry import CROP_MARGIN
from gatedpose.heatmaps import STRIDE, decode
from gatedpose.models.base import HeatmapNetwork, check_network
from gatedpose.models.configs import LARGEST_SIDE
from gatedpose.models.finder import GatedFinder
from gatedpose.models.saved import calibration_of, check_skeleton, skeleton_of
from gatedpose.predict.exported import BIN_DIGEST, FINDERS_DECODER, METADATA
from gatedpose.skeleton import Skeleton

Format: TypeAlias = Literal["onnx", "torch-export", "openvino"]
FORMATS: tuple[Format, ...] = get_args(Format)
Run: TypeAlias = Callable[[Tensor], list[Tensor]]
Read: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]  # coordinates and scores of maps


@dataclass(frozen=True)
class Exported:
    """A file for another runtime, and how far it is from the network in PyTorch and float32.

    Attributes:
        path: The file.
        format: One of `FORMATS`.
        bytes: Its length, with that of the .bin file beside an OpenVINO file.
        outputs: Names of the outputs, in their order.
        batches: Numbers of images that it was checked with.
        heatmap_difference: Largest, over noise and these batches.
        keypoint_difference: Largest, in pixels of the input; of a finder's boxes.
    """

    path: Path
    format: Format
    bytes: int
    outputs: tuple[str, ...]
    batches: tuple[int, ...]
    heatmap_difference: float
    keypoint_difference: float


class LastStack(nn.Module):
    """What is exported: images (B, 3, H, W) float32 -> heatmaps (B, K, H/4, W/4) float32.

    Args:
        network: A network of the zoo.
        half: Compute in half precision.
        with_decode: Give keypoints (B, K, 2) in pixels of the input and scores (B, K), too; of a
            finder `read_boxes`.
    """

    def __init__(self, network: nn.Module, half: bool = False, with_decode: bool = False) -> None:
        super().__init__()
        self.network, self.with_decode = network, with_decode
        self.read: Read = read_boxes if isinstance(network, GatedFinder) else decode
        self.dtype = torch.float16 if half else torch.float32

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        heatmaps = self.network(images.to(self.dtype))[:, -1].float()
        return (heatmaps, *self.read(heatmaps)) if self.with_decode else (heatmaps,)


def read_boxes(maps: Tensor) -> tuple[Tensor, Tensor]:
    """The boxes (B, cells, 4) that a finder's cells tell of, and how sure they are, (B, cells).

    Scores are 0 but for peaks; boxes that overlap are for the runtime to leave out.
    """
    return boxes_of_cells(maps).flatten(1, 2), peaks_of_cells(maps).flatten(1)


SHRINKING = (
    "Where that shrinks the image it is resized first, with antialiasing (a triangle as wide as "
    "the shrinking, as of Pillow's BILINEAR), then sampled bilinearly: a plain warp moves joints "
    "by tens of pixels"
)


def input_facts(
    model: HeatmapNetwork, skeleton: Skeleton | None, size: tuple[int, int]
) -> dict[str, Any]:
    """What a program must know to feed an exported network and to read what it gives."""
    preprocessing = Preprocessing.of(model)
    finder = isinstance(model, GatedFinder)
    crop = (
        f"a square about the box's centre, {CROP_MARGIN} times its longer side, fills the "
        f"shorter side of the input; outside of the image is the mean. {SHRINKING}"
    )
    whole = (
        f"the whole picture, its aspect kept, in the middle; outside of it is the mean. {SHRINKING}"
    )
    calibration = calibration_of(model, skeleton)
    channels = "RGB" if model.in_channels == 3 else f"{model.in_channels} channels"
    return {
        "input": f"images: NCHW float32, {channels}, (value / 255 - mean) / std",
        "size": list(size),
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "crop": whole if finder else crop,
        "stride": BOX_STRIDE if finder else STRIDE,
        "coordinates": "x, y in pixels of the input; the centre of the first pixel is (0.5, 0.5)",
        "decoder": FINDERS_DECODER if finder else DEFAULT_DECODER,
        "skeleton": asdict(skeleton) if skeleton else None,
        "calibration": asdict(calibration) if calibration else None,
    }


def export(
    model: HeatmapNetwork,
    path: str | Path,
    format: Format = "onnx",
    *,
    skeleton: Skeleton | None = None,
    size: tuple[int, int] | None = None,
    half: bool = False,
    int8: bool = False,
    dynamic_batch: bool = False,
    with_decode: bool = False,
) -> Exported:
    """Writes a network for another runtime, runs the file there and compares.

    Args:
        model: A network of the zoo, which stays as it is.
        path: The file; ".onnx" is usual for ONNX, ".pt2" for torch.export, and OpenVINO's is
            ".xml", beside which there will be a ".bin".
        format: "onnx", checked in onnxruntime, "torch-export" or "openvino".
        skeleton: The joints, to be written inside; the model's own, if known, if None.
        size: (height, width) of the input, fixed in the file; the model's own if None.
        half: Weights and arithmetic in half precision; inputs and outputs stay float32.
        int8: Weights and activations in eight bits, of the zoo's weights and for OpenVINO only.
        dynamic_batch: Any number of images; one if not. Not with `int8`.
        with_decode: Keypoints and scores as outputs, too; of a finder boxes and scores.

    Raises:
        ImportError: Without ONNX's packages; names the pip command that brings them.
        ValueError: For an unknown format or a size that the network cannot take.
        OSError: If the file cannot be written.
    """
    check_network("export", model)
    skeleton = skeleton_of(model) if skeleton is None else skeleton
    if skeleton is not None:
        check_skeleton("export", skeleton, model.num_keypoints)
    flags = {"half": half, "int8": int8, "dynamic_batch": dynamic_batch, "with_decode": with_decode}
    check_flags("export", **flags)
    _check_asked(format, Path(path), half, int8, dynamic_batch)
    size = size or Preprocessing.of(model).size
    check_range("export: size, (height, width),", size, (1, LARGEST_SIDE), count=2)
    model = copy.deepcopy(model).cpu().float().eval()
    batches = (1, 3, 8) if dynamic_batch else (1,)
    generator = torch.Generator().manual_seed(0)
    made: Any = {"generator": generator, "dtype": torch.float32}  # whatever the default is
    noise = [torch.randn(b, model.in_channels, *size, **made) for b in batches]
    exact = LastStack(model, with_decode=True)
    shapes = {"images": {0: any_batch()} if dynamic_batch else None}
    facts = to_json(input_facts(model, skeleton, size))
    points_name = "boxes" if isinstance(model, GatedFinder) else "keypoints"
    names = ("heatmaps", points_name, "scores")[: 3 if with_decode else 1]
    with torch.autocast("cpu", enabled=False):  # its rounding would be in the file, too
        with torch.no_grad():
            wanted = [exact(images) for images in noise]  # checks the size
        network: nn.Module = copy.deepcopy(model).half() if half else model
        if int8:
            network = quantised(model, stored_ranges(model), anywhere=True)
        graph = LastStack(network, half, with_decode).eval()
        # A batch of one would be taken for a constant.
        data, run = WRITERS[format](graph, noise[-1], shapes, names, facts)
        with torch.no_grad():
            found = [run(images) for images in noise]
    points = [out[1] if with_decode else exact.read(out[0])[0] for out in found]
    heatmaps = _largest([out[0] for out in found], [want[0] for want in wanted])
    keypoints = _largest(points, [want[1] for want in wanted])
    if not (math.isfinite(heatmaps) and math.isfinite(keypoints)):
        hint = "; export it without half" if half else ": has the model trained well?"
        raise InputError(f"export: {path} would give values that are no numbers{hint}")
    for suffix, part in data.items():
        write_whole(Path(path).with_suffix(suffix) if suffix else path, part)
    length = sum(map(len, data.values()))
    return Exported(Path(path), format, length, names, batches, heatmaps, keypoints)


def _check_asked(format: Format, path: Path, half: bool, int8: bool, dynamic_batch: bool) -> None:
    """Raises unless a format is known, has its packages and can hold what is asked for."""
    check_choice("export: format", format, FORMATS)
    target_of(path)  # before a minute of work
    weights = path.with_suffix(".bin")  # of OpenVINO's
    if format == "openvino" and weights.exists() and not path.exists():
        raise InputError(f"export: {weights} is there, and not of {path}: it would be lost")
    if (half and format == "openvino") or (int8 and format != "openvino"):
        raise InputError(f"export: {format} has no {'half' if half else 'int8'}")
    if int8 and dynamic_batch:
        raise InputError(
            "export: OpenVINO computes eight bits wrongly where a file takes any number of images; "
            "leave out dynamic_batch or int8"
        )
    if format == "onnx":
        check_installed("onnxruntime")
    if format == "openvino":
        check_installed("openvino")
        if path.suffix != ".xml":
            raise InputError(f"export: {path} does not end in .xml")


def _largest(found: list[Tensor], wanted: list[Tensor]) -> float:
    # A maximum of tensors keeps NaN, Python's may lose it.
    pairs = zip(found, wanted, strict=True)
    return float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())


def _write_onnx(
    graph: nn.Module, images: Tensor, shapes: dict[str, Any], names: tuple[str, ...], facts: str
) -> tuple[Parts, Run]:
    program = convert_onnx(graph, images, shapes, names)
    program.model.metadata_props[METADATA] = facts
    data = program.model_proto.SerializeToString()
    session = onnxruntime_session(data)

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(out) for out in session.run(None, {"images": images.numpy()})]

    return {"": data}, run


def _write_torch(
    graph: nn.Module, images: Tensor, shapes: dict[str, Any], names: tuple[str, ...], facts: str
) -> tuple[Parts, Run]:
    program = torch.export.export(graph, (images,), dynamic_shapes=shapes)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA: facts})
    data = buffer.getvalue()
    module = torch.export.load(io.BytesIO(data)).module()
    return {"": data}, lambda images: list(module(images))


def _write_openvino(
    graph: nn.Module, images: Tensor, shapes: dict[str, Any], names: tuple[str, ...], facts: str
) -> tuple[Parts, Run]:
    batch = -1 if shapes["images"] else 1
    model = convert_openvino(graph, images, [batch, *images.shape[1:]])
    model.set_rt_info(facts, METADATA)
    for output, name in zip(model.outputs, names, strict=True):
        output.tensor.set_names({name})
    unknown = "0" * 64  # until the .bin is there
    model.set_rt_info(unknown, BIN_DIGEST)
    parts = openvino_parts(model)
    digest = hashlib.sha256(parts["bin"]).hexdigest()
    parts["xml"] = parts["xml"].replace(unknown.encode(), digest.encode())
    read = openvino_core().read_model(parts["xml"], parts["bin"])
    compiled = compile_openvino(read, "float32")

    def run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(out.copy()) for out in compiled(images.numpy()).values()]

    return {".bin": parts["bin"], ".xml": parts["xml"]}, run  # who finds the second finds both


# Each gives the files, by suffix, and what runs them.
WRITERS: dict[Format, Callable[..., tuple[Parts, Run]]] = {
    "onnx": _write_onnx,
    "torch-export": _write_torch,
    "openvino": _write_openvino,
}
