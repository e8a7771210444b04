"""MPII in its three formats: against hand-worked rows, the published files and one another."""

import copy
import gzip
import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from gatedpose.data.mpii import (
    HOURGLASS,
    HRNET,
    MAT,
    mpii,
    read_hourglass_json,
    read_hrnet_json,
    read_mat,
    validation_people,
)
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.geometry import CROP_MARGIN
from gatedpose.skeleton import MPII16

HEAD = [60.0, 20.0, 80.0, 50.0]

# Synthetic annotations: three images of which the second holds a validation person (7, 1).


def entry(index: int, person: int, val: int, joints: list[list[float]]) -> dict[str, Any]:
    """A row as in mpii_annotations.json; joints not given are missing."""
    return {
        "dataset": "MPI",
        "isValidation": float(val),
        "img_paths": f"{index:09d}.jpg",
        "objpos": [70.0, 90.0],
        "scale_provided": 0.5,
        "joint_self": joints + [[0.0, 0.0, 0.0]] * (16 - len(joints)),
        "annolist_index": float(index),
        "people_index": float(person),
    }


ROWS = [
    entry(5, 1, 0, [[11.0, 12.0, 1.0], [0.0, 0.0, 0.0], [21.0, 22.0, 0.0]]),
    entry(5, 2, 0, [[31.5, -4.25, 1.0], [0.0, 6.0, 1.0]]),
    entry(7, 1, 1, [[51.0, 52.0, 1.0]]),
    entry(9, 3, 0, [[61.0, 62.0, 1.0]]),
]
MATE = entry(7, 2, 0, [[1.0, 2.0, 1.0]])  # annotated, beside a validation person: in no split


def hrnet(row: dict[str, Any]) -> dict[str, Any]:
    joints = np.array(row["joint_self"])
    missing = (joints[:, :2] == 0).all(axis=1)
    return {
        "image": row["img_paths"],
        "center": row["objpos"],
        "scale": row["scale_provided"],
        "joints": np.where(missing[:, None], -1.0, joints[:, :2]).tolist(),
        "joints_vis": (~missing).astype(int).tolist(),
    }


EMPTY = np.zeros((0, 0))


def structs(items: list[dict[str, Any]]) -> np.ndarray:
    """A 1 x N MATLAB struct array; a field that one has, all have, empty where it was not given."""
    names = list(dict.fromkeys(name for item in items for name in item))
    array = np.empty((1, len(items)), dtype=[(name, object) for name in names])
    for i, item in enumerate(items):
        for name in names:
            array[name][0, i] = item.get(name, EMPTY)
    return array


def annorect(row: dict[str, Any]) -> dict[str, Any]:
    flags = ({1.0: "1", 0.0: "0"}, {1.0: np.uint8(1), 0.0: np.uint8(0)}, {1.0: EMPTY, 0.0: 0.0})
    points = [
        {"x": x, "y": y, "id": float(i), "is_visible": flags[i % 3][flag]}
        for i, (x, y, flag) in enumerate(row["joint_self"])
        if (x, y) != (0, 0)
    ]
    if len(points) == 1:
        del points[0]["is_visible"]  # as with annolist(24731).annorect(2)
    x, y = row["objpos"]
    return {
        **dict(zip(("x1", "y1", "x2", "y2"), HEAD, strict=True)),
        "annopoints": structs([{"point": structs(points)}]),
        "scale": row["scale_provided"],
        "objpos": structs([{"x": x, "y": y}]),
    }


def release(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The nesting of mpii_human_pose_v1_u12_1.mat, with the quirks of the images between."""
    place = {"scale": 2.0, "objpos": structs([{"x": 5.0, "y": 6.0}])}  # and no annopoints
    images, in_train = [], []
    for index in range(1, int(max(row["annolist_index"] for row in rows)) + 4):
        own = {int(r["people_index"]): r for r in rows if r["annolist_index"] == index}
        people = [annorect(own[i]) if i in own else {} for i in range(1, max(own, default=0) + 1)]
        if index % 3 == 1 or (own and index % 2):
            people.append(place)
        name = own[max(own)]["img_paths"] if own else f"{index:09d}.jpg"
        annorects = structs(people) if people else EMPTY
        images.append({"image": structs([{"name": name}]), "annorect": annorects, "vididx": EMPTY})
        in_train.append(bool(own) or index % 3 == 0)
    flags = np.array([in_train], np.uint8)
    return {"annolist": structs(images), "img_train": flags, "version": "12"}


def write_mat(file: Path, content: dict[str, Any]) -> Path:
    savemat(file, {"RELEASE": structs([content])}, long_field_names=True)
    return file


def write_json(file: Path, content: Any) -> Path:
    file.write_text(json.dumps(content))
    return file


def assert_same(people: list[Sample], others: list[Sample], atol: float = 0) -> None:
    assert [p.id for p in people] == [p.id for p in others]
    for one, other in zip(people, others, strict=True):
        assert one.image == other.image
        np.testing.assert_array_equal(one.labelled, other.labelled)
        np.testing.assert_allclose(one.keypoints, other.keypoints, atol=atol, rtol=0)
        # Three decimals of the scale are 0.1 px of the box's half side.
        np.testing.assert_allclose(one.box, other.box, atol=atol * 120, rtol=0)


@pytest.fixture
def hourglass(tmp_path: Path) -> Path:
    return write_json(tmp_path / HOURGLASS[0], ROWS)


@pytest.fixture(scope="module")
def published(fixtures: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        gzip.decompress((fixtures / "mpii" / HOURGLASS[1]).read_bytes())
    )
    return rows


# Hand-worked rows


def test_hourglass_by_hand(hourglass: Path) -> None:
    people = read_hourglass_json(hourglass, "train", Path("images"))
    assert [p.id for p in people] == ["mpii/000000005/1", "mpii/000000005/2", "mpii/000000009/3"]
    first, second, _ = people
    assert first.image == Path("images/000000005.jpg")
    assert first.skeleton == MPII16
    assert first.head_box is None
    assert first.keypoints.dtype == first.box.dtype == np.float32
    assert first.labelled.dtype == bool
    assert np.flatnonzero(first.labelled).tolist() == [0, 2]  # the occluded joint 2 is a label
    assert first.keypoints[[0, 2]].tolist() == [[10.5, 11.5], [20.5, 21.5]]
    assert not first.keypoints[~first.labelled].any()
    # Centre (69.5, 89.5 + 7.5), side 100.
    assert first.box.tolist() == [19.5, 47.0, 119.5, 147.0]
    assert np.flatnonzero(second.labelled).tolist() == [0, 1]  # labels beyond the picture's edge
    assert second.keypoints[:2].tolist() == [[31.0, -4.75], [-0.5, 5.5]]
    val = read_hourglass_json(hourglass, "val", Path("images"))
    assert [p.id for p in val] == ["mpii/000000007/1"]


def test_crop_is_the_published_one(hourglass: Path) -> None:
    x0, y0, x1, y1 = read_hourglass_json(hourglass, "val", Path())[0].box.tolist()
    side = CROP_MARGIN * max(x1 - x0, y1 - y0)
    assert side == 200 * (0.5 * 1.25)  # HRNet: scale * 1.25 of 200 pixels,
    assert (x0 + x1) / 2 == 70 - 0.5  # about the centre,
    assert (y0 + y1) / 2 == 90 + 15 * 0.5 - 0.5  # which it moves down


def test_hrnet_by_hand(hourglass: Path, tmp_path: Path) -> None:
    file = write_json(tmp_path / "train.json", [hrnet(row) for row in ROWS])
    people = read_hrnet_json(file, Path("images"))
    ids = [person.id.removeprefix("mpii/00000000") for person in people]
    assert ids == ["5/1", "5/2", "7/1", "9/1"]  # not 9/3: the file does not know of the other two
    train = read_hourglass_json(hourglass, "train", Path("images"))
    assert_same(people[:2], train[:2])
    np.testing.assert_array_equal(people[3].keypoints, train[2].keypoints)


def test_mat_by_hand(hourglass: Path, tmp_path: Path) -> None:
    file = write_mat(tmp_path / MAT, release([*ROWS, MATE]))
    for split in ("train", "val"):
        people = read_mat(file, split, Path("images"))
        assert_same(people, read_hourglass_json(hourglass, split, Path("images")))
        for person in people:
            assert person.head_box is not None
            assert person.head_box.dtype == np.float64
            assert person.head_box.tolist() == [59.5, 19.5, 79.5, 49.5]


def test_people_beside_a_validation_person_are_in_no_split(tmp_path: Path) -> None:
    file = write_json(tmp_path / HOURGLASS[0], {"root": [*ROWS, MATE]})  # CPM's own file
    ids = [p.id for split in ("train", "val") for p in read_hourglass_json(file, split, Path())]
    assert len(ids) == 4
    assert "mpii/000000007/2" not in ids


def test_test_images_of_the_release_are_left_out(tmp_path: Path) -> None:
    content = release(ROWS)
    content["img_train"][0, 4] = 0
    people = read_mat(write_mat(tmp_path / MAT, content), "train", Path())
    assert [p.id for p in people] == ["mpii/000000009/3"]


def test_a_release_without_head_boxes(tmp_path: Path) -> None:
    content = release(ROWS)
    for name in ("x1", "y1", "x2", "y2"):
        content["annolist"]["annorect"][0, 8][name][0, 2] = EMPTY
    people = read_mat(write_mat(tmp_path / MAT, content), "train", Path())
    assert [p.head_box is None for p in people] == [False, False, True]


# Which file is read


TRUTH = {  # as Tompson's: two corners of the head box, joints, which are missing; one person
    "headboxes_src": np.array([[1.0, 2.0], [11.0, 22.0]])[..., None],
    "pos_gt_src": np.full((16, 2, 1), 30.0),
    "jnt_missing": np.eye(1, 16).T,
}


def test_tompsons_truth_of_validation_people(hourglass: Path) -> None:
    savemat(hourglass.parent / "detections_our_format.mat", TRUTH)
    (person,) = mpii(hourglass.parent, "val", check_images=False)
    assert person.head_box is not None
    assert person.head_box.tolist() == [0.5, 1.5, 10.5, 21.5]
    assert person.labelled.tolist() == [False] + [True] * 15
    assert person.keypoints[1:].tolist() == [[29.5, 29.5]] * 15
    assert person.box.tolist() == [19.5, 47, 119.5, 147]  # the release's
    assert all(p.head_box is None for p in mpii(hourglass.parent, "train", check_images=False))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"headboxes_src": np.ones((2, 2, 1))}, "headboxes_src of person 0 has no area"),
        ({"pos_gt_src": np.ones((16, 2, 2))}, r"must be .*\(16, 2, 1\).*got .*\(16, 2, 2\)"),
    ],
)
def test_damaged_truth(change: dict[str, Any], message: str, hourglass: Path) -> None:
    savemat(hourglass.parent / "detections_our_format.mat", {**TRUTH, **change})
    with pytest.raises(DatasetError, match=message) as caught:
        mpii(hourglass.parent, "val", check_images=False)
    assert "detections_our_format.mat" in str(caught.value)


def test_order_of_the_annotation_files(tmp_path: Path) -> None:
    annot = tmp_path / "annot"
    annot.mkdir()
    for split, name in HRNET.items():
        write_json(annot / name, [hrnet(ROWS[2 if split == "val" else 0])])
    assert [len(mpii(tmp_path, s, check_images=False)) for s in ("train", "val")] == [1, 1]
    packed = annot / HOURGLASS[1]
    packed.write_bytes(gzip.compress(json.dumps(ROWS[:2]).encode()))
    assert len(mpii(tmp_path, "train", check_images=False)) == 2
    write_json(tmp_path / HOURGLASS[0], ROWS)
    assert len(mpii(str(tmp_path), "train", check_images=False)) == 3
    write_mat(annot / MAT, release(ROWS[:1]))
    assert len(mpii(tmp_path, "train", check_images=False)) == 1


def test_images_are_looked_for(hourglass: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="images is missing"):
        mpii(tmp_path, "train")
    (tmp_path / "images").mkdir()
    for name in ("000000005.jpg", "another.jpg"):
        (tmp_path / "images" / name).touch()
    with pytest.raises(DatasetError, match=r"images lacks 000000009\.jpg$"):
        mpii(tmp_path, "train")
    many = [entry(i, 1, 0, [[1.0, 1.0, 1.0]]) for i in range(100, 109)]
    write_json(hourglass, many)
    with pytest.raises(DatasetError, match=r"lacks 000000100\.jpg, .*104\.jpg and 4 more$"):
        mpii(tmp_path, "train")
    write_json(hourglass, ROWS[:2])
    assert len(mpii(tmp_path, "train")) == 2


def test_nobody_of_the_split(tmp_path: Path) -> None:
    write_json(tmp_path / HOURGLASS[0], ROWS[:1])
    with pytest.raises(DatasetError, match=r"annotations\.json holds nobody of the split 'val'"):
        mpii(tmp_path, "val", check_images=False)


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none of mpii_human.*\.mat, .*json\.gz, valid\.json"):
        mpii(tmp_path, "val")


# Damage

DAMAGED_ROWS = {
    "img_paths absent": ("img_paths", None, "is missing"),
    "img_paths a number": ("img_paths", 5, "must be a file name, got 5"),
    "img_paths elsewhere": ("img_paths", "../a.jpg", r"must lie in the folder of images"),
    "img_paths absolute": ("img_paths", "/a.jpg", r"must lie in the folder of images"),
    "isValidation absent": ("isValidation", None, "is missing"),
    "isValidation 2": ("isValidation", 2, "must be 0 or 1, got 2"),
    "joint_self ragged": ("joint_self", [[1, 2, 1], [1, 2]], "must be numbers of shape"),
    "joint_self flag": ("joint_self", [[1, 2, 2]] * 16, "must be 0 or 1"),
    "objpos short": ("objpos", [1], r"shape \(2,\), got \(1,\)"),
    "scale zero": ("scale_provided", 0, "must be positive, got 0"),
    "people_index absent": ("people_index", None, "is missing"),
}


@pytest.mark.parametrize("kind", DAMAGED_ROWS)
def test_damaged_hourglass_row(kind: str, tmp_path: Path) -> None:
    key, value, text = DAMAGED_ROWS[kind]
    rows = copy.deepcopy(ROWS)
    rows[1][key] = value
    if value is None:
        del rows[1][key]
    write_json(tmp_path / HOURGLASS[0], rows)
    with pytest.raises(DatasetError, match=rf"\.json, entry\[1\], field '{key}': .*{text}"):
        mpii(tmp_path, "train", check_images=False)


HRNET_DAMAGE = {
    "image": (None, "is missing"),
    "joints": ([[1, 2, 3]] * 16, r"shape \(16, 2\), got \(16, 3\)"),
    "joints_vis": ([2] * 16, "must be 0 or 1 for each joint"),
    "center": ([math.nan, 1], "not finite"),
    "scale": (-1, "must be positive, got -1"),
}


@pytest.mark.parametrize("key", HRNET_DAMAGE)
def test_damaged_hrnet_row(key: str, tmp_path: Path) -> None:
    value, text = HRNET_DAMAGE[key]
    file = write_json(tmp_path / "valid.json", [hrnet(ROWS[0]), {**hrnet(ROWS[1]), key: value}])
    text = text if value is not None else "must be a file name, got None"
    with pytest.raises(DatasetError, match=rf"valid\.json, entry\[1\], field '{key}': .*{text}"):
        read_hrnet_json(file, Path())


def damage(change: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """A release in which `change` was applied to the annorects of annolist(5)."""
    content = release(ROWS)
    change(content["annolist"]["annorect"][0, 4])
    return content


def put(name: str, value: Any) -> Callable[[np.ndarray], None]:
    return lambda people: people[name].__setitem__((0, 1), value)


def point(name: str, value: Any) -> Callable[[np.ndarray], None]:
    return lambda people: people["annopoints"][0, 1]["point"][0, 0][name].__setitem__((0, 0), value)


PLACE = r"\.mat, annolist\(5\)\.annorect\(2\), field "
MAT_DAMAGE = {
    "scale absent": (put("scale", EMPTY), PLACE + "'scale': is missing"),
    "scale negative": (put("scale", -2.0), PLACE + "'scale': must be positive, got -2"),
    "objpos absent": (put("objpos", EMPTY), PLACE + "'objpos': is missing"),
    "objpos half": (put("objpos", structs([{"x": 1.0}])), PLACE + "'objpos': .*not finite"),
    "joint absent": (point("y", EMPTY), PLACE + "'annopoints': .*not finite"),
    "joint text": (point("y", "far"), PLACE + "'annopoints': must be numbers"),
    "joint id": (point("id", 16.0), PLACE + "'annopoints': joint ids must be 0 to 15"),
    "head flat": (put("x2", 60.0), PLACE + r"'x1, y1, x2, y2': the head box .* has no area"),
    "head half": (put("x2", EMPTY), PLACE + "'x1, y1, x2, y2': .*not finite"),
}


@pytest.mark.parametrize("kind", MAT_DAMAGE)
def test_damaged_row_of_the_release(kind: str, tmp_path: Path) -> None:
    change, text = MAT_DAMAGE[kind]
    file = write_mat(tmp_path / MAT, damage(change))
    with pytest.raises(DatasetError, match=text):
        read_mat(file, "train", Path())
    read_mat(file, "val", Path())  # only rows of the split are looked at


def test_release_without_image_name(tmp_path: Path) -> None:
    content = release(ROWS)
    content["annolist"]["image"][0, 4] = EMPTY
    with pytest.raises(DatasetError, match=r"annolist\(5\).*'image\.name': must be a file name"):
        read_mat(write_mat(tmp_path / MAT, content), "train", Path())


@pytest.mark.parametrize("name", ["annolist", "img_train"])
def test_release_without_its_tables(name: str, tmp_path: Path) -> None:
    content = release(ROWS)
    for value in (EMPTY, np.full((1, 3), 7, np.uint8)):
        content[name] = value
        with pytest.raises(DatasetError, match=r"\.mat: RELEASE must hold annolist and as many"):
            read_mat(write_mat(tmp_path / MAT, content), "train", Path())


UNREADABLE = {
    "cut": (json.dumps(ROWS).encode()[:99], "cannot be read as JSON"),
    "number": (b"5", "'entry' must be a list of objects, got int"),
    "no root": (b"{}", "'entry' must be a list of objects, got NoneType"),
    "list of numbers": (b"[5]", r"entry\[0\]: must hold named fields, got int"),
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("name", HOURGLASS)
def test_unreadable_json(kind: str, name: str, tmp_path: Path) -> None:
    content, text = UNREADABLE[kind]
    content = gzip.compress(content) if name.endswith("gz") else content
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=rf"{name}.*{text}"):
        mpii(tmp_path, "train")


def test_cut_files(tmp_path: Path) -> None:
    packed = tmp_path / HOURGLASS[1]
    packed.write_bytes(gzip.compress(json.dumps(ROWS).encode())[:-20])
    with pytest.raises(DatasetError, match="cannot be read as JSON"):
        mpii(tmp_path, "train")
    packed.write_bytes(b"[]")  # not packed at all
    with pytest.raises(DatasetError, match="cannot be read as JSON"):
        mpii(tmp_path, "train")
    file = write_mat(tmp_path / MAT, release(ROWS))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(DatasetError, match=r"cannot be read as a MATLAB file with 'RELEASE'"):
        mpii(tmp_path, "train")
    savemat(file, {"annolist": 1})
    with pytest.raises(DatasetError, match=r"cannot be read as a MATLAB file with 'RELEASE'"):
        mpii(tmp_path, "train")


def test_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_mat(tmp_path / MAT, release(ROWS))
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r'needs SciPy: pip install "gatedpose\[train\]"'):
        read_mat(file, "train", Path())


# The published files


def test_list_of_validation_people(published: list[dict[str, Any]]) -> None:
    people = {(r["annolist_index"], r["people_index"]) for r in published if r["isValidation"]}
    assert validation_people() == people
    assert len(people) == 2958


@pytest.mark.slow
def test_published_counts_and_ground_truth(fixtures: Path) -> None:
    shares = {s: mpii(fixtures / "mpii", s, check_images=False) for s in ("train", "val")}
    assert {split: len(people) for split, people in shares.items()} == {"train": 22246, "val": 2958}
    people = shares["train"] + shares["val"]
    assert len({p.id for p in people}) == len(people)
    assert not {p.image for p in shares["train"]} & {p.image for p in shares["val"]}
    boxes = np.stack([p.box for p in people])
    assert np.isfinite(boxes).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()

    truth = loadmat(fixtures / "mpii" / "detections_our_format.mat")
    release = read_hourglass_json(fixtures / "mpii" / "mpii_annotations.json.gz", "val", Path("x"))
    assert [p.id for p in release] == [p.id for p in shares["val"]]
    labelled = np.stack([p.labelled for p in release])
    np.testing.assert_array_equal(labelled, truth["jnt_missing"].T == 0)
    points = truth["pos_gt_src"].transpose(2, 0, 1) - 0.5
    keypoints = np.stack([p.keypoints for p in release])
    same = np.abs(keypoints - points).max(axis=2)[labelled] < 1e-3
    assert (~same).sum() == 13  # where Tompson's file has a coordinate of 0


def whole_release(published: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The published rows and, from `joint_others`, the people beside validation people."""
    rows = list(published)
    images: dict[float, list[dict[str, Any]]] = {}
    for row in published:
        images.setdefault(row["annolist_index"], []).append(row)
    for own in images.values():
        first, count = own[0], int(own[0]["numOtherPeople"])
        known = [row["people_index"] for row in own]
        free = (float(i) for i in range(1, 100) if i not in known)
        others = np.reshape(first["joint_others"] if count else [], (count, 16, 3)).tolist()
        for joints in others:
            if joints not in [row["joint_self"] for row in own]:
                mate = {"joint_self": joints, "people_index": next(free), "isValidation": 0.0}
                rows.append({**first, **mate})
    return rows


def test_release_and_hourglass_json_agree(published: list[dict[str, Any]], tmp_path: Path) -> None:
    file = write_json(tmp_path / HOURGLASS[0], published[:150])
    everyone = whole_release(published[:150])
    assert len(everyone) > 150
    matrix = write_mat(tmp_path / MAT, release(everyone))
    for split in ("train", "val"):
        assert_same(read_mat(matrix, split, Path()), read_hourglass_json(file, split, Path()))


def test_hrnet_photos_and_hourglass_json_agree(
    published: list[dict[str, Any]], fixtures: Path, tmp_path: Path
) -> None:
    (tmp_path / "annot").mkdir()
    shutil.copy(fixtures / "mpii_images" / "test_mpii.json", tmp_path / "annot" / "valid.json")
    (tmp_path / "images").symlink_to(fixtures / "mpii_images")
    people = mpii(tmp_path, "val")
    names = {person.image.name for person in people}
    file = write_json(tmp_path / "h.json", [r for r in published if r["img_paths"] in names])
    hourglass = {person.id: person for person in read_hourglass_json(file, "val", Path())}
    assert len(people) == 5
    for person in people:
        other = hourglass[person.id]
        # HRNet's file has four decimals of a joint and six of the scale, the other has three.
        np.testing.assert_allclose(person.keypoints, other.keypoints, atol=0.001)
        np.testing.assert_allclose(person.box, other.box, atol=0.06)
        np.testing.assert_array_equal(person.labelled, other.labelled)
    joints = people[2]  # 051423444: both ankles are cut off by the picture's edge
    assert np.flatnonzero(~joints.labelled).tolist() == [0, 5]
