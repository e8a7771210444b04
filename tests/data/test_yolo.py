"""YOLO's labels of keypoints, built as ultralytics and Roboflow write them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gatedpose.data.own import own, splits_in
from gatedpose.data.readers import apart
from gatedpose.errors import DatasetError
from gatedpose.skeleton import COCO17

FACTS = """
path: ../somewhere/else
train: {train}
val: {val}
test:  # none
kpt_shape: [3, {numbers}]
flip_idx: [0, 2, 1]
names:
  0: cat
"""
NAMES = "kpt_names:\n  0: [nose, left_ear, right_ear]\n"
# Of a picture of 80 x 40: a box of 40 x 20 about its centre; one joint is not labelled.
THREE = "0 0.5 0.5 0.5 0.5 0.25 0.5 2 0.5 0.25 1 0 0 0\n"
TWO = "0 0.5 0.5 0.5 0.5 0.25 0.5 0.5 0.25 0 0\n"


def write(folder: Path, *, roboflow: bool, line: str = THREE, numbers: int = 3) -> Path:
    """Two pictures to train on, one of which shows nobody, and one to validate by."""
    for split, names in (("train", ("a", "empty")), ("val", ("b",))):
        images = folder / split / "images" if roboflow else folder / "images" / split
        labels = folder / split / "labels" if roboflow else folder / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for name in names:
            Image.new("RGB", (80, 40)).save(images / f"{name}.jpg")
            (labels / f"{name}.txt").write_text("" if name == "empty" else line)
    where = [f"../{s}/images" if roboflow else f"images/{s}" for s in ("train", "val")]
    facts = FACTS.format(train=where[0], val=where[1], numbers=numbers)
    (folder / "data.yaml").write_text(facts + NAMES)
    return folder


@pytest.mark.parametrize("roboflow", [False, True])
@pytest.mark.parametrize(("line", "numbers"), [(THREE, 3), (TWO, 2)])
def test_both_layouts_and_kinds_of_joints(
    tmp_path: Path, roboflow: bool, line: str, numbers: int
) -> None:
    write(tmp_path, roboflow=roboflow, line=line, numbers=numbers)
    assert list(splits_in(tmp_path)) == ["train", "val"]
    [person] = own(tmp_path, "train")
    assert person.image.name == "a.jpg"
    assert person.skeleton.joints == ("nose", "left ear", "right ear")
    assert person.skeleton.flip_pairs == ((2, 1),)
    assert person.box.tolist() == [20, 10, 60, 30]
    assert person.labelled.tolist() == [True, True, False]
    np.testing.assert_allclose(person.keypoints[:2], [[20.5, 20.5], [40.5, 10.5]])
    assert [p.image.name for p in own(tmp_path, "val")] == ["b.jpg"]


def test_labels_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As Windows' Notepad saves them."""
    [person] = own(write(tmp_path, roboflow=False, line=f"\ufeff{THREE}"), "train")
    assert person.box.tolist() == [20, 10, 60, 30]


def test_the_folder_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures' paths begin with "images"."""
    monkeypatch.chdir(write(tmp_path, roboflow=False))
    assert [p.image.name for p in own(".", "train")] == ["a.jpg"]


def test_a_folder_with_brackets_in_its_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "cats [v2]", roboflow=False)
    assert [p.image.name for p in own(folder, "train")] == ["a.jpg"]


def test_names_of_joints_by_a_class_that_is_written_otherwise(tmp_path: Path) -> None:
    """Those of class "0" are those of class 0; of a class that is not there they are an error."""
    file = write(tmp_path, roboflow=False) / "data.yaml"
    text = file.read_text()
    file.write_text(text.replace("  0: [nose", '  "0": [nose'))
    [person] = own(tmp_path, "train")
    assert person.skeleton.joints == ("nose", "left ear", "right ear")
    file.write_text(text.replace("  0: [nose", "  cat: [nose"))
    with pytest.raises(DatasetError, match="'kpt_names': must be 3 names of class 0, got None"):
        own(tmp_path, "train")


def test_a_copy_of_a_picture_in_the_other_split_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another picture of that name is none, whatever its folder."""
    write(tmp_path, roboflow=False)
    images, labels = tmp_path / "images", tmp_path / "labels"
    (labels / "val" / "a.txt").write_text(THREE)
    for colour, doubted in (("red", False), ("black", True)):
        Image.new("RGB", (80, 40), colour).save(images / "val" / "a.jpg")
        train, val = own(tmp_path, "train"), own(tmp_path, "val")
        caplog.clear()
        assert apart("own", tmp_path, train, val) == train
        told = f"{tmp_path}: 1 of the 1 people of train are in pictures of val: scores on val are"
        assert (told in caplog.text) == doubted
    (images / "val" / "a.jpg").unlink()
    (images / "val" / "a.jpg").symlink_to(images / "train" / "a.jpg")
    apart("own", tmp_path, own(tmp_path, "train"), own(tmp_path, "val"))
    assert caplog.text.count(told) == 2


def test_seventeen_joints_without_names_are_cocos(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.5 0.5 " + "0.4 0.5 2 " * 17
    write(tmp_path, roboflow=False, line=line)
    flips = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]
    (tmp_path / "data.yaml").write_text(
        f"train: images/train\nval: images/val\nkpt_shape: [17, 3]\nflip_idx: {flips}\nnames: [p]\n"
    )
    [person] = own(tmp_path, "train")
    assert person.skeleton is COCO17


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[3, 3]", "[3, 4]", r"data\.yaml, the file, field 'kpt_shape': must be \[joints, 2\]"),
        ("[3, 3]", "[4, 3]", r"'kpt_names': must be 4 names"),
        ("[0, 2, 1]", "[0, 2, 2]", r"'flip_idx': must be the numbers 0 to 2"),
        ("[0, 2, 1]", "[1, 2, 0]", r"'flip_idx': must exchange joints in pairs"),
        ("images/train", "3", r"'train' must be a folder of pictures, a \.txt .*, got 3"),
        ("images/train", "[images/train, 3]", r"or a list of these, got \['images/train', 3\]"),
        ("images/train", "train.txt", r"train\.txt cannot be read as a list of pictures"),
        ("path:", "path: [", r"data\.yaml cannot be read as YAML"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path, roboflow=False) / "data.yaml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        own(tmp_path, "train")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.5 0.5 0.1 0.2 2", r"a\.txt, line 1: .* are 14 numbers, got 8"),
        (THREE.replace("0.25", "left"), r"a\.txt, line 1: could not convert"),
        (THREE.replace("0 0.5", "7 0.5", 1), r"a\.jpg:1, field 'category_id': 7.0 is the id of"),
        (THREE.replace("0 0.5", "0.7 0.5", 1), r"a\.jpg:1, field 'category_id': 0.7 is the id of"),
        ("", r"no picture of 'train' has labels, as .*/labels/train/\*\.txt"),
        (THREE.replace("0.5 2", "0.5 3"), "the visibility, must be 0, 1 or 2, got 3"),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, roboflow=False, line=line)
    with pytest.raises(DatasetError, match=message):
        own(tmp_path, "train")


def test_several_folders_and_lists_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ultralytics' coco-pose.yaml names them; the lists are in the folder that "path" names."""
    folder = write(tmp_path / "set", roboflow=False)
    data = tmp_path / "data"
    data.mkdir()
    text = (folder / "data.yaml").read_text().replace("path: ../somewhere/else", "path: ../set")
    (data / "data.yaml").write_text(
        text.replace("train: images/train", "train: [images/train, images/val, train.txt]").replace(
            "val: images/val", "val: val.txt"
        )
    )
    beside, here = "./images/train/a.jpg", "set/images/val/b.jpg"
    (folder / "train.txt").write_text(beside + "\n")
    (folder / "val.txt").write_text(f"{beside}\n\n{here}\n")
    monkeypatch.chdir(tmp_path)
    people = own(data, "train")
    assert [(p.image, p.id) for p in people] == [
        (folder / "images" / "train" / "a.jpg", "own/train/a.jpg/train/a.jpg:1"),
        (folder / "images" / "val" / "b.jpg", "own/val/b.jpg/val/b.jpg:1"),
    ]
    assert [p.image for p in own(data, "val")] == [p.image for p in people]
    (folder / "val.txt").write_text(f"{beside}\nimages/c.jpg\n")
    message = r"val\.txt lists pictures that are missing, 1 of 2: .*/set/images/c\.jpg"
    with pytest.raises(DatasetError, match=message):
        own(data, "val")
    (folder / "val.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"val\.txt lists no pictures"):
        own(data, "val")


def test_other_files_beside_the_layout(tmp_path: Path) -> None:
    """Notes are no table, data.yaml comes first, and of several others none is taken unasked."""
    folder = write(tmp_path, roboflow=False)
    (folder / "notes.json").write_text('{"images": 3}')
    text = (folder / "data.yaml").read_text()
    other = text.replace("left_ear", "tail")
    (folder / "coco.yaml").write_text(other)
    assert own(folder, "train")[0].skeleton.joints == ("nose", "left ear", "right ear")
    (folder / "data.yaml").write_text("names: [cat]\n")  # of boxes
    assert "tail" in own(folder, "train")[0].skeleton.joints
    (folder / "z.yml").write_text(text)
    with pytest.raises(DatasetError, match=r"several files of YOLO's keypoints, coco.yaml, z.yml:"):
        own(folder, "train")
    (folder / "train.json").write_text("{}")  # called as a split: what it lacks is named
    with pytest.raises(DatasetError, match=r"train\.json, the file, field 'images': is missing"):
        own(folder, "train")
