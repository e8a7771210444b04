"""The coordinate convention by hand-worked numbers, its laws, and crops without bias."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatedpose.errors import BoxError
from gatedpose.geometry import (
    as_boxes,
    compose,
    crop_image,
    crop_matrices,
    invert,
    keypoints_to_box,
    mirror,
    transform_points,
    warp,
)

H, W = 12, 20
laws = settings(max_examples=40, deadline=None)


def similarity(scale: float, angle: float, x: float, y: float) -> list[list[float]]:
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return [[cos, -sin, x], [sin, cos, y]]


transforms = st.lists(
    st.builds(
        similarity,
        st.floats(0.05, 20),
        st.floats(-math.pi, math.pi),
        st.floats(-500, 500),
        st.floats(-500, 500),
    ),
    min_size=2,
    max_size=2,
).map(lambda rows: torch.tensor(rows, dtype=torch.float64))


def grid_of_points() -> Tensor:
    return torch.tensor([[[0.0, 0], [64, 3], [-20, 48]], [[7, 7], [0, 5], [100, -3]]]).double()


# Boxes


@pytest.mark.parametrize(
    "kind",
    [
        list,
        np.array,
        torch.tensor,
        lambda boxes: torch.tensor(boxes).double(),
        lambda boxes: list(map(torch.tensor, boxes)),
        lambda boxes: list(map(np.array, boxes)),
        lambda boxes: np.array(boxes[::-1])[::-1],
        lambda boxes: np.array(boxes, ">f4"),
        lambda boxes: np.array(boxes, object),
    ],
)
def test_good_boxes_of_every_kind(kind: Any) -> None:
    boxes = [[0.5, 0.0, 20.0, 12.0], [-5.0, -5.0, 1.0, 1.0]]
    got = as_boxes(kind(boxes), H, W)
    assert got.dtype == torch.float32
    assert got.tolist() == boxes


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([math.nan, 0, 5, 5], r"\(nan, 0, 5, 5\) has values that are not finite"),
        ([0, 0, math.inf, 5], r"\(0, 0, inf, 5\) has values that are not finite"),
        ([3, 2, 3, 9], r"\(3, 2, 3, 9\) has no area"),
        ([3, 2, 9, 2], "has no area"),
        ([8, 2, 3, 9], r"\(8, 2, 3, 9\) has no area: .*x0 < x1 and y0 < y1"),
        ([3, 9, 8, 2], "has no area"),
        ([20, 0, 30, 5], r"\(20, 0, 30, 5\) lies outside the image of 20 x 12 pixels"),
        ([0, 12, 5, 15], "lies outside"),
        ([-9, 0, 0, 5], "lies outside"),
        ([0, -9, 5, 0], "lies outside"),
        ([0, 0, 1e-30, 1e-30], r"\(0, 0, 1e-30, 1e-30\) is no larger than a pixel"),
        ([0.1, 0.2, 0.5, 0.9], r"is no larger than a pixel: boxes are in pixels, not in shares"),
        ([0, 0, 1, 1], "is no larger than a pixel: boxes are in pixels, not in shares"),
        ([-3e38, 0, 5, 5], r"reaches more than 1e\+06 pixels away"),
    ],
)
def test_bad_boxes_are_named(bad: list[float], why: str) -> None:
    with pytest.raises(BoxError, match=f"^box 1 .*{why}"):
        as_boxes([[0, 0, 5, 5], bad], H, W)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([], r"shape \(N, 4\) with N >= 1.*got shape \(0,\)"),
        (torch.empty(0, 4), r"got shape \(0, 4\)"),
        ([0, 0, 5, 5], r"got shape \(4,\)"),
        ([[0, 0, 5], [0, 0, 5]], r"got shape \(2, 3\)"),
        ([[[0, 0, 5, 5]]], r"got shape \(1, 1, 4\)"),
        ([["0", "0", "a", "b"]], "boxes must be numbers"),
        ("person", "boxes must be numbers"),
        ([[0, 0, 5, 5], [0, 0, 5]], "boxes must be numbers"),
        (None, r"got shape \(\)"),
    ],
)
def test_what_is_no_list_of_boxes(boxes: Any, message: str) -> None:
    with pytest.raises(BoxError, match=message):
        as_boxes(boxes, H, W)


def test_keypoints_to_box_by_hand() -> None:
    keypoints = torch.tensor(
        [[[4.0, 9], [10, 2], [-99, 500]], [[7, 7], [math.nan, math.nan], [1, 1]]]
    )
    labelled = torch.tensor([[True, True, False], [True, False, False]])
    boxes = keypoints_to_box(keypoints, labelled)
    assert boxes.tolist() == [[4, 2, 10, 9], [6.5, 6.5, 7.5, 7.5]]  # one pixel wide at least
    assert keypoints_to_box(keypoints[0], labelled[0]).tolist() == [4, 2, 10, 9]


def test_keypoints_to_box_needs_a_labelled_keypoint_of_every_person() -> None:
    labelled = torch.tensor([[True, True, True], [False, False, False]])
    with pytest.raises(BoxError, match="at least one labelled keypoint"):
        keypoints_to_box(torch.rand(2, 3, 2), labelled)


# Transforms


def test_crop_matrices_by_hand() -> None:
    boxes = torch.tensor([[10.0, 20, 50, 40], [0, 0, 8, 16]])
    # Squares of side 50 about (30, 30) and 20 about (4, 8), in 48 pixels: scale 0.96 and 2.4.
    got = crop_matrices(boxes, (64, 48))
    right = [[[0.96, 0, 24 - 28.8], [0, 0.96, 32 - 28.8]], [[2.4, 0, 14.4], [0, 2.4, 12.8]]]
    torch.testing.assert_close(got, torch.tensor(right))
    wide = crop_matrices(boxes, (48, 64))
    torch.testing.assert_close(wide[:, :, 2], got[:, :, 2] + torch.tensor([8.0, -8.0]))
    tight = crop_matrices(boxes, (48, 48), margin=1.0)
    ends = torch.tensor([[[10.0, 30], [50, 30]], [[4, 0], [4, 16]]])
    middle = torch.tensor([[[0.0, 24], [48, 24]], [[24, 0], [24, 48]]])
    torch.testing.assert_close(transform_points(tight, ends), middle)


def test_rotation_turns_the_content_clockwise() -> None:
    boxes = torch.tensor([[10.0, 20, 50, 40], [10, 20, 50, 40]])
    matrices = crop_matrices(boxes, (64, 48), rotation=torch.tensor([math.pi / 2, 0.0]))
    above = torch.tensor([[[30.0, 5.0]], [[30.0, 5.0]]])  # 25 pixels above the centre
    torch.testing.assert_close(
        transform_points(matrices, above), torch.tensor([[[48.0, 32.0]], [[24.0, 8.0]]])
    )
    image = torch.zeros(2, 3, 60, 60)
    image[..., 5:15, 28:32] = 1
    crops = warp(image, matrices, (64, 48))
    assert crops[0, 0, 30:34, 40:46].min() > 0.9
    assert crops[1, 0, 10:16, 23:25].min() > 0.9


def test_mirror_flips_left_and_right() -> None:
    image = torch.rand(2, 3, 7, 10)
    torch.testing.assert_close(
        warp(image, mirror(10, image).expand(2, -1, -1), (7, 10)), image.flip(-1)
    )
    points = transform_points(mirror(10, image), torch.tensor([[[0.0, 3], [2.5, 4], [10, 0]]]))
    assert points.tolist() == [[[10, 3], [7.5, 4], [0, 0]]]


def test_transform_points_by_hand() -> None:
    matrices = torch.tensor([[[2.0, 1, 5], [0, 3, -1]], [[1, 0, 0], [0, 1, 0]]])
    points = torch.tensor([[[1.0, 1], [0, 0], [2, -1]], [[4, 5], [6, 7], [8, 9]]])
    got = transform_points(matrices, points)
    assert got.tolist() == [[[8, 2], [5, -1], [8, -4]], [[4, 5], [6, 7], [8, 9]]]


@laws
@given(transforms)
def test_invert_undoes(matrices: Tensor) -> None:
    points = grid_of_points()
    there = transform_points(matrices, points)
    torch.testing.assert_close(transform_points(invert(matrices), there), points)
    identity = torch.eye(2, 3, dtype=torch.float64).expand(2, -1, -1)
    for both in (compose(matrices, invert(matrices)), compose(invert(matrices), matrices)):
        torch.testing.assert_close(both, identity, atol=1e-8, rtol=0)


@laws
@given(transforms, transforms)
def test_compose_applies_before_then_after(after: Tensor, before: Tensor) -> None:
    points = grid_of_points()
    torch.testing.assert_close(
        transform_points(compose(after, before), points),
        transform_points(after, transform_points(before, points)),
    )


# Warp


def identities(count: int) -> Tensor:
    return torch.eye(2, 3).expand(count, -1, -1).clone()


def test_warp_by_the_identity_keeps_the_image_and_is_0_outside() -> None:
    image = torch.rand(2, 3, 6, 11)
    torch.testing.assert_close(warp(image, identities(2), (6, 11)), image, atol=1e-5, rtol=0)
    larger = warp(image, identities(2), (9, 14))
    torch.testing.assert_close(larger[..., :6, :11], image, atol=1e-5, rtol=0)
    assert larger[..., 6:, :].abs().max() < 1e-5
    assert larger[..., :, 11:].abs().max() < 1e-5


def test_threads_share_the_rows_of_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 3, 50, 70)
    matrices = crop_matrices(torch.tensor([[3.0, 5, 60, 40]]), (64, 96), rotation=torch.ones(1))
    crops = []
    for number in (1, 2, 3):  # 3 do not divide 64 rows
        monkeypatch.setattr(torch, "get_num_threads", lambda number=number: number)
        crops.append(warp(image, matrices, (64, 96)))
    assert all(torch.equal(crop, crops[0]) for crop in crops)
    pair = warp(image.expand(2, -1, -1, -1), matrices.expand(2, -1, -1), (64, 96))
    assert torch.equal(pair[1:], crops[0])


@pytest.mark.parametrize("axis", [0, 1])
def test_warp_by_half_a_pixel_averages_neighbours(axis: int) -> None:
    image = torch.rand(2, 3, 6, 8)
    matrices = identities(2)
    matrices[1, axis, 2] = 0.5  # the content moves right (or down) by half a pixel
    got = warp(image, matrices, (6, 8))
    dim = 2 if axis == 0 else 1
    before = image[1].roll(1, dims=dim)
    before.select(dim, 0).zero_()
    torch.testing.assert_close(got[1], (image[1] + before) / 2)
    torch.testing.assert_close(got[0], image[0])


# One crop of a large image


def uint8_noise(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


FILL = torch.tensor([10.0, 120.0, 250.0])


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    ("box", "angle"),
    [
        ((20.0, 15, 40, 35), 0.0),
        ((20.0, 15, 40, 35), 0.7),
        ((-12.0, -9, 11, 6), -0.4),  # partly outside, at every corner
        ((70.0, 40, 96, 71), 2.0),
        ((-30.0, 20, 1, 40), 0.0),
    ],
)
def test_crop_that_does_not_shrink_is_the_warp(
    box: tuple[float, ...], angle: float, kind: torch.dtype
) -> None:
    image, size = uint8_noise(61, 83), (64, 48)
    matrix = crop_matrices(torch.tensor([box]), size, rotation=torch.tensor([angle]))
    offset = FILL.view(1, 3, 1, 1)
    right = warp(image[None].float() - offset, matrix, size) + offset
    got = crop_image(image.to(kind), matrix[0], size, FILL)
    assert got.dtype == torch.float32
    assert got.shape == (3, *size)
    torch.testing.assert_close(got, right[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_outside_gets_the_fill(scale: float, kind: torch.dtype) -> None:
    image = torch.full((3, 40, 60), 200, dtype=kind)
    # The image's left edge falls on crop column 10, its top on crop row 6.
    matrix = torch.tensor([[scale, 0, 10], [0, scale, 6]])
    crop = crop_image(image, matrix, (18, 24), FILL)
    right = FILL.view(3, 1, 1).expand(3, 18, 24)
    torch.testing.assert_close(crop[:, :5], right[:, :5])
    torch.testing.assert_close(crop[..., :9], right[..., :9])
    assert (crop[:, 7:, 11:] - 200).abs().max() < 1e-3


@pytest.mark.parametrize("origin", [(500.0, 0.0), (0.0, -500.0), (-500.0, 500.0)])
@pytest.mark.parametrize("scale", [2.0, 0.2])
def test_crop_wholly_outside_is_all_fill(origin: tuple[float, float], scale: float) -> None:
    matrix = torch.tensor([[scale, 0, origin[0]], [0, scale, origin[1]]])
    crop = crop_image(uint8_noise(H, W), matrix, (18, 24), FILL)
    torch.testing.assert_close(crop, FILL.view(3, 1, 1).expand(3, 18, 24))


def test_box_almost_wholly_outside() -> None:
    matrix = crop_matrices(torch.tensor([[-1000.0, -1000, 1, 1]]), (64, 48))[0]
    crop = crop_image(uint8_noise(H, W), matrix, (64, 48), FILL)
    assert crop.isfinite().all()
    same = (crop - FILL.view(3, 1, 1)).abs().amax(0) < 1e-3
    assert same.float().mean() > 0.99


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("box", [(20.0, 30, 190, 170), (-90.0, 40, 120, 300), (150.3, 2, 400, 240)])
def test_upright_and_turned_crops_agree(box: tuple[float, ...], kind: torch.dtype) -> None:
    """An upright crop is resized and shifted, a turned one sampled: they show the same."""
    across, down = torch.meshgrid(torch.arange(320.0), torch.arange(240.0), indexing="xy")
    image = torch.stack(
        [127 + 100 * torch.sin(across / 9 + i) * torch.cos(down / 11) for i in range(3)]
    )
    size = (64, 48)
    boxes = torch.tensor([box]).expand(2, 4)
    upright, turned = crop_matrices(boxes, size, rotation=torch.tensor([0.0, 1e-5]))
    crops = [crop_image(image.to(kind), matrix, size, FILL) for matrix in (upright, turned)]
    difference = (crops[0] - crops[1]).abs()
    within = difference <= 3
    assert within.float().mean() > 0.95  # but where the image ends
    assert difference[within].mean() < 0.7


@pytest.mark.parametrize("extent", [(40, 3), (3, 40), (3, 2), (1, 1)])
def test_sliver_of_an_image(extent: tuple[int, int]) -> None:
    """What is left of the image is one pixel wide or high when shrunk; uint8 and float agree."""
    image = uint8_noise(*extent)
    matrix = torch.tensor([[0.3, 0, 8.4], [0, 0.3, 3.4]])
    crops = [crop_image(kind, matrix, (18, 24), FILL) for kind in (image, image.float())]
    torch.testing.assert_close(crops[0], crops[1], atol=1, rtol=0)
    assert (crops[0] - FILL.view(3, 1, 1)).abs().max() > 5


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_shrinking_does_not_alias(kind: torch.dtype) -> None:
    board = (torch.arange(200)[:, None] + torch.arange(300)) % 2 * 255
    image = board.expand(3, -1, -1).to(kind)
    matrix = crop_matrices(torch.tensor([[50.0, 20, 250, 180]]), (48, 40), margin=1.0)[0]
    crop = crop_image(image, matrix, (48, 40), FILL)
    inner = crop[:, 10:-10, 2:-2]
    assert (inner - 127.5).abs().max() < 2
    assert (warp(image[None].float(), matrix[None], (48, 40)) - 127.5).abs().max() > 50


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [(64, 64), (64, 48), (40, 72)])
@pytest.mark.parametrize("shrink", [6.0, 2.0, 1.3, 1.0, 0.3])
def test_crops_have_no_bias(shrink: float, size: tuple[int, int], kind: torch.dtype) -> None:
    """A blob at a known continuous position lands where the matrix says, wherever the box is."""
    rng = np.random.default_rng(int(10 * shrink) + size[1])
    height, width = 211, 307
    side = min(size) * shrink / 1.25
    sigma = max(1.0, 1.5 * shrink)  # image pixels
    errors = []
    for aspect, angle in ((1.0, 0.0), (0.5, 0.0), (2.3, 0.0), (0.7, 0.5)):
        half = np.array([min(1.0, aspect), min(1.0, 1 / aspect)]) * side / 2
        centre = rng.uniform((0.2 * width, 0.2 * height), (0.8 * width, 0.8 * height))
        box = torch.tensor(np.concatenate([centre - half, centre + half])[None])
        matrix = crop_matrices(box.float(), size, rotation=torch.tensor([angle]))
        wanted = blob_positions(rng, matrix, size, (height, width), 4 * sigma, 4 * sigma / shrink)
        image = blobs(transform_points(invert(matrix), wanted)[0], (height, width), sigma)
        crop = crop_image(image.to(kind), matrix[0], size, torch.zeros(3))
        errors.append(centroids(crop) - wanted[0])
    error = torch.stack(errors)
    assert error.abs().max() < 0.1
    assert error.mean((0, 1)).abs().max() < 0.05


def blob_positions(
    rng: np.random.Generator,
    matrix: Tensor,
    size: tuple[int, int],
    extent: tuple[int, int],
    image_margin: float,
    crop_margin: float,
) -> Tensor:
    """Three crop positions (1, 3, 2) that keep both margins."""
    low, high = np.full(2, crop_margin), np.array(size[::-1]) - crop_margin
    tried = torch.tensor(rng.uniform(low, high, (1, 5000, 2))).float()
    image = transform_points(invert(matrix), tried)[0]
    limit = torch.tensor(extent[::-1]) - image_margin
    kept = tried[:, ((image > image_margin) & (image < limit)).all(-1)]
    assert kept.shape[1] >= 3
    return kept[:, :3]


def blobs(points: Tensor, extent: tuple[int, int], sigma: float) -> Tensor:
    """One Gaussian a channel, sampled at pixel centres: (3, H, W) in 0..255."""
    across = torch.arange(extent[1]) + 0.5 - points[:, :1]
    down = torch.arange(extent[0]) + 0.5 - points[:, 1:]
    falls = [torch.exp(-(distance**2) / (2 * sigma**2)) for distance in (down, across)]
    return (255 * falls[0][:, :, None] * falls[1][:, None, :]).round()


def centroids(crop: Tensor) -> Tensor:
    total = crop.sum((1, 2))
    x = (crop.sum(1) * (torch.arange(crop.shape[2]) + 0.5)).sum(1) / total
    y = (crop.sum(2) * (torch.arange(crop.shape[1]) + 0.5)).sum(1) / total
    return torch.stack((x, y), dim=1)


def test_coordinates_do_not_follow_autocast() -> None:
    boxes = torch.tensor([[1001.5, 903.25, 1277.5, 1601.0], [11.0, 1203.0, 700.0, 1999.5]])
    points = torch.rand(2, 3, 2) * 2000
    image = torch.rand(3, 60, 40)

    def results() -> list[Tensor]:
        matrices = crop_matrices(boxes, (128, 96), rotation=torch.tensor([0.3, -1.0]))
        small = crop_matrices(boxes / 50, (24, 32))
        return [
            matrices,
            transform_points(matrices, points),
            invert(matrices),
            compose(matrices, invert(matrices)),
            warp(image.expand(2, -1, -1, -1), small, (24, 32)),
            crop_image(image, small[1], (24, 32), torch.zeros(3)),
        ]

    plain = results()
    with torch.autocast("cpu", torch.bfloat16):
        for one, other in zip(plain, results(), strict=True):
            assert other.dtype == torch.float32
            assert torch.equal(one, other)
