"""What was done to train a finder, as data."""

from dataclasses import dataclass, field

from gatedpose.batches.views import Views
from gatedpose.training.groups import (
    Averaging,
    FinderPhase,
    Machine,
    Optimisation,
    Precision,
    Start,
    check_recipe,
)


@dataclass(frozen=True)
class FinderRecipe(Start, Machine, Averaging, Optimisation):
    """Everything that shapes the training of a finder besides the network and the pictures.

    Its fields are those of `Optimisation`, `Averaging`, `Machine` and `Start`, and these;
    `init` is a trained finder or pose network, or a finder's .safetensors file.

    Attributes:
        phases: Run one after the other.
        boxes: Weight of the boxes' loss beside that of the centres.
        views: Random changes of the pictures.
        draws: How often a picture of a folder is drawn, by the folder's name; 1 if it has none.
        empty: Share of the draws that pictures without people get.
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
    boxes: float = 2.0
    views: Views = field(default_factory=Views)
    draws: dict[str, float] = field(
        default_factory=lambda: {"sports22": 0.6, "ccp": 0.5, "yoga5": 0.8}
    )
    empty: float = 0.1

    def __post_init__(self) -> None:
        check_recipe("finder recipe", self)
