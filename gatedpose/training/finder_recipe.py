"""What was done to train a finder, as data."""

from dataclasses import dataclass, field

from gatedpose.batches.views import Views
from gatedpose.errors import Range, check_ranges
from gatedpose.training.groups import RANGES, FinderPhase

OWN = ("lr", "weight_decay", "warmup", "clip", "ema", "seed")  # fields as a pose recipe's
FINDER_RANGES: dict[str, Range] = {
    **{name: RANGES[name] for name in OWN},
    "boxes": (0.0, 1e6),
    "draws": RANGES["datasets"],
    "empty": (0.0, 0.9),
}


@dataclass(frozen=True)
class FinderRecipe:
    """Everything that shapes the training of a finder besides the network and the pictures.

    Attributes:
        phases: Run one after the other.
        optimizer: A name of `timm.optim.create_optimizer_v2`.
        lr: Highest learning rate; it rises over `warmup` steps, then falls linearly to 0.
        weight_decay: Of weights; norms, biases and gates are not decayed.
        warmup: Steps.
        clip: Largest norm of the gradient.
        ema: Decay of the averaged weights, which are the result.
        boxes: Weight of the boxes' loss beside that of the centres.
        bf16: Whether the network runs in bfloat16.
        views: Random changes of the pictures.
        draws: How often a picture of a folder is drawn, by the folder's name; 1 if it has none.
        empty: Share of the draws that pictures without people get.
        init: Trained finder or pose network to start from, or a finder's .safetensors file; fresh
            weights if None.
        seed: Of initialisation, order and views.
    """

    phases: tuple[FinderPhase, ...] = (
        FinderPhase(192, 60_000, 32),
        FinderPhase(256, 60_000, 32),
        FinderPhase(320, 30_000, 32),
    )
    optimizer: str = "nmuon"
    lr: float = 2e-3
    weight_decay: float = 0.02
    warmup: int = 100
    clip: float = 10.0
    ema: float = 0.998
    boxes: float = 2.0
    bf16: bool = True
    views: Views = field(default_factory=Views)
    draws: dict[str, float] = field(
        default_factory=lambda: {"sports22": 0.6, "ccp": 0.5, "yoga5": 0.8}
    )
    empty: float = 0.1
    init: str | None = "gated_hg_1s_68.lsp"
    seed: int = 0

    def __post_init__(self) -> None:
        check_ranges("finder recipe", self, FINDER_RANGES)
