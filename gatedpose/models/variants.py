"""The named networks of the zoo, beside what the paper prints of each, and what names stand for."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

from gatedpose.catalogue import WORDS, Weights, fits, weights_table
from gatedpose.errors import InputTypeError, UnknownModelError, WeightsError, did_you_mean
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
    """A named network of the zoo."""

    name: str  # without tag
    config: Config
    paper: str  # where it is published; a table or section is Bulat et al.'s
    paper_params: float | None = None  # printed there, in millions
    paper_gmacs: float | None = None  # printed there ("FLOPs"), in billions

    def build(self, **changes: Any) -> HeatmapNetwork:
        """A freshly initialised network, some fields of whose configuration are changed."""
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


NAME = re.compile(r"(?:(hf-hub|local-dir):(\S.*)|(\w+)(?:\.([\w-]+))?)", re.ASCII)
FILES = (".onnx", ".xml", ".pt2", ".pt", ".pth", ".safetensors", ".bin")


def parse_name(name: str) -> tuple[str, str, str]:
    """Splits a model name into (source, variant or place, tag); source and tag may be "".

    >>> parse_name("gated_hg_1s_68.lsp"), parse_name("hf-hub:gatedpose/x@main")
    (('', 'gated_hg_1s_68', 'lsp'), ('hf-hub', 'gatedpose/x@main', ''))

    Raises:
        UnknownModelError: For anything but "variant", "variant.tag", "hf-hub:organisation/name"
            (with an optional "@revision") and "local-dir:path".
    """
    match = NAME.fullmatch(name) if isinstance(name, str) else None
    if isinstance(name, str) and ":" not in name and name.lower().endswith(FILES):
        raise UnknownModelError(
            f"{name!r} is a file, no model name; `gatedpose.Predictor`, `predict --model` and "
            "`evaluate` run exported .onnx and .xml files, `gatedpose.load_weights` puts "
            ".safetensors into a network"
        )
    if match is None:
        raise UnknownModelError(
            f'{name!r} is no model name; names are "variant", "variant.tag", '
            '"hf-hub:organisation/name" and "local-dir:path"'
        )
    source, place, variant, tag = match.groups(default="")
    return source, place or variant, tag


def find_word(name: str) -> str:
    """The model that a word of `WORDS` or the folder of a model or training stands for.

    Any other name is left as it is, but UnknownModelError for what is nearly a word.
    """
    if not isinstance(name, str) or ":" in name or name.partition(".")[0] in BY_NAME:
        return name  # what is no text `parse_name` refuses
    if name in WORDS:
        return WORDS[name]
    for folder in (Path(name), Path(name) / "model"):  # a training writes the latter
        if (folder / "config.json").is_file():
            return f"local-dir:{folder}"
    if difflib.get_close_matches(name, WORDS):
        raise UnknownModelError(f"unknown model {name!r}; {did_you_mean(name, WORDS)}")
    return name


def find_weights(name: str) -> Weights:
    """The weights called "variant.tag", or the default ones of "variant".

    UnknownModelError if there is no such variant or tag, WeightsError if the variant has none.
    """
    source, variant, tag = parse_name(name)
    table = weights_table()
    if source:
        raise UnknownModelError(
            f"{name!r} is no packaged model: what is asked for takes the names that "
            "`gatedpose list` shows"
        )
    if variant not in BY_NAME:
        find_variant(name)  # raises, with close matches
    mine = [weights for key, weights in table.items() if key.partition(".")[0] == variant]
    if tag and name not in table:
        hint = did_you_mean(name, table) if table else "there are no weights"
        raise UnknownModelError(f"unknown tag {tag!r} of {variant}; {hint}")
    if not mine:
        raise WeightsError(f"{variant} has no weights; there are {', '.join(table) or 'none yet'}")
    return table[name] if tag else mine[0]


def list_models(pattern: str | Sequence[str] = "*", pretrained: bool = False) -> list[str]:
    """Names of the zoo in its order: variants, or with `pretrained` their weights ("variant.tag").

    Args:
        pattern: Wildcards, or several; see `gatedpose.catalogue.fits`.
        pretrained: Whether to list what `create_model(name, pretrained=True)` can load.
    """
    names = list(BY_NAME)
    if pretrained:
        table = [key for key, weights in weights_table().items() if weights.obtainable]
        names = [key for name in names for key in table if key.split(".")[0] == name]
    return [name for name in names if fits(name, pattern)]
