"""Torchvision's networks as detectors of people.

Anything else that finds people will do, too, see `gatedpose.predict.people`.
"""

import functools
import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gatedpose.catalogue import FINDERS
from gatedpose.data.boxes import MIN_PERSON, PERSON
from gatedpose.device import find_device
from gatedpose.errors import UnknownModelError, WeightsError, check_flags, check_range, did_you_mean
from gatedpose.models.convert import read_state_dict
from gatedpose.models.variants import list_models
from gatedpose.models.weights import read_tensors
from gatedpose.predict.people import Detector

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"
LOG = logging.getLogger(__name__)


def detect_people(model: nn.Module, image: Tensor, min_score: float = MIN_PERSON) -> Tensor:
    """Boxes of the people that one of torchvision's detectors finds.

    Args:
        model: Trained on COCO, in evaluation mode, such as `load_detector` uses.
        image: (3, H, W) uint8.
        min_score: Detections below are left out.

    Returns:
        (N, 5) float32 on the CPU, each (x0, y0, x1, y1, score), the surest first; N may be 0.
    """
    device = next(model.parameters()).device
    # Autocast would round the boxes' own coordinates.
    with torch.inference_mode(), torch.autocast(device.type, enabled=False):
        [found] = model([image.to(device) / 255])
    boxes, labels, scores = found["boxes"], found["labels"], found["scores"]
    kept = (labels == PERSON) & (scores >= min_score)
    return torch.cat((boxes[kept], scores[kept, None]), dim=1).float().cpu()


def load_detector(
    weights: str | os.PathLike[str] | None = None,
    *,
    name: str = ARCHITECTURE,
    download: bool = False,
    min_score: float = MIN_PERSON,
    device: str | torch.device = "cpu",
) -> Detector:
    """One of torchvision's networks as a detector of people.

    Args:
        weights: File of its weights, safetensors or a state dict that PyTorch reads with
            weights_only=True; the file in torch.hub's folder of downloads if None.
        name: Which network, "ssdlite320_mobilenet_v3_large" for example.
        download: Whether torchvision's weights are downloaded if they are not there.
        min_score: See `detect_people`.
        device: Where it runs.

    Raises:
        UnknownModelError: If torchvision has no such detector.
        WeightsError: If the weights are not there, cannot be read or do not fit.
    """
    from torchvision import models

    check_range("load_detector: min_score", min_score, (0.0, 1.0))
    check_flags("load_detector", download=download)
    known = models.list_models(module=models.detection)
    if name not in known:
        others = [*list_models(FINDERS, pretrained=True), *known]
        raise UnknownModelError(f"unknown detector {name!r}; {did_you_mean(name, others)}")
    path = _downloaded(name, download) if weights is None else Path(weights)
    tensors = read_tensors(path) if path.suffix == ".safetensors" else read_state_dict(path)
    model = models.get_model(name, weights=None, weights_backbone=None)
    try:
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        message = " ".join(str(error).split())
        raise WeightsError(f"{path} does not fit {name}: {message:.300}") from error
    model.to(find_device(device)).eval()
    return functools.partial(detect_people, model, min_score=min_score)


def _downloaded(name: str, download: bool) -> Path:
    """Where torchvision's weights are; a download is checked against the hash in its name."""
    from torchvision import models

    source: Any = models.get_model_weights(name).DEFAULT
    url: str = source.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if path.is_file():
        return path
    if not download:
        raise WeightsError(
            f"the weights of torchvision's {name} are not here: have them downloaded by "
            f"load_detector(download=True) (gatedpose predict --detector {name}), download "
            f"{url} to {path}, or name the file by --detector-weights (in Python: "
            "load_detector(file))"
        )
    LOG.info(f"downloading {name} ({source.meta['_file_size']:.0f} MB) from {url} to {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), path.stem.rpartition("-")[2], progress=False)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"the weights of {name} cannot be downloaded from {url} to {path}: {error}"
        ) from error
    return path
