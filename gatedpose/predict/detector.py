"""Boxes of people: from a file, or from torchvision's detector.

Anything else that finds people will do, too: a callable that takes an image (3, H, W) uint8 and
returns boxes (N, 4), each (x0, y0, x1, y1), is a detector for `Predictor` and `Tracker`.
"""

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gatedpose.data.boxes import MIN_PERSON, PERSON
from gatedpose.device import find_device
from gatedpose.errors import DetectorError, WeightsError
from gatedpose.models.weights import read_tensors
from gatedpose.predict.predictor import Detector

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
    # Autocast would round the boxes' own coordinates.
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
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
    model.to(find_device(device)).eval()

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
