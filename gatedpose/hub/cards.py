"""Model cards: what the packaged table says of weights, for people and for the Hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Template

from gatedpose.catalogue import Weights, markdown
from gatedpose.errors import InputError
from gatedpose.files.typed_json import read_json
from gatedpose.models.weights import read_config
from gatedpose.pose import TRUST_CALIBRATED

DATASETS = {
    "lsp": "Leeds Sports Pose",
    "lspet": "Leeds Sports Pose Extended",
    "stanford40": "Stanford 40 Actions",
    "human": "Human Dataset v2",
}


def model_card(weights: Weights, repository: str = "ORGANISATION/NAME") -> str:
    """The card of trained weights: front matter with results that the Hub renders, then Markdown.

    Every number is that of the packaged table.
    """
    data = ModelCardData(
        model_name=weights.name,
        license="other",
        license_name="research-use",
        library_name="timm",
        pipeline_tag="keypoint-detection" if weights.skeleton else "object-detection",
        tags=["gatedpose", "pose-estimation", "human-pose"],
        eval_results=list(_results(weights)),
    )
    scores = list(weights.scores.values())
    header = ["split", "people", *scores[0]["columns"], "command"]
    rows = []
    for split, score in weights.scores.items():
        columns = (f"{value:.2f}" for value in score["columns"].values())
        rows.append([split, str(score["people"]), *columns, f"`{score['command']}`"])
    return _filled(
        "card.md",
        data=data.to_yaml(),
        weights=weights,
        joints=weights.skeleton is not None,
        repository=repository,
        scores=scores,
        table=markdown(header, rows),
        phases=_phases(weights.recipe["phases"]),
        trust=TRUST_CALIBRATED,
    )


def own_card(folder: Path, repository: str = "ORGANISATION/NAME") -> str:
    """The card of a network of one's own, from what its folder and its training's tell."""
    config = read_config("local-dir", str(folder))
    if not (joints := (config.get("skeleton") or {}).get("joints")):
        raise InputError(
            f"push: {folder / 'config.json'} names no joints; give a --card of your own"
        )
    data = ModelCardData(library_name="timm", pipeline_tag="keypoint-detection", tags=["gatedpose"])
    told = "Not told: no recipe.json lies beside it."
    if (recipe := folder.parent / "recipe.json").is_file():
        done = read_json(recipe)
        try:
            phases = _phases(done["phases"])
            told = f"Recipe {done['name']}: {phases}; from {done['init'] or 'fresh weights'}."
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"push: {recipe} is not what a training writes ({error!r}); give a --card of your "
                "own"
            ) from error
    return _filled(
        "own_card.md",
        data=data.to_yaml(),
        name=repository.rpartition("/")[2],
        joints=joints,
        architecture=config["architecture"],
        repository=repository,
        told=told,
    )


def _filled(template: str, **values: Any) -> str:
    """A template beside this file, with its values."""
    text = Path(__file__).with_name(template).read_text("utf-8")
    return str(Template(text, trim_blocks=True, keep_trailing_newline=True).render(values))


def _phases(phases: list[dict[str, int]]) -> str:
    return ", ".join(f"{phase['images']:,} images of {phase['size']} px" for phase in phases)


def _results(weights: Weights) -> Iterator[EvalResult]:
    for split, score in weights.scores.items():
        dataset = split.removesuffix("-val")
        yield EvalResult(
            task_type="keypoint-detection" if weights.skeleton else "object-detection",
            dataset_type=dataset,
            dataset_name=f"{DATASETS.get(dataset, dataset)}, {score['people']} validation people",
            dataset_split="val",
            metric_type="pck" if weights.skeleton else "recall",
            metric_name=score["metric"],
            metric_value=round(score["mean"], 2),
        )


def check_card(card: str, weights: Weights) -> None:
    """Raises ValueError if a card's results are not those of the packaged table."""
    try:
        found = getattr(ModelCard(card).data, "eval_results", None)
    except Exception as error:  # whatever YAML and huggingface_hub find wrong with it
        raise InputError(f"the card's front matter cannot be read: {error}") from error
    known = {(r.dataset_type, r.metric_name): r.metric_value for r in _results(weights)}
    if not found:
        raise InputError(f"the card of {weights.name} has no results; the table has {known}")
    for result in found:
        key = (result.dataset_type, result.metric_name)
        if known.get(key) != result.metric_value:
            raise InputError(
                f"the card says {result.metric_value} for {key[0]}, {key[1]}, the table of "
                f"{weights.name} says {known.get(key, 'nothing')}: cards hold its numbers only"
            )
