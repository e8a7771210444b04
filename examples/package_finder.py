r"""Turns a finished training of a finder into packaged weights: rounds, scores, enters the table.

    gatedpose finder train --stretched HUMAN --partly STANFORD40 --partly SPORTS22 --partly CCP \
        --complete YOGA5 --empty EMPTY --out RUN
    python examples/package_finder.py RUN --human HUMAN --stanford40 STANFORD40 --commit COMMIT

Writes into gatedpose/weights: the safetensors in half precision (batch norm's statistics stay in
float32) and the entry of weights.json. Scores are those of the rounded file, from whole pictures.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from package_weights import PHOTOS, file_facts, rounded
from safetensors.torch import save

from gatedpose.catalogue import WEIGHTS_DIR
from gatedpose.evaluation.detection import evaluate_finder
from gatedpose.files.whole import write_whole

LICENSE = (
    "research use: trained on photographs that others collected from the web for research "
    "(Stanford 40 Actions, Clothing Co-Parsing, yoga poses, 22 sports) and on Human Dataset v2, "
    "CC BY 4.0"
)
DATA = [
    "Human Dataset v2, 10,933 pictures, 35,514 people (a Roboflow user, public repository "
    "brianhuster/human-dataset, CC BY 4.0)",
    *PHOTOS,
    "without people: 588 pictures of ImageNet's classes (public repository "
    "EliSchwartz/imagenet-sample-images), 469 of houses (emanhamed/Houses-dataset), 831 of cats "
    "and dogs (ardamavi/Dog-Cat-Classifier), 1,372 of Pascal VOC's animals "
    "(mateusrafael4/Atividade_programacao_pose_estimation), 24 that scikit-image, Gradio, "
    "scikit-learn and matplotlib come with",
]
SURE = 0.8  # precision at which recall is told
LEAST = 1 / 6  # of the picture's height


def score(model: str, full: str, human: Path, stanford40: Path) -> dict[str, Any]:
    """The scores of a model, each with the command that prints it again once it is packaged."""
    command = f"gatedpose finder evaluate {full} --data"
    one = evaluate_finder(model, stanford40, "val")
    many = evaluate_finder(model, human, "val", least=LEAST, precision=SURE)
    surest, recall = 100 * one["surest_right"], 100 * many["recall_at_precision"]
    return {
        "stanford40-val": {
            "people": one["people"],
            "metric": "pictures whose surest box is that of the person, IoU 0.5, %",
            "label": "surest box right",
            "mean": round(surest, 6),
            "columns": {"Score": round(surest, 6)},
            "any_right": round(100 * one["any_right"], 6),
            "command": f"{command} STANFORD40",
        },
        "human-val": {
            "people": many["people"],
            "metric": "recall at a precision of 0.8, IoU 0.5, people of at least a sixth of the "
            "picture's height, %",
            "label": "recall at precision 0.8",
            "mean": round(recall, 6),
            "columns": {"Score": round(recall, 6)},
            "best_score": round(many["best_score"], 4),
            "command": f"{command} HUMAN --least 0.1667",
        },
    }


@click.command(help=__doc__)
@click.argument("run", type=Path)
@click.option("--name", default="gated_finder_320", show_default=True)
@click.option("--tag", default="people", show_default=True)
@click.option("--human", type=Path, required=True)
@click.option("--stanford40", type=Path, required=True)
@click.option("--commit", required=True, help="Of the code that trained: git rev-parse HEAD.")
@click.option("--note", default="", help="What the recipe does not say of this run.")
def main(
    run: Path, name: str, tag: str, human: Path, stanford40: Path, commit: str, note: str
) -> None:
    """See the top of the file."""
    full, table = f"{name}.{tag}", WEIGHTS_DIR / "weights.json"
    target = WEIGHTS_DIR / f"{full}.safetensors"
    data = save(rounded(run / "model" / "model.safetensors"))
    recipe = json.loads((run / "recipe.json").read_text("utf-8"))
    with TemporaryDirectory() as folder:  # the weights stay as they are until all is scored
        shutil.copy(run / "model" / "config.json", folder)
        Path(folder, "model.safetensors").write_bytes(data)
        scores = score(f"local-dir:{folder}", full, human, stanford40)
    entry: dict[str, Any] = {
        **file_facts(target, data),
        "num_keypoints": 5,
        "skeleton": None,
        "hub": None,
        "revision": None,
        "license": LICENSE,
        "data": DATA,
        "recipe": {"name": "finder", **recipe, "commit": commit, "note": note},
        "scores": scores,
    }
    entries = json.loads(table.read_text("utf-8"))
    write_whole(target, data)
    write_whole(table, json.dumps({**entries, full: entry}, indent=1) + "\n")
    for split, facts in scores.items():
        click.echo(f"{split}: {facts['mean']:.2f} % ({facts['label']})")


if __name__ == "__main__":
    main()
