"""What users choose by name, trained weights too, and what `gatedpose list` prints: no PyTorch.

weights/counts.json is what `gatedpose list --recount` prints of the networks themselves; a test
compares the two.
"""

import fnmatch
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

from gatedpose.errors import WeightsError

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
DATASETS = ("lsp", "lspet", "mpii", "coco", "own")  # `gatedpose.data.readers` reads them
FINDERS = "gated_finder_*"  # the networks whose maps are boxes of people
ENGINES = ("auto", "torch", "openvino", "onnxruntime")  # that run an optimised network
PRECISIONS = ("auto", "float32", "bfloat16", "int8")  # that it computes in
# Of colours from 0 to 1, as all networks here take images; timm's, too.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

WEIGHTS_DIR = Path(__file__).parent / "weights"
HUB_FILE = "model.safetensors"  # what weights are called in a Hub repository or a local folder
RANGES_FILE = "int8.json"  # and what they need there for eight bits, if that was looked for


def is_finder(name: str) -> bool:
    """Whether a name, with a tag or without, is one of the finders of people."""
    return fnmatch.fnmatchcase(name.partition(".")[0], FINDERS)


@dataclass(frozen=True)
class Weights:
    """Trained weights of a variant, as weights/weights.json describes them."""

    name: str  # variant and tag, "gated_hg_1s_68.lsp" for example
    file: str
    size: int  # bytes
    sha256: str  # in hexadecimal; the Hub's file has the same
    num_keypoints: int  # heatmap channels K
    skeleton: str | None  # a key of `gatedpose.skeleton.SKELETONS`; None for a finder's maps
    hub: str | None  # repository "organisation/name"
    revision: str | None  # commit it is pinned to, None for its latest
    license: str
    data: Sequence[str]  # datasets they were trained on
    recipe: Mapping[str, Any]
    scores: Mapping[str, Any]
    calibration: Mapping[str, Any] | None = None  # from peaks to chances, if they differ

    @property
    def path(self) -> Path:
        """Where the file is when it is packaged."""
        return WEIGHTS_DIR / self.file

    @property
    def hub_id(self) -> str | None:
        """Repository and revision, "organisation/name@commit"."""
        return f"{self.hub}@{self.revision}" if self.hub and self.revision else self.hub

    @property
    def obtainable(self) -> bool:
        """Whether the file is packaged or on the Hub."""
        return self.path.is_file() or self.hub_id is not None

    def fetch(self, cache_dir: str | Path | None = None) -> Path:
        """Where the file is; it is downloaded if it is not packaged."""
        if self.path.is_file():
            return self.path
        if not self.hub_id:
            raise WeightsError(
                f"{self.name}: {self.path} is not here, and on the Hub there is no copy of it; a "
                "checkout of the repository has all of them: pip install -e CHECKOUT"
            )
        return hub_file(self.hub_id, HUB_FILE, cache_dir)


def weights_table() -> Mapping[str, Weights]:
    """All weights by name ("variant.tag"); the first of a variant is its default."""
    path = WEIGHTS_DIR / "weights.json"
    return _parse_table(path, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.lru_cache(maxsize=1)
def _parse_table(path: Path, changed: int) -> Mapping[str, Weights]:
    """The table as it was when it was last changed, read once."""
    entries = json.loads(path.read_text("utf-8"))
    return MappingProxyType({n: Weights(name=n, **entry) for n, entry in entries.items()})


def hub_file(hub_id: str, file: str, cache_dir: str | Path | None = None) -> Path:
    """Path of a Hub repository's file, "organisation/name@revision", in huggingface_hub's cache."""
    import huggingface_hub  # takes long

    repository, _, revision = hub_id.partition("@")
    try:
        path = huggingface_hub.hf_hub_download(
            repository, file, revision=revision or None, cache_dir=cache_dir
        )
    except Exception as error:
        raise WeightsError(f"cannot get {file} of {hub_id} from the Hub: {error}") from error
    return Path(path)


def fits(name: str, pattern: str | Sequence[str]) -> bool:
    """Whether a name fits a pattern or one of several; what fits a variant fits its weights, too.

    >>> fits("gated_hg_1s_68.lsp", "*_68"), fits("gated_hg_1s_68.lsp", ["*.coco", "*.mpii"])
    (True, False)
    """
    patterns = [pattern] if isinstance(pattern, str) else pattern
    words = name, name.partition(".")[0]
    return any(fnmatch.fnmatchcase(word, one) for word in words for one in patterns)


def stored_rows(pattern: str = "*", pretrained: bool = False) -> list[Facts]:
    """Facts of the models that fit a pattern: costs at 256 x 256 and scores of weights.

    With `pretrained` they are of weights that can be had, "variant.tag", and not of variants.
    """
    rows = []
    for count in json.loads((WEIGHTS_DIR / "counts.json").read_text("utf-8")):
        own = {n: w for n, w in weights_table().items() if n.partition(".")[0] == count["name"]}
        for name in [n for n in own if own[n].obtainable] if pretrained else [count["name"]]:
            if fits(name, pattern):
                scores = {n: w.scores for n, w in own.items() if not pretrained or n == name}
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
        scores = "; ".join(f"{name}: {_scores(own, 2)}" for name, own in row["weights"].items())
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
    lines = []
    for word, name in WORDS.items():
        [count] = stored_rows(name.partition(".")[0])
        params, size = count["params"] / 1e6, weights_table()[name].size / 1e6
        costs = f"{params:.1f} M", f"{size:.1f} MB", f"{MILLISECONDS[count['name']]} ms"
        lines.append((word, name, *costs, _scores(count["weights"][name], 1)))
    columns = "`--model`", "weights", "parameters:", "file:", "a person:", "PCK@0.2"
    return markdown(columns, lines)


def _scores(scores: Mapping[str, Any], digits: int) -> str:
    """Scores by split, in a line."""
    each = (f"{split} {s['mean']:.{digits}f}{score_label(s)}" for split, s in scores.items())
    return ", ".join(each)


def score_label(score: Mapping[str, Any]) -> str:
    """What a score is that is no PCK@0.2, for behind its number."""
    return f" % ({score['label']})" if "label" in score else ""
