"""YOLO's labels of keypoints, as ultralytics trains from them, as a table in COCO's format.

data.yaml names folders of pictures, the number of keypoints and their flips. A line of a picture's
labels/*.txt is the class, the box's centre and sides, and x, y and perhaps the visibility of each
keypoint, as shares of the picture's sides.
"""

import glob
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from gatedpose.data.annotations import Row
from gatedpose.data.coco_table import matching_id
from gatedpose.errors import DatasetError, ImageError
from gatedpose.media.folders import find_images
from gatedpose.media.images import image_size
from gatedpose.skeleton import COCO17

SPLITS = ("train", "val", "test")


def yolo_file(folder: Path) -> Path | None:
    """The YAML file of YOLO's keypoints, if there is one: data.yaml before any other."""
    files = sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
    for some in (True, False):
        found = [file for file in files if (file.stem == "data") is some and yolo_splits(file)]
        if len(found) > 1:
            names = ", ".join(file.name for file in found)
            raise DatasetError(
                f"{folder} has several files of YOLO's keypoints, {names}: call the one to read "
                "data.yaml, and keep no other of that name"
            )
        if found:
            return found[0]
    return None


def numbers_of_joints(folder: Path) -> int:
    """How many numbers of joints follow a box in the labels of a folder; 0 if it does not say."""
    file = yolo_file(folder)
    joints, each = _shape(Row(file, "the file", _facts(file))) if file else (0, 0)
    return joints * each


def yolo_splits(file: Path) -> dict[str, Path]:
    """Folders of pictures by split of a data.yaml of keypoints; none for any other file.

    They are looked for from "path", from the file's folder, and without the ".." that Roboflow
    writes before them.
    """
    facts = _facts(file)
    if "kpt_shape" not in facts:
        return {}
    found = {}
    for split in SPLITS:
        if not (told := facts.get(split)):
            continue
        if not isinstance(told, str) or told.endswith(".txt"):
            raise DatasetError(f"{file}: {split!r} must be a folder of pictures, got {told!r:.80}")
        root = file.parent / str(facts.get("path") or ".")
        inner = told.removeprefix("../")
        places = [p.resolve() for p in (root / told, file.parent / told, file.parent / inner)]
        place = next((p for p in places if p.is_dir()), places[0])
        if (place / "images").is_dir():
            place = place / "images"
        found[split] = place
    return found


def yolo_table(file: Path, images: Path) -> dict[str, Any]:
    """The labels of a folder of pictures as "images", "categories" and "annotations" of COCO."""
    facts = Row(file, "the file", _facts(file))
    joints, numbers = _shape(facts)
    names = facts.values.get("names") or ["object"]
    if not isinstance(names, (Mapping, list)):
        raise facts.error("names", f"must be a list, got {names!r:.80}")
    classes = names if isinstance(names, Mapping) else dict(enumerate(names))
    categories = [
        {"id": i, "name": str(name), **_joints(facts, i, joints)} for i, name in classes.items()
    ]
    table: dict[str, Any] = {"images": [], "categories": categories, "annotations": []}
    for picture in find_images(Path(glob.escape(str(images)), "**", "*")):
        labels = _labels_of(picture)
        lines = labels.read_text("utf-8-sig", "replace").splitlines() if labels.is_file() else []
        if not any(map(str.strip, lines)):
            continue
        try:
            width, height = image_size(picture)
        except ImageError as error:
            raise DatasetError(str(error)) from error
        name = picture.relative_to(images).as_posix()
        table["images"].append({"id": name, "file_name": name, "width": width, "height": height})
        for number, line in enumerate(lines, 1):
            if line.strip():
                place = f"{labels}, line {number}"
                person = _annotation(place, line, joints, numbers, (width, height))
                table["annotations"].append({"id": f"{name}:{number}", "image_id": name, **person})
    if not table["annotations"]:
        where = _labels_of(images / "*")
        raise DatasetError(f"{file}: no picture in {images} has labels, as {where}")
    return table


def _facts(file: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DatasetError(f"{file} cannot be read as YAML: {error}") from error
    return facts if isinstance(facts, dict) else {}


def _shape(row: Row) -> tuple[int, int]:
    """How many keypoints there are, and numbers of each, 2 or 3."""
    shape = row.get("kpt_shape")
    good = isinstance(shape, list) and len(shape) == 2 and all(type(n) is int for n in shape)
    if not good or shape[0] < 1 or shape[1] not in (2, 3):
        raise row.error("kpt_shape", f"must be [joints, 2] or [joints, 3], got {shape!r:.80}")
    return shape[0], shape[1]


def _joints(row: Row, category: Any, count: int) -> dict[str, Any]:
    """Names and flip pairs of the keypoints of a class."""
    told = row.values.get("kpt_names")
    names = told.get(matching_id(category, told)) if isinstance(told, Mapping) else told
    if not told:  # of 17 ultralytics means COCO's
        numbered = [f"joint {k}" for k in range(count)]
        names = list(COCO17.joints) if count == COCO17.num_keypoints else numbered
    if not isinstance(names, list) or len(names) != count:
        raise row.error(
            "kpt_names", f"must be {count} names of class {category!r}, got {names!r:.80}"
        )
    names = [str(name) for name in names]
    flips = row.values.get("flip_idx")
    if not flips:
        return {"keypoints": names}
    numbers = isinstance(flips, list) and all(type(flip) is int for flip in flips)
    if not numbers or sorted(flips) != list(range(count)):
        raise row.error("flip_idx", f"must be the numbers 0 to {count - 1}, got {flips!r:.80}")
    if any(flips[flips[k]] != k for k in range(count)):
        raise row.error("flip_idx", f"must exchange joints in pairs, got {flips!r:.80}")
    pairs = [[names[k], names[flips[k]]] for k in range(count) if k < flips[k]]
    return {"keypoints": names, "flip_pairs": pairs}


def _labels_of(picture: Path) -> Path:
    """Where ultralytics looks for a picture's labels: the last "images" of the path is "labels"."""
    return Path("/labels/".join(picture.as_posix().rsplit("/images/", 1))).with_suffix(".txt")


def _annotation(
    place: str, line: str, joints: int, numbers: int, size: tuple[int, int]
) -> dict[str, Any]:
    """An annotation of COCO's from a line of labels."""
    try:
        kind, *words = line.split()
        category, values = float(kind), [float(word) for word in words]
    except ValueError as error:
        raise DatasetError(f"{place}: {error}") from error
    if len(values) != 4 + numbers * joints:
        raise DatasetError(
            f"{place}: a class, a box and {joints} keypoints of {numbers} numbers are "
            f"{5 + numbers * joints} numbers, got {1 + len(values)}"
        )
    width, height = size
    x, y, w, h = values[:4]
    points: list[float] = []
    for k in range(4, len(values), numbers):
        seen = values[k + 2] if numbers == 3 else 2.0 * (values[k] > 0 or values[k + 1] > 0)
        points += [values[k] * width, values[k + 1] * height, seen]
    box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    return {"category_id": category, "bbox": box, "keypoints": points}
