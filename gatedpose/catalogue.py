"""What users choose by name, and what `gatedpose list` prints, without PyTorch.

weights/counts.json is what `gatedpose list --recount` prints of the networks themselves; a test
compares the two.
"""

import fnmatch
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

Facts = dict[str, Any]

# The words for who does not care for names.
WORDS = {
    "fast": "gated_hg_1s_68.people",
    "balanced": "gated_hg_2s_128.people",
    "best": "gated_hg_4s_144.people",
}
DEFAULT_WORD = "balanced"
# A person's time on two CPU cores, float32, by `gatedpose bench` (docs/research/speed.md).
MILLISECONDS = {"gated_hg_1s_68": 20, "gated_hg_2s_128": 58, "gated_hg_4s_144": 146}

Decoder: TypeAlias = Literal["argmax", "quarter", "dark", "softargmax"]
DECODERS: tuple[Decoder, ...] = get_args(Decoder)
DEFAULT_DECODER: Decoder = "softargmax"  # measured, see docs/decoders.md
Averaging: TypeAlias = Literal["hrnet", "official", "pooled16"]  # of PCKh
AVERAGINGS: tuple[Averaging, ...] = get_args(Averaging)
FINDERS = "gated_finder_*"  # the networks whose maps are boxes of people
ENGINES = ("auto", "torch", "openvino", "onnxruntime")  # that run an optimised network
PRECISIONS = ("auto", "float32", "bfloat16", "int8")  # that it computes in
# Of colours from 0 to 1, as all networks here take images; timm's, too.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FOLDER = Path(__file__).parent / "weights"


def is_finder(name: str) -> bool:
    """Whether a name, with a tag or without, is one of the finders of people."""
    return fnmatch.fnmatchcase(name.partition(".")[0], FINDERS)


def stored_rows(pattern: str = "*", pretrained: bool = False) -> list[Facts]:
    """Facts of the models that fit a pattern: costs at 256 x 256 and scores of weights.

    Args:
        pattern: Wildcards; what fits a variant fits its weights, too.
        pretrained: Whether to list weights that can be had, "variant.tag", and not variants.
    """
    counts = json.loads((FOLDER / "counts.json").read_text("utf-8"))
    table = json.loads((FOLDER / "weights.json").read_text("utf-8"))
    rows = []
    for count in counts:
        own = {key: table[key]["scores"] for key in table if key.partition(".")[0] == count["name"]}
        names = [count["name"]]
        if pretrained:
            names = [n for n in own if table[n]["hub"] or (FOLDER / table[n]["file"]).is_file()]
        for name in names:
            if any(fnmatch.fnmatchcase(word, pattern) for word in (name, count["name"])):
                scores = {name: own[name]} if pretrained else own
                rows.append({**count, "name": name, "weights": scores})
    return rows


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; columns of numbers, at the right, have a colon behind their name."""
    marks = "|".join("---:" if name.endswith(":") else "---" for name in columns)
    head = [name.removesuffix(":") for name in columns]
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join((first, f"|{marks}|", *others))


def model_table(rows: Sequence[Facts]) -> str:
    """A Markdown table of `stored_rows`."""
    lines = []
    for row in rows:
        scores = "; ".join(
            f"{name}: "
            + ", ".join(
                f"{split} {score['mean']:.2f}{score_label(score)}" for split, score in own.items()
            )
            for name, own in row["weights"].items()
        )
        costs = f"{row['params']:,}", f"{row['conv_gmacs']:.4f}"
        lines.append((row["name"], *costs, paper_text(row), scores or "-"))
    columns = "model", "parameters:", "conv GMACs:", "the paper's row", "weights: PCK@0.2"
    return markdown(columns, lines)


def paper_text(row: Facts) -> str:
    """What a network is in the paper, and the figures that the paper has for it, if any."""
    units = ("paper_params_m", "M"), ("paper_gflops", "GFLOPs")
    figures = ", ".join(f"{row[key]:g} {unit}" for key, unit in units if row[key] is not None)
    return f"{row['paper']}: {figures}" if figures else row["paper"]


def word_table() -> str:
    """A Markdown table of the three models that have a word, with the weights that it means."""
    table = json.loads((FOLDER / "weights.json").read_text("utf-8"))
    lines = []
    for word, meant in WORDS.items():
        [count] = stored_rows(meant.partition(".")[0])
        name = meant if meant in count["weights"] else next(iter(count["weights"]))
        scores = ", ".join(
            f"{split} {score['mean']:.1f}{score_label(score)}"
            for split, score in count["weights"][name].items()
        )
        size = f"{table[name]['size'] / 1e6:.1f} MB"
        time = MILLISECONDS.get(count["name"])
        params, person = f"{count['params'] / 1e6:.1f} M", f"{time} ms" if time else "-"
        lines.append((word, name, params, size, person, scores))
    columns = "`--model`", "weights", "parameters:", "file:", "a person:", "PCK@0.2"
    return markdown(columns, lines)


def score_label(score: Mapping[str, Any]) -> str:
    """What a score is that is no PCK@0.2, for behind its number."""
    return f" % ({score['label']})" if "label" in score else ""
