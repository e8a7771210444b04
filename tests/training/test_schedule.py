"""Where a training stands, its learning rate, its batches and its optimiser."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from timm.optim import muon
from torch import Tensor, nn

from gatedpose.errors import InputError
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.training.groups import Phase
from gatedpose.training.optimizer import make_optimizer
from gatedpose.training.recipes import RECIPES, Recipe
from gatedpose.training.schedule import Progress, check_batches, learning_rate

TWO_PHASES = Recipe(
    name="two",
    datasets={},
    phases=(
        Phase(size=64, images=160, batch_size=8, sigma=1.0),  # a sixteenth each: 10
        Phase(size=128, images=80, batch_size=8, sigma=1.0),  # a quarter each: 20
    ),
    lr=1e-3,
    warmup=10,
)


def tiny_network() -> GatedHourglass:
    torch.manual_seed(0)
    return GatedHourglass(GatedHourglassConfig(width=8, stacks=1, num_keypoints=14))


def test_cost_is_in_images_of_256_pixels() -> None:
    assert [phase.cost for phase in TWO_PHASES.phases] == [10, 20]
    assert Phase(256, 7, 1, 1.0).cost == 7
    assert Phase(512, 7, 1, 1.0).cost == 28


@pytest.mark.parametrize(
    ("phase", "images", "step", "share", "rate"),
    [
        (0, 0, 0, 0, 1e-4),  # a tenth of the warm-up
        (0, 24, 3, 1.5 / 30, 4e-4 * 0.95),
        (0, 80, 10, 5 / 30, 1e-3 * 5 / 6),
        (0, 200, 25, 1 / 3, 1e-3 * 2 / 3),  # no more than the phase
        (1, 0, 20, 1 / 3, 1e-3 * 2 / 3),
        (1, 20, 22, 0.5, 5e-4),
        (2, 0, 30, 1, 0),
    ],
)
def test_progress_and_learning_rate(
    phase: int, images: int, step: int, share: float, rate: float
) -> None:
    progress = Progress(phase, images, step)
    assert progress.share(TWO_PHASES) == pytest.approx(share)
    assert learning_rate(TWO_PHASES, progress) == pytest.approx(rate)


def test_learning_rate_in_steps() -> None:
    recipe = replace(TWO_PHASES, warmup=2, drops=((1 / 3, 2e-4), (0.5, 1e-5)))
    rates = [(0, 0, 0), (0, 80, 10), (1, 0, 20), (1, 10, 21), (1, 20, 22), (2, 0, 30)]
    got = [learning_rate(recipe, Progress(*where)) for where in rates]
    assert got == pytest.approx([5e-4, 1e-3, 2e-4, 2e-4, 1e-5, 1e-5])
    assert learning_rate(replace(recipe, warmup=0), Progress()) == 1e-3


def test_the_papers_recipe() -> None:
    recipe, epoch = RECIPES["mpii"], 22_246
    optimizer = make_optimizer(recipe, tiny_network())
    assert type(optimizer) is torch.optim.RMSprop
    group = optimizer.param_groups[0]
    assert (group["alpha"], group["momentum"], group["weight_decay"]) == (0.99, 0, 0)
    rates = [learning_rate(recipe, Progress(0, e * epoch, 1)) for e in (0, 74, 75, 100, 150, 199)]
    assert rates == [2.5e-4, 2.5e-4, 8.55e-5, 2.92e-5, 1e-5, 1e-5]
    assert recipe.phases == (Phase(256, 200 * epoch, 24, 1.0),)
    assert recipe.loss == "mse"


@pytest.mark.parametrize(
    ("batch", "people", "processes", "accumulate", "message"),
    [
        (4, 12, 1, 3, "a batch of 4 images cannot be shared alike by 1 processes in 3 parts"),
        (4, 12, 3, 1, "a batch of 4 images cannot be shared alike by 3 processes in 1 parts"),
        (4, 3, 1, 1, "a batch of 4 is more than the 3 people"),
        (1, 1, 1, 1, r"one picture of 64 pixels .* --phase of 128 pixels"),
        (1, 2, 1, 1, "one picture of 64 pixels"),
        (2, 2, 1, 2, "one picture of 64 pixels"),
        (2, 2, 2, 1, "one picture of 64 pixels"),
    ],
)
def test_batches_that_cannot_be_learnt_from(
    batch: int, people: int, processes: int, accumulate: int, message: str
) -> None:
    recipe = replace(TWO_PHASES, phases=(Phase(64, 4, batch, 1.5),), accumulate=accumulate)
    network = tiny_network()
    assert network.size_multiple == 64
    with pytest.raises(InputError, match=message):
        check_batches(recipe, processes, people, network)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"optimizer": "sdg"}, "optimizer 'sdg' .* not found in registry; did you mean sgd"),
        ({"options": {"momentun": 1.0}}, "momentun"),
    ],
)
def test_optimizers_that_there_are_not(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        make_optimizer(replace(TWO_PHASES, **fields), tiny_network())


@pytest.mark.parametrize("optimizer", ["adamw", "nmuon"])
def test_only_kernels_decay(optimizer: str) -> None:
    network = tiny_network()
    groups = make_optimizer(replace(TWO_PHASES, optimizer=optimizer), network).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in decayed}
    kernels = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert names == kernels


def test_muon_computes_in_float32_and_leaves_timm_as_it_is() -> None:
    network, theirs = tiny_network(), muon.zeropower_via_newtonschulz
    kinds: list[torch.dtype] = []

    def spy(*args: object, dtype: torch.dtype = torch.bfloat16, **kwargs: object) -> Tensor:
        kinds.append(dtype)
        return theirs(*args, dtype=dtype, **kwargs)

    optimizer = make_optimizer(replace(TWO_PHASES, optimizer="nmuon"), network)
    network(torch.zeros(2, 3, 64, 128)).sum().backward()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(muon, "zeropower_via_newtonschulz", spy)
        optimizer.step()
        assert muon.zeropower_via_newtonschulz is spy
    assert set(kinds) == {torch.float32}
