"""Boxes of people from files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gatedpose.data.annotations import Row, load_json, rows

Box: TypeAlias = list[float]


PERSON = 1  # category of COCO, label of torchvision's detectors


MIN_PERSON = 0.7  # score from which on a detection counts


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
    for row in images:
        if not isinstance(row.get("id"), int | str):
            raise row.error("id", f"must be a number, got {row.get('id')!r:.80}")
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
