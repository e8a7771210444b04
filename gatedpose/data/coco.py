"""Reader of COCO keypoints (Lin et al., ECCV 2014), indexed by pycocotools.

Coordinates count pixels from 0: continuous = value + 0.5 for keypoints, while a box (x, y, w, h) is
continuous as it is. Visibility is 0 for unlabelled, 1 for occluded and 2 for visible joints.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from gatedpose.data.annotations import Row, load_json, rows
from gatedpose.data.samples import Sample, require_images
from gatedpose.errors import DatasetError, MissingPackageError
from gatedpose.geometry import keypoints_to_box
from gatedpose.skeleton import COCO17, Skeleton

SPLITS = ("train", "val")


def coco(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads the COCO 2017 keypoints.

    Args:
        folder: Holds annotations/person_keypoints_train2017.json and train2017/, or those of val.
        split: "train" or "val".
        check_images: Whether the images must be there.

    Returns:
        People in the order of the file; see `read_coco_json`.

    Raises:
        DatasetError: For an unknown split, missing files, or a row that is wrong: the message names
            file, row and field.
        ImportError: Without pycocotools.
    """
    if split not in SPLITS:
        raise DatasetError(f"coco has the splits {', '.join(SPLITS)}, not {split!r}")
    images = Path(folder) / f"{split}2017"
    people = read_coco_json(annotations_file(folder, split), images)
    if check_images:
        require_images(images, {person.image.relative_to(images).as_posix() for person in people})
    return people


def annotations_file(folder: str | Path, split: str) -> Path:
    """Where the keypoints of a split lie in COCO's folder."""
    return Path(folder) / "annotations" / f"person_keypoints_{split}2017.json"


def read_coco_json(file: Path, images: Path) -> list[Sample]:
    """Reads a file of people with COCO's 17 joints.

    Args:
        file: Such as person_keypoints_val2017.json.
        images: Folder that the images are expected in; it is not looked at.

    Returns:
        People with a labelled joint. Those without one, and groups marked `iscrowd`, are left out.
        Ids are "coco/image id/annotation id".

    Raises:
        DatasetError: See `coco`.
        ImportError: Without pycocotools.
    """
    index = load_index(file)
    category = joints_category(file, index)
    names = tuple(name.replace("_", " ") for name in category.get("keypoints"))
    if names != COCO17.joints:
        raise category.error("keypoints", "these are not COCO's 17 joints; `own` reads any joints")
    return read_people(file, index, images, "coco", COCO17)


def load_index(file: Path) -> Any:
    """A `pycocotools.coco.COCO` of a file whose images, annotations and ids have been checked.

    Raises:
        DatasetError: For an unreadable file, a missing table or key, an id that occurs twice, or an
            annotation of an unknown image.
        ImportError: Without pycocotools.
    """
    try:
        from pycocotools.coco import COCO
    except ImportError as error:
        raise MissingPackageError(
            f'reading {file.name} needs pycocotools: pip install "gatedpose[train]"'
        ) from error
    data = Row(file, "the file", load_json(file))
    known: dict[str, set[Any]] = {}
    for table in ("images", "categories", "annotations"):
        known[table] = set()
        for row in rows(file, table, data.get(table)):
            number = row.get("id")
            if not isinstance(number, (int, str)) or number in known[table]:
                raise row.error("id", f"must be a number of its own, got {number!r:.80}")
            known[table].add(number)
            if table == "images":
                row.file_name("file_name")
            elif table == "annotations":
                for key, other in (("image_id", "images"), ("category_id", "categories")):
                    if (value := row.get(key)) not in known[other]:
                        raise row.error(key, f"{value!r:.80} is the id of none of the {other}")
    index = COCO()
    index.dataset = data.values
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by printing
        index.createIndex()
    return index


def joints_category(file: Path, index: Any) -> Row:
    """The first of the file's categories; its "keypoints" have been checked to be names.

    Raises:
        DatasetError: If there is no category, or it has no keypoints.
    """
    if not index.dataset["categories"]:
        raise DatasetError(f"{file}: 'categories' is empty; the first must name the keypoints")
    category = Row(file, "categories[0]", index.dataset["categories"][0])
    names = category.get("keypoints")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise category.error("keypoints", f"must be a list of joint names, got {names!r:.80}")
    return category


def read_people(
    file: Path,
    index: Any,
    images: Path,
    dataset: str,
    skeleton: Skeleton,
    *,
    bbox_needed: bool = True,
) -> list[Sample]:
    """The annotated people of the first category; see `read_coco_json` for those left out.

    Args:
        file: For messages.
        index: From `load_index`.
        images: Folder of the images.
        dataset: First part of the ids.
        skeleton: The K joints of the first category.
        bbox_needed: Whether each must have a "bbox"; else the tight box of the labelled joints, of
            which there must be two, stands in.

    Raises:
        DatasetError: For a row that is wrong, or if nobody is left.
    """
    people = []
    category = index.dataset["categories"][0]["id"]
    for values in index.loadAnns(index.getAnnIds(catIds=[category])):
        row = Row(file, f"annotation {values['id']}", values)
        if values.get("iscrowd"):
            continue
        numbers = row.numbers("keypoints", (3 * skeleton.num_keypoints,)).reshape(-1, 3)
        if not np.isin(numbers[:, 2], (0, 1, 2)).all():
            raise row.error("keypoints", "every third number, the visibility, must be 0, 1 or 2")
        labelled = numbers[:, 2] > 0
        if not labelled.any():
            continue
        absent = _absent(row, skeleton, labelled)
        keypoints = np.where(labelled[:, None], numbers[:, :2] + 0.5, 0).astype(np.float32)
        given = bbox_needed or "bbox" in values
        people.append(
            Sample(
                id=f"{dataset}/{values['image_id']}/{values['id']}",
                image=images / index.imgs[values["image_id"]]["file_name"],
                keypoints=keypoints,
                labelled=labelled,
                box=_box(row) if given else _tight_box(row, keypoints, labelled),
                skeleton=skeleton,
                absent=absent,
            )
        )
    if not people:
        raise DatasetError(f"{file} holds no person with a labelled joint")
    return people


def _absent(
    row: Row, skeleton: Skeleton, labelled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_] | None:
    """The field "absent", if there is one: numbers, from 0, of joints out of the picture."""
    if "absent" not in row.values:
        return None
    joints, known = row.get("absent"), range(skeleton.num_keypoints)
    if not isinstance(joints, list) or not all(type(j) is int and j in known for j in joints):
        raise row.error(
            "absent", f"must list joints by numbers 0 to {known[-1]}, got {joints!r:.80}"
        )
    absent = np.zeros_like(labelled)
    absent[joints] = True
    if both := [skeleton.joints[j] for j in np.flatnonzero(absent & labelled)]:
        raise row.error("absent", f"lists joints that are labelled, too: {', '.join(both)}")
    return absent


def _box(row: Row) -> npt.NDArray[np.float32]:
    x, y, width, height = row.numbers("bbox", (4,)).tolist()
    if width <= 0 or height <= 0:
        raise row.error("bbox", f"(x, y, width, height) has no area: {row.values['bbox']}")
    return np.array((x, y, x + width, y + height), dtype=np.float32)


def _tight_box(
    row: Row, keypoints: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    if labelled.sum() < 2:
        raise row.error("bbox", "is missing, and one labelled joint does not make a box")
    box = keypoints_to_box(torch.from_numpy(keypoints), torch.from_numpy(labelled))
    return np.asarray(box.numpy())
