"""Boxes of people from files."""

import logging
import os
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias
from unicodedata import normalize

import numpy as np

from gatedpose.data.agreement import check_pictures
from gatedpose.data.annotations import Row, plain_id, rows
from gatedpose.data.coco_table import (
    Tally,
    by_id,
    given_box,
    is_crowd,
    known_id,
    matching_id,
    picture_size,
)
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, check_range
from gatedpose.files.typed_json import read_json
from gatedpose.skeleton import LSP14

LOG = logging.getLogger(__name__)
Box: TypeAlias = list[float]
PERSON = 1  # category of COCO, label of torchvision's detectors
MIN_PERSON = 0.7  # score from which on a detection counts


@dataclass(frozen=True)
class BoxTable:
    """People's boxes (x0, y0, x1, y1) of many images."""

    file: Path  # where they were read
    # By the image's name, such as "a.jpg" or "folder/a.jpg", or COCO's number.
    by_image: Mapping[str | int, list[Box]]
    # Width and height, as far as the file has them.
    sizes: Mapping[str | int, tuple[float, float]] = field(default_factory=dict)
    ids: Mapping[str | int, int | str] = field(default_factory=dict)  # numbers that the file gives

    def __contains__(self, image: Path) -> bool:
        return self._key(image) is not None

    def of(self, image: Path) -> list[Box]:
        """Boxes of an image, none if it is not in the table.

        The longest end of the path that is a name of the table counts; then the number that the
        file is called by.
        """
        key = self._key(image)
        return [] if key is None else self.by_image[key]

    def check_pictures(self, images: Sequence[Path]) -> None:
        """Logs what speaks against the boxes of these images: see `gatedpose.data.agreement`.

        One of the table's names may also be that of several images, in different folders.
        """
        keys = {image: key for image in images if (key := self._key(image)) is not None}
        for key, count in Counter(keys.values()).most_common(1):
            if count > 1:
                one, other, *_ = (image for image in keys if keys[image] == key)
                LOG.warning(
                    f"{self.file}: {key!r} is the name of {count} pictures, which get the same "
                    f"boxes: {one} and {other}, for example; name their folders in it, or do each "
                    "folder with a table of its own"
                )
        nowhere, unlabelled = np.zeros((14, 2)), np.zeros(14, bool)  # a box alone
        people = [
            Sample(f"{image.name}/{i}", image, nowhere, unlabelled, np.array(box), LSP14, size=size)
            for image, key in keys.items()
            for size in [self.sizes.get(key)]
            for i, box in enumerate(self.by_image[key])
        ]
        check_pictures(people)

    def id_of(self, image: Path) -> int | str | None:
        """The number that the file gives an image, None if it gives none."""
        key = self._key(image)
        return None if key is None else self.ids.get(key)

    def _key(self, image: Path) -> str | int | None:
        path = Path(normalize("NFC", os.path.abspath(image)))
        ends = ("/".join(path.parts[i:]) for i in range(1, len(path.parts)))
        keys: list[str | int] = [path.as_posix(), *ends]
        if image.stem.isdecimal():
            keys.append(int(image.stem))
        return next((self._names[key] for key in keys if key in self._names), None)

    @cached_property
    def _names(self) -> dict[str | int, str | int]:
        """The table's names by their Unicode NFC, macOS writes accents apart, and without "./"."""
        return {
            normalize("NFC", posixpath.normpath(k)) if isinstance(k, str) else k: k
            for k in self.by_image
        }


def read_boxes(file: str | os.PathLike[str], min_score: float = MIN_PERSON) -> BoxTable:
    """Reads boxes of people from JSON.

    Args:
        file: Holds {"a.jpg": [[x0, y0, x1, y1], ...], ...}, of one person the row alone; or
            annotations as COCO's, with "images" and "annotations"; or results as COCO's, a list of
            detections. COCO's bbox (x, y, w, h) counts from 0 at the left upper corner of the first
            pixel: it becomes (x, y, x + w, y + h). Of COCO's, people are taken, without crowds: the
            category called person, else those that have keypoints, else the only one; of results,
            which know no names, category 1. The log counts what is left out.
        min_score: Detections of a list of results below it are left out.

    Raises:
        DatasetError: If the file is none of these; the message names row and field.
    """
    check_range("read_boxes: min_score", min_score, (0.0, 1.0))
    file = Path(file)
    data = read_json(file)
    if isinstance(data, list):
        detections = rows(file, "results", data)
        sure = [row for row in detections if row.numbers("score") >= min_score]
        tally = Tally()
        if len(sure) < len(detections):
            tally.left_out[f"below score {min_score:g}"] = len(detections) - len(sure)
        found = _group(file, sure, None, {PERSON: "person"}, tally)
        return BoxTable(file, found, ids={number: number for number in found})
    table = Row(file, "the file", data)
    if "annotations" not in data:
        return BoxTable(file, {name: _plain_boxes(table, name) for name in data})
    images = by_id(rows(file, "images", table.get("images")))
    names = {number: row.file_name() for number, row in images.items()}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise DatasetError(f"{file}: 'images' has file_name {twice[0]!r} twice")
    people = rows(file, "annotations", table.get("annotations"))
    found = _group(file, people, names, _person_categories(table), Tally())
    sizes: dict[str | int, tuple[float, float]]
    sizes = {names[i]: size for i, row in images.items() if (size := picture_size(row))}
    return BoxTable(file, found, sizes, {name: number for number, name in names.items()})


def _person_categories(table: Row) -> dict[Any, str]:
    """The categories that people are of, by their ids."""
    if not table.values.get("categories"):
        return {PERSON: "person"}
    categories = rows(table.file, "categories", table.get("categories"))
    names = {row.identity(): str(row.values.get("name", row.get("id"))) for row in categories}
    people = {number: name for number, name in names.items() if name.lower() == "person"}
    posed = {
        row.get("id"): names[row.get("id")] for row in categories if row.values.get("keypoints")
    }
    found = people or posed or (names if len(names) == 1 else {})
    if not found:
        raise DatasetError(
            f"{table.file}: none of the categories {', '.join(names.values())} is called person or "
            "has keypoints: call that of the people so"
        )
    return found


def _plain_boxes(table: Row, name: str) -> list[Box]:
    boxes = table.get(name)
    if not isinstance(boxes, list):
        raise table.error(name, f"must be a list of boxes [x0, y0, x1, y1], got {boxes!r:.80}")
    if not boxes:
        return []
    several = any(isinstance(box, list) for box in boxes)  # else one row of a lone person
    numbers = table.numbers(name, (len(boxes), 4) if several else (4,)).reshape(-1, 4)
    return [list(map(float, box)) for box in numbers]


def _group(
    file: Path,
    annotated: Sequence[Row],
    names: Mapping[Any, str] | None,
    people: Mapping[Any, str],
    tally: Tally,
) -> dict[str | int, list[Box]]:
    """Boxes of COCO's rows by the name of their image; by its id if there are no names."""
    found: dict[str | int, list[Box]] = {name: [] for name in (names or {}).values()}
    for row in annotated:
        image = row.identity("image_id")
        if names is not None:
            image = known_id(row, "image_id", "images", names)
        category = row.values.get("category_id", next(iter(people)))
        if plain_id(category) is None:
            raise row.error("category_id", f"must be a number, got {category!r:.80}")
        if matching_id(category, people) is None:
            tally.left_out[f"of category {category!r:.40}"] += 1
        elif is_crowd(row):
            tally.left_out["marked as a crowd"] += 1
        elif (box := given_box(row)) is None:
            tally.left_out["without a box"] += 1
        else:
            name = image if names is None else names[image]
            found.setdefault(name, []).append(box.tolist())
    if text := tally.text(file, sum(map(len, found.values())), "boxes"):
        LOG.warning(text)
    return found
