"""Encode by hand, decode as its inverse, flips without a shift, and no bias from image to image."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gatedpose.catalogue import DECODERS, Decoder
from gatedpose.geometry import crop_matrices, invert, mirror, transform_points
from gatedpose.heatmaps import decode, encode, flip_back
from gatedpose.skeleton import Skeleton

SIZE = (16, 20)  # cells, height and width
PAIR = Skeleton("three", ("right a", "left a", "b"), ((0, 1),), ())
SIGMAS = (1.0, 1.5, 2.0)
every_decoder = pytest.mark.parametrize("method", DECODERS)
laws = settings(max_examples=30, deadline=None)


def crop_points(cells: Tensor) -> Tensor:
    """Heatmap coordinates (cell indices) to crop pixels, spelt apart from the package."""
    return 4 * (cells + 0.5)


def random_cells(low: float, generator: torch.Generator, count: int = 2_000) -> Tensor:
    """(B, 4, 2) cell positions, `low` at least away from the first and the last cell's centre."""
    span = torch.tensor([SIZE[1] - 1 - 2 * low, SIZE[0] - 1 - 2 * low])
    return (torch.rand(count, 2, generator=generator) * span + low).view(-1, 4, 2)


# Encode


def test_encode_by_hand() -> None:
    sigma = 1.5
    points = torch.tensor([[[18.0, 10], [2, 2], [22, 14]], [[20, 10], [18, 11], [-400, 10]]])
    maps = encode(points, (4, 6), sigma)
    assert maps.shape == (2, 3, 4, 6)
    one = math.exp(-1 / 2 / sigma**2)
    assert maps[0, 0, 2, 4] == 1  # the point is this cell's centre
    assert maps[0, 0, 2, 3].item() == pytest.approx(one)
    assert maps[0, 0, 1, 4].item() == pytest.approx(one)
    assert maps[0, 0, 1, 5].item() == pytest.approx(one**2)
    assert maps[0, 1, 0, 0] == 1
    assert maps[0, 2, 3, 5] == 1
    half, quarter = math.exp(-0.25 / 2 / sigma**2), math.exp(-0.0625 / 2 / sigma**2)
    assert maps[1, 0, 2, 4:].tolist() == pytest.approx([half, half])  # between two cells
    assert maps[1, 1, 2, 4].item() == pytest.approx(quarter)
    assert maps[1, 2].max() == 0


# Decode inverts encode


@pytest.mark.parametrize(
    ("method", "away", "border"),
    [
        ("argmax", 0.5, 0.5),
        ("quarter", 0.25, 0.5),  # at the border no neighbour is higher
        ("dark", 0.02, 0.02),
        ("softargmax", 0.02, None),  # its window is cut off there
    ],
)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_worst_error(sigma: float, method: Decoder, away: float, border: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    for low, bound in ((6.0, away), (-0.5, border)):
        cells = random_cells(low, generator)
        points, scores = decode(encode(crop_points(cells), SIZE, sigma), method)
        error = ((points - crop_points(cells)) / 4).abs().max().item()
        assert bound is None or error <= bound + 1e-3
        assert scores.shape == cells.shape[:2]
        assert 0.7 < scores.min() <= scores.max() <= 1


@every_decoder
def test_exact_at_cell_centres(method: Decoder) -> None:
    cells = torch.tensor([[[9.0, 7], [12, 8], [6, 9]], [[13, 6], [7, 8], [10, 9]]])
    points, scores = decode(encode(crop_points(cells), SIZE, 1.5), method)
    torch.testing.assert_close(points, crop_points(cells), atol=1e-3, rtol=0)
    assert scores.tolist() == [[1.0] * 3] * 2


def test_dark_follows_a_peak_just_outside_the_map() -> None:
    cells = torch.tensor([[[-0.9, 7.0], [19.9, 15.8], [12, -0.7]]])
    points, _ = decode(encode(crop_points(cells), SIZE, 2.0), "dark")
    torch.testing.assert_close(points, crop_points(cells), atol=0.08, rtol=0)


def test_quarter_steps_towards_the_higher_neighbour() -> None:
    maps = torch.zeros(2, 3, 5, 6)
    maps[..., 2, 3] = 1
    maps[0, 1, 2, 4], maps[0, 1, 1, 3] = 0.5, 0.2  # right and up
    maps[1, 2, 2, 2], maps[1, 2, 3, 3] = 0.1, 0.9  # left and down
    points, _ = decode(maps, "quarter")
    assert points[0, 0].tolist() == [14, 10]  # no neighbour is higher
    assert points[0, 1].tolist() == [15, 9]
    assert points[1, 2].tolist() == [13, 11]


def wild_maps(kind: str) -> Tensor:
    noise = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    if kind == "ties":
        noise[:] = 0.1
        noise[..., 1, 2] = noise[..., 1, 3] = noise[..., 4, 7] = 0.8
    return {
        "zero": torch.zeros(2, 3, 5, 8),
        "flat": torch.full((2, 3, 5, 8), 0.3),
        "ties": noise,
        "negative": -noise.abs() - 0.1,
        "noise": noise,
        "large": 1e6 * noise,
        "tiny": 1e-30 * noise.abs(),
        "smallest": noise[..., :3, :3],
        "ridge": torch.linspace(0, 1, 8).expand(2, 3, 5, 8),
    }[kind]


@every_decoder
@pytest.mark.parametrize(
    "kind",
    ["zero", "flat", "ties", "negative", "noise", "large", "tiny", "smallest", "ridge"],
)
def test_wild_maps_give_finite_points_near_the_map(kind: str, method: Decoder) -> None:
    maps = wild_maps(kind)
    points, scores = decode(maps, method)
    assert points.shape == (2, 3, 2)
    assert points.isfinite().all()
    limit = torch.tensor(maps.shape[:-3:-1]) * 4
    slack = 2 if method == "dark" else 0  # its step is a cell at most, from a cell's centre
    assert (points >= -slack).all()
    assert (points <= limit + slack).all()
    torch.testing.assert_close(scores, maps.amax((2, 3)).clamp(0, 1))


@every_decoder
def test_a_map_without_a_peak_decodes_to_its_highest_cell(method: Decoder) -> None:
    maps = torch.full((2, 3, 5, 8), -1.0)
    maps[..., 2, 4] = -0.5
    points, scores = decode(maps, method)
    assert (points - torch.tensor([18.0, 10.0])).abs().max() <= 0.02
    assert (scores == 0).all()


@pytest.mark.parametrize(
    ("corner", "cell"),
    [
        # Falls almost in a straight line from the first column: the Taylor step is far too long.
        ([[0.5, 0.5, 0.5], [0.802, 0.8015, 0.80099], [0.5, 0.5, 0.5]], (0, 1)),
        # A ridge along the diagonal: a saddle, though each axis has its maximum in the middle.
        ([[0.89, 0.84, 0.2], [0.83, 0.9, 0.85], [0.2, 0.85, 0.89]], (1, 1)),
    ],
)
def test_dark_keeps_the_cell_where_the_map_is_no_gaussian(
    corner: list[list[float]], cell: tuple[int, int]
) -> None:
    maps = torch.zeros(2, 3, 5, 8)
    maps[..., :3, :3] = torch.tensor(corner)
    points, _ = decode(maps, "dark")
    assert torch.equal(points, crop_points(torch.tensor(cell)).expand(2, 3, 2))


def test_dark_refines_beside_negative_cells() -> None:
    maps = torch.full((2, 3, 5, 8), -0.1)
    maps[..., 1, 2:4] = torch.tensor([0.9, 0.6])
    points, _ = decode(maps, "dark")
    assert (points[..., 0] > 10.1).all()
    assert (points[..., 0] <= 12).all()
    assert (points[..., 1] == 6).all()


@every_decoder
@pytest.mark.parametrize(("kind", "bound"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)])
def test_half_precision(method: Decoder, kind: torch.dtype, bound: float) -> None:
    maps = encode(crop_points(random_cells(6, torch.Generator().manual_seed(1), 64)), SIZE, 2.0)
    points, scores = decode(maps.to(kind), method)
    assert points.dtype == scores.dtype == torch.float32
    exact, _ = decode(maps.to(kind).float(), method)
    assert torch.equal(points, exact)
    if method in ("dark", "softargmax"):
        assert ((points - decode(maps, method)[0]) / 4).abs().max() < bound


# From image to image


@every_decoder
@pytest.mark.parametrize("size", [(128, 128), (128, 96), (96, 160)])
def test_no_bias_from_image_to_image(size: tuple[int, int], method: Decoder) -> None:
    generator = torch.Generator().manual_seed(0)
    centre = torch.rand(6, 2, generator=generator) * 800
    half = torch.rand(6, 2, generator=generator) * 150 + 20
    boxes = torch.cat((centre - half, centre + half), dim=1)
    to_crop = crop_matrices(boxes, size, rotation=torch.rand(6, generator=generator) - 0.5)
    # The same number of points at every sub-cell position, so that argmax averages out, too.
    fine = (torch.arange(8) + 0.5) / 8
    offsets = torch.cartesian_prod(fine, fine).view(1, 64, 2) - 0.5
    span = torch.tensor([size[1] / 4, size[0] / 4]) - 12
    cells = (span * torch.rand(6, 64, 2, generator=generator)).floor() + 6
    in_crop = crop_points(cells + offsets)
    points = transform_points(invert(to_crop), in_crop)
    maps = encode(transform_points(to_crop, points), (size[0] // 4, size[1] // 4), 1.5)
    got, _ = decode(maps, method)
    in_image = transform_points(invert(to_crop), got)
    assert (got - in_crop).abs().max() <= 2.01
    for error in (got - in_crop, in_image - points):
        assert error.mean((0, 1)).abs().max() < 0.01


# Laws


@laws
@given(st.lists(st.integers(-64, 64 * 25), min_size=12, max_size=12))
def test_flip_test_needs_no_shift(numbers: list[int]) -> None:
    points = torch.tensor(numbers).view(2, 3, 2) / 64  # exact in binary
    height, width = 5, 6
    flip = list(PAIR.flip_permutation)
    mirrored = transform_points(mirror(4 * width, points), points)[:, flip]
    maps = encode(mirrored, (height, width), 1.5)
    right = encode(points, (height, width), 1.5)
    assert torch.equal(flip_back(maps, PAIR.flip_permutation), right)
    stacked = flip_back(maps.unsqueeze(1).expand(-1, 2, -1, -1, -1), PAIR.flip_permutation)
    assert torch.equal(stacked, right.unsqueeze(1).expand(-1, 2, -1, -1, -1))


def test_flip_back_by_hand() -> None:
    maps = torch.arange(24.0).view(1, 3, 2, 4).repeat(2, 1, 1, 1)
    got = flip_back(maps, (1, 0, 2))
    assert got[1].tolist() == [
        [[11, 10, 9, 8], [15, 14, 13, 12]],
        [[3, 2, 1, 0], [7, 6, 5, 4]],
        [[19, 18, 17, 16], [23, 22, 21, 20]],
    ]
    with pytest.raises(ValueError, match="permutation is of 2 joints, there are heatmaps of 3"):
        flip_back(maps, (1, 0))


@laws
@given(st.permutations(range(3)), st.sampled_from(DECODERS), st.integers(0, 9))
def test_joints_do_not_touch_each_other(order: list[int], method: Decoder, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, 3, 2, generator=generator) * 50
    maps = encode(points, (9, 12), 1.5)
    assert torch.equal(encode(points[:, order], (9, 12), 1.5), maps[:, order])
    noisy = maps + 0.1 * torch.rand(maps.shape, generator=generator)
    found, scores = decode(noisy, method)
    permuted, permuted_scores = decode(noisy[:, order], method)
    torch.testing.assert_close(permuted, found[:, order])
    assert torch.equal(permuted_scores, scores[:, order])


# Errors


def test_unknown_method_names_the_choices() -> None:
    with pytest.raises(ValueError, match=r"must be one of 'argmax', .*, got 'udp'"):
        decode(torch.rand(2, 3, 5, 8), "udp")  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2, 4, 3, 5, 8), (3, 5, 8), (2, 3, 2, 8), (2, 3, 5, 2)])
def test_other_shapes_say_what_to_pass(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"h, w >= 3.*last stack, \[:, -1\]") as caught:
        decode(torch.rand(shape))
    assert str(shape) in str(caught.value)
