"""Model cards: what the packaged table says of weights, for people and for the Hub."""

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

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
CITATION = """@inproceedings{bulat2020toward,
  title={Toward fast and accurate human pose estimation via soft-gated skip connections},
  author={Bulat, Adrian and Kossaifi, Jean and Tzimiropoulos, Georgios and Pantic, Maja},
  booktitle={IEEE International Conference on Automatic Face and Gesture Recognition},
  year={2020}
}"""


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
    return f"""---
{data.to_yaml()}
---

# {weights.name}

{_purpose(weights)}

```python
import gatedpose

{_use(weights, repository)}
```

Images are RGB. After `import gatedpose`, timm loads the same network:
`timm.create_model("hf-hub:{repository}", pretrained=True)`.

## How well it does

{_how_scored(weights)}

{_score_table(weights)}

## How it was made

{_making(weights)}

{_cautions(weights)}

## Licence

Weights: {weights.license}. Code: Apache-2.0.

## Citation

```bibtex
{CITATION}
```
"""


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
    return f"""---
{data.to_yaml()}
---

# {repository.rpartition("/")[2]}

{len(joints)} joints ({", ".join(joints)}), found by {config["architecture"]}, a network of
"Toward fast and accurate human pose estimation via soft-gated skip connections" (FG 2020).

```python
import gatedpose

{_use_own(repository)}
```

## How it was made

{told} The packaged weights are for research, and so is what a training makes of them.
"""


def _making(weights: Weights) -> str:
    recipe = weights.recipe
    phases = _phases(recipe["phases"])
    return f"""- Data: {"; ".join(weights.data)}.
- Recipe {recipe["name"]}: {phases}; seed {recipe["seed"]}; commit {recipe["commit"]}.
- {recipe.get("note") or "No deviations from the recipe."}"""


def _phases(phases: list[dict[str, int]]) -> str:
    return ", ".join(f"{phase['images']:,} images of {phase['size']} px" for phase in phases)


def _use_own(repository: str) -> str:
    return f"""model = gatedpose.create_model("hf-hub:{repository}", pretrained=True)
poses = gatedpose.Predictor(model)("photo.jpg", boxes=[[10, 20, 210, 420]])  # x0, y0, x1, y1
poses[0].keypoints  # pixels of the photo"""


def _purpose(weights: Weights) -> str:
    if weights.skeleton is None:
        return """Boxes of the people in a picture, from a network of the blocks of "Toward fast and
accurate human pose estimation via soft-gated skip connections" (FG 2020), in a use of our own.

![People found on a photograph by NASA](people.png)"""
    return f"""Keypoints of a person ({weights.num_keypoints} joints, {weights.skeleton}), \
a network of
"Toward fast and accurate human pose estimation via soft-gated skip connections" (FG 2020).

![Predicted keypoints on a photograph by NASA](poses.png)"""


def _use(weights: Weights, repository: str) -> str:
    if weights.skeleton is None:
        return f"""from gatedpose.predict.finder import PersonFinder

finder = PersonFinder("hf-hub:{repository}")
boxes, scores = finder.find("photo.jpg")  # (N, 4) as x0, y0, x1, y1 in pixels of the photo; (N,)"""
    return _use_own(repository)


def _how_scored(weights: Weights) -> str:
    if weights.skeleton is None:
        lines = (f"- {split}: {score['metric']}" for split, score in weights.scores.items())
        return "On validation pictures:\n\n" + "\n".join(lines)
    metric = next(iter(weights.scores.values()))["metric"]
    return f"{metric}; 256 px, flip test, from annotated boxes, on\nvalidation people."


def _cautions(weights: Weights) -> str:
    if weights.skeleton is None:
        return "Expect misses of small people, of crowds, and of people who are cut off or lie."
    if weights.calibration is None:
        return (
            "Expect mistakes on crossed limbs, unusual views and crowds. Scores of joints are no "
            "calibrated\nprobabilities."
        )
    return (
        "Expect mistakes on crossed limbs, unusual views, people upside down and people who cover "
        "each\nother. The score of a joint is the chance that it lies within a fifth of the torso, "
        f"fitted on people\nthat no score above is taken on; below {TRUST_CALIBRATED} it is marked "
        "as not found. Labels of a teacher hold the\nteacher's mistakes, too, and scores against "
        "them say how near the network is to such labels."
    )


def _score_table(weights: Weights) -> str:
    header = ["split", "people", *next(iter(weights.scores.values()))["columns"], "command"]
    rows = []
    for split, score in weights.scores.items():
        columns = (f"{value:.2f}" for value in score["columns"].values())
        rows.append([split, str(score["people"]), *columns, f"`{score['command']}`"])
    return markdown(header, rows)


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
