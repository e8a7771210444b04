"""Boxes of people: from a file, or from torchvision's detector.

Anything else that finds people will do, too: a callable that takes an image (3, H, W) uint8 and
returns boxes (N, 4), each (x0, y0, x1, y1), is a detector for `Predictor` and `Tracker`.
"""

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from gatedpose.checkpoints import WeightsError, read_tensors
from gatedpose.data.annotations import Row, load_json, rows
from gatedpose.predictor import Detector, DetectorError

Box: TypeAlias = list[float]

PERSON = 1  # category of COCO, label of torchvision's detectors
MIN_PERSON = 0.7  # score from which on a detection counts
ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"


def detect_people(model: nn.Module, image: Tensor, min_score: float = MIN_PERSON) -> Tensor:
    """Boxes of the people that one of torchvision's detectors finds.

    Args:
        model: Trained on COCO, in evaluation mode, such as `load_detector` uses.
        image: (3, H, W) uint8.
        min_score: Detections below are left out.

    Returns:
        (N, 4) float32 on the CPU, the surest first; N may be 0.

    Raises:
        DetectorError: If the model returns something else than torchvision's detectors do.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with torch.inference_mode():
        result = model([image.to(device) / 255])
    try:
        [found] = result
        boxes, labels, scores = found["boxes"], found["labels"], found["scores"]
        kept = (labels == PERSON) & (scores >= min_score)
        return torch.as_tensor(boxes[kept].float().cpu())
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise DetectorError(
            f"detect_people: {type(model).__name__} did not return a list of one dict with boxes, "
            f"labels and scores: {error!r}"
        ) from error


def load_detector(
    weights: str | os.PathLike[str] | None = None,
    *,
    min_score: float = MIN_PERSON,
    device: str | torch.device = "cpu",
) -> Detector:
    """Torchvision's fasterrcnn_mobilenet_v3_large_320_fpn as a detector of people.

    Args:
        weights: File of its weights, safetensors or a state dict that PyTorch reads with
            weights_only=True; torch.hub's folder of downloads if None. Nothing is downloaded.
        min_score: See `detect_people`.
        device: Where it runs.

    Raises:
        WeightsError: If the weights are not there, cannot be read or do not fit.
    """
    from torchvision.models import detection

    path = _downloaded() if weights is None else Path(weights)
    tensors = read_tensors(path) if path.suffix == ".safetensors" else _read_state_dict(path)
    model = getattr(detection, ARCHITECTURE)(weights=None, weights_backbone=None)
    try:
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        message = " ".join(str(error).split())
        raise WeightsError(f"{path} does not fit {ARCHITECTURE}: {message:.300}") from error
    model.to(device).eval()

    def detect(image: Tensor) -> Tensor:
        return detect_people(model, image, min_score)

    return detect


def _downloaded() -> Path:
    """Where torch.hub keeps the detector's weights, if they are there."""
    from torchvision.models.detection import FasterRCNN_MobileNet_V3_Large_320_FPN_Weights

    url: str = FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.COCO_V1.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.is_file():
        raise WeightsError(
            f"the weights of torchvision's person detector are not here, and nothing is downloaded "
            f"unasked: download {url} to {path}, or name the file by --detector-weights (in "
            "Python: load_detector(file))"
        )
    return path


def _read_state_dict(path: Path) -> Mapping[str, Any]:
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"{path} cannot be read as a state dict: {reason:.200}") from error
    if not isinstance(tensors, Mapping):
        raise WeightsError(f"{path} holds no state dict but a {type(tensors).__name__}")
    return tensors


@dataclass(frozen=True)
class BoxTable:
    """People's boxes (x0, y0, x1, y1) of many images.

    Attributes:
        file: Where they were read.
        by_image: Boxes by the image's name, such as "a.jpg" or "folder/a.jpg", or COCO's number.
    """

    file: Path
    by_image: Mapping[str | int, list[Box]]

    def __contains__(self, image: Path) -> bool:
        return self._key(image) is not None

    def of(self, image: Path) -> list[Box]:
        """Boxes of an image, none if it is not in the table.

        The longest end of the path that is a name of the table counts; then the number that the
        file is called by.
        """
        key = self._key(image)
        return [] if key is None else self.by_image[key]

    def _key(self, image: Path) -> str | int | None:
        keys: list[str | int] = ["/".join(image.parts[i:]) for i in range(len(image.parts))]
        if image.stem.isdecimal():
            keys.append(int(image.stem))
        return next((key for key in keys if key in self.by_image), None)


def read_boxes(file: str | os.PathLike[str], min_score: float = MIN_PERSON) -> BoxTable:
    """Reads boxes of people from JSON.

    Args:
        file: Holds {"a.jpg": [[x0, y0, x1, y1], ...], ...}; or annotations as COCO's, with
            "images" and "annotations"; or results as COCO's, a list of detections. COCO's bbox (x,
            y, w, h) counts from 0 at the left upper corner of the first pixel: it becomes (x, y, x
            + w, y + h). Of COCO's, people (category 1) are taken, without crowds.
        min_score: Detections of a list of results below it are left out.

    Raises:
        DatasetError: If the file is none of these; the message names row and field.
    """
    file = Path(file)
    data = load_json(file)
    if isinstance(data, list):
        detections = rows(file, "results", data)
        sure = [row for row in detections if row.numbers("score") >= min_score]
        return BoxTable(file, _group(sure, None))
    table = Row(file, "the file", data)
    if "annotations" not in data:
        return BoxTable(file, {name: _plain_boxes(table, name) for name in data})
    images = rows(file, "images", table.get("images"))
    names = {row.get("id"): row.file_name("file_name") for row in images}
    people = rows(file, "annotations", table.get("annotations"))
    return BoxTable(file, _group(people, names))


def _plain_boxes(table: Row, name: str) -> list[Box]:
    boxes = table.get(name)
    if not isinstance(boxes, list):
        raise table.error(name, f"must be a list of boxes [x0, y0, x1, y1], got {boxes!r:.80}")
    numbers = table.numbers(name, (len(boxes), 4)) if boxes else np.zeros((0, 4))
    return [list(map(float, box)) for box in numbers]


def _group(people: Sequence[Row], names: Mapping[Any, str] | None) -> dict[str | int, list[Box]]:
    """Boxes of COCO's rows by the name of their image; by its id if there are no names."""
    found: dict[str | int, list[Box]] = {name: [] for name in (names or {}).values()}
    for row in people:
        if row.values.get("category_id", PERSON) != PERSON or row.values.get("iscrowd"):
            continue
        image = row.get("image_id")
        if not isinstance(image, (int, str)) or (names is not None and image not in names):
            raise row.error("image_id", f"{image!r:.80} is the id of none of the images")
        x, y, width, height = row.numbers("bbox", (4,)).tolist()
        name = image if names is None else names[image]
        found.setdefault(name, []).append([x, y, x + width, y + height])
    return found
