"""Reader of MPII Human Pose (Andriluka et al., CVPR 2014) in the three formats it is passed on in.

The splits are those of Tompson et al. (CVPR 2015): 2,958 validation people, and for training the
22,246 annotated people of the images in which no validation person is. Annotated people beside a
validation person (3,679) are in neither.

What the files say, checked against Tompson's own ground truth (its `jnt_missing`):

- Coordinates count pixels from 1: continuous = value - 0.5.
- The release lists the joints it knows; `is_visible` ('0', '1', a number, empty or absent) tells
  occluded from visible, never whether there is a label.
- The hourglass json pads with (0, 0, 0). The third number of `joint_self` is 1 for visible and 0
  for both occluded and missing: of the zeros three quarters are labels. Missing is exactly (0, 0).
- HRNet's json marks missing joints by `joints_vis` 0 and (-1, -1); occluded joints have 1.
- Negative coordinates are labels: head tops above the picture's edge.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gatedpose.data.annotations import Row, load_mat, rows
from gatedpose.data.samples import Sample, check_split, require_images
from gatedpose.errors import DatasetError
from gatedpose.files.typed_json import read_json
from gatedpose.skeleton import MPII16

LOG = logging.getLogger(__name__)
MAT = "mpii_human_pose_v1_u12_1.mat"
HOURGLASS = ("mpii_annotations.json", "mpii_annotations.json.gz")
TOMPSON = "detections_our_format.mat"  # ground truth of val, in the release's order
HRNET = {"train": "train.json", "val": "valid.json"}


def mpii(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads MPII, "train" or "val".

    Args:
        folder: Holds images/ and, itself or in annot/, the annotations; the first of these is
            taken: mpii_human_pose_v1_u12_1.mat, mpii_annotations.json, mpii_annotations.json.gz,
            train.json or valid.json (HRNet's). If detections_our_format.mat, Tompson's ground truth
            of val, lies beside it, head boxes (PCKh needs them, and only the .mat has its own) and
            joints of val are taken from there: published figures are scored against it, and of 13
            joints above or left of the picture it has 0 where the release has less.
        split: "train" or "val".
        check_images: Whether the images must be there.

    Returns:
        22,246 or 2,958 people in the order of the release, that of the published predictions.
    """
    check_split("mpii", split, ("train", "val"))
    names = (MAT, *HOURGLASS, HRNET[split])
    places = [Path(folder) / part / name for name in names for part in ("", "annot")]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise DatasetError(f"{folder} holds, itself or in annot/, none of {', '.join(names)}")
    images = Path(folder) / "images"
    if file.name == MAT:
        people = read_mat(file, split, images)
    elif file.name in HOURGLASS:
        people = read_hourglass_json(file, split, images)
    else:
        people = read_hrnet_json(file, images)
    if not people:
        raise DatasetError(f"{file} holds nobody of the split {split!r}")
    LOG.info(f"{file}: people read: {len(people)}; left out: those of other splits or of none")
    if split == "val" and file.with_name(TOMPSON).is_file():
        people = _with_tompsons_truth(people, file.with_name(TOMPSON))
    if check_images:
        require_images(images, people)
    return people


def read_mat(file: Path, split: str, images: Path) -> list[Sample]:
    """The annotated people of a split, each with their head box, from the official release."""
    release = load_mat(file, "RELEASE", struct_as_record=False, squeeze_me=True)
    annolist = _structs(getattr(release, "annolist", None))
    in_train = np.atleast_1d(getattr(release, "img_train", ()))
    if not annolist or in_train.shape != (len(annolist),) or not np.isin(in_train, (0, 1)).all():
        raise DatasetError(f"{file}: RELEASE must hold annolist and as many img_train of 0 or 1")
    val = validation_people()
    val_images = {index for index, _ in val}
    people = []
    for index in (np.flatnonzero(in_train) + 1).tolist():
        if (index in val_images) != (split == "val"):
            continue
        entry = annolist[index - 1]
        for person, struct in enumerate(_structs(getattr(entry, "annorect", None)), start=1):
            points = _structs(_field(_field(struct, "annopoints"), "point"))
            if points and (split == "train" or (index, person) in val):
                row = Row(
                    file, f"annolist({index}).annorect({person})", _values(entry, struct, points)
                )
                image = images / row.file_name("image.name")
                people.append(_person_of_mat(row, image, person))
    return people


def read_hourglass_json(file: Path, split: str, images: Path) -> list[Sample]:
    """The json of the hourglass and CPM line, a list or {"root": list}."""
    data = read_json(file)
    entries = rows(file, "entry", data.get("root") if isinstance(data, dict) else data)
    # CPM's own file counts people beside a validation person as training, later ones lack them.
    val_images = {
        row.file_name("img_paths") for row in entries if row.choice("isValidation", (0, 1))
    }
    people = []
    for row in entries:
        image = row.file_name("img_paths")
        if split == "val" and not row.choice("isValidation", (0, 1)):
            continue
        if split == "train" and image in val_images:
            continue
        joints = row.numbers("joint_self", (16, 3))
        if not np.isin(joints[:, 2], (0, 1)).all():
            raise row.error("joint_self", "the third number of each joint must be 0 or 1")
        person = int(row.numbers("people_index"))
        labelled = (joints[:, :2] != 0).any(axis=1)
        place = ("objpos", "scale_provided")
        people.append(_sample(row, images / image, person, joints[:, :2], labelled, place))
    return people


def read_hrnet_json(file: Path, images: Path) -> list[Sample]:
    """HRNet's train.json or valid.json: center, scale, joints, joints_vis, image.

    The file does not know a person's number in the image; people are numbered in its order, which
    gives most people the number of the other formats (all but 52 in training, 1,076 in validation).
    """
    people = []
    seen: dict[str, int] = {}
    for row in rows(file, "entry", read_json(file)):
        image = row.file_name("image")
        seen[image] = seen.get(image, 0) + 1
        points = row.numbers("joints", (16, 2))
        visible = row.numbers("joints_vis", (16,))
        if not np.isin(visible, (0, 1)).all():
            raise row.error("joints_vis", "must be 0 or 1 for each joint")
        place = ("center", "scale")
        people.append(_sample(row, images / image, seen[image], points, visible > 0, place))
    return people


def _with_tompsons_truth(people: list[Sample], file: Path) -> list[Sample]:
    corners = load_mat(file, "headboxes_src")  # (2, 2, N): corner, x or y, person
    points = load_mat(file, "pos_gt_src")  # (16, 2, N)
    missing = load_mat(file, "jnt_missing")  # (16, N)
    shapes = (corners.shape, points.shape, missing.shape)
    count = len(people)
    if shapes != ((2, 2, count), (16, 2, count), (16, count)):
        raise DatasetError(
            f"{file}: headboxes_src, pos_gt_src and jnt_missing must be (2, 2, {count}), "
            f"(16, 2, {count}) and (16, {count}), got {', '.join(map(str, shapes))}"
        )
    boxes = corners.transpose(2, 0, 1).reshape(-1, 4) - 0.5
    flat = np.flatnonzero(~(boxes[:, 2:] > boxes[:, :2]).all(axis=1))
    if len(flat):
        raise DatasetError(f"{file}: headboxes_src of person {flat[0]} has no area")
    labelled = missing.T == 0
    joints = np.where(labelled[..., None], points.transpose(2, 0, 1) - 0.5, 0).astype(np.float32)
    return [
        replace(person, keypoints=joints[i], labelled=labelled[i], head_box=boxes[i])
        for i, person in enumerate(people)
    ]


def validation_people() -> set[tuple[int, int]]:
    """The validation people as (annolist index, person index), both from 1."""
    text = Path(__file__).with_name("mpii_val.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    pairs = [word.split("/") for word in " ".join(lines).split()]
    return {(int(index), int(person)) for index, person in pairs}


def _structs(value: Any) -> list[Any]:
    """The elements of a MATLAB struct array, which SciPy gives bare if there is only one."""
    return [] if value is None else list(np.atleast_1d(value))


def _field(struct: Any, name: str) -> Any:
    """A field of a MATLAB struct; None where the field, or the struct, is missing or empty."""
    value = getattr(struct, name, None)
    return None if isinstance(value, np.ndarray) and value.size == 0 else value


def _values(entry: Any, struct: Any, points: list[Any]) -> dict[str, Any]:
    """Plain values of an annorect; what the file leaves empty becomes None or is left out."""
    values: dict[str, Any] = {
        "image.name": _field(_field(entry, "image"), "name"),
        "annopoints": [[_field(point, name) for name in ("id", "x", "y")] for point in points],
    }
    head = [_field(struct, name) for name in ("x1", "y1", "x2", "y2")]
    place = _field(struct, "objpos")
    scale = _field(struct, "scale")
    if any(number is not None for number in head):
        values["x1, y1, x2, y2"] = head
    if place is not None:
        values["objpos"] = [_field(place, "x"), _field(place, "y")]
    if scale is not None:
        values["scale"] = scale
    return values


def _person_of_mat(row: Row, image: Path, person: int) -> Sample:
    listed = row.numbers("annopoints", (len(row.get("annopoints")), 3))
    if not np.isin(listed[:, 0], range(16)).all():
        raise row.error("annopoints", f"joint ids must be 0 to 15, got {listed[:, 0].tolist()}")
    points = np.zeros((16, 2))
    points[listed[:, 0].astype(int)] = listed[:, 1:]
    head = None
    if "x1, y1, x2, y2" in row.values:
        head = row.numbers("x1, y1, x2, y2", (4,))
        if not (head[2:] > head[:2]).all():
            raise row.error("x1, y1, x2, y2", f"the head box {head.tolist()} has no area")
    place = ("objpos", "scale")
    labelled = (points != 0).any(axis=1)
    return _sample(row, image, person, points, labelled, place, head)


def _sample(
    row: Row,
    image: Path,
    person: int,
    points: npt.NDArray[np.float64],
    labelled: npt.NDArray[np.bool_],
    place: tuple[str, str],
    head: npt.NDArray[np.float64] | None = None,
) -> Sample:
    """A sample from joints (16, 2) and head box (4,) in the file's coordinates.

    `place` names the fields of the person's centre and scale. Published crops are centred
    15 * scale lower and 250 * scale wide: the crop's margin of 1.25 about this box.
    """
    centre = row.numbers(place[0], (2,)) - 0.5
    scale = float(row.numbers(place[1]))
    if scale <= 0:
        raise row.error(place[1], f"must be positive, got {scale:g}")
    centre[1] += 15 * scale
    box = np.concatenate((centre - 100 * scale, centre + 100 * scale))
    return Sample(
        id=f"mpii/{image.stem}/{person}",
        image=image,
        keypoints=np.where(labelled[:, None], points - 0.5, 0).astype(np.float32),
        labelled=labelled,
        box=box.astype(np.float32),
        skeleton=MPII16,
        head_box=None if head is None else head - 0.5,
    )
