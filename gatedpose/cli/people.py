"""What `gatedpose predict` is asked for, whether of pictures or of video."""

import hashlib
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from torch import Tensor

import gatedpose
from gatedpose.catalogue import is_finder
from gatedpose.cli.options import Fast, best_device, make_ready
from gatedpose.data.boxes import MIN_PERSON, BoxTable, read_boxes
from gatedpose.engines.quantise import weights_digest
from gatedpose.media.drawing import draw_people
from gatedpose.media.photos import fitted
from gatedpose.pose import Pose
from gatedpose.predict.detector import load_detector
from gatedpose.predict.exported import SUFFIXES
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.people import WHOLE, Detector
from gatedpose.predict.predictor import People, Predictor


@dataclass(frozen=True)
class Job:
    """The options that say which people are looked for, how, and what is shown of them."""

    model: str
    flip: bool
    decoder: Any
    size: tuple[int, int] | None
    batch_size: int
    device: str | None
    boxes: list[list[float]] | None  # of each picture, or of a video's first frame
    whole: bool  # whether each picture is one person
    table: Path | None  # file of boxes by image
    detector_name: str | None  # of torchvision or the zoo; the packaged finder if None
    detector_weights: Path | None  # of torchvision's detector; its download if None
    min_person: float | None  # score of a detection; the detector's own if None
    min_score: float | None  # of a joint that is drawn full; what the weights say if None
    max_side: int | None  # of a drawing in pixels; the picture's own if None
    fast: Fast | None  # how the model is optimised first
    alone: bool  # whether people come one by one, as in a single picture or in a video
    drawn: bool  # whether pictures are drawn
    as_json: bool  # whether lines of JSON are printed

    @cached_property
    def predictor(self) -> Predictor:
        """With the weights of the model, or of an exported file."""
        model, device = self.model, self.device
        exported = Path(model).suffix.lower() in SUFFIXES
        if exported and (self.fast or self.size or device not in (None, "cpu")):
            raise click.UsageError(f"{model} says itself how it runs, and on the CPU")
        if self.fast:
            device, batch = best_device(device), 1 if self.alone else self.batch_size
            network = gatedpose.create_model(model, pretrained=True)
            model = make_ready(network, self.fast, device, batch, self.size)
        return Predictor(
            model,
            detector=self.detector,
            min_person=self.min_person,
            flip_test=self.flip,
            decoder=self.decoder,
            size=self.size,
            batch_size=self.batch_size,
            device=device,
        )

    @cached_property
    def listed(self) -> BoxTable | None:
        """The boxes by image, if a file of them is given."""
        least = MIN_PERSON if self.min_person is None else self.min_person
        return None if self.table is None else read_boxes(self.table, least)

    @cached_property
    def detector(self) -> Detector | None:
        """The detector that is asked for, if one is."""
        device, name = best_device(self.device), self.detector_name
        if name is None:
            return None
        if is_finder(name):
            return PersonFinder(name, min_score=self.min_person, device=device)
        return load_detector(
            self.detector_weights,
            name=name,
            download=True,
            min_score=MIN_PERSON if self.min_person is None else self.min_person,
            device=device,
        )

    @cached_property
    def made_by(self) -> dict[str, Any]:
        """All that results depend on besides the photos: what a journal's first line says."""
        known = {"alone", "as_json", "batch_size", "device", "table", "detector_weights"}
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in known}
        files = {"table": self.table, "detector_weights": self.detector_weights}
        digests = {
            name: file and hashlib.sha256(file.read_bytes()).hexdigest()[:16]
            for name, file in files.items()
        }
        # A network may be trained or exported anew under the same name.
        model = self.predictor.model
        digest = getattr(model, "digest", None) or weights_digest(model)  # engines show no weights
        return {**options, **digests, "weights": digest[:16]}

    def load(self) -> None:
        """Meets whatever is missing before anything is written."""
        if not (self.whole or self.boxes or self.table):
            _ = self.predictor.finder
        _ = self.predictor

    def people(self, file: Path) -> People:
        """Boxes of the people in an image as they are given, or how they are found."""
        if self.whole:
            return WHOLE
        return self.listed.of(file) if self.listed else self.boxes

    def draw(
        self, image: Tensor, poses: list[Pose], scale: int | None = None, shrink: int = 1
    ) -> Tensor:
        """A picture of the poses, with the boxes unless the whole image was taken.

        The image may be `shrink` times smaller than that of the poses.
        """
        placed = self.boxes or self.table or self.predictor.finder
        longest, factor = max(image.shape[1:]), 1 / shrink
        if self.max_side is not None and longest * shrink > self.max_side:
            image, smaller = fitted(image, self.max_side)
            factor, scale = factor * smaller, 1
        return draw_people(
            image,
            [replace(p, keypoints=p.keypoints * factor, box=p.box * factor) for p in poses],
            boxes=bool(placed) and not self.whole,
            min_score=self.min_score,
            scale=scale,
        )
