"""The named networks of the zoo: a literal table, next to what the paper prints of each."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

from gatedpose.catalogue import WORDS
from gatedpose.errors import InputTypeError, UnknownModelError, did_you_mean
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.cu_net import CUNet, CUNetConfig
from gatedpose.models.finder import FinderConfig, GatedFinder
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.models.stacked_hourglass import HourglassConfig, StackedHourglass

Config: TypeAlias = GatedHourglassConfig | HourglassConfig | CUNetConfig | FinderConfig
NETWORKS: dict[type[Config], Callable[..., HeatmapNetwork]] = {
    GatedHourglassConfig: GatedHourglass,
    HourglassConfig: StackedHourglass,
    CUNetConfig: CUNet,
    FinderConfig: GatedFinder,
}


@dataclass(frozen=True)
class Variant:
    """A named network of the zoo.

    Attributes:
        name: Name, without tag.
        config: Its sizes and choices.
        paper: The place it is published at; a table or section is Bulat et al.'s.
        paper_params: Parameters printed there, in millions; None if it gives none.
        paper_gmacs: Multiply-accumulates printed there ("FLOPs"), in billions; None if none.
    """

    name: str
    config: Config
    paper: str
    paper_params: float | None = None
    paper_gmacs: float | None = None

    def build(self, **changes: Any) -> HeatmapNetwork:
        """A freshly initialised network, some fields of whose configuration are changed.

        Raises:
            TypeError: For an option that the configuration does not have.
            ValueError: For a value that the configuration refuses.
        """
        valid = [option.name for option in fields(self.config)]
        if unknown := [name for name in changes if name not in valid]:
            raise InputTypeError(
                f"{self.name}: unknown option {', '.join(unknown)}; valid are {', '.join(valid)}"
            )
        return NETWORKS[type(self.config)](replace(self.config, **changes))


VARIANTS: tuple[Variant, ...] = (
    Variant("gated_hg_1s_68", GatedHourglassConfig(68, 1), "Table III", 0.5, 0.80),
    Variant("gated_hg_2s_68", GatedHourglassConfig(68, 2), "Table III", 1.0, 1.39),
    Variant("gated_hg_2s_80", GatedHourglassConfig(80, 2), "Table III", 1.4, 1.75),
    Variant("gated_hg_2s_96", GatedHourglassConfig(96, 2), "Table III", 1.9, 2.43),
    Variant("gated_hg_2s_108", GatedHourglassConfig(108, 2), "Table III", 2.4, 3.10),
    Variant("gated_hg_2s_120", GatedHourglassConfig(120, 2), "Table III", 2.9, 3.75),
    Variant("gated_hg_2s_128", GatedHourglassConfig(128, 2), "Tables I, II, IV", 3.4, 4.27),
    Variant("gated_hg_4s_144", GatedHourglassConfig(144, 4), "Tables I, V, VII", 8.5, 9.9),
    Variant("gated_hg_4s_256", GatedHourglassConfig(256, 4), "Section IV-B", 26.0),
    Variant("hourglass_1s_256", HourglassConfig(1), "Newell et al., ECCV 2016"),
    Variant("hourglass_2s_256", HourglassConfig(2), "Newell et al., ECCV 2016"),
    Variant("hourglass_4s_256", HourglassConfig(4), "Newell et al., ECCV 2016"),
    Variant("hourglass_8s_256", HourglassConfig(8), "Table VII", 25.5),
    Variant("cu_net_2", CUNetConfig(2), "Table III", 1.9, 2.7),
    Variant("cu_net_4", CUNetConfig(4), "Table I", 4.0, 5.17),
    Variant("cu_net_8", CUNetConfig(8), "Tang et al., BMVC 2018"),
    Variant("cu_net_16", CUNetConfig(16), "Tang et al., BMVC 2018"),
    Variant("gated_finder_320", FinderConfig(), "of our own: people's boxes, not their joints"),
)
BY_NAME = {variant.name: variant for variant in VARIANTS}


def find_variant(name: str) -> Variant:
    """The variant called `name`; raises UnknownModelError, with close matches, if there is none."""
    if name not in BY_NAME:
        known = (*WORDS, *BY_NAME)
        raise UnknownModelError(f"unknown model {name!r}; {did_you_mean(name, known)}")
    return BY_NAME[name]


def keypoint_modules(config: Config) -> tuple[str, ...]:
    """Names of the modules whose shape depends on the number of keypoints."""
    remaps = 0 if isinstance(config, CUNetConfig) else config.stacks - 1
    heads = [f"heads.{s}" for s in range(config.stacks)]
    return (*heads, *(f"remap_heatmaps.{s}" for s in range(remaps)))
