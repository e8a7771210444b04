"""Crops against geometry, packs against their annotations, batches against their seed."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gatedpose.batches import crops as crops_module
from gatedpose.batches.crops import FILL, Crops, batches, pack, packed
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, ImageError
from gatedpose.skeleton import LSP14

PAIR = replace(LSP14, name="pair", joints=("a", "b"), flip_pairs=(), limbs=((0, 1),))


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


def test_crops_of_unlike_sizes_are_not_mixed() -> None:
    people = dotted_crops(2, 32)
    small = replace(people, images=people.images[..., ::2, ::2])
    with pytest.raises(DatasetError, match="pixels a side cannot be mixed: pack all with the same"):
        Crops.join([people, small])
    both = Crops.join([people, people])
    assert torch.equal(both.keypoints, people.keypoints.repeat(2, 1, 1))


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


def test_packed_from_pictures_that_were_replaced(
    make_sample: Callable[..., Sample], tmp_path: Path
) -> None:
    """Resized, or without their EXIF orientation: the crops of before are not learnt from."""
    sample = make_sample([[9.5, 9.5], [20.5, 20.5]], [0, 0, 30, 30])
    packed([sample], tmp_path / "crops.safetensors")
    with Image.open(sample.image) as picture:
        picture.resize((picture.width * 2, picture.height * 2)).save(sample.image)
    with pytest.raises(DatasetError, match=r"packed from other pictures, .*remove it to pack anew"):
        packed([sample], tmp_path / "crops.safetensors")


def test_packed_file_that_is_damaged(make_sample: Callable[..., Sample], tmp_path: Path) -> None:
    sample = make_sample([[9.5, 9.5], [20.5, 20.5]], [0, 0, 30, 30])
    path = tmp_path / "crops.safetensors"
    packed([sample], path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DatasetError, match=r"crops\.safetensors is damaged .*pack anew"):
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
