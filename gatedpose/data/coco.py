"""Reader of COCO keypoints (Lin et al., ECCV 2014).

Coordinates count pixels from 0: continuous = value + 0.5 for keypoints, while a box (x, y, w, h) is
continuous as it is. Visibility is 0 for unlabelled, 1 for occluded and 2 for visible joints.
"""

from pathlib import Path

from gatedpose.data.agreement import check_pictures
from gatedpose.data.coco_table import joint_categories, joint_names, load_table, read_people
from gatedpose.data.samples import Sample, require_images
from gatedpose.errors import DatasetError
from gatedpose.skeleton import COCO17

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
        check_pictures(people)
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
        People with a labelled joint, see `read_people`. Ids are "coco/image id/annotation id".

    Raises:
        DatasetError: See `coco`.
        ImportError: Without pycocotools.
    """
    table = load_table(file)
    categories = joint_categories(table)
    names = tuple(name.replace("_", " ") for name in joint_names(categories[0]))
    if names != COCO17.joints:
        text = "these are not COCO's 17 joints; `own` reads any joints"
        raise categories[0].error("keypoints", text)
    return read_people(table, categories, images, "coco", COCO17)
