"""Exports of CVAT, Roboflow, Label Studio and COCO, built as these programs write them."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from gatedpose.cli import main
from gatedpose.data.joints import pairs_text
from gatedpose.data.own import own, splits_in
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.evaluation.run import score_people
from gatedpose.skeleton import COCO17, LSP14, MPII16, Skeleton

JOINTS = ["nose", "front_left_paw", "front_right_paw"]
FIRST = [10, 20, 2, 30, 5.5, 1, 12, 33, 2]  # what is annotated in a.jpg, three joints
SECOND = [40, 8, 2, 0, 0, 0, 44, 28, 2]  # and in b.jpg, two


def picture(file: Path, width: int = 64, height: int = 48, orientation: int = 1) -> None:
    """A picture that is stored as width x height."""
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height), (90, 120, 60)).save(file, exif=exif)


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def cvat(folder: Path, subset: str = "Train", images: str = "images/Train") -> Path:
    """COCO Keypoints 1.0: a label of boxes first, a track's frame without points."""
    for name in ("a.jpg", "b.jpg"):
        picture(folder / images / name)
    image = {"license": 0, "flickr_url": "", "coco_url": "", "date_captured": 0}
    sizes = {"width": 64, "height": 48}
    attributes = {"occluded": False, "track_id": 0, "keyframe": True}
    common = {"category_id": 2, "segmentation": [], "iscrowd": 0}
    table = {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": dict.fromkeys(
            ("contributor", "date_created", "description", "url", "version", "year"), ""
        ),
        "categories": [
            {"id": 1, "name": "bowl", "supercategory": "", "keypoints": [], "skeleton": []},
            {"id": 2, "name": "cat", "supercategory": "", "keypoints": JOINTS,
             "skeleton": [[1, 2], [1, 3]]},
        ],
        "images": [
            {"id": i, **sizes, "file_name": name, **image}
            for i, name in enumerate(("a.jpg", "b.jpg"), start=1)
        ],
        "annotations": [
            {"id": 1, "image_id": 1, **common, "area": 550.0, "bbox": [10, 5.5, 20, 27.5],
             "attributes": {"occluded": False}, "keypoints": FIRST, "num_keypoints": 3},
            {"id": 2, "image_id": 2, **common, "area": 80.0, "bbox": [40, 8, 4, 20],
             "attributes": {"occluded": False}, "keypoints": SECOND, "num_keypoints": 2},
            {"id": 3, "image_id": 2, **common, "area": 0, "bbox": [0, 0, 0, 0],
             "attributes": attributes, "keypoints": [], "num_keypoints": 0},
        ],
    }  # fmt: skip
    write(folder / "annotations" / f"person_keypoints_{subset}.json", table)
    return folder


def roboflow(folder: Path) -> Path:
    """COCO Keypoint: a root category, ids from 0, the pictures beside the table."""
    names = ("a_jpg.rf.21d9ecc5.jpg", "b_jpg.rf.9d3a0b11.jpg")
    date = "2026-11-02T07:12:44+00:00"
    for split, box in (("train", [10, 5.5, 20, 27.5]), ("valid", [9, 5, 22, 29])):
        for name in names:
            picture(folder / split / name)
        table = {
            "info": {"year": "2026", "version": "1", "description": "Exported from roboflow.com",
                     "contributor": "", "url": "", "date_created": date},
            "licenses": [{"id": 1, "url": "", "name": "CC BY 4.0"}],
            "categories": [
                {"id": 0, "name": "cat-Qg7R", "supercategory": "none"},
                {"id": 1, "name": "cat", "supercategory": "cat-Qg7R", "keypoints": JOINTS,
                 "skeleton": [[1, 2], [1, 3]]},
            ],
            "images": [
                {"id": i, "license": 1, "file_name": name, "height": 48, "width": 64,
                 "date_captured": date}
                for i, name in enumerate(names)
            ],
            "annotations": [
                {"id": 0, "image_id": 0, "category_id": 1, "bbox": box, "area": 550,
                 "segmentation": [], "iscrowd": 0, "keypoints": FIRST},
                {"id": 1, "image_id": 1, "category_id": 1, "bbox": [40, 8, 4, 20], "area": 80,
                 "segmentation": [], "iscrowd": 0, "keypoints": SECOND},
            ],
        }  # fmt: skip
        write(folder / split / "_annotations.coco.json", table)
        (folder / "README.roboflow.txt").write_text("cat - v1")
    return folder


def label_studio(folder: Path) -> Path:
    """COCO: rectangles of their own, tight boxes, no area, sizes before turning, ids from 0."""
    picture(folder / "images" / "0a1b-a.jpg", 48, 64, orientation=6)  # upright 64 x 48
    picture(folder / "images" / "0a1b-b.jpg")
    rectangle = {"category_id": 0, "segmentation": [], "ignore": 0, "iscrowd": 0}
    lone = [1, 2, 2, 0, 0, 0, 0, 0, 0]
    table = {
        "images": [
            {"width": 48, "height": 64, "id": 0, "file_name": "images/0a1b-a.jpg"},
            {"width": 64, "height": 48, "id": 1, "file_name": r"images\0a1b-b.jpg"},
        ],
        "categories": [
            {"id": 0, "name": "animal"},
            {"id": 1, "name": "default", "supercategory": "default", "keypoints": JOINTS,
             "skeleton": []},
        ],
        "annotations": [
            {"id": 0, "image_id": 0, **rectangle, "bbox": [5.1, 4, 31, 40], "area": 1240.0},
            {"id": 1, "image_id": 0, "category_id": 1, "keypoints": FIRST, "num_keypoints": 3,
             "bbox": [10, 5.5, 20, 27.5], "iscrowd": 0},
            {"id": 2, "image_id": 1, "category_id": 1, "keypoints": SECOND, "num_keypoints": 2,
             "bbox": [40, 8, 4, 20], "iscrowd": 0},
            {"id": 3, "image_id": 1, "category_id": 1, "keypoints": lone, "num_keypoints": 1,
             "bbox": [1, 2, 0, 0], "iscrowd": 0},
        ],
        "info": {"year": 2026, "version": "1.0", "description": "",
                 "contributor": "Label Studio", "url": "", "date_created": "2026-11-02 09:00:00"},
    }  # fmt: skip
    write(folder / "result.json", table)
    return folder


def coco(folder: Path) -> Path:
    """The layout of 2017, with a crowd and a person without labels."""
    names = [name.replace(" ", "_") for name in COCO17.joints]
    whole = [20, 30, 2] + [0, 0, 0] * 15 + [50, 40, 1]
    for split in ("train", "val"):
        picture(folder / f"{split}2017" / "000000000139.jpg")
        common = {"image_id": 139, "category_id": 1, "segmentation": []}
        table = {
            "info": {"description": "COCO 2017 Dataset", "contributor": "COCO Consortium"},
            "licenses": [],
            "images": [{"license": 2, "file_name": "000000000139.jpg", "coco_url": "",
                        "height": 48, "width": 64, "id": 139}],
            "categories": [{"supercategory": "person", "id": 1, "name": "person",
                            "keypoints": names, "skeleton": [[16, 14], [14, 12]]}],
            "annotations": [
                {**common, "id": 5, "num_keypoints": 2, "area": 600.5, "iscrowd": 0,
                 "keypoints": whole, "bbox": [10, 20, 45.5, 25]},
                {**common, "id": 6, "num_keypoints": 0, "area": 10.5, "iscrowd": 0,
                 "keypoints": [0] * 51, "bbox": [1, 2, 3, 4]},
                {**common, "id": 900100000139, "num_keypoints": 0, "area": 90.0, "iscrowd": 1,
                 "keypoints": [0] * 51, "bbox": [1, 2, 30, 20]},
            ],
        }  # fmt: skip
        write(folder / "annotations" / f"person_keypoints_{split}2017.json", table)
    return folder


def check(*arguments: Any) -> list[str]:
    result = CliRunner().invoke(main, ["data", "check", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return [line for line in result.stdout.splitlines() if "reading:" not in line]


# The people that are read


@pytest.mark.parametrize(
    ("write_folder", "split"),
    [
        (cvat, "train"),
        (lambda folder: cvat(folder, "default", "images"), "default"),
        (roboflow, "train"),
        (label_studio, "result"),
    ],
    ids=["cvat", "old cvat", "roboflow", "label studio"],
)
def test_layouts_of_programs(
    write_folder: Callable[[Path], Path], split: str, tmp_path: Path
) -> None:
    people = own(write_folder(tmp_path), split)
    assert len(people) == 2
    assert all(person.image.is_file() for person in people)
    first, second = people
    assert first.skeleton.joints == tuple(JOINTS)
    assert first.skeleton.flip_pairs == ((2, 1),)
    assert first.keypoints.tolist() == [[10.5, 20.5], [30.5, 6.0], [12.5, 33.5]]
    assert first.labelled.tolist() == [True, True, True]
    assert first.box.tolist() == [10.0, 5.5, 30.0, 33.0]
    assert second.keypoints.tolist() == [[40.5, 8.5], [0.0, 0.0], [44.5, 28.5]]
    assert second.labelled.tolist() == [True, False, True]
    assert second.box.tolist() == [40.0, 8.0, 44.0, 28.0]
    assert second.size == (64, 48)


def test_val_is_called_valid_by_roboflow(tmp_path: Path) -> None:
    folder = roboflow(tmp_path)
    assert list(splits_in(folder)) == ["train", "valid"]
    for split in ("val", "valid", "Validation"):
        assert own(folder, split)[0].box.tolist() == [9.0, 5.0, 31.0, 34.0]
    with pytest.raises(DatasetError, match=r"has the splits train, valid, not 'test'$"):
        own(folder, "test")


def test_splits_of_own_joints_may_be_called_as_cocos(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        cvat(tmp_path, split, split)
    assert [own(tmp_path, "train")[0].image, own(tmp_path, "val")[0].image] == [
        tmp_path / "train2017" / "a.jpg", tmp_path / "val2017" / "a.jpg",
    ]  # fmt: skip


# What data check prints


def test_check_of_cvat(tmp_path: Path) -> None:
    table = tmp_path / "annotations" / "person_keypoints_Train.json"
    assert check("--dataset", "own", "--data", cvat(tmp_path), "--split", "train") == [
        "own train: 2 people in 2 images",
        "  nose                 2 labelled (100.0 %)",
        "  front_left_paw       1 labelled (50.0 %)",
        "  front_right_paw      2 labelled (100.0 %)",
        "  flip pairs: front_right_paw - front_left_paw",
        f"  {tmp_path}: 'train' is annotations/person_keypoints_Train.json",
        f"  {table}: people read: 2; left out: 1 without keypoints",
    ]


def test_check_of_roboflow(tmp_path: Path) -> None:
    lines = check("--dataset", "own", "--data", roboflow(tmp_path))
    assert [line for line in lines if not line.startswith("  ")] == [
        "own train: 2 people in 2 images",
        "own val: 2 people in 2 images",
    ]
    assert lines[-2:] == [
        f"  {tmp_path}: 'val' is valid/_annotations.coco.json",
        f"  {tmp_path}: 2 of the 2 people of train are in pictures of val: scores on val are too "
        "high",  # which are the same, byte for byte
    ]


def test_check_of_label_studio(tmp_path: Path) -> None:
    lines = check("--dataset", "own", "--data", label_studio(tmp_path))
    assert lines[0] == "own result: 2 people in 2 images"
    assert lines[4:] == [
        "  flip pairs: front_right_paw - front_left_paw",
        f"  {tmp_path / 'result.json'}: people read: 2; left out: 1 of category 'animal', 1 with "
        "a single joint and no box",
        "  1 of 2 pictures are not as large as the table says (0a1b-a.jpg is 64 x 48, there 48 x "
        "64): the table has the sizes before the EXIF orientation turns the pictures upright; all "
        "joints lie within the upright ones, as which they are read. Label Studio writes such "
        "sizes; of a program that does not turn pictures, labels lie elsewhere: look at gatedpose "
        "data check --out",
    ]


def test_check_of_coco(tmp_path: Path) -> None:
    lines = check("--dataset", "coco", "--data", coco(tmp_path), "--split", "val")
    assert lines[0] == "coco val: 1 people in 1 images"
    assert lines[1] == "  nose                 1 labelled (100.0 %)"
    table = tmp_path / "annotations" / "person_keypoints_val2017.json"
    assert lines[-2].startswith("  flip pairs: right eye - left eye, right ear - left ear, ")
    assert (
        lines[-1]
        == f"  {table}: people read: 1; left out: 1 without a labelled joint, 1 marked as a crowd"
    )


def test_check_says_as_much_in_json(tmp_path: Path) -> None:
    (line,) = check("--dataset", "own", "--data", label_studio(tmp_path), "--json")
    facts = json.loads(line)
    assert facts["flip_pairs"] == [["front_right_paw", "front_left_paw"]]
    assert len(facts["notes"]) == len(facts["doubts"]) == 1


def test_scores_say_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = coco(tmp_path)
    keypoints = [20, 30, 0.9] + [0, 0, 0.1] * 15 + [50, 40, 0.9]
    result = {"image_id": 139, "category_id": 1, "keypoints": keypoints, "score": 0.5}
    write(tmp_path / "results.json", [result])
    words = ["evaluate", "--predictions", str(tmp_path / "results.json"), "--dataset", "coco"]
    words += ["--data", str(folder)]
    line = "val2017.json: people read: 1; left out: 1 without a labelled joint, 1 marked as a crowd"
    told = CliRunner().invoke(main, [*words, "--json"])
    facts = json.loads(told.output)
    assert facts["mean"] == 100
    assert [note.partition("keypoints_")[2] for note in facts["notes"]] == [line]
    assert f"{line}\n" in CliRunner().invoke(main, words).stderr
    monkeypatch.setenv("RANK", "1")  # the first of several processes says it for all
    assert CliRunner().invoke(main, words).stderr == ""


# Fields that programs write otherwise, leave out or leave empty


def table(**changes: Any) -> dict[str, Any]:
    """One picture and one person; changes of the annotation."""
    person = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": FIRST, "bbox": [1, 2, 30, 40]}
    return {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "cat", "keypoints": JOINTS}],
        "annotations": [{**person, **changes}],
    }


def read(folder: Path, content: dict[str, Any]) -> list[Sample]:
    """The people of a table, without its pictures."""
    write(folder / "train.json", content)
    return own(folder, "train", check_images=False)


@pytest.mark.parametrize("value", ["0", "false", "False", 0, 0.0, False, None, ""])
def test_no_crowds(value: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(read(tmp_path, table(iscrowd=value))) == 1
    assert caplog.messages == []


@pytest.mark.parametrize("value", ["1", "true", "True", 1, 1.0, True])
def test_crowds(value: Any, tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError, match=r"holds no person .* \(left out: 1 marked as a crowd\)$"
    ):
        read(tmp_path, table(iscrowd=value))


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 0, 0], [3, 4, 20, 0]])
def test_no_box(bbox: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (person,) = read(tmp_path, table(bbox=bbox))
    assert person.box.tolist() == [10.5, 6.0, 30.5, 33.5]
    assumed = "assumed: 1 without a box have the tight one of their joints"
    assert caplog.messages == [f"{tmp_path / 'train.json'}: people read: 1; {assumed}"]


def two_categories() -> dict[str, Any]:
    content = table()
    person = content["annotations"][0]
    content["categories"].append({"id": 5, "name": "kitten", "keypoints": JOINTS})
    content["annotations"].append({**person, "id": 2, "category_id": 5})
    return content


def test_categories_of_the_same_joints_are_read_together(tmp_path: Path) -> None:
    people = read(tmp_path, two_categories())
    assert [person.id for person in people] == ["own/1/1", "own/1/2"]


def test_other_joints_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = two_categories()
    content["categories"][1] |= {"name": "Person", "keypoints": ["nose", "neck", "tail"]}
    (person,) = read(tmp_path, content)
    assert person.id == "own/1/2"
    assert person.skeleton.joints == ("nose", "neck", "tail")
    told = "train.json: people read: 1; left out: 1 of category 'cat'"
    assert caplog.messages == [f"{tmp_path}/{told}"]


def test_a_category_that_nothing_is_of_is_passed_over(tmp_path: Path) -> None:
    content = two_categories()
    content["categories"][1]["keypoints"] = ["a", "b", "c"]
    del content["annotations"][0]
    assert read(tmp_path, content)[0].skeleton.joints == ("a", "b", "c")


@pytest.mark.parametrize("key", ["image_id", "category_id"])
def test_ids_as_text(key: str, tmp_path: Path) -> None:
    [person] = read(tmp_path, table(**{key: "1"}))
    assert person.id == "own/1/1"
    content = table()
    content["images"][0]["id"] = content["categories"][0]["id"] = "1"
    assert len(read(tmp_path, content)) == 1


def test_ids_of_many_digits_and_whole_floats(tmp_path: Path) -> None:
    long = 12345678901234567890
    for image, meant in ((long, long), (str(long), long), (long, str(long)), (1.0, 1), (1, 1.0)):
        content = table(image_id=meant, id=3.0)
        near = {"id": long + 1, "file_name": "b.jpg"}  # the same as a float
        content["images"] = [{"id": image, "file_name": "a.jpg"}, near]
        content["categories"][0]["id"] = 1.0
        [person] = read(tmp_path, content)
        assert person.id == f"own/{long if meant != 1 else 1}/3"
        assert person.image.name == "a.jpg"


@pytest.mark.parametrize("value", ["01x", "²", "9" * 5000, "", True, 1.5, None, [1], "2"], ids=str)
def test_ids_that_are_none(value: Any, tmp_path: Path) -> None:
    content = table(image_id=value) | {"images": [{"id": 3, "file_name": "a"}]}
    with pytest.raises(DatasetError, match=r"'image_id': .* is the id of none of the images"):
        read(tmp_path, content)


def test_coco_person_under_another_id(tmp_path: Path) -> None:
    folder = coco(tmp_path)
    file = folder / "annotations" / "person_keypoints_val2017.json"
    content = json.loads(file.read_text())
    content["categories"][0]["id"] = 7
    content["categories"].insert(0, {"id": 1, "name": "root", "supercategory": "none"})
    for row in content["annotations"]:
        row["category_id"] = 7
    write(file, content)
    assert [person.id for person in read_dataset("coco", folder, "val")] == ["coco/139/5"]


def test_names_of_known_joints(tmp_path: Path) -> None:
    content = table()
    content["categories"][0]["keypoints"] = ["Nose", "left_ankle", "right-ankle"]
    (person,) = read(tmp_path, content)
    assert person.skeleton.joints == ("nose", "left ankle", "right ankle")
    assert person.skeleton.flip_pairs == ((2, 1),)
    assert person.skeleton.limbs == ()


def test_own_people_of_mpiis_joints_need_no_head_boxes(tmp_path: Path) -> None:
    """By MPII's name they could not be scored: PCKh needs head boxes, which tables have not."""
    content = table(keypoints=[10, 20, 2] * 15 + [40, 50, 2])
    content["categories"][0]["keypoints"] = [name.replace(" ", "_") for name in MPII16.joints]
    people = read(tmp_path, content)
    assert people[0].skeleton.joints == MPII16.joints
    assert people[0].skeleton.limbs == MPII16.limbs
    score = score_people(people, people[0].keypoints[None])
    assert score.metric == "PCK@0.2 (normaliser: longer side of the box)"


def test_missing_pictures_are_counted(tmp_path: Path) -> None:
    folder = cvat(tmp_path)
    (folder / "images" / "Train" / "b.jpg").unlink()
    with pytest.raises(
        DatasetError, match=r"^pictures are missing, 1 of 2: .*images/Train lacks b\.jpg$"
    ):
        own(folder, "train")
    (folder / "images" / "Train" / "a.jpg").unlink()
    with pytest.raises(
        DatasetError, match=r"^pictures are missing, 2 of 2: .* lacks a\.jpg, b\.jpg$"
    ):
        own(folder, "train")


@pytest.mark.parametrize(
    "keypoints",
    [
        [[10, 20, 2], [30, 5.5, 1], [0, 0, 0]],
        [10, 20, 2, 30, 5.5, 1, None, None, 0],
        [10, 20, 2, 30, 5.5, 1, None, None, None],
        [10, 20, 2, 30, 5.5, 1, math.nan, math.nan, 0],
        [10, 20, True, 30, 5.5, 1.0, 7, 9, False],
    ],
)
def test_joints_written_otherwise(keypoints: list[Any], tmp_path: Path) -> None:
    (person,) = read(tmp_path, table(keypoints=keypoints))
    assert person.keypoints.tolist() == [[10.5, 20.5], [30.5, 6.0], [0.0, 0.0]]
    assert person.labelled.tolist() == [True, True, False]


@pytest.mark.parametrize(
    "keypoints",
    [
        [10, 20, 2, None, 5, 1, 0, 0, 0],
        [10, 20, 2, math.nan, 5, 1, 0, 0, 0],
        [10, 20, 2, 30, 5, 1, None, None, 0, 7],
        [10, 20, 2, 30, 5, 1, 0, 0, 0, 7, 7],
        [[10, 20], [1, 2], [3, 4]],
        [10, 20, 2],
        [10, 20, 30, 5.5, 12, 33],
        "x",
    ],
)
def test_joints_that_are_not_plain(keypoints: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="annotation 1, field 'keypoints'"):
        read(tmp_path, table(keypoints=keypoints))


@pytest.mark.parametrize("name", ["é" * 200 + ".jpg", ".", "./", "", None])
def test_a_name_that_no_file_can_have(name: str | None, tmp_path: Path) -> None:
    content = table()
    content["images"][0]["file_name"] = name
    write(tmp_path / "train.json", content)
    with pytest.raises(DatasetError, match=r"images\[0\], field 'file_name': must be a file name"):
        own(tmp_path, "train")


def test_limbs_from_0_and_no_pairs(tmp_path: Path) -> None:
    content = table()
    content["categories"][0] |= {"skeleton": [[0, 1], [0, 2]], "flip_pairs": None}
    skeleton = read(tmp_path, content)[0].skeleton
    assert skeleton.limbs == ((0, 1), (0, 2))
    assert skeleton.flip_pairs == ((2, 1),)


# Sides


def test_joints_without_a_partner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = table()
    content["categories"][0]["keypoints"] = ["nose", "left_paw", "paw"]
    assert read(tmp_path, content)[0].skeleton.flip_pairs == ()
    assert len(caplog.messages) == 1
    assert "train.json: joints that name a side but are in no flip pair" in caplog.messages[0]
    assert "images: left_paw. Name" in caplog.messages[0]


def test_boxes_are_those_of_people(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from gatedpose.data.boxes import read_boxes

    file = tmp_path / "boxes.json"
    content = table(iscrowd="0")
    content["categories"] = [{"id": 4, "name": "dog"}, {"id": 9, "name": "Person"}]
    person = content["annotations"][0]
    content["annotations"] = [
        {**person, "category_id": "9"},
        {**person, "id": 2, "category_id": 4},
        {**person, "id": 3, "category_id": 9, "bbox": None},
    ]
    write(file, content)
    assert read_boxes(file).of(Path("a.jpg")) == [[1, 2, 31, 42]]
    assert caplog.messages == [f"{file}: boxes read: 1; left out: 1 of category 4, 1 without a box"]
    content["categories"][1]["name"] = "cat"
    write(file, content)
    with pytest.raises(DatasetError, match=r"none of the categories dog, cat is called person"):
        read_boxes(file)
    content["categories"] = [{"id": 4, "name": "dog"}, {"id": 9, "name": "x", "keypoints": JOINTS}]
    write(file, content)
    assert read_boxes(file).of(Path("a.jpg")) == [[1, 2, 31, 42]]
    assert np.isfinite(person["bbox"]).all()


def one_table(folder: Path, names: list[str], category: dict[str, Any]) -> Path:
    """Pictures of one person each, all of whose joints are labelled."""
    joints = category["keypoints"]
    points = [n for i in range(len(joints)) for n in (10 + i, 12 + i, 2)]
    table = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(names)],
        "categories": [{"id": 1, "name": "person", **category}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "keypoints": points}
            for i in range(len(names))
        ],
    }
    write(folder / "train.json", table)
    return folder


def test_names_that_label_studio_writes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = [
        "..\\..\\label-studio\\media\\upload\\1\\a.jpg", "/data/upload/1/b.jpg",
        "my%20photo.jpg", "images\\1/c.jpg", "d.jpg",
    ]  # fmt: skip
    there = ["a.jpg", "b.jpg", "my photo.jpg", "c.jpg", "d.jpg"]
    for name in there:
        picture(tmp_path / "images" / name)
    people = own(one_table(tmp_path, names, {"keypoints": JOINTS}), "train")
    assert [person.image.name for person in people] == there
    assert "4 pictures found by bare name: " in caplog.text
    names[1] = "/data/upload/2/a.jpg"  # two of one bare name are not told apart
    with pytest.raises(DatasetError, match="must lie in the folder of images"):
        own(one_table(tmp_path, names, {"keypoints": JOINTS}), "train")


def test_a_file_in_a_folder_of_another_name_is_another_picture(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "cam2" / "0.jpg")
    with pytest.raises(DatasetError, match="pictures are missing"):
        own(one_table(tmp_path, ["cam1/0.jpg"], {"keypoints": JOINTS}), "train")
    for name in ("upload/cam2/0.jpg", "0.jpg"):
        [person] = own(one_table(tmp_path, [name], {"keypoints": JOINTS}), "train")
        assert person.image == tmp_path / "images" / "cam2" / "0.jpg"


@pytest.mark.parametrize(("told", "file"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_written_apart(told: str, file: str, tmp_path: Path) -> None:
    """As macOS writes them: one name, two spellings."""
    names = ["a.jpg", "Zoë/été.jpg", "Noël/été.jpg"]
    there = [normalize(file, name) for name in names]
    for name in there:
        picture(tmp_path / "images" / name)
    people = own(
        one_table(tmp_path, [normalize(told, n) for n in names], {"keypoints": JOINTS}), "train"
    )
    found = [person.image.relative_to(tmp_path / "images").as_posix() for person in people]
    assert found == there


def test_a_picture_is_not_taken_for_that_of_another_folder(tmp_path: Path) -> None:
    """Of two films one was not copied: its labels do not go to the other's frames."""
    names = ["v1/000.jpg", "v1/001.jpg", "v2/000.jpg", "v2/001.jpg"]
    for name in names[2:]:
        picture(tmp_path / "images" / name)
    with pytest.raises(DatasetError, match=r"missing, 2 of 4: .* lacks v1/000\.jpg, v1/001\.jpg$"):
        own(one_table(tmp_path, names, {"keypoints": JOINTS}), "train")


def test_copies_of_a_photo_are_on_one_side(tmp_path: Path) -> None:
    names = [f"{i}_jpg.rf.{copy}{i}ab.jpg" for i in range(12) for copy in range(3)]
    for name in names:
        picture(tmp_path / "images" / name)
    held = own(one_table(tmp_path, names, {"keypoints": JOINTS}), "val")
    photos = [person.image.name.partition(".rf.")[0] for person in held]
    assert 3 <= len(photos) < len(names)
    assert all(photos.count(photo) == 3 for photo in photos)


def test_cocos_joints_with_their_limbs_are_cocos(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    joints = [name.replace(" ", "_") for name in COCO17.joints]
    limbs = [[16, 14], [14, 12], [17, 15]]  # the first of COCO's file
    [person] = own(
        one_table(tmp_path, ["a.jpg"], {"keypoints": joints, "skeleton": limbs}), "train"
    )
    assert person.skeleton is COCO17
    other = {"keypoints": joints, "flip_pairs": [["left_eye", "right_eye"]]}
    [person] = own(one_table(tmp_path, ["a.jpg"], other), "train")
    assert person.skeleton.flip_pairs == ((2, 1),)  # (right, left), however they are given


@pytest.mark.parametrize(
    "names",
    [("linke Schulter", "rechte Schulter"), ("ombro esquerdo", "ombro direito"), ("左肩", "右肩"),
     ("lft_sho", "rgt_sho"), ("linkerschouder", "rechterschouder"), (" left hip", "right hip ")],
)  # fmt: skip
def test_sides_in_other_words(names: tuple[str, str], tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.jpg")
    [person] = own(one_table(tmp_path, ["a.jpg"], {"keypoints": list(names)}), "train")
    assert person.skeleton.flip_pairs == ((1, 0),)
    assert "left and right" not in pairs_text(person.skeleton)
    [person] = own(one_table(tmp_path, ["a.jpg"], {"keypoints": ["0", "1"]}), "train")
    assert "none: if any joints are left and right, name them" in pairs_text(person.skeleton)


@pytest.mark.parametrize(
    ("known", "metric"), [(COCO17, "the torso of 6 people"), (LSP14, "left shoulder - right hip")]
)
def test_known_joints_in_another_order_are_scored_alike(
    known: Skeleton, metric: str, tmp_path: Path
) -> None:
    names = [f"{i}.jpg" for i in range(6)]
    scores = []
    for folder, order in ((tmp_path / "a", 1), (tmp_path / "b", -1)):
        for name in names:
            picture(folder / "images" / name)
        joints = [name.replace(" ", "_") for name in known.joints][::order]
        people = own(one_table(folder, names, {"keypoints": joints}), "train")
        skeleton = people[0].skeleton
        assert skeleton.joints == known.joints[::order]
        truth = np.stack([person.keypoints for person in people])
        for right, left in skeleton.flip_pairs:
            assert skeleton.joints[right].replace("right", "left") == skeleton.joints[left]
        assert len(skeleton.flip_pairs) == len(known.flip_pairs)
        assert len(skeleton.limbs) == len(known.limbs)
        people = [  # a body that is as large either way
            replace(person, keypoints=truth[0][::order], labelled=person.labelled)
            for person in people
        ]
        off = np.linspace(0, 6, len(known.joints))[::order]  # pixels, by joint
        points = np.stack([person.keypoints for person in people])
        scores.append(score_people(people, points + off[:, None]))
    assert metric in scores[0].metric
    assert scores[0].metric == scores[1].metric
    assert scores[0].columns == scores[1].columns
    assert scores[0].per_joint == scores[1].per_joint[::-1]
    assert 0 < scores[0].mean < 100


def test_pictures_of_one_name_in_several_folders_are_parted(tmp_path: Path) -> None:
    names = [f"s{i}/image.jpg" for i in range(6)]
    for name in names:
        picture(tmp_path / "images" / name)
    assert 1 <= len(own(one_table(tmp_path, names, {"keypoints": JOINTS}), "val")) < 6
