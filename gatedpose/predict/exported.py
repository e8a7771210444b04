"""Exported files as networks: `load_exported` runs what `gatedpose export` wrote."""

import hashlib
import re
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.engines.engine import check_installed
from gatedpose.engines.runtimes import onnxruntime_session, openvino_core, openvino_run
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


class ExportedNetwork(nn.Module):
    """An exported file, run by onnxruntime (.onnx) or OpenVINO (.xml) on the CPU.

    It can be copied, pickled and called from several threads at once.

    Attributes:
        facts: What the file says of itself, see `gatedpose.export.input_facts`.
        skeleton: Its joints.
        calibration: What its peaks are worth, None if that is not known.
        digest: Sha256 of the file and, beside an .xml, its .bin, in hexadecimal.

    Shape: (B, 3, H, W) normalised images, H and W as in the file -> (B, 1, K, H/4, W/4) float32.

    Raises:
        WeightsError: If the file is missing, damaged, or does not say how it is to be fed.
        ImportError: If its engine is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._open()
        try:
            self.facts: dict[str, Any] = parse_json(self._text, str(self.path))
            self.skeleton = Skeleton.from_dict(self.facts["skeleton"])
            told = self.facts.get("calibration")
            self.calibration = Calibration(**told) if told else None
            cfg: dict[str, Any] = {"input_size": [3, *self.facts["size"]]}
            cfg |= {name: tuple(self.facts[name]) for name in ("mean", "std")}
            check_config({"architecture": "exported", **cfg}, "what it says")
            self._check_shapes(cfg["input_size"])
        except (ValueError, KeyError, TypeError, WeightsError) as error:
            raise WeightsError(f"{self.path} {self._complaint(error)}") from error
        self.pretrained_cfg = {**cfg, "input_size": tuple(cfg["input_size"])}
        self.num_keypoints = self.skeleton.num_keypoints
        self.eval()

    def _open(self) -> None:
        """Starts the engine."""
        suffix = self.path.suffix.lower()
        if suffix not in SUFFIXES:
            raise InputError(f"{self.path}: exported networks are .onnx or .xml files")
        if not self.path.is_file():
            raise WeightsError(f"there is no {self.path}")
        start = _onnx if suffix == ".onnx" else _xml
        check_installed("onnxruntime" if suffix == ".onnx" else "openvino", run_only=True)
        try:
            self._run, self._shape, self._maps, self._text = start(self.path)
        except WeightsError:
            raise
        except Exception as error:  # engines raise anything
            raise WeightsError(f"{self.path} cannot be run: {_reason(error)}") from error
        files = [self.path, self.path.with_suffix(".bin")][: 1 if suffix == ".onnx" else 2]
        self.digest = hashlib.sha256(b"".join(part.read_bytes() for part in files)).hexdigest()

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

    def _check_shapes(self, size: list[int]) -> None:
        """Raises InputError unless the network is what the file says that it is."""
        if self._shape[1:] != size or self._maps != self.skeleton.num_keypoints:
            raise InputError(
                f"it is said to take {size} and to find {self.skeleton.num_keypoints} joints, but "
                f"takes {self._shape[1:]} and gives {self._maps} maps"
            )

    def __getstate__(self) -> dict[str, Any]:
        """All but what lives in this process only; the file is opened anew."""
        return {k: v for k, v in self.__dict__.items() if k != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
        if self.digest != state["digest"]:  # its joints, for example, may be others
            raise WeightsError(f"{self.path} has changed since this copy was made: load it anew")

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        check_batch(images)
        size = tuple(self.pretrained_cfg["input_size"])
        if tuple(images.shape[1:]) != size:
            raise InputError(
                f"forward: {self.path} takes images of (B, {', '.join(map(str, size))}), got "
                f"{tuple(images.shape)}"
            )
        if not len(images):  # which OpenVINO crashes at, see `EngineNetwork`
            one: Tensor = self(images.new_zeros(1, *size))
            return one[:0]
        parts = torch.split(images.float().contiguous(), self._shape[0] or len(images))
        return torch.cat([torch.from_numpy(self._run(p.numpy())) for p in parts]).unsqueeze(1)


def _reason(error: Exception) -> str:
    """What an engine has to say, without where in its sources it says so, which comes first."""
    places = ("Exception from ", "Check '")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(places)]
    return (said or lines or [repr(error)])[0]


Started: TypeAlias = tuple[Any, list[int | None], int | None, str]


def _onnx(path: Path) -> Started:
    """What runs a file, the shape of its input and number of maps (None: any), and its note."""
    session = onnxruntime_session(path)
    [images], [maps, *_] = session.get_inputs(), session.get_outputs()
    text = session.get_modelmeta().custom_metadata_map.get(METADATA, "null")

    def run(pictures: Any) -> Any:
        return session.run(["heatmaps"], {images.name: pictures})[0]

    shape = [side if isinstance(side, int) else None for side in images.shape]
    return run, shape, maps.shape[1], text


def _xml(path: Path) -> Started:
    """As `_onnx`; raises WeightsError for another .bin than the one that it was written with."""
    beside = path.with_suffix(".bin")
    if not beside.is_file():
        raise WeightsError(f"{path} needs {beside}, which is not there: move and name both alike")
    parts = {"xml": path.read_bytes(), "bin": beside.read_bytes()}
    wanted = re.search(rf'<{BIN_DIGEST} value="(\w+)"'.encode(), parts["xml"])
    if wanted and hashlib.sha256(parts["bin"]).hexdigest() != wanted[1].decode():
        raise WeightsError(
            f"{beside} is damaged, or not the one that was written with {path}: copy both anew"
        )
    model = openvino_core().read_model(parts["xml"], parts["bin"])
    text = model.get_rt_info(METADATA).astype(str) if model.has_rt_info(METADATA) else "null"
    rounded = any(op.get_type_name() == "FakeQuantize" for op in model.get_ops())
    shape, maps = (
        [None if side.is_dynamic else side.get_length() for side in port.partial_shape]
        for port in (model.input(0), model.output(0))
    )
    fixed = None if None in shape else tuple(model.input(0).partial_shape.to_shape())
    run = openvino_run(parts, "int8" if rounded else "float32", fixed)

    def numbers(pictures: Any) -> Any:
        return run(torch.from_numpy(pictures)).numpy()

    return numbers, shape, maps[1], text
