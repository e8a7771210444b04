"""Torchvision's networks as detectors of people.

Anything else that finds people will do, too, see `gatedpose.predict.people`.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from gatedpose.catalogue import FINDERS
from gatedpose.data.boxes import MIN_PERSON, PERSON
from gatedpose.device import find_device
from gatedpose.errors import (
    UnknownModelError,
    WeightsError,
    check_flags,
    check_range,
    did_you_mean,
)
from gatedpose.models.convert import read_state_dict
from gatedpose.models.variants import list_models
from gatedpose.models.weights import read_tensors
from gatedpose.predict.people import Detector

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"


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


@dataclass(frozen=True)
class Download:
    """Where the weights of one of torchvision's detectors come from, and where they belong.

    Attributes:
        name: Of the architecture.
        url: torchvision's own.
        megabytes: Length of the file.
        path: In torch.hub's folder of downloads.
    """

    name: str
    url: str
    megabytes: float
    path: Path

    def fetch(self) -> Path:
        """The file, downloaded and checked against the hash in its name unless it is there.

        Raises:
            WeightsError: If it cannot be had, or came cut off or altered.
        """
        if self.path.is_file():
            return self.path
        prefix = self.path.stem.rpartition("-")[2]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(self.url, str(self.path), prefix, progress=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"the weights of {self.name} cannot be downloaded from {self.url} to {self.path}: "
                f"{error}"
            ) from error
        return self.path


def find_download(name: str = ARCHITECTURE) -> Download:
    """The trained weights of the detector of torchvision that is called `name`.

    Raises:
        UnknownModelError: If there is none; the message has close matches.
    """
    from torchvision import models

    known = models.list_models(module=models.detection)
    if name not in known:
        finders = list_models(FINDERS, pretrained=True)
        raise UnknownModelError(
            f"unknown detector {name!r}; {did_you_mean(name, [*finders, *known])}"
        )
    weights = models.get_model_weights(name).DEFAULT
    url: str = weights.url
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    return Download(name, url, float(weights.meta["_file_size"]), path)


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
    from torchvision.models import detection

    check_range("load_detector: min_score", min_score, (0.0, 1.0))
    check_flags("load_detector", download=download)
    source = find_download(name)
    if weights is None and not (download or source.path.is_file()):
        raise WeightsError(
            f"the weights of torchvision's {name} are not here: have them downloaded by "
            f"load_detector(download=True) (gatedpose predict --detector {name}), download "
            f"{source.url} to {source.path}, or name the file by --detector-weights (in Python: "
            "load_detector(file))"
        )
    path = source.fetch() if weights is None else Path(weights)
    tensors = read_tensors(path) if path.suffix == ".safetensors" else read_state_dict(path)
    model = getattr(detection, name)(weights=None, weights_backbone=None)
    try:
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError) as error:
        message = " ".join(str(error).split())
        raise WeightsError(f"{path} does not fit {name}: {message:.300}") from error
    model.to(find_device(device)).eval()

    def detect(image: Tensor) -> Tensor:
        return detect_people(model, image, min_score)

    return detect
