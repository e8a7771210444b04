"""Targets of the three states of a joint, and both losses against formulas spelt out in loops."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gatedpose.errors import InputError
from gatedpose.training.losses import SHARPNESS, Loss, heatmap_loss, targets

SIZE, SIGMA = (4, 6), 1.5  # cells: an input of 16 x 24 pixels
KEYPOINTS = torch.tensor([[[10.0, 6], [3, 12.5], [30, 5]], [[math.nan, 0], [20.5, 1.25], [7, -3]]])
LABELLED = torch.tensor([[True, True, False], [False, True, True]])
INSIDE = torch.tensor([[True, True, False], [False, True, False]])
each_loss = pytest.mark.parametrize("loss", ["mse", "softmax"])


def predictions(stacks: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, stacks, 3, *SIZE, generator=generator).requires_grad_()


def target_map(person: int, joint: int) -> np.ndarray:
    if not INSIDE[person, joint]:
        return np.zeros(SIZE)
    x, y = KEYPOINTS[person, joint].tolist()
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = (columns - (x / 4 - 0.5)) ** 2 + (rows - (y / 4 - 0.5)) ** 2
    return np.exp(-distance / (2 * SIGMA**2))


def gradient(heatmaps: Tensor, loss: Loss, labelled: Tensor = LABELLED) -> Tensor:
    (got,) = torch.autograd.grad(heatmap_loss(heatmaps, KEYPOINTS, labelled, SIGMA, loss), heatmaps)
    return got


# Targets


def test_targets_of_the_three_states() -> None:
    maps, inside = targets(KEYPOINTS, LABELLED, SIZE, SIGMA)
    assert torch.equal(inside, INSIDE)
    for person in range(2):
        for joint in range(3):
            right = torch.from_numpy(target_map(person, joint)).float()
            torch.testing.assert_close(maps[person, joint], right)


@pytest.mark.parametrize(
    ("point", "within"),
    [
        ((0.0, 0.0), True),
        ((23.99, 15.99), True),
        ((24.0, 5.0), False),
        ((5.0, 16.0), False),
        ((-0.01, 5.0), False),
        ((5.0, -0.01), False),
        ((20.0, 20.0), False),  # within the width, not the height
        ((math.nan, 5.0), False),
        ((math.inf, 5.0), False),
    ],
)
def test_where_the_input_ends(point: tuple[float, float], within: bool) -> None:
    maps, inside = targets(torch.tensor([[point]]), torch.tensor([[True]]), SIZE, SIGMA)
    assert inside.item() is within
    assert maps.isfinite().all()
    assert (maps.max().item() > 0.5) is within


# The formulas


def by_hand(heatmaps: Tensor, loss: Loss) -> float:
    """In float64 and loops, over labelled joints only."""
    values = heatmaps.detach().double().numpy()
    stacks, total = values.shape[1], 0.0
    for person, joint in LABELLED.nonzero().tolist():
        target = target_map(person, joint)
        for stack in range(stacks):
            got = values[person, stack, joint]
            if loss == "mse":
                total += ((got - target) ** 2).mean()
                continue
            total += ((got - target) ** 2).sum() / (math.pi * SIGMA**2) / stacks
            if INSIDE[person, joint]:
                wanted = np.exp(SHARPNESS * target) / np.exp(SHARPNESS * target).sum()
                share = np.exp(SHARPNESS * got) / np.exp(SHARPNESS * got).sum()
                total -= (wanted * np.log(share)).sum() / stacks
    return total / 4  # labelled joints


@each_loss
@pytest.mark.parametrize("stacks", [1, 3])
def test_loss_is_its_formula(stacks: int, loss: Loss) -> None:
    heatmaps = predictions(stacks)
    got = heatmap_loss(heatmaps, KEYPOINTS, LABELLED, SIGMA, loss)
    assert got.shape == ()
    assert got.item() == pytest.approx(by_hand(heatmaps, loss), rel=1e-5)


def test_level_of_a_map_of_zeros_is_about_1() -> None:
    """The relative error of predicting nothing, for a Gaussian that lies wholly inside."""
    point, labelled = torch.tensor([[[62.0, 70.0]]]), torch.tensor([[True]])
    zeros = torch.zeros(1, 2, 1, 30, 40)
    target = targets(point, labelled, (30, 40), SIGMA)[0].unsqueeze(1).expand_as(zeros)
    surprise = math.log(30 * 40) - least_surprise(target)
    total = [heatmap_loss(maps, point, labelled, SIGMA, "softmax") for maps in (zeros, target)]
    assert (total[0] - total[1]).item() == pytest.approx(1 + surprise, abs=1e-3)


def least_surprise(target: Tensor) -> float:
    logits = SHARPNESS * target[0, 0].flatten().double()
    return -(logits.softmax(0) * logits.log_softmax(0)).sum().item()


# Masks and gradients


@each_loss
def test_unlabelled_joints_get_no_gradient(loss: Loss) -> None:
    got = gradient(predictions(), loss)
    strength = got.abs().amax((1, 3, 4))  # (B, K)
    assert torch.equal(strength > 0, LABELLED)
    assert got.isfinite().all()


@each_loss
def test_unlabelled_positions_do_not_matter(loss: Loss) -> None:
    moved = torch.where(LABELLED[..., None], KEYPOINTS, 11.0)
    losses = [
        heatmap_loss(predictions(), keypoints, LABELLED, SIGMA, loss)
        for keypoints in (KEYPOINTS, moved)
    ]
    assert losses[0] == losses[1]


@each_loss
def test_every_stack_is_supervised_alike(loss: Loss) -> None:
    alike = predictions(1).detach().expand(-1, 3, -1, -1, -1).clone().requires_grad_()
    got = gradient(alike, loss)
    assert got[:, 0].abs().max() > 0
    for stack in (1, 2):
        torch.testing.assert_close(got[:, stack], got[:, 0])


@pytest.mark.parametrize(("loss", "factor"), [("mse", 3.0), ("softmax", 1.0)])
def test_mse_sums_over_stacks_and_softmax_averages(loss: Loss, factor: float) -> None:
    one = predictions(1).detach()
    single, triple = (
        heatmap_loss(one.expand(-1, stacks, -1, -1, -1), KEYPOINTS, LABELLED, SIGMA, loss)
        for stacks in (1, 3)
    )
    torch.testing.assert_close(triple, factor * single)


@each_loss
def test_minimum_is_the_target(loss: Loss) -> None:
    target = targets(KEYPOINTS, LABELLED, SIZE, SIGMA)[0].unsqueeze(1).repeat(1, 2, 1, 1, 1)
    assert gradient(target.requires_grad_(), loss).abs().max() < 1e-6
    least = heatmap_loss(target, KEYPOINTS, LABELLED, SIGMA, loss)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        noise = 0.1 * torch.randn(target.shape, generator=generator)
        assert heatmap_loss(target + noise, KEYPOINTS, LABELLED, SIGMA, loss) > least + 1e-3
    for change in (target + 0.1, 1.1 * target, 0.9 * target, target.roll(1, dims=-1)):
        assert heatmap_loss(change, KEYPOINTS, LABELLED, SIGMA, loss) > least + 1e-4


@each_loss
def test_one_person_without_labels(loss: Loss) -> None:
    heatmaps = predictions()[:1].detach().requires_grad_()
    nowhere = torch.full((1, 3, 2), math.nan)
    none = torch.zeros(1, 3, dtype=torch.bool)
    value = heatmap_loss(heatmaps, nowhere, none, SIGMA, loss)
    assert value.item() == 0
    value.backward()
    assert heatmaps.grad is not None
    assert (heatmaps.grad == 0).all()


@each_loss
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(kind: torch.dtype, loss: Loss) -> None:
    half = predictions().detach().to(kind).requires_grad_()
    got = heatmap_loss(half, KEYPOINTS, LABELLED, SIGMA, loss)
    assert got.dtype == torch.float32
    right = heatmap_loss(half.detach().float(), KEYPOINTS, LABELLED, SIGMA, loss)
    assert torch.equal(got, right)
    assert gradient(half, loss).dtype == kind


# A teacher


@pytest.mark.parametrize("teaching", [0.0, 0.25, 1.0])
def test_a_teacher_has_its_share_of_the_target(teaching: float) -> None:
    heatmaps = predictions(stacks=1)
    taught = torch.rand(2, 3, *SIZE) * 3 - 1  # beyond what a heatmap can be, too
    loss = heatmap_loss(heatmaps, KEYPOINTS, LABELLED, SIGMA, "mse", None, taught, teaching)
    total = 0.0
    for person, joint in LABELLED.nonzero().tolist():
        right = taught[person, joint].clamp(0, 1).numpy() * teaching
        right = right + (1 - teaching) * target_map(person, joint)
        total += ((heatmaps[person, 0, joint].detach().numpy() - right) ** 2).mean()
    assert loss.item() == pytest.approx(total / LABELLED.sum().item(), rel=1e-5)


@each_loss
def test_loss_is_least_where_the_heatmap_is_the_blend(loss: Loss) -> None:
    inside = torch.tensor([[[10.0, 6], [3, 12.5], [20, 5]]])
    labelled = torch.ones(1, 3, dtype=torch.bool)
    maps, _ = targets(inside, labelled, SIZE, SIGMA)
    taught = torch.rand(1, 3, *SIZE)
    blend = maps.lerp(taught, 0.5).unsqueeze(1).requires_grad_()
    value = heatmap_loss(blend, inside, labelled, SIGMA, loss, None, taught, 0.5)
    (slope,) = torch.autograd.grad(value, blend)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("maps", "points", "labelled"),
    [
        (predictions()[:, 0], KEYPOINTS, LABELLED),  # of one stack: would be broadcast
        (predictions()[0, 0, 0], KEYPOINTS, LABELLED),
        (predictions()[:, :, :1], KEYPOINTS, LABELLED),
        (predictions(), torch.zeros(2, 3, 3), LABELLED),  # with COCO's visibility
        (predictions(), KEYPOINTS, 2 * LABELLED),  # COCO's visibility: some would count twice
    ],
)
def test_shapes_that_would_be_learnt_wrongly(
    maps: Tensor, points: Tensor, labelled: Tensor
) -> None:
    with pytest.raises(InputError, match=r"heatmaps must be \(B, S, K, h, w\), .*; got \("):
        heatmap_loss(maps, points, labelled, SIGMA, "mse")


def test_another_loss_is_refused() -> None:
    with pytest.raises(InputError, match="loss must be one of 'mse', 'softmax', got 'MSE'"):
        heatmap_loss(predictions(), KEYPOINTS, LABELLED, SIGMA, "MSE")  # type: ignore[arg-type]
