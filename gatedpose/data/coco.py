"""Reader of COCO keypoints (Lin et al., ECCV 2014), and of people in any table of that format.

Coordinates count pixels from 0: continuous = value + 0.5 for keypoints, while a box (x, y, w, h) is
continuous as it is. Visibility is 0 for unlabelled, 1 for occluded and 2 for visible joints.
"""

import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gatedpose.data.agreement import require_pictures
from gatedpose.data.annotations import Row
from gatedpose.data.coco_table import (
    Table,
    Tally,
    as_table,
    given_box,
    is_crowd,
    joint_categories,
    joint_names,
    joint_numbers,
    picture_size,
)
from gatedpose.data.samples import Sample, check_split
from gatedpose.errors import DatasetError
from gatedpose.files.typed_json import read_json
from gatedpose.geometry import keypoints_to_box
from gatedpose.skeleton import COCO17, Skeleton, plain_name

LOG = logging.getLogger(__name__)


def coco(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads the COCO 2017 keypoints, "train" or "val"; see `read_people`.

    The folder holds annotations/person_keypoints_train2017.json and train2017/, or those of val.
    """
    check_split("coco", split, ("train", "val"))
    images = Path(folder) / f"{split}2017"
    people = read_coco_json(annotations_file(folder, split), images)
    if check_images:
        require_pictures(images, people)
    return people


def annotations_file(folder: str | Path, split: str) -> Path:
    """Where the keypoints of a split lie in COCO's folder."""
    return Path(folder) / "annotations" / f"person_keypoints_{split}2017.json"


def read_coco_json(file: Path, images: Path) -> list[Sample]:
    """People with COCO's 17 joints of a file such as person_keypoints_val2017.json.

    Ids are "coco/image id/annotation id"; the folder of the images is not looked at.
    """
    table = as_table(file, read_json(file))
    categories = joint_categories(table)
    names = tuple(map(plain_name, joint_names(categories[0])))
    if names != COCO17.joints:
        text = "these are not COCO's 17 joints; `own` reads any joints"
        raise categories[0].error("keypoints", text)
    return read_people(table, categories, images, "coco", COCO17)


def read_people(
    table: Table, categories: Collection[Row], images: Path, dataset: str, skeleton: Skeleton
) -> list[Sample]:
    """The annotated people of some of `joint_categories`, which have the same joints.

    Crowds, and people without a labelled joint, are left out. Who has no box, or one without area,
    gets the tight box of the labelled joints, or is left out if there is but one of these. The log
    counts both. DatasetError if nobody is left.
    """
    tally, people = Tally(), []
    wanted = {row.values["id"] for row in categories}
    names = {row.get("id"): row.values.get("name", row.get("id")) for row in table.categories}
    for row in table.annotations:
        if (category := row.values["category_id"]) not in wanted:
            tally.left_out[f"of category {names[category]!r}"] += 1
        elif is_crowd(row):
            tally.left_out["marked as a crowd"] += 1
        elif not row.values.get("keypoints"):
            tally.left_out["without keypoints"] += 1
        else:
            keypoints, labelled = _joints(row, skeleton)
            box = _box(row, keypoints, labelled, tally) if labelled.any() else None
            if box is None:
                alone = "with a single joint and no box"
                tally.left_out[alone if labelled.any() else "without a labelled joint"] += 1
                continue
            image = table.image_of(row)
            person = Sample(
                id=f"{dataset}/{row.values['image_id']}/{row.values['id']}",
                image=images / image.file_name(),
                keypoints=keypoints,
                labelled=labelled,
                box=box,
                skeleton=skeleton,
                absent=_absent(row, skeleton, labelled),
                size=picture_size(image),
            )
            people.append(person)
    text = tally.text(table.file, len(people))
    if not people:
        why = f" ({text.partition('; ')[2]})" if text else ""
        raise DatasetError(f"{table.file} holds no person with a labelled joint{why}")
    if text:
        LOG.warning(text)
    return people


def _joints(row: Row, skeleton: Skeleton) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Keypoints (K, 2) and which of them are labelled (K,)."""
    numbers = joint_numbers(row, skeleton.num_keypoints)
    if odd := sorted(set(numbers[:, 2].tolist()) - {0, 1, 2}):
        text = f"every third number, the visibility, must be 0, 1 or 2, got {odd[0]:g}"
        raise row.error("keypoints", text)
    labelled = numbers[:, 2] > 0
    keypoints = np.where(labelled[:, None], numbers[:, :2] + 0.5, 0).astype(np.float32)
    return keypoints, labelled


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


def _box(
    row: Row, keypoints: npt.NDArray[np.float32], labelled: npt.NDArray[np.bool_], tally: Tally
) -> npt.NDArray[np.float32] | None:
    if (box := given_box(row)) is not None:
        return box.astype(np.float32)
    if labelled.sum() < 2:
        return None
    tally.assumed["without a box have the tight one of their joints"] += 1
    tight = keypoints_to_box(torch.from_numpy(keypoints), torch.from_numpy(labelled))
    return np.asarray(tight.numpy())
