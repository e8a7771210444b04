"""Exported files as networks: `ExportedNetwork` runs what `gatedpose export` wrote."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from torch import Tensor

from gatedpose.engines.engine import Engine, EngineNetwork, check_installed
from gatedpose.engines.kept import Parts
from gatedpose.engines.runtimes import Precision, onnxruntime_session, openvino_core
from gatedpose.errors import InputError, WeightsError
from gatedpose.files.typed_json import parse_json
from gatedpose.models.base import check_batch
from gatedpose.models.calibration import Calibration
from gatedpose.models.configs import check_config
from gatedpose.skeleton import Skeleton

SUFFIXES = (".onnx", ".xml")
METADATA = "gatedpose"  # the key of what a file says of itself
BIN_DIGEST = "gatedpose_bin_sha256"  # the key of the checksum of the .bin beside an .xml
FINDERS_DECODER = "boxmaps"  # what the note of a finder calls its decoder
MANY = 8  # images at once, of a file that takes any number


class ExportedNetwork(EngineNetwork):
    """An exported file, run by onnxruntime (.onnx) or OpenVINO (.xml) on the CPU.

    It can be copied, pickled and called from several threads at once; the file is read once.

    Attributes:
        facts: What the file says of itself, see `gatedpose.export.input_facts`.
        skeleton: Its joints.
        calibration: What its peaks are worth, None if that is not known.
        digest: Sha256 of the file and, beside an .xml, its .bin, in hexadecimal.

    Shape: (B, 3, H, W) normalised images, H and W as in the file -> (B, 1, K, H/4, W/4) float32.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        engine, parts = _read(path)
        try:
            (batch, *size), maps, note, precision = LOOKS[engine](parts)
        except Exception as error:  # engines raise anything
            raise WeightsError(f"{path} cannot be run: {_reason(error)}") from error
        shape: Any = (batch or MANY, *size)
        digest = hashlib.sha256(b"".join(parts.values())).hexdigest()
        super().__init__(parts, engine, precision, shape, digest)
        self.path = path
        try:
            self.facts: dict[str, Any] = parse_json(note, str(path))
            self.skeleton = Skeleton.from_dict(self.facts["skeleton"])
            told = self.facts.get("calibration")
            self.calibration = Calibration(**told) if told else None
            cfg: dict[str, Any] = {"input_size": [3, *self.facts["size"]]}
            cfg |= {name: tuple(self.facts[name]) for name in ("mean", "std")}
            check_config({"architecture": "exported", **cfg}, "what it says")
            self.num_keypoints = self.skeleton.num_keypoints
            if (size, maps) != (cfg["input_size"], self.num_keypoints):
                raise InputError(
                    f"it is said to take {cfg['input_size']} and to find {self.num_keypoints} "
                    f"joints, but takes {size} and gives {maps} maps"
                )
        except (ValueError, KeyError, TypeError, WeightsError) as error:
            raise WeightsError(f"{path} {self._complaint(error)}") from error
        self.pretrained_cfg = {**cfg, "input_size": tuple(size)}
        self.in_channels, self.size_multiple = 3, 1

    def _complaint(self, error: Exception) -> str:
        """What is wrong with a file whose note cannot be used, and what to do."""
        facts = getattr(self, "facts", None)
        facts = facts if isinstance(facts, dict) else {}
        if facts.get("decoder") == FINDERS_DECODER:
            return "finds people, not joints: it is for programs of your own"
        why = f"no {error}" if isinstance(error, KeyError) else str(error)
        if "skeleton" in facts and facts["skeleton"] is None:
            why = "its joints have no names: give gatedpose.export.export a skeleton"
        return (
            "does not say how it is to be fed and which joints it finds "
            f"({why:.300}): export it anew with gatedpose export"
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        check_batch(images)
        if images.shape[1:] != self.compiled_for[1:]:
            raise InputError(
                f"forward: {self.path} takes images of (B, "
                f"{', '.join(map(str, self.compiled_for[1:]))}), got {tuple(images.shape)}"
            )
        return super().forward(images).unsqueeze(1)


def _reason(error: Exception) -> str:
    """What an engine has to say, without where in its sources it says so, which comes first."""
    places = ("Exception from ", "Check '")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(places)]
    return (said or lines or [repr(error)])[0]


def _read(path: Path) -> tuple[Engine, Parts]:
    """What runs a file, and its bytes, with those of the .bin beside an .xml."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: exported networks are .onnx or .xml files")
    if not path.is_file():
        raise WeightsError(f"there is no {path}")
    if suffix == ".onnx":
        check_installed("onnxruntime", run_only=True)
        return "onnxruntime", {"onnx": path.read_bytes()}
    check_installed("openvino", run_only=True)
    beside = path.with_suffix(".bin")
    if not beside.is_file():
        raise WeightsError(f"{path} needs {beside}, which is not there: move and name both alike")
    parts = {"xml": path.read_bytes(), "bin": beside.read_bytes()}
    wanted = re.search(rf'<{BIN_DIGEST} value="(\w+)"'.encode(), parts["xml"])
    if wanted and hashlib.sha256(parts["bin"]).hexdigest() != wanted[1].decode():
        raise WeightsError(
            f"{beside} is damaged, or not the one that was written with {path}: copy both anew"
        )
    return "openvino", parts


Looked: TypeAlias = tuple[list[int | None], int | None, str, Precision]


def _look_onnx(parts: Parts) -> Looked:
    """The shape of a file's input and number of maps (None: any), its note, what it computes in."""
    session = onnxruntime_session(parts["onnx"])
    [images], [maps, *_] = session.get_inputs(), session.get_outputs()
    note = session.get_modelmeta().custom_metadata_map.get(METADATA, "{}")
    shape = [side if isinstance(side, int) else None for side in images.shape]
    return shape, maps.shape[1], note, "float32"


def _look_openvino(parts: Parts) -> Looked:
    model = openvino_core().read_model(parts["xml"], parts["bin"])
    note = model.get_rt_info(METADATA).astype(str) if model.has_rt_info(METADATA) else "{}"
    rounded = any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
    shape, maps = (
        [None if side.is_dynamic else side.get_length() for side in port.partial_shape]
        for port in (model.input(0), model.output(0))
    )
    return shape, maps[1], note, "int8" if rounded else "float32"


LOOKS: dict[Engine, Callable[[Parts], Looked]] = {
    "onnxruntime": _look_onnx,
    "openvino": _look_openvino,
}
