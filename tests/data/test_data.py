"""Readers against the published layouts, crops against geometry, batches against their seed."""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import Tensor

from gatedpose.batches import crops as crops_module
from gatedpose.batches.crops import FILL, Crops, batches, pack, packed
from gatedpose.data import lsp as lsp_module
from gatedpose.data.lsp import lsp, lspet, lspet_val, near_duplicates
from gatedpose.data.readers import READERS, read_dataset
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, ImageError
from gatedpose.skeleton import LSP14

PAIR = replace(LSP14, name="pair", joints=("a", "b"), flip_pairs=(), limbs=((0, 1),))


def digest(ids: list[str]) -> str:
    return hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]


# Readers


def test_lsp_values_flags_and_boxes(lsp_folder: Path, lsp_joints: np.ndarray) -> None:
    people = lsp(lsp_folder, "val")
    person = people[3]
    assert person.id == "lsp/im0804"
    assert person.image == lsp_folder / "images" / "im0804.jpg"
    assert person.skeleton == LSP14
    published = lsp_joints[:2, :, 803].T - 0.5  # 1-based indices: the first pixel's centre is 0.5
    np.testing.assert_allclose(person.keypoints, published, rtol=1e-6)
    assert person.keypoints.dtype == person.box.dtype == np.float32
    assert lsp_joints[2].any()  # the third row says occluded, which is labelled all the same
    assert all(p.labelled.dtype == bool and p.labelled.all() for p in people)
    tight = [*published.min(axis=0), *published.max(axis=0)]
    np.testing.assert_allclose(person.box, tight, rtol=1e-6)


def test_lspet_values_masks_and_boxes(lspet_folder: Path, lspet_joints: np.ndarray) -> None:
    person = next(p for p in lspet(lspet_folder, "train") if p.id == "lspet/im00007")
    assert person.image == lspet_folder / "images" / "im00007.jpg"
    assert np.flatnonzero(person.labelled).tolist() == [0, 3, 6, 9, 12]
    published = lspet_joints[:, :2, 6] - 0.5
    np.testing.assert_allclose(person.keypoints, published, rtol=1e-6)
    seen = published[person.labelled]  # the placeholders at -77 do not widen the box
    np.testing.assert_allclose(person.box, [*seen.min(axis=0), *seen.max(axis=0)], rtol=1e-6)


def test_splits_of_lsp(lsp_folder: Path) -> None:
    train, val = (lsp(lsp_folder, split) for split in ("train", "val"))
    assert [p.id for p in val] == [f"lsp/im{i:04d}" for i in range(801, 1001)]
    left_out = {f"lsp/im{i:04d}" for i in range(1, 801)} - {p.id for p in train}
    assert left_out == {name for name in near_duplicates() if name.startswith("lsp/")}
    assert 0 < len(left_out) < 20
    assert [p.id for p in train] == sorted(p.id for p in train)
    with pytest.raises(DatasetError, match=r"lacks im1001\.jpg, .*im1005\.jpg and 995 more"):
        lsp(lsp_folder, "test")


def test_test_split_of_lsp(lsp_folder: Path, lsp_joints: np.ndarray, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (tmp_path / "joints.mat").hardlink_to(lsp_folder / "joints.mat")
    for i in range(1001, 2001):
        (images / f"im{i}.jpg").touch()
    people = lsp(str(tmp_path), "test")
    assert [people[0].id, people[-1].id, len(people)] == ["lsp/im1001", "lsp/im2000", 1000]
    np.testing.assert_allclose(people[-1].keypoints[:, 1], lsp_joints[1, :, -1] - 0.5, rtol=1e-6)


def test_splits_of_lspet(lspet_folder: Path) -> None:
    train, val = ([p.id for p in lspet(lspet_folder, split)] for split in ("train", "val"))
    assert len(val) == len(set(val)) == 400
    assert not set(train) & set(val)
    assert val == sorted(val)
    assert train == sorted(train)
    full = {f"lspet/im{i + 1:05d}" for i in range(9000, 9450)}
    assert set(val) < full
    assert "lspet/im00391" in near_duplicates()
    partly = {f"lspet/im{i:05d}" for i in (1, 2, 3, 6, 7, 8)}  # not 391, nor 4 with one joint
    assert set(train) == ((full - set(val)) | partly) - near_duplicates()


def test_near_duplicates_stay_in_validation(
    lsp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lsp_module, "near_duplicates", lambda: {"lsp/im0002", "lsp/im0801"})
    train, val = ([p.id for p in lsp(lsp_folder, split)] for split in ("train", "val"))
    assert "lsp/im0002" not in train
    assert len(train) == 799
    assert "lsp/im0801" in val


def test_lspet_val_is_fixed() -> None:
    drawn = lspet_val(np.ones((10000, 14), dtype=bool))
    assert drawn[:5] == [29, 51, 62, 72, 101]
    assert digest([str(i) for i in drawn]) == "77849a52c386e023"
    mask = np.ones((10000, 14), dtype=bool)
    mask[29, 13] = False
    assert 29 not in lspet_val(mask)


@pytest.mark.parametrize(
    ("name", "split", "count", "first", "ids"),
    [
        ("lsp", "train", 791, "lsp/im0001", "fd926d15d97d5ffd"),
        ("lsp", "val", 200, "lsp/im0801", "79b1cea1429df95e"),
        ("lspet", "train", 9583, "lspet/im00001", "51917a29b14abafa"),
        ("lspet", "val", 400, "lspet/im00025", "88346cc7d4849a4c"),
    ],
)
def test_published_data(
    name: str, split: str, count: int, first: str, ids: str, real_data: Path
) -> None:
    people = read_dataset(name, real_data / name, split)
    assert len(people) == count
    assert people[0].id == first
    assert digest([p.id for p in people]) == ids
    boxes = np.stack([p.box for p in people])
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert np.isfinite(np.stack([p.keypoints for p in people])).all()
    if name == "lsp" and split == "train":
        ankle, head = people[0].keypoints[[0, 13]]
        np.testing.assert_allclose([*ankle, *head], [29.246, 142.845, 38.488, 15.066], atol=1e-3)
    if split == "val":
        assert all(p.labelled.all() for p in people)


@pytest.mark.parametrize("name", ["lsp", "lspet", "mpii", "coco"])
def test_unknown_split(name: str, tmp_path: Path) -> None:
    wrong = "validation" if name == "lsp" else "test"  # only LSP has a test half that is public
    with pytest.raises(DatasetError, match=f"{name} has the splits train, val"):
        read_dataset(name, tmp_path, wrong)


def test_unknown_dataset(tmp_path: Path) -> None:
    names = ", ".join(READERS)
    assert names == "lsp, lspet, mpii, coco, own"
    with pytest.raises(DatasetError, match=r"'mpi'; did you mean mpii\?$"):
        read_dataset("mpi", tmp_path, "train")
    with pytest.raises(DatasetError, match=f"unknown dataset 'FLIC'; there are {names}$"):
        read_dataset("FLIC", tmp_path, "train")


def test_annotations_without_images(lsp_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "joints.mat").hardlink_to(lsp_folder / "joints.mat")
    people = read_dataset("lsp", tmp_path, "val", check_images=False)
    assert [p.id for p in people] == [p.id for p in read_dataset("lsp", lsp_folder, "val")]


DAMAGED = {
    "absent": (None, "holds no joints.mat; it must hold joints.mat and images/"),
    "text": (b"404: not found" * 50, r"joints\.mat cannot be read"),
    "empty": (b"", r"joints\.mat cannot be read"),
    "cut": (300, r"joints\.mat cannot be read"),
    "other key": ({"points": np.ones(3)}, "cannot be read as a MATLAB file with 'joints'"),
    "other set": (
        {"joints": np.zeros((14, 3, 10000), np.uint8)},
        r"must have shape \(3, 14, 2000\), got \(14, 3, 10000\) \(that is LSP-extended\)$",
    ),
    "other shape": ({"joints": np.zeros((14, 3, 2000), np.uint8)}, r"got \(14, 3, 2000\)$"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_joints(kind: str, lsp_folder: Path, tmp_path: Path) -> None:
    content, text = DAMAGED[kind]
    path = tmp_path / "joints.mat"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, int):
        path.write_bytes((lsp_folder / "joints.mat").read_bytes()[:content])
    elif content is not None:
        savemat(path, content)
    with pytest.raises(DatasetError, match=text):
        lsp(tmp_path, "train")


def test_lsp_given_as_lspet(lsp_folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"got \(3, 14, 2000\) \(that is LSP\)$"):
        lspet(lsp_folder, "train")


def test_wrong_images_are_named(lsp_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lsp_folder, tmp_path / "lsp", copy_function=os.link)
    images = tmp_path / "lsp" / "images"
    (images / ".DS_Store").touch()  # hidden files are nobody's business
    lsp(tmp_path / "lsp", "val")
    (images / "im0900.jpg").rename(images / "im0900.JPG")
    with pytest.raises(DatasetError, match=r"images lacks im0900\.jpg$"):
        lsp(tmp_path / "lsp", "val")
    with pytest.raises(DatasetError, match=r"do not belong to it: im0900\.JPG$"):
        lsp(tmp_path / "lsp", "train")
    shutil.rmtree(images)
    with pytest.raises(DatasetError, match="images is missing"):
        lsp(tmp_path / "lsp", "train")


def test_without_scipy(lsp_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ImportError, match=r'pip install "gatedpose\[train\]"'):
        lsp(lsp_folder, "train")


# Crops


@pytest.fixture
def make_sample(tmp_path: Path) -> Callable[..., Sample]:
    """A picture of 60 x 90 with a red dot at joint a and a blue one at joint b."""

    def make(keypoints: list[list[float]], box: list[float], name: str = "0") -> Sample:
        pixels = np.full((60, 90, 3), 30, np.uint8)
        for (x, y), channel in zip(keypoints, (0, 2), strict=True):
            pixels[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2, channel] = 250
        path = tmp_path / f"{name}.png"
        Image.fromarray(pixels).save(path)
        points = np.array(keypoints, np.float32)
        return Sample(name, path, points, np.array([True, False]), np.array(box, np.float32), PAIR)

    return make


def centroid(plane: Tensor) -> list[float]:
    """Centre of what is bright, (x, y)."""
    weight = (plane.double() - 60).clamp_min(0)
    rows, columns = (torch.arange(n, dtype=torch.double) + 0.5 for n in plane.shape)
    total = weight.sum()
    return [
        float((weight.sum(dim=0) * columns).sum() / total),
        float((weight.sum(dim=1) * rows).sum() / total),
    ]


@pytest.mark.parametrize("size", [64, 160])
def test_pack_puts_joints_where_the_geometry_says(
    size: int, make_sample: Callable[..., Sample]
) -> None:
    joints = [[40.5, 20.5], [50.5, 40.5]]
    samples = [
        make_sample(joints, [30, 14, 60, 54], "tall"),  # side 40, cropped 80 about (45, 34)
        make_sample(joints, [35, 25, 55, 35], "wide"),  # side 20, cropped 40 about (45, 30)
    ]
    crops = pack(samples, size)
    assert crops.images.shape == (2, 3, size, size)
    assert crops.labelled.tolist() == [[True, False]] * 2
    images = crops.images[torch.arange(2)]
    assert images.dtype == torch.uint8
    for i, (centre, side) in enumerate((((45, 34), 80), ((45, 30), 40))):
        for joint, channel in ((0, 0), (1, 2)):
            right = [(joints[joint][d] - centre[d]) * size / side + size / 2 for d in (0, 1)]
            assert crops.keypoints[i, joint].tolist() == pytest.approx(right, abs=1e-3)
            plane = images[i, channel].clone()
            plane[(images[i, 1] > 60)] = 0  # what lies outside the picture
            assert centroid(plane) == pytest.approx(right, abs=0.3)


def test_pack_fills_what_lies_outside(make_sample: Callable[..., Sample]) -> None:
    sample = make_sample([[12.5, 10.5], [8.5, 20.5]], [0, 0, 20, 30])
    crops = pack([sample], 60)  # 60 pixels about (10, 15): 20 columns and 15 rows are outside
    image = crops.images[torch.tensor([0])][0].int()
    for strip in (image[:, :, :16], image[:, :8]):  # up to JPEG's last block before the border
        assert (strip - torch.tensor(FILL)[:, None, None]).abs().max() <= 2
    assert (image[1, 32:, 32:] - 30).abs().max() <= 4


def test_pack_names_an_image_that_cannot_be_read(make_sample: Callable[..., Sample]) -> None:
    samples = [make_sample([[9.5, 9.5], [20.5, 20.5]], [0, 0, 30, 30], str(i)) for i in (0, 1)]
    samples[1].image.write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"1\.png"):
        pack(samples, 32)


def dotted_crops(count: int, side: int) -> Crops:
    """Crops with a bright square of 8 pixels, whose middle is the first of two joints."""
    corners = torch.randint(0, side - 8, (count, 2), generator=torch.Generator().manual_seed(0))
    images = torch.full((count, 3, side, side), 30, dtype=torch.uint8)
    for image, (x, y) in zip(images, corners.tolist(), strict=True):
        image[:, y : y + 8, x : x + 8] = 250
    joints = corners[:, None] + torch.tensor([[4.0, 4.0], [9.0, -1.0]])
    return Crops(images, joints, torch.rand(count, 2) > 0.5)


@pytest.mark.parametrize(
    ("size", "factor"), [(256, 1), (101, 1), (100, 2), (64, 2), (51, 2), (50, 4), (25, 8)]
)
def test_shrunk_halves_while_the_input_stays_smaller(size: int, factor: int) -> None:
    crops = dotted_crops(2, 320)  # 320 * 1.25 / 2 = 200 pixels become the input
    small = crops.shrunk(size)
    assert small.images.shape == (2, 3, 320 // factor, 320 // factor)
    assert small.images.dtype == torch.uint8
    assert torch.equal(small.labelled, crops.labelled)
    assert torch.equal(small.keypoints * factor, crops.keypoints)
    assert (small is crops) == (factor == 1)
    for image, joints in zip(small.images, small.keypoints, strict=True):
        assert centroid(image[0]) == pytest.approx(joints[0].tolist(), abs=0.3)


def test_shrunk_averages_and_keeps_the_order_of_many() -> None:
    images = torch.randint(0, 256, (300, 3, 16, 16), dtype=torch.uint8)
    crops = Crops(images, torch.rand(300, 2, 2), torch.ones(300, 2, dtype=torch.bool))
    small = crops.shrunk(5).images
    mean = images.double().view(300, 3, 8, 2, 8, 2).mean(dim=(3, 5))
    assert small.shape == (300, 3, 8, 8)
    assert (small - mean).abs().max() <= 0.5


def test_take(make_sample: Callable[..., Sample]) -> None:
    crops = replace(dotted_crops(5, 32), ids=tuple("abcde"))
    taken = crops.take(torch.tensor([4, 1, 4]))
    assert taken.ids == ("e", "b", "e")
    assert crops.shrunk(5).to(torch.device("cpu")).ids == crops.ids
    assert len(crops) == 5
    assert len(taken) == 3
    for name in ("images", "keypoints", "labelled"):
        whole, part = getattr(crops, name), getattr(taken, name)
        assert torch.equal(part, torch.stack((whole[4], whole[1], whole[4])))


def same(one: Crops, other: Crops) -> bool:
    every = torch.arange(len(one))
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("keypoints", "labelled")]
    pairs.append((one.images[every], other.images[every]))
    return all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)


def test_packed_packs_once(
    make_sample: Callable[..., Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [make_sample([[9.5, 9.5], [20.5, 20.5]], [0, 0, 30, 30], name) for name in "ab"]
    path = tmp_path / "crops.safetensors"
    first = packed(samples, path)
    assert first.images.shape == (2, 3, 320, 320)
    assert first.ids == ("a", "b")
    assert same(first, pack(samples))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png", "crops.safetensors"]
    monkeypatch.setattr(crops_module, "pack", lambda samples: pytest.fail("packed anew"))
    again = packed(samples, path)
    assert same(again, first)
    assert again.ids == first.ids


@pytest.mark.parametrize("change", ["fewer", "order", "box", "joint", "label"])
def test_packed_from_other_annotations(
    change: str, make_sample: Callable[..., Sample], tmp_path: Path
) -> None:
    samples = [make_sample([[9.5, 9.5], [20.5, 20.5]], [0, 0, 30, 30], name) for name in "ab"]
    packed(samples, tmp_path / "crops.safetensors")
    other = {
        "fewer": samples[:1],
        "order": samples[::-1],
        "box": [samples[0], replace(samples[1], box=samples[1].box + 1)],
        "joint": [samples[0], replace(samples[1], keypoints=samples[1].keypoints + 0.1)],
        "label": [samples[0], replace(samples[1], labelled=~samples[1].labelled)],
    }[change]
    with pytest.raises(DatasetError, match=r"crops\.safetensors was packed from other annot"):
        packed(other, tmp_path / "crops.safetensors")


def test_packed_file_that_is_damaged(make_sample: Callable[..., Sample], tmp_path: Path) -> None:
    sample = make_sample([[9.5, 9.5], [20.5, 20.5]], [0, 0, 30, 30])
    path = tmp_path / "crops.safetensors"
    packed([sample], path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"crops\.safetensors is damaged .*remove it"):
        packed([sample], path)


# Batches


def draw(count: int, *args: int, **kwargs: int) -> list[list[int]]:
    weights = torch.cat((torch.full((30,), 4.0), torch.full((60,), 1.0), torch.zeros(10)))
    return [indices.tolist() for indices in islice(batches(weights, *args, **kwargs), count)]


def test_batches_can_be_asked_for_again_from_any_step() -> None:
    whole = draw(9, 8, seed=3, start=0)
    assert whole == draw(9, 8, seed=3, start=0)
    for start in (1, 5):
        assert draw(9 - start, 8, seed=3, start=start) == whole[start:]
    assert len({tuple(indices) for indices in whole}) == 9
    assert not {tuple(i) for i in whole} & {tuple(i) for i in draw(9, 8, seed=4, start=0)}


def test_ranks_share_one_draw() -> None:
    ranks = [draw(4, 8, seed=3, start=2, rank=rank, world=3) for rank in range(3)]
    for step, single in enumerate(draw(4, 24, seed=3, start=2)):
        parts = [rank[step] for rank in ranks]
        assert [len(part) for part in parts] == [8, 8, 8]
        assert [i for part in parts for i in part] == single
        assert len(set(single)) == 24


def test_batches_respect_the_weights() -> None:
    drawn = np.array(draw(1500, 1, seed=0, start=0)).ravel()
    assert drawn.max() < 90  # those of weight 0 never come
    heavy = (drawn < 30).mean()  # 30 people of weight 4 and 60 of weight 1: 120 / 180
    assert heavy == pytest.approx(2 / 3, abs=0.04)
    assert len(set(drawn.tolist())) == 90


@pytest.mark.parametrize("side", [1e-30, 0.5, 3e38, float("nan")])
def test_boxes_of_nobody_are_named(side: float, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "x.png")
    box = np.array([3, 4, 3 + side, 4 + side], np.float32)
    points, labelled = np.ones((2, 2), np.float32), np.ones(2, bool)
    with pytest.raises(DatasetError, match=r"own/7/1: a box of .* pixels"):
        pack([Sample("own/7/1", tmp_path / "x.png", points, labelled, box, PAIR)], 32)
