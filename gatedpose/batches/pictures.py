"""Whole pictures with the boxes of their people, for training and scoring a finder of people.

Pictures are packed once: shrunk to fit a square of `SIDE`, put into its left upper corner, and kept
as JPEG. Three kinds of folders are read: YOLO's, COCO's, and pictures without people.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gatedpose.batches.packs import JpegImages, Packed, kept, pack_each
from gatedpose.data.boxes import read_boxes
from gatedpose.data.samples import first_five
from gatedpose.data.yolo import numbers_of_joints
from gatedpose.errors import DatasetError, InputError
from gatedpose.files.typed_json import to_json
from gatedpose.media.folders import find_images
from gatedpose.media.images import read_image
from gatedpose.media.photos import fitted

SIDE = 320  # of packed pictures, in pixels
QUALITY = 88
PAD = 124  # outside of a packed picture
LARGEST_SHARE = 1.5  # of a side: a little outside of the picture is let through


@dataclass(frozen=True)
class Labelled:
    """A picture's file and what is known of its people."""

    path: Path
    boxes: Tensor  # (N, 4) float32, (x0, y0, x1, y1), in pixels or as shares of the picture
    shares: bool = False  # whether they are shares

    def pixels(self, height: int, width: int) -> Tensor:
        """The boxes in pixels of the picture, whose size is given."""
        return self.boxes * torch.tensor([width, height] * 2) if self.shares else self.boxes


def read_labelled(folder: Path, split: str) -> list[Labelled]:
    """The pictures of a split: of a YOLO folder, or of one as `gatedpose data` writes them.

    Args:
        folder: Holds SPLIT/images and SPLIT/labels, or images/SPLIT and labels/SPLIT, a .txt a
            picture, whose lines are people: a class, which is not looked at, and x, y, width and
            height as shares of the picture, perhaps with joints, or the corners of a polygon; a
            data.yaml with `kpt_shape` says how many numbers joints have. Or SPLIT.json, COCO's
            annotations, and "images".
        split: "train", "val" or "test"; YOLO's "valid" is found as "val".
    """
    names = [split, "valid"] if split == "val" else [split]
    for form in ("{}/{}", "{1}/{0}"):
        for name in names:
            images, labels = (folder / form.format(name, kind) for kind in ("images", "labels"))
            if labels.is_dir():
                return _read_yolo(images, labels, numbers_of_joints(folder))
    if (folder / f"{split}.json").is_file():
        return _read_coco(folder, split)
    raise DatasetError(
        f"{folder} holds neither {names[-1]}/labels nor labels/{names[-1]}, as YOLO's folders do, "
        f"nor {split}.json, as COCO's"
    )


def _read_yolo(images: Path, labels: Path, joints: int) -> list[Labelled]:
    found = []
    for path in find_images(images):
        file = labels / f"{path.stem}.txt"
        if not file.is_file():
            raise DatasetError(f"{path} has no labels: there is no {file}")
        boxes = []
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
            if line.strip():
                boxes.append(_yolo_box(line, joints, f"{file}, line {number}"))
        stacked = torch.stack(boxes) if boxes else torch.zeros(0, 4)
        found.append(Labelled(path, stacked, shares=True))
    return found


def _yolo_box(line: str, joints: int, where: str) -> Tensor:
    """The box, as shares of the picture, of a line, with so many numbers of joints or a polygon."""
    try:
        numbers = line.split()[1:]
        values = torch.tensor([float(number) for number in numbers])
        seen = values[6::3]  # of each joint, if there are three numbers for each behind a box
        flags = len(seen) > 2 and bool(torch.isin(seen, torch.arange(3.0)).all())
        odd = len(values) % 2 == 1  # of an even number of joints else a polygon
        if len(values) == 4 + joints or (len(values) % 3 == 1 and (odd or flags)):
            values = values[:4]
        if not bool((values.abs() <= LARGEST_SHARE).all()):
            raise InputError("shares of the picture are from 0 to 1")
        if len(values) == 4:
            if float(values[2:].min()) < 0:
                raise InputError("width and height are from 0 to 1")
            return torch.cat((values[:2] - values[2:] / 2, values[:2] + values[2:] / 2))
        corners = values.view(-1, 2)
        if len(corners) < 3:
            raise InputError("too few numbers")
        return torch.cat((corners.amin(0), corners.amax(0)))
    except (ValueError, RuntimeError) as error:
        raise DatasetError(
            f"{where}: must be a class and x y width height, or the corners of a polygon, got "
            f"{line!r:.80} ({error})"
        ) from error


def _read_coco(folder: Path, split: str) -> list[Labelled]:
    table = read_boxes(folder / f"{split}.json")
    found = []
    for name, boxes in table.by_image.items():
        stacked = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
        found.append(Labelled(folder / "images" / str(name), stacked))
    if missing := [one.path.name for one in found if not one.path.is_file()]:
        count = f"{len(missing)} of {len(found)}"
        raise DatasetError(f"pictures are missing, {count}: {folder} lacks {first_five(missing)}")
    table.check_pictures([one.path for one in found])
    return found


def read_empty(folder: Path) -> list[Labelled]:
    """All pictures of a folder, which show no people."""
    return [Labelled(path, torch.zeros(0, 4)) for path in find_images(folder)]


@dataclass(frozen=True)
class Pictures(Packed):
    """N packed pictures and the boxes of their people."""

    images: JpegImages  # squares of P pixels, the picture in the left upper corner
    sizes: Tensor  # (N, 2), width and height of what is picture, in packed pixels
    boxes: tuple[Tensor, ...]  # (n, 4) of each picture, in packed pixels
    complete: Tensor  # (N,) bool, whether all people have a box; else what is outside is not known
    stretched: Tensor  # (N,) bool, whether the aspect is not that of the camera's

    @classmethod
    def pack(cls, labelled: Sequence[Labelled], complete: bool, stretched: bool) -> "Pictures":
        """Reads and shrinks pictures; see `pack_each`."""
        if not labelled:
            raise DatasetError("there are no pictures to pack")

        def read(one: Labelled) -> Pictures:
            original = read_image(one.path)
            image, scale = fitted(original, SIDE)
            height, width = image.shape[-2:]
            square = F.pad(image, (0, SIDE - width, 0, SIDE - height), value=PAD)
            images = JpegImages.of([square], SIDE, QUALITY)
            boxes = (one.pixels(*original.shape[-2:]) * scale,)
            flags = (torch.tensor([flag]) for flag in (complete, stretched))
            return cls(images, torch.tensor([[float(width), float(height)]]), boxes, *flags)

        return pack_each(labelled, read, "packing pictures", "picture")

    def __iter__(self) -> Iterator[Tensor]:
        """Each picture (3, H, W) uint8, without what is outside of it."""
        for i, (width, height) in enumerate(self.sizes.int().tolist()):
            yield self.images[torch.tensor([i])][0, :, :height, :width]

    def padded(self, indices: Tensor) -> Tensor:
        """Boxes (B, M, 4) of pictures, NaN where one has fewer than M."""
        one = torch.full((1, 4), torch.nan)  # M is 1 at least
        each = [self.boxes[i] for i in indices.tolist()]
        return pad_sequence([*each, one], batch_first=True, padding_value=torch.nan)[:-1]

    @classmethod
    def packed(
        cls, labelled: Sequence[Labelled], complete: bool, stretched: bool, path: Path
    ) -> "Pictures":
        """The pictures in `path`, packed first if the file is not there; see `read_pack`."""

        def make() -> dict[str, Tensor]:
            made = cls.pack(labelled, complete, stretched)
            return {**made.tensors(), "boxes": made.padded(torch.arange(len(made)))}

        each = [
            [one.path.name, one.path.stat().st_size, one.shares, one.boxes.tolist()]
            for one in labelled
        ]
        told = to_json([SIDE, QUALITY, complete, stretched, each]).encode()
        about = {"pictures or boxes": hashlib.sha256(told).hexdigest()}  # but for the pixels
        tensors = kept(path, about, make)
        boxes = tuple(some[~some[:, 0].isnan()] for some in tensors.pop("boxes"))
        return cls.of(tensors, boxes=boxes)
