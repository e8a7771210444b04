"""Tables in COCO's format, as COCO, CVAT, Roboflow, Label Studio and others write them.

The reader is forgiving where the meaning is plain, and says in one line of the log what it left out
and what it took for granted.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.data.annotations import Row, plain_id, rows
from gatedpose.data.bare_names import bare_names
from gatedpose.errors import DatasetError, in_range
from gatedpose.files.typed_json import MOST_DIGITS
from gatedpose.geometry import FARTHEST
from gatedpose.skeleton import COCO17

THINNEST = 1e-3  # pixels; a thinner box has no area
LOG = logging.getLogger(__name__)
NO, YES = ("0", "0.0", "false", "no", "none", ""), ("1", "1.0", "true", "yes")


@dataclass(frozen=True)
class Table:
    """A file whose images, categories, annotations and ids have been checked."""

    file: Path
    images: Mapping[int | str, Row]  # by their ids
    categories: list[Row]  # in the order of the file
    annotations: list[Row]  # likewise; messages call them by their ids

    def image_of(self, annotation: Row) -> Row:
        """The picture that an annotation is of."""
        return self.images[annotation.values["image_id"]]


def as_table(file: Path, content: Any, folders: Sequence[Path] = ()) -> Table:
    """The table that a file holds, whose pictures may be in some folders.

    A picture that is in none of them is looked for there by its bare name, which programs write
    encoded or behind folders of their own.
    """
    data = Row(file, "the file", content)
    images, categories, annotations = (
        by_id(rows(file, kind, data.get(kind))) for kind in ("images", "categories", "annotations")
    )
    images |= bare_names(images, folders)
    for image in images.values():
        image.file_name()  # which must be one
    found = []
    for number, told in annotations.items():
        row = Row(file, f"annotation {number}", told.values)
        meant = {
            "image_id": known_id(row, "image_id", "images", images),
            "category_id": known_id(row, "category_id", "categories", categories),
            "id": number,
        }
        found.append(replace(row, values={**row.values, **meant}))
    return Table(file, images, list(categories.values()), found)


def by_id(entries: list[Row]) -> dict[int | str, Row]:
    """Rows by their ids, one each."""
    found: dict[int | str, Row] = {}
    for row in entries:
        if (number := row.identity()) in found:
            raise row.error("id", f"must be a number of its own, got {number!r:.80}")
        found[number] = row
    return found


def known_id(row: Row, key: str, kind: str, known: Collection[Any]) -> int | str:
    """Which of the known ids a field means."""
    if (meant := matching_id(row.get(key), known)) is None:
        raise row.error(key, f"{row.get(key)!r:.80} is the id of none of the {kind}")
    return meant


def matching_id(value: object, known: Collection[Any]) -> int | str | None:
    """The known id that a value means; some programs write "7" for 7, or the other way."""
    if (meant := plain_id(value)) is None or meant in known:
        return meant
    other: int | str | None = None
    if isinstance(meant, int):
        other = str(meant)
    elif len(meant) <= MOST_DIGITS and meant.isascii() and meant.isdecimal():
        other = int(meant)
    return other if other in known else None


def picture_size(image: Row) -> tuple[float, float] | None:
    """The fields "width" and "height"; None where a program left them out or empty."""
    width, height = image.values.get("width"), image.values.get("height")
    if not all(isinstance(side, int | float) and side > 0 for side in (width, height)):
        return None
    return float(width), float(height)  # type: ignore[arg-type]  # seen to be numbers


def joint_names(category: Row) -> tuple[str, ...]:
    """The joints of a category."""
    names = category.get("keypoints")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise category.error("keypoints", f"must be a list of joint names, got {names!r:.80}")
    return tuple(name.strip() for name in names)


def joint_categories(table: Table) -> list[Row]:
    """The categories whose joints are read, which are the same.

    Programs also list categories without joints: of boxes, or roots of others. Of several with
    unlike joints the one called "person" is read, else the first that anything is annotated of.
    """
    if not table.categories:
        raise DatasetError(f"{table.file}: 'categories' is empty; one must name the keypoints")
    named = [row for row in table.categories if row.values.get("keypoints")]
    named = named or table.categories[:1]
    used = {row.values["category_id"] for row in table.annotations}
    joints = [joint_names(row) for row in named]

    def rank(row: Row) -> tuple[bool, bool]:
        return row.values.get("id") not in used, str(row.values.get("name")).lower() != "person"

    first = min(named, key=rank)
    read = joints[named.index(first)]
    same = [row for row, own in zip(named, joints, strict=True) if own == read]
    return sorted(same, key=lambda row: row is not first)


def joint_numbers(row: Row, joints: int) -> npt.NDArray[np.float64]:
    """The field "keypoints" as x, y and visibility of each joint, (K, 3).

    Triples may be lists of their own, and what is not labelled have null or NaN as place.
    """
    flat = row.get("keypoints")
    if isinstance(flat, list) and all(isinstance(part, list) for part in flat):
        flat = [number for part in flat for number in part]
    if isinstance(flat, list):
        if len(flat) != 3 * joints:
            text = f"must be x, y and visibility of {joints} joints, {3 * joints} numbers"
            raise row.error("keypoints", f"{text}, got {len(flat)}")
        flat = [None if number != number else number for number in flat]  # NaN
        visible = [v for v in flat[2::3] for _ in range(3)]
        flat = [0 if n is None and not v else n for n, v in zip(flat, visible, strict=True)]
    return (
        Row(row.file, row.name, {"keypoints": flat})
        .numbers("keypoints", (3 * joints,))
        .reshape(-1, 3)
    )


@dataclass
class Tally:
    """Counts what was left out of a table and what was taken for granted."""

    left_out: Counter[str] = field(default_factory=Counter)  # by reason
    assumed: Counter[str] = field(default_factory=Counter)

    def text(self, file: Path, count: int, kind: str = "people") -> str:
        """One line; "" if there is nothing to say."""
        if not (self.left_out or self.assumed):
            return ""
        parts = [f"{file}: {kind} read: {count}"]
        for what, counted in (("left out", self.left_out), ("assumed", self.assumed)):
            if counted:
                listed = ", ".join(f"{number} {reason}" for reason, number in counted.items())
                parts.append(f"{what}: {listed}")
        return "; ".join(parts)


def is_crowd(row: Row) -> bool:
    """The field "iscrowd", which programs write as number, boolean or text, or leave out."""
    text = str(row.values.get("iscrowd", 0)).strip().lower()
    if text not in (*NO, *YES):
        raise row.error("iscrowd", f"must be 0 or 1, got {row.values['iscrowd']!r:.80}")
    return text in YES


def given_box(row: Row) -> npt.NDArray[np.float64] | None:
    """The field "bbox" as (x0, y0, x1, y1); None if it is missing, empty or without area."""
    if not row.values.get("bbox"):
        return None
    x, y, width, height = row.numbers("bbox", (4,)).tolist()
    if width < 0 or height < 0:
        raise row.error("bbox", f"(x, y, width, height) is negative: {row.values['bbox']}")
    if max(map(abs, (x, y, width, height))) > FARTHEST:
        raise row.error("bbox", f"reaches more than {FARTHEST:g} pixels: {row.values['bbox']}")
    if min(width, height) < THINNEST:
        return None
    return np.array((x, y, x + width, y + height))


def scorable(file: Path, content: Any) -> tuple[dict[str, Any], set[int | str]]:
    """The people of a file's content with all fields that pycocotools scores by; rows are copies.

    They are numbered anew, numbers of labelled joints are counted, and whatever category people are
    of becomes category 1; the ids that it had come with them. Who has no box gets the tight one of
    the labelled joints, who has no area that of the box: the log says how many.
    """
    data = Row(file, "the file", content)
    images, categories, annotations = (
        rows(file, kind, data.get(kind)) for kind in ("images", "categories", "annotations")
    )
    pictures = {row.identity(): row.values for row in images}
    people = {row.identity("category_id") for row in annotations}
    if any(row.values.get("keypoints") for row in categories):
        table = Table(file, {}, categories, annotations)
        people = {row.identity() for row in joint_categories(table)}
    tally = Tally()
    found: list[dict[str, Any]] = []
    for row in annotations:
        if matching_id(row.get("category_id"), people) in people:
            image = known_id(row, "image_id", "images", pictures)
            numbers = {"id": len(found) + 1, "image_id": image, "category_id": 1}
            found.append({**row.values, **_scorable(row, tally), **numbers})
        else:
            tally.left_out["of another category"] += 1
    if text := tally.text(file, len(found), "people to score by"):
        LOG.warning(text)
    scored = {
        "images": [{**values, "id": number} for number, values in pictures.items()],
        "annotations": found,
        "categories": [{"id": 1, "name": "person"}],
    }
    return scored, people


def _scorable(row: Row, tally: Tally) -> dict[str, Any]:
    made: dict[str, Any] = {"iscrowd": int(is_crowd(row))}
    numbers = np.zeros((COCO17.num_keypoints, 3))
    if row.values.get("keypoints"):
        numbers = joint_numbers(row, COCO17.num_keypoints)
    points = numbers[numbers[:, 2] > 0, :2]
    made |= {"keypoints": numbers.flatten().tolist(), "num_keypoints": len(points)}
    if (box := given_box(row)) is None:
        box = np.zeros(4)
        if len(points):
            tally.assumed["without a box have the tight one of their joints"] += 1
            box = np.concatenate((points.min(axis=0), points.max(axis=0) + 1))
    made["bbox"] = [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]
    area = row.values.get("area")
    if not in_range(area, (0.0, 1e15)) or (len(points) and not area):  # 0 is what scores are by
        made["area"] = float(np.prod(box[2:] - box[:2]))
        if len(points):
            tally.assumed["without an area have that of their box"] += 1
    return made
