"""Recipes of training, as data: what was done to make a set of weights, and how to do it again."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from gatedpose.data.annotations import load_json
from gatedpose.data.augment import Augmentation
from gatedpose.errors import InputError, did_you_mean
from gatedpose.json_files import from_json
from gatedpose.skeleton import SKELETONS
from gatedpose.training.losses import Loss

Precision: TypeAlias = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True)
class Phase:
    """A part of the training at one input size.

    Attributes:
        size: Height and width of the input in pixels; a multiple of 64.
        images: Images to see, repeats counted.
        batch_size: Images a step, over all processes.
        sigma: Of the target Gaussian, in heatmap cells.
    """

    size: int
    images: int
    batch_size: int
    sigma: float

    def __post_init__(self) -> None:
        if min(self.size, self.images, self.batch_size, self.sigma) <= 0 or self.size % 64:
            raise InputError(
                f"a phase needs a size that 64 divides and positive numbers of images, batch and "
                f"sigma, got {self}"
            )

    @property
    def cost(self) -> float:
        """Work of the phase, in images of 256 x 256."""
        return self.images * (self.size / 256) ** 2


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a training besides the network and the data's folders.

    Attributes:
        name: Short name.
        datasets: Training sets that the recipe is for, and how often a person of each is drawn, in
            relation to the others.
        phases: Run one after the other, from coarse to fine.
        loss: See `gatedpose.training.losses.heatmap_loss`.
        optimizer: A name of `timm.optim.create_optimizer_v2`.
        options: More arguments of that optimiser.
        lr: Highest learning rate. It rises over `warmup` steps, then falls linearly to 0 with the
            share of the whole work that is done.
        drops: If given, the learning rate falls in steps instead: pairs of the share of the work
            that is done, and the learning rate from there on.
        weight_decay: Of weights; norms, biases and gates are not decayed.
        warmup: Steps.
        clip: Largest norm of the gradient; no limit if None.
        ema: Decay of the averaged weights, which are the result; 0 for the last weights themselves.
        keep: Share of the weights to start from in the result, for a short training of a trained
            network: a point between the two is often better than either (Wortsman et al., "Robust
            fine-tuning of zero-shot models", CVPR 2022). Needs `init`; 0 for none.
        calibrate: Images that the averaged network's batch norm takes its statistics from anew,
            before each look at the validation people and in the end; 0 for the averages of
            training, which lag behind and come from small batches.
        precision: "no" for float32, or "bf16" or "fp16" for autocast; bf16 pays on processors that
            have it and is many times slower on those that emulate it.
        accumulate: Parts that each process works off its share of a batch in, to save memory. The
            gradient is that of the whole, but for batch norm, whose statistics are a part's.
        checkpointing: Compute activations twice instead of keeping them, to save memory. Running
            statistics of batch norm then move twice a step.
        compile: Whether to use torch.compile.
        augmentation: Random changes of the input.
        joints: Name of the skeleton to predict, "mpii16" for example, where that is not the
            datasets' own: their joints are converted by name, see `gatedpose.data.joints`.
        whole: Share of the draws that show a person by the whole picture, as if no box were known,
            see `gatedpose.data.sources.Source.whole_pictures`.
        corrections: File of `gatedpose data clean`, or "lspet" for the packaged one, to correct
            labels by.
        teacher: Trained model whose heatmaps are learnt, too: "gated_hg_4s_256.lsp", for example,
            or a "local-dir:" model.
        teaching: Their share of the targets.
        init: What to start from, see `gatedpose.training.run.starting_model`.
        seed: Of initialisation, order and augmentation.
        epochs: Passes over the people. The phases then see as many images in proportion, whatever
            their own numbers add up to; these count if None.
        limit: Train on so many of the people, drawn by the seed; on all if None.

    Raises:
        ValueError: For a number out of its range.
    """

    name: str
    datasets: dict[str, float]
    phases: tuple[Phase, ...]
    loss: Loss = "softmax"
    optimizer: str = "adamw"
    options: dict[str, float] = field(default_factory=dict)
    lr: float = 1e-3
    drops: tuple[tuple[float, float], ...] = ()
    weight_decay: float = 0.02
    warmup: int = 200
    clip: float | None = 5.0
    ema: float = 0.999
    keep: float = 0.0
    calibrate: int = 1024
    precision: Precision = "no"
    accumulate: int = 1
    checkpointing: bool = False
    compile: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)
    joints: str | None = None
    whole: float = 0.0
    corrections: str | None = None
    teacher: str | None = None
    teaching: float = 0.5
    init: str | None = None
    seed: int = 0
    epochs: float | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        in_range = {
            "phases": len(self.phases) > 0,
            "lr": self.lr > 0,
            "ema": 0 <= self.ema < 1,
            "keep": 0 <= self.keep < 1 and (self.init is not None or not self.keep),
            "calibrate": self.calibrate >= 0,
            "teaching": 0 <= self.teaching <= 1,
            "whole": 0 <= self.whole < 1,
            "accumulate": self.accumulate >= 1,
            "joints": self.joints is None or self.joints in SKELETONS,
            "epochs": self.epochs is None or self.epochs > 0,
            "limit": self.limit is None or self.limit >= 1,
        }
        if wrong := [name for name, good in in_range.items() if not good]:
            values = ", ".join(f"{name} {getattr(self, name)!r}" for name in wrong)
            raise InputError(f"recipe {self.name}: out of range: {values}")

    @property
    def cost(self) -> float:
        """Work of all phases, in images of 256 x 256."""
        return sum(phase.cost for phase in self.phases)

    def scaled(self, people: int) -> "Recipe":
        """The recipe with phases of so many images that all see `epochs` times the people."""
        if self.epochs is None:
            return self
        ratio = self.epochs * people / sum(phase.images for phase in self.phases)
        phases = (replace(p, images=max(1, round(p.images * ratio))) for p in self.phases)
        return replace(self, phases=tuple(phases))

    def changed(self, values: Mapping[str, Any]) -> "Recipe":
        """The recipe with some fields replaced by values of JSON.

        Raises:
            ValueError: For a field that is unknown (with a near match) or of another type.
        """
        return from_json(Recipe, values, f"recipe {self.name}", self)

    def with_field(self, text: str) -> "Recipe":
        """The recipe with one field changed: `lr=1e-3`, `augmentation.rotation=40`.

        Args:
            text: FIELD=VALUE; the value is JSON, or else taken as it stands.

        Raises:
            ValueError: See `changed`.
        """
        path, equals, written = text.partition("=")
        if not path or not equals:
            raise InputError(f"{text!r} is not FIELD=VALUE")
        try:
            value = json.loads(written)
        except ValueError:
            value = written
        name, dot, key = path.partition(".")
        if dot:
            old = getattr(self, name, None)
            value = {**(old if isinstance(old, dict) else {}), key: value}
        return self.changed({name: value})

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of a model's parameters, by timm."""
        return make_optimizer(model, self.optimizer, self.lr, self.weight_decay, self.options)


def make_optimizer(
    model: nn.Module, name: str, lr: float, weight_decay: float, options: Mapping[str, float]
) -> torch.optim.Optimizer:
    """The optimiser called `name` of a model's parameters, by timm."""
    from timm.optim import create_optimizer_v2, muon

    orthogonalise = muon.zeropower_via_newtonschulz
    on_cpu = next(model.parameters()).device.type == "cpu"
    if on_cpu and not isinstance(orthogonalise, functools.partial):
        # timm fixes bfloat16, which processors without it emulate tens of times slower, and
        # offers no option: its own argument is preset here, for this process.
        muon.zeropower_via_newtonschulz = functools.partial(orthogonalise, dtype=torch.float32)
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        model, opt=name, lr=lr, weight_decay=weight_decay, **options
    )
    return optimizer


LSP = Recipe(
    name="lsp",
    datasets={"lsp": 4.0, "lspet": 1.0},
    phases=(
        Phase(size=64, images=60_000, batch_size=32, sigma=1.0),
        Phase(size=128, images=200_000, batch_size=32, sigma=1.0),
        Phase(size=256, images=110_000, batch_size=16, sigma=1.5),
    ),
    optimizer="nmuon",
    lr=3e-3,
    augmentation=Augmentation(half_body=0.1, shift=0.03, occlude=0.1),
)

# Everyday people besides sports photographs (docs/research/people.md): labels of 19 joints by a
# teacher. How often a person of a set is drawn makes everyday acts the larger part.
PEOPLE = Recipe(
    name="people",
    datasets={
        "own:stanford40": 1.5,
        "own:sports22": 1.0,
        "own:ccp": 1.0,
        "own:yoga5": 1.0,
        "own:lsp": 5.0,
        "own:lspet": 0.8,
    },
    phases=(
        Phase(size=128, images=100_000, batch_size=32, sigma=1.0),
        Phase(size=256, images=24_000, batch_size=16, sigma=1.5),
    ),
    optimizer="nmuon",
    lr=2e-3,
    augmentation=Augmentation(
        rotation=40.0,
        scale=(0.7, 1.3),
        shift=0.12,
        half_body=0.25,
        parts=(0.4, 0.2, 0.2, 0.2),
        colour=0.3,
        grey=0.08,
        dark=0.1,
        blur=0.15,
        compress=0.1,
        occlude=0.1,
        neighbour=0.15,
    ),
    joints="people19",
    whole=0.15,
    init="lsp",
)

FINETUNE = Recipe(
    name="finetune",
    datasets={},
    phases=(
        Phase(size=128, images=1_600, batch_size=16, sigma=1.0),
        Phase(size=256, images=384, batch_size=16, sigma=1.5),
    ),
    optimizer="nmuon",
    lr=3e-3,
    warmup=20,
    ema=0.98,
    calibrate=64,
    augmentation=Augmentation(shift=0.03),
    init="pretrained",
)

# Section III-C of the paper: 200 epochs of 22,246 people. Its text lost the ranges of rotation and
# scale, those of the hourglass line stand here, and does not tell the learning rates between the
# first and the last: they fall by equal factors.
MPII = Recipe(
    name="mpii",
    datasets={"mpii": 1.0},
    phases=(Phase(size=256, images=200 * 22_246, batch_size=24, sigma=1.0),),
    loss="mse",
    optimizer="rmsprop",
    options={"alpha": 0.99, "momentum": 0.0},
    lr=2.5e-4,
    drops=((75 / 200, 8.55e-5), (100 / 200, 2.92e-5), (150 / 200, 1e-5)),
    weight_decay=0.0,
    warmup=0,
    clip=None,
    ema=0.0,
    calibrate=0,
)

# Section III-C again: from the weights of MPII, the learning rate falls every 25 epochs, LSP's two
# missing joints are interpolated. The images are those of 100 epochs of the published training
# halves; with other people there are as many epochs.
LSP_FINETUNE = replace(
    MPII,
    name="lsp-finetune",
    datasets={"lsp": 1.0, "lspet": 1.0},
    phases=(Phase(size=256, images=100 * 11_000, batch_size=24, sigma=1.0),),
    drops=((1 / 4, 8.55e-5), (1 / 2, 2.92e-5), (3 / 4, 1e-5)),
    joints="mpii16",
    init="mpii",
    epochs=100,
)

RECIPES = {recipe.name: recipe for recipe in (LSP, PEOPLE, MPII, LSP_FINETUNE, FINETUNE)}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`, or that of a .json file.

    A file holds fields of `Recipe`, and may name under "base" the recipe that it takes all others
    from. The recipe.json that a training writes is such a file.

    Raises:
        ValueError: For an unknown name (with a close match), or fields that are wrong.
    """
    if name.endswith(".json"):
        return _read_recipe(Path(name))
    if name not in RECIPES:
        raise InputError(f"unknown recipe {name!r}; {did_you_mean(name, RECIPES)}")
    return RECIPES[name]


def _read_recipe(path: Path) -> Recipe:
    fields = load_json(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path} must hold an object with the fields of a recipe")
    fields = {"name": path.stem, **fields}
    base = find_recipe(str(fields.pop("base"))) if "base" in fields else None
    return from_json(Recipe, fields, str(path), base)
