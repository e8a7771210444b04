"""Labels that do not agree with their pictures: what is said of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gatedpose.batches.check import check_people
from gatedpose.data.agreement import doubts
from gatedpose.data.boxes import read_boxes
from gatedpose.data.own import own
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.media.images import Header
from gatedpose.skeleton import Skeleton

THREE = Skeleton("three", ("a", "b", "c"), (), ())
POINTS = [[10, 20], [30, 12], [22, 33]]


def sample(
    points: list[list[float]] = POINTS,
    box: tuple[float, ...] = (8, 10, 33, 35),
    size: tuple[float, float] | None = None,
    name: str = "a",
) -> Sample:
    """A person whose third joint is labelled, but counts only where it lies apart."""
    keypoints, labelled = np.array(points, np.float32), np.array([True, True, True])
    image = Path(f"{name}.jpg")
    return Sample(name, image, keypoints, labelled, np.array(box, np.float32), THREE, size=size)


def said(
    people: list[Sample], width: int = 64, height: int = 48, turned: bool = False
) -> list[str]:
    return doubts(people, {person.image: Header(width, height, turned) for person in people})


def test_nothing_is_said_of_good_labels() -> None:
    good = sample(size=(64, 48))
    edge = sample([[-3, 20], [30, 12], [22, 51]], (-4, 10, 33, 52))  # labels above a head, say
    assert said([good, edge, sample(size=None, name="b")]) == []
    assert doubts([good], {}) == []


def test_resized_pictures() -> None:
    (text,) = said([sample(size=(128, 96)), sample(size=(64, 48), name="b")])
    assert text == (
        "1 of 2 pictures are not as large as the table says (a.jpg is 64 x 48, there 128 x 96): "
        "resized after they were labelled? Labels are not scaled"
    )


def test_cut_pictures() -> None:
    (text,) = said([sample(size=(100, 48))])
    assert text.endswith("there 100 x 48): cut or replaced after they were labelled?")


@pytest.mark.parametrize(("turned", "kind"), [(True, "EXIF orientation turns"), (False, "cut or")])
def test_exchanged_sides(turned: bool, kind: str) -> None:
    (text,) = said([sample(size=(48, 64))], turned=turned)
    assert "(a.jpg is 64 x 48, there 48 x 64)" in text
    assert kind in text


def test_labels_of_the_unturned_picture() -> None:
    """A point at y = 60 of 48 x 64 stored pixels lies below the upright picture of 64 x 48."""
    unturned = sample([[10, 20], [30, 12], [22, 60]], (8, 10, 33, 62), size=(48, 64))
    sizes, outside = said([unturned, sample(size=(64, 48), name="b")], turned=True)
    assert "joints of 1 of 1 people lie outside of the upright ones: they were labelled un" in sizes
    assert outside == (
        "1 of 2 people have joints far outside of their picture (first a, 12 pixels outside of "
        "64 x 48): 1 of them fit before the EXIF orientation turns the picture upright"
    )
    without_size = sample([[10, 20], [30, 12], [22, 60]], (8, 10, 33, 62))
    assert said([without_size], turned=True) == [outside.replace("1 of 2", "1 of 1", 1)]


def test_joints_far_outside() -> None:
    """A tenth of the longer side, 6.4 pixels, is near enough."""
    assert said([sample([[10, 20], [70.3, 12], [22, 33]], (8, 10, 71, 35))]) == []
    (text,) = said([sample([[10, 20], [70.5, 12], [22, 33]], (8, 10, 71, 35))])
    assert "(first a, 6 pixels outside of 64 x 48): labels of another size" in text


def test_joints_as_shares_of_the_picture() -> None:
    """Their tight boxes are of a pixel: without a word they would be learnt from."""
    small = sample([[0.7, 0.9], [1.1, 0.6], [0.5, 0.8]], (0.5, 0.6, 1.5, 1.6))
    (text,) = said([small, sample(name="b")])
    assert text.startswith("1 of 2 people have all joints within a pixel (first a): coordinates")


def test_boxes_given_as_corners() -> None:
    """(8, 10, 33, 35) read as x, y, width, height ends at (41, 45), in the picture: no doubt."""
    assert said([sample(box=(8, 10, 41, 45))]) == []
    points = [[30, 20], [50, 22], [45, 40]]
    corners = sample(points, (28, 18, 28 + 52, 18 + 42))  # 28, 18, 52, 42
    (text,) = said([corners, sample(name="b")])
    assert text == (
        "1 of 2 people have a box that leaves the picture, but not if its numbers are two corners "
        "(first a, 28, 18 to 80, 60): 'bbox' is x, y, width, height"
    )
    wide = sample(points, (28, 18, 28 + 52, 18 + 14))  # half out of the picture, and no corners
    assert said([wide]) == []


def test_joints_of_another_person() -> None:
    (text,) = said([sample(box=(50, 2, 60, 9))])
    assert text.startswith("1 of 1 people have no joint in or near their box (first a)")
    assert said([sample(box=(28, 2, 60, 9))]) == []


# On files


def written(folder: Path, orientation: int, width: int | None = None, **row: Any) -> Path:
    """A picture stored as 64 x 48 and one person."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (64, 48), "teal").save(folder / "images" / "a.jpg", exif=exif)
    image = {"id": 1, "file_name": "a.jpg"}
    if width:
        image |= {"width": width, "height": width * 3 // 4}
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 10, 50, 25]}
    person["keypoints"] = [10, 20, 2, 55, 12, 2, 22, 33, 2]
    categories = [{"id": 1, "name": "x", "keypoints": ["a", "b", "c"]}]
    content = {"images": [image], "annotations": [{**person, **row}], "categories": categories}
    (folder / "train.json").write_text(json.dumps(content))
    return folder


def test_reading_says_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own(written(tmp_path, 1, 64), "train")
    assert caplog.messages == []
    (person,) = own(written(tmp_path, 6, 64), "train")  # upright 48 x 64
    sizes, outside = caplog.messages
    assert "(a.jpg is 48 x 64, there 64 x 48)" in sizes
    assert "1 of 1 people have joints far outside of their picture (first own/1/1, 8 pix" in outside
    assert check_people([person], progress=False)["doubts"] == [sizes, outside]
    caplog.clear()
    own(written(tmp_path, 6, 64), "train", check_images=False)
    assert caplog.messages == []


def test_reading_and_check_name_the_cause_of_boxes_outside(tmp_path: Path) -> None:
    row = {"bbox": [50, 10, 12, 25], "keypoints": [51, 20, 2, 55, 12, 2, 60, 33, 2]}
    folder = written(tmp_path, 8, 64, **row)
    with pytest.raises(DatasetError, match=r"(?s)lies outside the image.*labelled unturned"):
        own(folder, "train")
    people = own(folder, "train", check_images=False)
    with pytest.raises(DatasetError, match=r"(?s)lies outside the image.*labelled unturned"):
        check_people(people, progress=False)


def test_boxes_of_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = written(tmp_path, 8, 64, bbox=[30, 10, 47, 60])  # 30, 10 to 47, 60 of 48 x 64
    table = read_boxes(folder / "train.json")
    table.check_pictures([folder / "images" / "a.jpg", folder / "images" / "unknown.jpg"])
    sizes, corners = caplog.messages
    assert sizes.endswith("upright: boxes of a program that does not turn pictures lie elsewhere")
    assert "1 of 1 people have a box that leaves the picture, but not if its numbers" in corners


def test_unreadable_pictures_are_named_before_any_work(tmp_path: Path) -> None:
    folder = written(tmp_path, 1, 64)
    (folder / "images" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.jpg is not a whole image"):
        own(folder, "train")
    assert len(own(folder, "train", check_images=False)) == 1


def test_joints_at_the_corner_are_doubted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Some programs write 0, 0, 2 for what nobody has labelled."""
    own(written(tmp_path, 1, 64, keypoints=[0, 0, 2, 55, 12, 2, 0, 0, 0]), "train")
    [text] = caplog.messages
    assert text.startswith("1 of 1 people have a joint labelled at 0, 0 (first own/1/1)")
