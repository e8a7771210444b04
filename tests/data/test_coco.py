"""COCO and a user's own joints: against hand-worked rows, damage, and a few published photos."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gatedpose.data.coco import coco, read_coco_json
from gatedpose.data.own import guess_flip_pairs, own
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.skeleton import COCO17, MPII16

NAMES = [name.replace(" ", "_") for name in COCO17.joints]
NOSE = [10, 20, 2] + [0, 0, 0] * 15 + [30, 40, 1]  # and the right ankle, occluded


def person(number: int, image: int, keypoints: list[float], **more: Any) -> dict[str, Any]:
    box = {"bbox": [5.0, 6.0, 30.5, 40.0]}
    common = {"id": number, "image_id": image, "category_id": 1, "iscrowd": 0}
    return {**common, "keypoints": keypoints, **box, **more}


COCO_FILE: dict[str, Any] = {
    "images": [{"id": 3, "file_name": "three.jpg"}, {"id": 4, "file_name": "four.jpg"}],
    "annotations": [
        person(70, 4, NOSE),
        person(71, 3, [0, 0, 0] * 17),  # nothing labelled
        person(72, 3, [0, 0, 0] * 17, iscrowd=1, bbox=[0, 0, 0, 0]),
        person(73, 3, [1, 2, 2] * 17),
    ],
    "categories": [{"id": 1, "name": "person", "keypoints": NAMES, "skeleton": [[16, 14]]}],
}
PAW = {"id": 1, "name": "cat", "keypoints": ["nose", "left paw", "right paw"]}
OWN_FILE: dict[str, Any] = {
    "images": [{"id": 3, "file_name": "a/three.jpg"}, {"id": 4, "file_name": "four.jpg"}],
    "annotations": [
        person(1, 4, [10, 20, 2, 30, 40, 1, 0, 0, 0]),
        person(2, 3, [10, 20, 2, 30, 45, 1, 90, 90, 0]),
        person(3, 3, [1, 1, 2] * 3, category_id=2),
    ],
    "categories": [
        {**PAW, "skeleton": [[1, 2], [1, 3]], "flip_pairs": [["right paw", "left paw"]]},
        {"id": 2, "name": "tree"},
    ],
}
del OWN_FILE["annotations"][1]["bbox"], OWN_FILE["annotations"][1]["iscrowd"]


def write(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


# COCO


def test_coco_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "annotations" / "person_keypoints_val2017.json", COCO_FILE)
    people = coco(tmp_path, "val", check_images=False)
    assert [p.id for p in people] == ["coco/4/70", "coco/3/73"]
    assert capsys.readouterr().out == ""
    first = people[0]
    assert first.image == tmp_path / "val2017" / "four.jpg"
    assert first.skeleton == COCO17
    assert first.labelled.dtype == bool
    assert np.flatnonzero(first.labelled).tolist() == [0, 16]
    assert first.keypoints.dtype == first.box.dtype == np.float32
    assert first.keypoints[[0, 16]].tolist() == [[10.5, 20.5], [30.5, 40.5]]
    assert not first.keypoints[1:16].any()
    assert first.box.tolist() == [5.0, 6.0, 35.5, 46.0]
    assert [p.id for p in read_coco_json(file, Path("i"))] == [p.id for p in people]


def test_coco_images_and_splits(tmp_path: Path) -> None:
    write(tmp_path / "annotations" / "person_keypoints_train2017.json", COCO_FILE)
    (tmp_path / "train2017").mkdir()
    for name in ("three.jpg", "more.jpg"):
        Image.new("RGB", (64, 48)).save(tmp_path / "train2017" / name)
    with pytest.raises(DatasetError, match=r"train2017 lacks four\.jpg$"):
        coco(tmp_path, "train")
    Image.new("RGB", (64, 48)).save(tmp_path / "train2017" / "four.jpg")
    assert len(coco(str(tmp_path), "train")) == 2
    with pytest.raises(DatasetError, match=r"person_keypoints_val2017\.json cannot be read"):
        coco(tmp_path, "val")


def test_other_joints_are_not_coco(tmp_path: Path) -> None:
    file = write(tmp_path / "any.json", OWN_FILE)
    with pytest.raises(DatasetError, match=r"not COCO's 17 joints; `own` reads any joints"):
        read_coco_json(file, tmp_path)


def drop(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for step in path[:-1]:
            content = content[step]
        del content[path[-1]]

    return change


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    *steps, last, value = path

    def change(content: dict[str, Any]) -> None:
        for step in steps:
            content = content[step]
        content[last] = value

    return change


ROW, FIRST = ("annotations", 0), r"annotation 70, field "
DAMAGE = {
    "no images": (drop("images"), "the file, field 'images': is missing"),
    "no annotations": (drop("annotations"), "the file, field 'annotations': is missing"),
    "no categories": (drop("categories"), "the file, field 'categories': is missing"),
    "images no list": (put("images", {}), "'images' must be a list of objects, got dict"),
    "nobody": (put("annotations", []), "holds no person with a labelled joint"),
    "categories empty": (
        lambda content: content.update(categories=[], annotations=[]),
        "'categories' is empty; one must name the keypoints",
    ),
    "category without keypoints": (
        drop("categories", 0, "keypoints"), r"categories\[0\], field 'keypoints': is missing",
    ),
    "category with none": (
        put("categories", 0, "keypoints", []), r"field 'keypoints': must be a list of joint names",
    ),
    "category with numbers": (
        put("categories", 0, "keypoints", [1, 2]), r"must be a list of joint names, got \[1, 2\]",
    ),
    "row no object": (put("annotations", 0, 5), r"annotations\[0\]: must hold named fields"),
    "id absent": (drop(*ROW, "id"), r"annotations\[0\], field 'id': is missing"),
    "id twice": (put(*ROW, "id", 73), r"annotations\[3\], field 'id': must be a number of its own"),
    "id a list": (put(*ROW, "id", [1]), r"annotations\[0\], field 'id': must be a number"),
    "image id twice": (put("images", 1, "id", 3), r"images\[1\], field 'id': must be a number"),
    "file name absent": (
        drop("images", 1, "file_name"), r"images\[1\], field 'file_name': is missing",
    ),
    "file name elsewhere": (
        put("images", 0, "file_name", "../x.jpg"), r"images\[0\].* must lie in the folder",
    ),
    "image unknown": (
        put(*ROW, "image_id", 9), FIRST + r"'image_id': 9 is the id of none of the images",
    ),
    "category unknown": (put(*ROW, "category_id", 2), "field 'category_id': 2 is the id of none"),
    "keypoints short": (
        put(*ROW, "keypoints", [1, 2, 2] * 16), FIRST + r"'keypoints': .*, 51 numbers, got 48",
    ),
    "keypoints nested": (put(*ROW, "keypoints", [[1, 2]] * 17), r"51 numbers, got 34"),
    "keypoints text": (put(*ROW, "keypoints", ["a"] * 51), FIRST + "'keypoints': must be numbers"),
    "keypoints NaN": (put(*ROW, "keypoints", [math.nan, 2, 2] * 17), FIRST + ".*not finite"),
    "visibility 3": (put(*ROW, "keypoints", [1, 2, 3] * 17), FIRST + ".* must be 0, 1 or 2"),
    "visibility half": (put(*ROW, "keypoints", [1, 2, 0.5] * 17), FIRST + ".* must be 0, 1 or 2"),
    "bbox short": (put(*ROW, "bbox", [1, 2, 3]), FIRST + r"'bbox': .*\(4,\), got \(3,\)"),
    "bbox infinite": (put(*ROW, "bbox", [1, 2, math.inf, 3]), FIRST + "'bbox': .*not finite"),
    "bbox negative": (put(*ROW, "bbox", [1, 2, 3, -4]), FIRST + "'bbox': .* is negative"),
    "bbox text": (put(*ROW, "bbox", "1, 2, 3, 4"), FIRST + "'bbox': must be numbers"),
    "iscrowd a list": (put(*ROW, "iscrowd", [0]), FIRST + r"'iscrowd': must be 0 or 1, got \[0\]"),
    "iscrowd 2": (put(*ROW, "iscrowd", 2), FIRST + "'iscrowd': must be 0 or 1, got 2"),
    "file name elsewhere on Windows": (
        put("images", 0, "file_name", r"..\x.jpg"), r"images\[0\].* must lie in the folder",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_coco(kind: str, tmp_path: Path) -> None:
    change, text = DAMAGE[kind]
    content = copy.deepcopy(COCO_FILE)
    change(content)
    with pytest.raises(DatasetError, match=rf"damaged\.json.*{text}"):
        read_coco_json(write(tmp_path / "damaged.json", content), tmp_path)


def test_unreadable_coco(tmp_path: Path) -> None:
    (tmp_path / "cut.json").write_bytes(b"{")
    with pytest.raises(DatasetError, match=r"cut\.json cannot be read as JSON"):
        read_coco_json(tmp_path / "cut.json", tmp_path)
    (tmp_path / "cut.json").write_text("[]")
    with pytest.raises(DatasetError, match=r"cut\.json, the file: must hold named fields, got lis"):
        read_coco_json(tmp_path / "cut.json", tmp_path)


# A user's own joints


@pytest.mark.parametrize("name", ["lsp14", "mpii16"])
def test_the_packages_names_stand_for_its_own_joints(name: str, tmp_path: Path) -> None:
    category = {**OWN_FILE["categories"][0], "name": name}
    if name == "mpii16":
        category = {"id": 1, "name": name, "keypoints": MPII16.joints}
    row = person(1, 4, [10, 20, 2] * len(category["keypoints"]))
    write(tmp_path / "x.json", {**OWN_FILE, "annotations": [row], "categories": [category]})
    [one] = own(tmp_path, "x", check_images=False)
    assert one.skeleton.name == "own"
    assert one.skeleton.joints == tuple(category["keypoints"])


def test_flip_pairs_of_any_category_count(tmp_path: Path) -> None:
    """Of two with the same joints the second says which change places."""
    names = ["front", "one side", "other side"]
    flips = [["one side", "other side"]]
    alike = [{"id": 1, "name": "a", "keypoints": names}, {"id": 2, "name": "b", "keypoints": names}]
    categories = [alike[0], {**alike[1], "flip_pairs": flips}]
    write(tmp_path / "x.json", {**OWN_FILE, "categories": categories})
    assert own(tmp_path, "x", check_images=False)[0].skeleton.flip_pairs == ((1, 2),)


def test_own_by_hand(tmp_path: Path) -> None:
    write(tmp_path / "holiday.json", OWN_FILE)
    people = own(tmp_path, "holiday", check_images=False)
    assert [p.id for p in people] == ["own/4/1", "own/3/2"]  # trees are of another category
    skeleton = people[0].skeleton
    assert (skeleton.name, skeleton.joints) == ("cat", ("nose", "left paw", "right paw"))
    assert skeleton.flip_pairs == ((2, 1),)
    assert skeleton.limbs == ((0, 1), (0, 2))
    assert people[0].box.tolist() == [5.0, 6.0, 35.5, 46.0]
    assert people[1].box.tolist() == [10.5, 20.5, 30.5, 45.5]  # the tight box of two joints
    assert people[1].keypoints.tolist() == [[10.5, 20.5], [30.5, 45.5], [0, 0]]
    assert people[1].image == tmp_path / "images" / "a" / "three.jpg"
    assert {p.box.dtype for p in people} == {np.dtype(np.float32)}


def test_own_images_and_splits(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train\.json: tables are COCO's, .* or YOLO's"):
        own(tmp_path, "train")
    for split in ("b", "a"):
        write(tmp_path / f"{split}.json", OWN_FILE)
    with pytest.raises(DatasetError, match=r"has the splits a, b, not 'train'$"):
        own(tmp_path, "train")
    with pytest.raises(DatasetError, match=r"a\.json is a file: give the folder that holds it$"):
        own(tmp_path / "a.json", "train")
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "four.jpg")
    with pytest.raises(DatasetError, match=r"images lacks a/three\.jpg$"):
        own(tmp_path, "a")
    Image.new("RGB", (64, 48)).save(tmp_path / "images" / "a" / "three.jpg")
    assert len(own(str(tmp_path), "b")) == 2


def held(folder: Path, names: list[str]) -> set[str]:
    """Those of the pictures with these names that validate where train.json is the only table."""
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    people = [person(i, i, [10, 20, 2, 30, 40, 1, 0, 0, 0]) for i in range(len(names))]
    write(folder / "train.json", {"images": images, "annotations": people, "categories": [PAW]})
    return {person.image.name for person in own(folder, "val", check_images=False)}


def test_a_pictures_half_follows_from_its_own_name(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(500)]
    all_held = held(tmp_path, names)
    assert len(all_held) == pytest.approx(100, abs=25)  # three standard deviations
    for some in (names[:50], names[50:], names[::3]):
        assert held(tmp_path, some) == all_held & set(some)
    learnt = [name for name in names if name not in all_held]
    assert len(held(tmp_path, learnt[:3])) == 1  # by their names alone none
    assert len(held(tmp_path, sorted(all_held)[:3])) == 2  # by their names alone all


@pytest.mark.parametrize(
    ("joints", "pairs"),
    [
        (["nose", "left_eye", "right_eye"], ((2, 1),)),
        (["RightKnee", "LeftKnee", "EarLeft", "EarRight"], ((0, 1), (3, 2))),
        (["l hip", "r hip", "rank", "lank", "paw.L", "paw.R"], ((1, 0), (2, 3), (5, 4))),
        (["head", "tail"], ()),
        (["right eye", "Left-eye", "wrist_LEFT", "wrist.right"], ((0, 1), (3, 2))),
        (["FL_paw", "FR_paw", "rl paw", "rr paw"], ((1, 0), (3, 2))),
        (["L1", "R1", "knee_lt", "knee_rt", "KneeL2", "KneeR2"], ((1, 0), (3, 2), (5, 4))),
        (["Ellenbogen links", "Ellenbogen rechts", "main gauche", "main droite"], ((1, 0), (3, 2))),
        (["A left", "a left", "a right"], ((2, 1),)),  # told apart by case
        (["right l", "left l", "right r", "left r"], ()),  # two partners each
        (["root", "left"], ()),
    ],
)
def test_guess_of_flip_pairs(joints: list[str], pairs: tuple[tuple[int, int], ...]) -> None:
    assert guess_flip_pairs(joints) == pairs


CATEGORY = r"train\.json, categories\[0\]"


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("skeleton", [[0, 3]], CATEGORY + ", field 'skeleton': must be pairs of 0 to"),
        ("skeleton", [[1, 4]], r"must be pairs of 1 to 3, got \[\[1, 4\]\]"),
        ("skeleton", [[1, 2, 3]], "field 'skeleton': must be pairs of 1 to 3"),
        ("skeleton", 5, "field 'skeleton': must be pairs of 1 to 3, got 5"),
        ("flip_pairs", [["nose", "ear"]], "'flip_pairs': must be pairs of 'nose' to"),
        ("flip_pairs", [["nose", "left paw"], ["nose", "right paw"]], CATEGORY + ": "),
        ("keypoints", ["nose", "nose", "left paw"], CATEGORY + ".* names must be"),
    ],
)
def test_damaged_own_skeleton(key: str, value: object, text: str, tmp_path: Path) -> None:
    content = copy.deepcopy(OWN_FILE)
    content["categories"][0][key] = value
    if key == "keypoints":
        del content["categories"][0]["flip_pairs"]
    write(tmp_path / "train.json", content)
    with pytest.raises(DatasetError, match=text):
        own(tmp_path, "train", check_images=False)


def test_one_joint_makes_no_box(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = copy.deepcopy(OWN_FILE)
    content["annotations"][1]["keypoints"] = [10, 20, 2, 0, 0, 0, 0, 0, 0]
    file = write(tmp_path / "train.json", content)
    assert [p.id for p in own(tmp_path, "train", check_images=False)] == ["own/4/1"]
    left_out = "1 with a single joint and no box, 1 of category 'tree'"
    assert caplog.messages == [f"{file}: people read: 1; left out: {left_out}"]
    content["annotations"] = content["annotations"][1:]
    write(file, content)
    with pytest.raises(DatasetError, match=rf"with a labelled joint \(left out: {left_out}\)$"):
        own(tmp_path, "train", check_images=False)


# The published photos


@pytest.fixture(scope="module")
def photographed(fixtures: Path) -> list[Sample]:
    folder = fixtures / "coco_images"
    return read_coco_json(folder / "test_coco.json", folder)


def test_published_people(photographed: list[Sample], fixtures: Path) -> None:
    rows = json.loads((fixtures / "coco_images" / "test_coco.json").read_text())["annotations"]
    counts = {f"coco/{r['image_id']}/{r['id']}": r["num_keypoints"] for r in rows}
    labelled = {p.id: int(p.labelled.sum()) for p in photographed}
    assert labelled == {name: count for name, count in counts.items() if count}
    assert len(labelled) == 12
    assert all(p.image.is_file() for p in photographed)
    skier = photographed[0]
    assert skier.id == "coco/785/442619"
    assert skier.keypoints[[0, 16]].tolist() == [[367.5, 81.5], [396.5, 341.5]]
    np.testing.assert_allclose(skier.box, [280.79, 44.73, 499.49, 391.41], rtol=1e-6)


def test_own_reads_coco(photographed: list[Sample], fixtures: Path, tmp_path: Path) -> None:
    folder = fixtures / "coco_images"
    (tmp_path / "images").symlink_to(folder)
    (tmp_path / "val.json").symlink_to(folder / "test_coco.json")
    for one, other in zip(own(tmp_path, "val"), photographed, strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        np.testing.assert_array_equal(one.box, other.box)
    assert sorted(one.skeleton.flip_pairs) == sorted(COCO17.flip_pairs)
    assert {frozenset(limb) for limb in one.skeleton.limbs} == {
        frozenset(limb) for limb in COCO17.limbs
    }
