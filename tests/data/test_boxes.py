"""Boxes of people from files: plain ones, COCO's annotations and results."""

import gzip
import json
from pathlib import Path
from unicodedata import normalize

import pytest
from PIL import Image

from gatedpose.data.boxes import BoxTable, read_boxes
from gatedpose.errors import DatasetError


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def test_plain_boxes(tmp_path: Path) -> None:
    data = {"a.jpg": [[1, 2, 3.5, 4], [5, 6, 7, 8]], "sub/b.jpg": [], "b.jpg": [[0, 0, 1, 1]]}
    table = read_boxes(write(tmp_path / "boxes.json", data))
    assert table.of(Path("photos/a.jpg")) == [[1, 2, 3.5, 4], [5, 6, 7, 8]]
    assert table.of(Path("/x/sub/b.jpg")) == []
    assert table.of(Path("/x/other/b.jpg")) == [[0, 0, 1, 1]]
    assert table.of(Path("c.jpg")) == []
    assert Path("sub/b.jpg") in table
    assert Path("c.jpg") not in table


def test_names_are_those_of_whole_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = {"/x/a.jpg": [[1, 2, 3, 4]], "./b.jpg": [[5, 6, 7, 8]], "in/c.jpg": [[0, 0, 1, 1]]}
    table = read_boxes(write(tmp_path / "boxes.json", data))
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert table.of(Path("/x/a.jpg")) == [[1, 2, 3, 4]]
    assert Path("/y/a.jpg") not in table
    assert table.of(Path("b.jpg")) == table.of(Path("../b.jpg")) == [[5, 6, 7, 8]]
    assert table.of(Path("c.jpg")) == [[0, 0, 1, 1]]


@pytest.mark.parametrize(("told", "file"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_written_apart(told: str, file: str, tmp_path: Path) -> None:
    """As macOS writes them: one name, two spellings."""
    name = "Zoë/été.jpg"
    table = read_boxes(write(tmp_path / "boxes.json", {normalize(told, name): [[1, 2, 3, 4]]}))
    assert table.of(Path(normalize(file, f"photos/{name}"))) == [[1, 2, 3, 4]]


COCO = {
    "images": [{"id": 7, "file_name": "x7.jpg"}, {"id": 8, "file_name": "x8.jpg"}],
    "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [10, 20, 30, 40], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]},
        {"id": 3, "image_id": 7, "category_id": 1, "bbox": [5, 6, 7, 8], "iscrowd": 1},
    ],
}


def test_coco_annotations(tmp_path: Path) -> None:
    """(x, y, w, h) from 0 at the corner of the first pixel: (x, y, x + w, y + h)."""
    table = read_boxes(write(tmp_path / "coco.json", COCO))
    assert table.of(Path("x7.jpg")) == [[10, 20, 40, 60]]
    assert table.of(Path("x8.jpg")) == []
    assert Path("x8.jpg") in table
    (tmp_path / "coco.json.gz").write_bytes(gzip.compress(json.dumps(COCO).encode()))
    assert read_boxes(tmp_path / "coco.json.gz").by_image == table.by_image


def test_coco_results(tmp_path: Path) -> None:
    rows = [
        {"image_id": 785, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9},
        {"image_id": 785, "category_id": 1, "bbox": [2, 2, 3, 4], "score": 0.5},
        {"image_id": 785, "category_id": 3, "bbox": [3, 2, 3, 4], "score": 0.9},
        {"image_id": "a.jpg", "bbox": [0, 0, 3, 4], "score": 0.8},
    ]
    table = read_boxes(write(tmp_path / "results.json", rows))
    assert table.of(Path("000000000785.jpg")) == [[1, 2, 4, 6]]
    assert table.of(Path("a.jpg")) == [[0, 0, 3, 4]]
    table = read_boxes(tmp_path / "results.json", min_score=0.4)
    assert table.of(Path("785.png")) == [[1, 2, 4, 6], [2, 2, 5, 6]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("boxes", "the file: must hold named fields, got str"),
        ({"a.jpg": 3}, "field 'a.jpg': must be a list of boxes"),
        ({"a.jpg": [1, 2, 3]}, r"field 'a.jpg': must have shape \(4,\), got \(3,\)"),
        ({"a.jpg": [[1, 2, 3]]}, r"field 'a.jpg': must have shape \(1, 4\)"),
        ({"a.jpg": [[1, 2, 3, None]]}, "field 'a.jpg': .*not finite"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4]}], r"results\[0\], field 'score': is missing"),
        ([{"score": 1, "bbox": [1, 2, 3, 4]}], r"results\[0\], field 'image_id': is missing"),
        ([{"image_id": 1, "score": 1, "bbox": [1, 2, 3]}], r"results\[0\], field 'bbox'"),
        ({**COCO, "images": []}, r"annotations\[0\], field 'image_id': 7 is the id of none"),
        ({"annotations": []}, "field 'images': is missing"),
    ],
)
def test_bad_files_are_named(data: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=rf"boxes\.json.*{message}"):
        read_boxes(write(tmp_path / "boxes.json", data))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.json cannot be read as JSON"):
        read_boxes(tmp_path / "absent.json")


def test_the_row_of_a_lone_person(tmp_path: Path) -> None:
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps({"a.jpg": [1, 2, 30, 40], "b.jpg": [[1, 2, 30, 40]]}))
    table = read_boxes(file)
    assert table.of(Path("a.jpg")) == table.of(Path("b.jpg")) == [[1, 2, 30, 40]]


@pytest.mark.parametrize("name", ["0001.jpg", 1, "b/0001.jpg"])
def test_a_name_of_several_pictures_is_told(
    name: str | int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures = [tmp_path / folder / "0001.jpg" for folder in ("a", "b")]
    for picture in pictures:
        picture.parent.mkdir()
        Image.new("RGB", (60, 90)).save(picture)
    BoxTable(tmp_path / "boxes.json", {name: [[5, 5, 50, 80]]}).check_pictures(pictures)
    told = f"{name!r} is the name of 2 pictures, which get the same boxes: {pictures[0]} and"
    assert (told in caplog.text) == (name != "b/0001.jpg")
