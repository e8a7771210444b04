"""What `gatedpose predict` is asked for, whether of pictures or of video."""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

import gatedpose
from gatedpose.cli.options import Fast, best_device, make_ready
from gatedpose.data.boxes import BoxTable, read_boxes
from gatedpose.errors import BoxError
from gatedpose.geometry import as_boxes
from gatedpose.media.drawing import draw_poses
from gatedpose.pose import Pose, stack_poses
from gatedpose.predict.detector import load_detector
from gatedpose.predict.exported import SUFFIXES, ExportedNetwork
from gatedpose.predict.predictor import Detector, Predictor, find_people


def digest(file: Path) -> str:
    """Checksum of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """The options that say which people are looked for, how, and what is shown of them.

    Attributes:
        boxes: People of each picture, or of a video's first frame; None if they are not given.
        table: File of boxes by image.
        detect: Whether torchvision's detector finds the people.
        detector_weights: Of the detector; torch.hub's download if None.
        min_person: Score of a detection.
        min_score: Of a joint that is drawn.
        fast: How the model is optimised first; None if it is not.
        alone: Whether people come one by one, as in a single picture or in a video.
        drawn: Whether pictures are drawn.
        as_json: Whether lines of JSON are printed.
    """

    model: str
    flip: bool
    decoder: Any
    batch_size: int
    device: str | None
    boxes: list[list[float]] | None
    table: Path | None
    detect: bool
    detector_weights: Path | None
    min_person: float
    min_score: float
    fast: Fast | None
    alone: bool
    drawn: bool
    as_json: bool

    @cached_property
    def predictor(self) -> Predictor:
        """With the weights of the model, or of an exported file."""
        model: Any
        if Path(self.model).suffix in SUFFIXES:
            if self.fast or self.device not in (None, "cpu"):
                raise click.UsageError(f"{self.model} says itself how it runs, and on the CPU")
            model, device = ExportedNetwork(self.model), "cpu"
        else:
            device = best_device(self.device)
            batch = 1 if self.alone else self.batch_size
            model = gatedpose.create_model(self.model, pretrained=True)
            model = make_ready(model, self.fast, device, batch)
        return Predictor(
            model,
            flip_test=self.flip,
            decoder=self.decoder,
            batch_size=self.batch_size,
            device=device,
        )

    @cached_property
    def listed(self) -> BoxTable | None:
        """The boxes by image, if a file of them is given."""
        return None if self.table is None else read_boxes(self.table, self.min_person)

    @cached_property
    def detector(self) -> Detector | None:
        """What finds people, if that is asked for."""
        if not self.detect:
            return None
        return load_detector(
            self.detector_weights, min_score=self.min_person, device=best_device(self.device)
        )

    @cached_property
    def made_by(self) -> dict[str, Any]:
        """All that results depend on besides the photos: what a journal's first line says."""
        known = {"alone", "as_json", "batch_size", "device", "table", "detector_weights"}
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in known}
        files = {"table": self.table, "detector_weights": self.detector_weights}
        digests = {name: file and digest(file) for name, file in files.items()}
        return {**options, **digests, "weights": self._weights}

    @property
    def _weights(self) -> str:
        """Checksum of the network, which may be trained anew under the same name."""
        found = hashlib.sha256()
        for name, tensor in sorted(self.predictor.model.state_dict().items()):
            found.update(name.encode() + tensor.float().cpu().numpy().tobytes())
        return found.hexdigest()[:16]

    def load(self) -> None:
        """Meets whatever is missing before anything is written."""
        _ = self.predictor, self.detector

    def people(self, file: Path, image: Tensor) -> Tensor | None:
        """Boxes (N, 4) of the people in an image; None for the whole image.

        Raises:
            BoxError: For a given or listed box that is bad.
            DetectorError: If the detector returns no boxes.
        """
        if self.detector:
            return find_people(self.detector, image)
        given = self.listed.of(file) if self.listed else self.boxes
        if given is None:
            return None
        try:
            return as_boxes(given, *image.shape[1:]) if given else torch.zeros(0, 4)
        except BoxError as error:
            raise BoxError(f"{file}: {error}") from error

    def draw(self, image: Tensor, poses: list[Pose], scale: int | None = None) -> Tensor:
        """A picture of the poses, with the boxes unless the whole image was taken."""
        keypoints, scores, boxes = stack_poses(poses) if poses else self._nobody()
        return draw_poses(
            image,
            keypoints,
            scores,
            self.predictor.skeleton,
            boxes=boxes if self.boxes or self.table or self.detect else None,
            min_score=self.min_score,
            scale=scale,
        )

    def _nobody(self) -> tuple[Tensor, Tensor, Tensor]:
        joints = self.predictor.skeleton.num_keypoints
        return torch.zeros(0, joints, 2), torch.zeros(0, joints), torch.zeros(0, 4)
