"""YOLO's labels of keypoints, as ultralytics trains from them, as a table in COCO's format.

data.yaml names folders of pictures, or .txt files that list them, the number of keypoints and their
flips. A line of a picture's labels/*.txt is the class, the box's centre and sides, and x, y and
perhaps the visibility of each keypoint, as shares of the picture's sides.
"""

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gatedpose.data.annotations import Row
from gatedpose.data.coco_table import matching_id
from gatedpose.data.samples import first_five
from gatedpose.errors import DatasetError, ImageError
from gatedpose.media.folders import find_images
from gatedpose.media.images import image_size
from gatedpose.skeleton import COCO17

SPLITS = ("train", "val", "test")


def yolo_file(folder: Path) -> Path | None:
    """The YAML file of YOLO's keypoints, if there is one: data.yaml before any other."""
    files = sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))
    for some in (True, False):
        found = [
            file for file in files if (file.stem == "data") is some and "kpt_shape" in _facts(file)
        ]
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


def yolo_splits(file: Path) -> dict[str, tuple[Path, ...]]:
    """Folders of pictures, or .txt files that list pictures, by split of a data.yaml of keypoints.

    They are looked for from "path", from the file's folder, and without the ".." that Roboflow
    writes before them.
    """
    facts = _facts(file)
    found = {}
    for split in SPLITS:
        if not (told := facts.get(split)):
            continue
        several = told if isinstance(told, list) else [told]
        if not all(isinstance(one, str) for one in several):
            text = "must be a folder of pictures, a .txt file that lists them, or a list of these"
            raise DatasetError(f"{file}: {split!r} {text}, got {told!r:.80}")
        root = file.parent / str(facts.get("path") or ".")
        found[split] = tuple(_where(one, root, file.parent) for one in several)
    return found


def _where(told: str, root: Path, beside: Path) -> Path:
    inner = told.removeprefix("../")
    places = [place.resolve() for place in (root / told, beside / told, beside / inner)]
    place = next((place for place in places if place.exists()), places[0])
    return place / "images" if (place / "images").is_dir() else place


def common_folder(places: Sequence[Path]) -> Path:
    """The folder that all pictures of a split lie in, or in folders below it."""
    listed = {picture.parent for place in places if _is_list(place) for picture in _listed(place)}
    folders = {place for place in places if not _is_list(place)}
    return Path(os.path.commonpath(listed | folders))


def _is_list(place: Path) -> bool:
    return place.suffix == ".txt"


def _listed(file: Path) -> list[Path]:
    """The pictures that a .txt names, from its own folder or from where one is."""
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{file} cannot be read as a list of pictures: {error}") from error
    pictures = []
    for name in filter(None, map(str.strip, lines)):
        places = [Path(os.path.abspath(place)) for place in (file.parent / name, name)]
        pictures.append(next((place for place in places if place.is_file()), places[0]))
    if missing := [str(picture) for picture in pictures if not picture.is_file()]:
        count = f"{len(missing)} of {len(pictures)}"
        raise DatasetError(
            f"{file} lists pictures that are missing, {count}: {first_five(missing)}"
        )
    if not pictures:
        raise DatasetError(f"{file} lists no pictures")
    return pictures


def _pictures(place: Path) -> list[Path]:
    if _is_list(place):
        return _listed(place)
    return find_images(Path(glob.escape(str(place)), "**", "*"))


def yolo_table(file: Path, split: str) -> dict[str, Any]:
    """The labels of a split as "images", "categories" and "annotations" of COCO.

    Pictures are named from the `common_folder` of the split.
    """
    places = yolo_splits(file)[split]
    images = common_folder(places)
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
    for picture in dict.fromkeys(picture for place in places for picture in _pictures(place)):
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
        where = _labels_of(picture.with_name("*"))
        raise DatasetError(f"{file}: no picture of {split!r} has labels, as {where}")
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
