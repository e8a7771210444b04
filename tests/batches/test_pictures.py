"""Whole pictures with boxes: readers, packs and random views."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from gatedpose.batches.pictures import SIDE, Labelled, Pictures, read_empty, read_labelled
from gatedpose.batches.views import Views, draw_views
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.errors import DatasetError, ImageError
from gatedpose.media.photos import fitted

STILL = Views(
    zoom=(1.0, 1.0), close=0, aspect=1, restretch=1, flip=0, colour=0, grey=0, dark=0, blur=0
)
PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def picture(path: Path, width: int, height: int, box: tuple[int, int, int, int] | None) -> None:
    """A blue picture with a red box in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (width, height), (0, 0, 255))
    if box:
        image.paste((255, 0, 0), box)
    image.save(path, quality=95, subsampling=0)


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    """Two pictures: one of two people, one of none."""
    folder = tmp_path / "yolo"
    for split in ("train", "valid"):
        picture(folder / split / "images" / "a.jpg", 400, 200, (100, 50, 200, 150))
        picture(folder / split / "images" / "b.jpg", 96, 160, None)
        labels = folder / split / "labels"
        labels.mkdir(parents=True)
        (labels / "a.txt").write_text("0 0.375 0.5 0.25 0.5\n1 0.1 0.2 0.3 0.2 0.2 0.4")
        (labels / "b.txt").write_text("")
    return folder


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    picture(folder / "images" / "c.jpg", 80, 160, (16, 32, 48, 96))
    people = {
        "images": [{"id": 1, "file_name": "c.jpg", "width": 80, "height": 160}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [16, 32, 32, 64]}],
    }
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(people))
    return folder


def test_yolo_boxes_and_polygons_are_read(yolo: Path) -> None:
    first, second = read_labelled(yolo, "val")
    assert first.path == yolo / "valid" / "images" / "a.jpg"
    expected = torch.tensor([[100.0, 50, 200, 150], [40, 40, 120, 80]])
    assert torch.allclose(first.pixels(200, 400), expected, atol=1e-3)
    assert second.pixels(160, 96).shape == (0, 4)


def test_joints_of_two_numbers_are_told_from_corners_by_data_yaml(yolo: Path) -> None:
    corners = "0 0.5 0.5 0.2 0.4 0.45 0.35 0.5 0.4"
    (yolo / "valid" / "labels" / "a.txt").write_text(f"{corners} 0.55 0.6 0.5 0.65\n{corners}")
    facts = "train: train.txt\nval: [valid/images, more.txt]\nkpt_shape: [4, 2]\n"
    (yolo / "data.yaml").write_text(facts)  # what lists pictures need not be there
    person, polygon = read_labelled(yolo, "val")[0].boxes.tolist()
    assert person == pytest.approx([0.4, 0.3, 0.6, 0.7])
    assert polygon == pytest.approx([0.2, 0.35, 0.5, 0.5])


@pytest.mark.parametrize("joints", [["0.3 0.4 1", "0 0 0"] * 2, ["0.3 0.4 2"] * 14])
def test_joints_of_even_number_are_no_corners(yolo: Path, joints: list[str]) -> None:
    line = " ".join(("0 0.375 0.5 0.25 0.5", *joints))
    (yolo / "valid" / "labels" / "a.txt").write_text(f"{line}\n0 {'0.2 0.4 0.3 0.6 0.2 0.5 ' * 4}")
    person, polygon = read_labelled(yolo, "val")[0].boxes.tolist()
    assert person == pytest.approx([0.25, 0.25, 0.5, 0.75])
    assert polygon == pytest.approx([0.2, 0.4, 0.3, 0.6])


def test_kinds_of_yolo_folders_and_lines(yolo: Path) -> None:
    """ultralytics' own layout has images/train; lines of poses have joints behind the box."""
    for kind in ("images", "labels"):
        (yolo / kind).mkdir()
        for split, name in (("train", "train"), ("valid", "val")):
            (yolo / split / kind).rename(yolo / kind / name)
    (yolo / "labels" / "val" / "a.txt").write_text("0 0.375 0.5 0.25 0.5 0.3 0.4 2 0.9 0.9 1 0 0 0")
    first, second = read_labelled(yolo, "val")
    assert first.path == yolo / "images" / "val" / "a.jpg"
    assert torch.allclose(first.pixels(200, 400), torch.tensor([[100.0, 50, 200, 150]]))
    assert second.pixels(160, 96).shape == (0, 4)


def test_coco_boxes_are_read(coco: Path) -> None:
    [one] = read_labelled(coco, "train")
    assert one.pixels(160, 80).tolist() == [[16, 32, 48, 96]]


def test_coco_boxes_of_other_pictures_are_doubted(
    coco: Path, caplog: pytest.LogCaptureFixture
) -> None:
    picture(coco / "images" / "c.jpg", 40, 80, None)
    read_labelled(coco, "train")
    assert "(c.jpg is 40 x 80, there 80 x 160): resized after they were labelled?" in caplog.text


def test_missing_pictures_are_named_before_any_is_packed(coco: Path) -> None:
    (coco / "images" / "c.jpg").unlink()
    with pytest.raises(DatasetError, match=r"pictures are missing, 1 of 1: .*coco lacks c\.jpg$"):
        read_labelled(coco, "train")


def test_a_folder_without_labels_is_named(yolo: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds neither valid/labels nor labels/valid, as YOLO"):
        read_labelled(tmp_path / "yolo" / "train", "val")
    (yolo / "train" / "labels" / "b.txt").unlink()
    with pytest.raises(DatasetError, match=r"b.jpg has no labels"):
        read_labelled(yolo, "train")


def test_names_of_classes_in_another_encoding(yolo: Path) -> None:
    (yolo / "train" / "labels" / "a.txt").write_bytes(b"k\xe4se 0.5 0.5 1 1\n")
    assert read_labelled(yolo, "train")[0].boxes.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(
    "line",
    [
        "0 0.1 0.2 0.3", "0 a b c d", "0 0.1 0.2 0.3 0.4 0.5", "0 nan 0.5 0.1 0.1",
        "0 0.5 0.5 inf 1", "0 20 30 40 50", "0 0.5 0.5 -0.1 0.2", "0 0.1 0.1 0.9 0.1 0.5 1e30",
    ],
)  # fmt: skip
def test_a_bad_line_is_named(yolo: Path, line: str) -> None:
    (yolo / "train" / "labels" / "a.txt").write_text(f"0 0.5 0.5 1 1\n{line}\n")
    with pytest.raises(DatasetError, match=r"a.txt, line 2: must be a class and x y"):
        read_labelled(yolo, "train")


def packed(yolo: Path, coco: Path) -> Pictures:
    complete = Pictures.pack(read_labelled(yolo, "train"), True, True)
    return Pictures.join([complete, Pictures.pack(read_labelled(coco, "train"), False, False)])


def test_pictures_are_packed_small_with_their_boxes(yolo: Path, coco: Path) -> None:
    pictures = packed(yolo, coco)
    assert pictures.images.shape == (3, 3, SIDE, SIDE)
    assert pictures.sizes.tolist() == [[320, 160], [96, 160], [80, 160]]  # 400 wide: scale 0.8
    assert torch.allclose(pictures.boxes[0][0], torch.tensor([80.0, 40, 160, 120]), atol=1e-3)
    assert pictures.boxes[1].shape == (0, 4)
    assert pictures.boxes[2].tolist() == [[16, 32, 48, 96]]
    assert pictures.complete.tolist() == [True, True, False]
    assert pictures.stretched.tolist() == [True, True, False]
    padded = pictures.padded(torch.tensor([2, 0]))
    assert padded.shape == (2, 2, 4)
    assert padded[0, 1].isnan().all()
    again = pictures.take(torch.tensor([2, 0]))
    assert torch.equal(again.boxes[0], pictures.boxes[2])
    assert torch.equal(again.boxes[1], pictures.boxes[0])
    assert torch.equal(again.images[torch.tensor([1])], pictures.images[torch.tensor([0])])
    assert again.complete.tolist() == [False, True]


def test_a_pack_is_read_again(yolo: Path, tmp_path: Path) -> None:
    args = read_labelled(yolo, "train"), True, False, tmp_path / "pack.safetensors"
    first, again = Pictures.packed(*args), Pictures.packed(*args)
    for pictures in (first, again):
        assert [boxes.tolist() for boxes in pictures.boxes] == [
            boxes.tolist() for boxes in Pictures.pack(*args[:3]).boxes
        ]
        assert pictures.sizes.tolist() == [[320, 160], [96, 160]]
        assert pictures.complete.tolist() == [True, True]
        assert pictures.stretched.tolist() == [False, False]
    every = torch.arange(2)
    assert torch.equal(again.images[every], first.images[every])


def test_files_that_are_no_pictures_are_named_together(yolo: Path) -> None:
    labelled = read_labelled(yolo, "train")
    for one in labelled:
        one.path.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"a\.jpg is not .*\n.*b\.jpg is not"):
        Pictures.pack(labelled, True, True)


def test_no_picture_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no pictures"):
        Pictures.pack([], True, False)
    picture(tmp_path / "empty" / "d.jpg", 32, 64, None)
    [one] = read_empty(tmp_path / "empty")
    assert isinstance(one, Labelled)
    assert one.boxes.shape == (0, 4)


def test_small_pictures_are_not_enlarged() -> None:
    small, scale = fitted(torch.zeros(3, 20, 30, dtype=torch.uint8), 40)
    assert (small.shape, scale) == ((3, 20, 30), 1.0)
    large, scale = fitted(torch.zeros(3, 50, 100, dtype=torch.uint8), 40)
    assert (large.shape, scale) == ((3, 20, 40), 0.4)


def red_extent(image: Tensor) -> list[int]:
    """Box of the red pixels of an image (3, H, W) of colours in [0, 1]."""
    red = (image[0] > 0.7) & (image[2] < 0.3)
    rows, columns = red.any(dim=1).nonzero().flatten(), red.any(dim=0).nonzero().flatten()
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@pytest.mark.parametrize(
    "views",
    [
        STILL,
        Views(**{**vars(STILL), "flip": 1.0}),
        Views(**{**vars(STILL), "zoom": (0.5, 1.2), "aspect": 1.5, "restretch": 2.0}),
    ],
)
def test_boxes_go_where_the_pixels_go(yolo: Path, coco: Path, views: Views) -> None:
    pictures, indices = packed(yolo, coco), torch.tensor([0, 2, 2])
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        batch = draw_views(pictures, indices, (192, 256), views, PLAIN, generator)
        assert batch.images.shape == (3, 3, 192, 256)
        assert batch.known.shape == (3, 24, 32)
        for image, boxes in zip(batch.images, batch.boxes, strict=True):
            assert boxes[0].tolist() == pytest.approx(red_extent(image), abs=1.5)


def test_what_is_known(yolo: Path, coco: Path) -> None:
    """The picture of 80 x 160 fills the middle 96 columns of 192 x 256: nothing else is known."""
    generator = torch.Generator().manual_seed(0)
    pictures, indices = packed(yolo, coco), torch.tensor([0, 2])
    batch = draw_views(pictures, indices, (192, 256), STILL, PLAIN, generator)
    assert batch.known[0].all()  # complete
    [x0, y0, x1, y1] = batch.boxes[1, 0].tolist()
    assert (y0, y1) == pytest.approx((38.4, 115.2), abs=0.01)
    column = torch.arange(32) * 8 + 4
    row = torch.arange(24) * 8 + 4
    inside = ((row >= y0) & (row < y1))[:, None] & ((column >= x0) & (column < x1))
    left = x0 - 16 * 1.2
    beyond = (column < left) | (column >= left + 96)
    assert torch.equal(batch.known[1].bool(), inside | beyond)


def test_people_too_small_or_cut_off_are_not_learnt(yolo: Path, coco: Path) -> None:
    views = Views(**{**vars(STILL), "least": 60.0})
    generator = torch.Generator().manual_seed(0)
    pictures, indices = packed(yolo, coco), torch.tensor([0, 2])
    batch = draw_views(pictures, indices, (192, 256), views, PLAIN, generator)
    assert not batch.boxes[0, 0].isnan().any()  # 64 x 64
    assert batch.boxes[0, 1].isnan().all()  # 51 x 26
    assert batch.known[0].sum() < 24 * 32
    assert not batch.boxes[1, 0].isnan().any()  # 38 x 77
