"""What names of models stand for: variants, their weights, and words for who knows neither."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from gatedpose.catalogue import WORDS, Weights, fits, weights_table
from gatedpose.errors import UnknownModelError, WeightsError, did_you_mean
from gatedpose.models.variants import BY_NAME, find_variant

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
            f"{name!r} is a file, no model name; `gatedpose.Predictor` and `gatedpose predict "
            "--model` run exported .onnx and .xml files, `gatedpose.load_weights` puts "
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

    Any other name is left as it is.

    Raises:
        UnknownModelError: For what is nearly a word and no name.
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

    Raises:
        UnknownModelError: If there is no such variant or tag; the message has close matches.
        WeightsError: If the variant has no weights; the message names those that there are.
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
