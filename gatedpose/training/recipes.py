"""Recipes of training, as data: what was done to make a set of weights, and how to do it again."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from gatedpose.batches.augment import Augmentation
from gatedpose.batches.views import Views
from gatedpose.errors import InputError, did_you_mean, ranged
from gatedpose.files.typed_json import from_json, read_json
from gatedpose.skeleton import SKELETONS
from gatedpose.training.groups import (
    Averaging,
    FinderPhase,
    Machine,
    Optimisation,
    People,
    Phase,
    Precision,
    Start,
    Teaching,
    Work,
    check_recipe,
)


@dataclass(frozen=True)
class Recipe(Start, Teaching, People, Machine, Averaging, Optimisation, Work):
    """Everything that shapes a training besides the network and the data's folders.

    Its fields are those of `Work`, `Optimisation`, `Averaging`, `Machine`, `People`, `Teaching` and
    `Start`, in this order; see there.
    """

    def __post_init__(self) -> None:
        known = self.joints is None or self.joints in SKELETONS
        check_recipe(f"recipe {self.name}", self, joints=known)

    def scaled(self, people: int) -> "Recipe":
        """The recipe with phases of so many images that all see `epochs` times the people."""
        if self.epochs is None:
            return self
        ratio = self.epochs * people / sum(phase.images for phase in self.phases)
        phases = (replace(p, images=max(1, round(p.images * ratio))) for p in self.phases)
        return replace(self, phases=tuple(phases))

    def with_field(self, text: str) -> "Recipe":
        """The recipe with one field changed by FIELD=VALUE: `lr=1e-3`, `augmentation.rotation=40`.

        The value is JSON, or else taken as it stands.
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
        return from_json(Recipe, {name: value}, f"recipe {self.name}", self)


@dataclass(frozen=True)
class FinderRecipe(Start, Machine, Averaging, Optimisation):
    """Everything that shapes the training of a finder besides the network and the pictures.

    Its fields are those of `Optimisation`, `Averaging`, `Machine` and `Start`, and these; `init` is
    a trained finder or pose network, or a finder's .safetensors file.
    """

    optimizer: str = "nmuon"
    lr: float = 2e-3
    warmup: int = 100
    clip: float | None = 10.0
    ema: float = 0.998
    calibrate: int = 512
    precision: Precision = "bf16"
    init: str | None = "gated_hg_1s_68.lsp"
    phases: tuple[FinderPhase, ...] = (
        FinderPhase(192, 60_000, 32),
        FinderPhase(256, 60_000, 32),
        FinderPhase(320, 30_000, 32),
    )
    boxes: float = ranged((0.0, 1e6), 2.0)  # weight of the boxes' loss beside that of the centres
    views: Views = field(default_factory=Views)  # random changes of the pictures
    # How often a picture of a folder is drawn, by the folder's name; 1 if it has none.
    draws: dict[str, float] = field(
        default_factory=lambda: {"sports22": 0.6, "ccp": 0.5, "yoga5": 0.8},
        metadata={"range": (1e-9, 1e9)},
    )
    empty: float = ranged((0.0, 0.9), 0.1)  # share of the draws that pictures without people get

    def __post_init__(self) -> None:
        check_recipe("finder recipe", self)


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
        Phase(size=256, images=800, batch_size=8, sigma=1.5),
    ),
    optimizer="nmuon",
    lr=3e-3,
    warmup=20,
    ema=0.98,
    calibrate=64,
    result="best",
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


def find_recipe(name: str, *takers: str) -> Recipe:
    """The recipe called `name`, or that of a .json file.

    A file holds fields of `Recipe`, and may name under "base" the recipe that it takes all others
    from, a file beside it for example. The recipe.json that a training writes is such a file.
    `takers` are files that take their fields from this one.
    """
    if name in takers:
        raise InputError(f"{name} has itself as its base, by way of {', '.join(takers)}")
    if not name.endswith(".json"):
        if name not in RECIPES:
            raise InputError(f"unknown recipe {name!r}; {did_you_mean(name, RECIPES)}")
        return RECIPES[name]
    path = Path(name)
    fields = read_json(path)
    if not isinstance(fields, dict):
        raise InputError(f"{path} must hold an object with the fields of a recipe")
    fields = {"name": path.stem, **fields}
    base = None
    if "base" in fields:
        called = str(fields.pop("base"))
        called = str(path.parent / called) if called.endswith(".json") else called
        base = find_recipe(called, *takers, name)
    return from_json(Recipe, fields, name, base)
