"""Colours are normalised as the model's own configuration says, on every path."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatedpose
from gatedpose.batches.crops import Crops
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.export import input_facts
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.skeleton import LSP14
from gatedpose.training.devices import make_accelerator
from gatedpose.training.groups import Phase
from gatedpose.training.recipes import Recipe
from gatedpose.training.trainer import Trainer, watch

MEAN, STD = (0.25, 0.5, 0.75), (0.5, 0.25, 0.125)
OWN = {"mean": MEAN, "std": STD, "input_size": (3, 64, 128)}


def seen_by(network: nn.Module) -> list[Tensor]:
    """The inputs that it gets from now on."""
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    return seen


def network(seed: int, **cfg: object) -> GatedHourglass:
    torch.manual_seed(seed)
    made = GatedHourglass(GatedHourglassConfig(8, 1, num_keypoints=14))
    made.pretrained_cfg = cfg
    return made


def people(colour: tuple[int, int, int]) -> Crops:
    """Two people in pictures of one colour, too large for the input to reach their ends."""
    images = torch.tensor(colour, dtype=torch.uint8).view(1, 3, 1, 1).repeat(2, 1, 104, 104)
    keypoints = 40 + 24 * torch.rand(2, 14, 2, generator=torch.Generator().manual_seed(0))
    return Crops(images, keypoints, torch.ones(2, 14, dtype=torch.bool))


def test_by_hand() -> None:
    own = Preprocessing.of(network(0, **OWN))
    assert own == Preprocessing(MEAN, STD, (64, 128))
    colours = torch.tensor([0.5, 0.5, 0.5]).view(3, 1, 1).expand(2, 3, 4, 5)
    images = own.normalise(colours)
    assert images[1, :, 3, 4].tolist() == [0.5, 0.0, -2.0]
    torch.testing.assert_close(own.colours(images), colours)
    mean, std = own.scales(torch.device("cpu"), white=255)
    assert mean.flatten().tolist() == [63.75, 127.5, 191.25]
    assert std.flatten().tolist() == [127.5, 63.75, 31.875]


def test_what_a_model_does_not_say_is_imagenets() -> None:
    assert Preprocessing.of(nn.Conv2d(3, 2, 1)) == Preprocessing()
    assert Preprocessing.of(network(0, mean=[0, 0, 0])) == Preprocessing(mean=(0, 0, 0))
    assert Preprocessing().mean == (0.485, 0.456, 0.406)


def test_prediction_and_export() -> None:
    model = network(0, **OWN)
    seen = seen_by(model)
    predictor = gatedpose.Predictor(model, LSP14)
    grey = np.full((64, 128, 3), 51, np.uint8)  # 0.2
    predictor(grey, [[10, 10, 40, 40]])
    assert predictor.size == (64, 128)
    assert seen[0][0, :, 32, 64].tolist() == pytest.approx([-0.1, -1.2, -4.4], abs=1e-5)
    facts = input_facts(model, LSP14, (64, 128))
    assert (facts["mean"], facts["std"]) == (list(MEAN), list(STD))


def test_training_its_teacher_and_the_looks_at_it(tmp_path: Path) -> None:
    student, teacher = network(0, **OWN), network(1)
    seen, taught = seen_by(student), seen_by(teacher)
    recipe = Recipe("x", {}, (Phase(64, 2, 2, 1.0),), calibrate=0, teacher="local-dir:x")
    recipe = replace(recipe, augmentation=replace(recipe.augmentation, colour=0.0))
    crops = people((51, 51, 51))
    args = crops, torch.ones(2), crops, LSP14, recipe, tmp_path / "out"
    Trainer(make_accelerator("no"), student, *args, teacher=teacher).run()
    own = torch.tensor([-0.1, -1.2, -4.4]).view(3, 1, 1)
    imagenets = Preprocessing().normalise(torch.full((3, 1, 1), 0.2))
    assert seen
    for inputs, wanted in ((seen[0], own), (taught[0], imagenets)):
        torch.testing.assert_close(inputs[..., 31, 31], wanted[..., 0, 0].expand(2, 3))
    looked = network(2, **OWN)
    seen = seen_by(looked)
    _, sheet = watch(looked, crops, LSP14, 64)
    torch.testing.assert_close(seen[0][..., 31, 31], own[..., 0, 0].expand(2, 3))
    assert (sheet == 51).float().mean() > 0.05  # the picture is shown in its own colours
