"""What a recipe says, group by group: each is a small dataclass, and recipes are made of them.

Fields keep plain names (`lr`, not `optimisation.lr`), in Python, in recipe.json and in options: the
groups are there to be read, and for functions that need one of them only.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gatedpose.batches.augment import Augmentation
from gatedpose.errors import InputError, Range, check_ranges, in_range, ranged
from gatedpose.training.losses import Loss

Precision: TypeAlias = Literal["no", "bf16", "fp16"]

LR: Range = (1e-12, 100.0)


@dataclass(frozen=True)
class FinderPhase:
    """A part of the training at one input size.

    InputError for a number out of its range, or a size that 64 does not divide.
    """

    size: int = field(metadata={"range": (64, 4096)})  # height and width, in pixels
    images: int = field(metadata={"range": (1, 10**12)})  # to see, repeats counted
    batch_size: int = field(metadata={"range": (1, 10**6)})  # images a step, over all processes

    def __post_init__(self) -> None:
        check_ranges("a phase", self)
        if self.size % 64:
            raise InputError(f"a phase needs a size that 64 divides, got {self.size}")

    @property
    def cost(self) -> float:
        """Work of the phase, in images of 256 x 256."""
        return self.images * (self.size / 256) ** 2


@dataclass(frozen=True)
class Phase(FinderPhase):
    """A part of the training of a pose network."""

    sigma: float = field(metadata={"range": (0.01, 100.0)})  # of the target Gaussian, in cells


@dataclass(frozen=True)
class Work:
    """What is seen, how often, and how a batch of it is learnt."""

    name: str  # short name of the recipe
    # Training sets that it is for, and how often a person of each is drawn.
    datasets: dict[str, float] = field(metadata={"range": (1e-9, 1e9)})
    phases: tuple[Phase, ...]  # run one after the other, from coarse to fine
    loss: Loss = "softmax"  # see `gatedpose.training.losses.heatmap_loss`
    # Parts that each process works off its share of a batch in, to save memory. The gradient is
    # that of the whole, but for batch norm, whose statistics are a part's.
    accumulate: int = ranged((1, 10**6), 1)


@dataclass(frozen=True)
class Optimisation:
    """How weights are learnt."""

    optimizer: str = "adamw"  # a name of `timm.optim.create_optimizer_v2`
    # More arguments of it.
    options: dict[str, float] = field(default_factory=dict, metadata={"range": (-1e9, 1e9)})
    # Highest learning rate. It rises over `warmup` steps, then falls linearly to 0 with the share
    # of the whole work that is done.
    lr: float = ranged(LR, 1e-3)
    # In place of the linear fall: pairs of the share of the work that is done, and the rate from
    # there on.
    drops: tuple[tuple[float, float], ...] = ()
    weight_decay: float = ranged((0.0, 10.0), 0.02)  # of all but norms, biases and gates
    warmup: int = ranged((0, 10**9), 200)  # steps
    clip: float | None = ranged((1e-9, 1e9), 5.0)  # largest norm of the gradient; no limit if None


@dataclass(frozen=True)
class Averaging:
    """How the result is made of the weights that were learnt."""

    # Decay of the averaged weights, which are the result; 0 for the last weights themselves.
    ema: float = ranged((0.0, 1 - 1e-9), 0.999)
    # Share of the weights to start from in the result, for a short training of a trained network: a
    # point between the two is often better than either (Wortsman et al., "Robust fine-tuning of
    # zero-shot models", CVPR 2022). Needs `init`; 0 for none.
    keep: float = ranged((0.0, 1 - 1e-9), 0.0)
    # Images that the averaged network's batch norm takes its statistics from anew, before each look
    # at the validation data and in the end; 0 for the averages of training, which lag behind and
    # come from small batches.
    calibrate: int = ranged((0, 10**9), 1024)
    # "last" for the averaged weights in the end; "best" for those of the look, of all phases, that
    # scored best on the validation data. The finest input is not always the best where there are
    # few people.
    result: Literal["last", "best"] = "last"


@dataclass(frozen=True)
class Machine:
    """How the arithmetic is done."""

    # "no" for float32, or "bf16" or "fp16" for autocast; bf16 pays on processors that have it and
    # is many times slower on those that emulate it.
    precision: Precision = "no"
    # Compute activations twice instead of keeping them, to save memory. Running statistics of batch
    # norm then move twice a step.
    checkpointing: bool = False
    compile: bool = False  # by torch.compile


@dataclass(frozen=True)
class People:
    """Which people are learnt from, how often, and how they are shown."""

    augmentation: Augmentation = field(default_factory=Augmentation)  # random changes of the input
    # Name of the skeleton to predict, "mpii16" for example, where that is not the datasets' own:
    # their joints are converted by name, see `gatedpose.data.joints`.
    joints: str | None = None
    # Share of the draws that show a person by the whole picture, as if no box were known, see
    # `gatedpose.batches.sources.Source.whole_pictures`.
    whole: float = ranged((0.0, 1 - 1e-9), 0.0)
    # File of `gatedpose data clean`, or "lspet" for the packaged one, to correct labels by.
    corrections: str | None = None
    # Passes over the people. The phases then see as many images in proportion, whatever their own
    # numbers add up to; these count if None.
    epochs: float | None = ranged((1e-6, 1e6), None)
    limit: int | None = ranged((1, 10**9), None)  # train on so many people, drawn by the seed


@dataclass(frozen=True)
class Teaching:
    """A trained network that the new one learns from."""

    # Trained model whose heatmaps are learnt, too: "gated_hg_4s_144.lsp" or a "local-dir:" model.
    teacher: str | None = None
    teaching: float = ranged((0.0, 1.0), 0.5)  # their share of the targets


@dataclass(frozen=True)
class Start:
    """Where a training starts."""

    init: str | None = None  # see `gatedpose.training.start.starting_model`
    seed: int = ranged((0, 2**40), 0)  # of initialisation, order and augmentation


def check_recipe(what: str, recipe: Any, **more: bool) -> None:
    """Raises InputError that calls a recipe `what`, unless all fields and `more` are right."""
    check_ranges(what, recipe)
    starts = [start for start, _ in recipe.drops]
    steps = (in_range(share, (0.0, 1.0)) and in_range(rate, LR) for share, rate in recipe.drops)
    if recipe.keep and recipe.init is None:
        text = "needs weights to start from: give init first"
        raise InputError(f"{what}: keep {recipe.keep:g} {text}")
    good = {
        "phases": len(recipe.phases) > 0,
        "drops": all(steps) and starts == sorted(starts),
        **more,
    }
    if wrong := [name for name, right in good.items() if not right]:
        values = ", ".join(f"{name} {getattr(recipe, name)!r}" for name in wrong)
        raise InputError(f"{what}: out of range: {values}")
