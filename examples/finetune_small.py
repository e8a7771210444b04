"""What fine-tuning comes to on a hundred people with joints of one's own.

    python examples/finetune_small.py PEOPLE/stanford40 PEOPLE/lsp PEOPLE/yoga5 --out OUT

Each folder is one of the dataset "own" with our 19 joints. 100 people of its "train" and up to 150
of its "val" are drawn, and six of their joints get names that no packaged network knows, so that
all heads start anew. The network is trained on them as `gatedpose train NAME --recipe finetune`
does it. Prints PCK@0.2 of the box's longer side, without flip test, after each phase.
"""

import csv
import json
import random
from pathlib import Path
from typing import Any

import click

from gatedpose.training.recipes import find_recipe
from gatedpose.training.run import train

NAMES = {
    "head top": "crown", "neck": "nape", "left wrist": "left cuff", "right wrist": "right cuff",
    "left knee": "left patch", "right knee": "right patch",
}  # fmt: skip
PEOPLE = {"train": 100, "val": 150}


def write_small(folder: Path, out: Path, seed: int) -> int:
    """Writes a folder of few people and joints; returns how many people are left out to score."""
    out.mkdir(parents=True)
    (out / "images").symlink_to((folder / "images").resolve())
    for split, most in PEOPLE.items():
        table = json.loads((folder / f"{split}.json").read_text("utf-8"))
        joints: list[str] = table["categories"][0]["keypoints"]
        chosen = [joints.index(name) for name in NAMES]
        seen = [one for one in table["annotations"] if _labelled(one, chosen)]
        people = random.Random(seed).sample(seen, min(most, len(seen)))
        small = {
            "images": table["images"],
            "categories": [{"id": 1, "name": "person", "keypoints": list(NAMES.values())}],
            "annotations": [_with_few(one, chosen) for one in people],
        }
        (out / f"{split}.json").write_text(json.dumps(small), "utf-8")
    return len(people)


def _labelled(person: dict[str, Any], chosen: list[int]) -> bool:
    """Whether any of the chosen joints is labelled."""
    return any(person["keypoints"][3 * joint + 2] for joint in chosen)


def _with_few(person: dict[str, Any], chosen: list[int]) -> dict[str, Any]:
    values = person["keypoints"]
    few = [value for joint in chosen for value in values[3 * joint : 3 * joint + 3]]
    return {**{key: person[key] for key in ("id", "image_id", "category_id", "bbox")},
            "keypoints": few}  # fmt: skip


@click.command(help=__doc__)
@click.argument("folders", nargs=-1, required=True, type=Path)
@click.option("--model", default="gated_hg_1s_68", show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", required=True, type=Path, help="Folder for the sets and trainings.")
def main(folders: tuple[Path, ...], model: str, seed: int, out: Path) -> None:
    """See the top of the file."""
    for folder in folders:
        data, run = out / folder.name / "data", out / folder.name / "run"
        left_out = write_small(folder, data, seed)
        train(model, find_recipe("finetune"), {"own": data}, run, watch_every=10**9)
        rows = list(csv.DictReader((run / "log.csv").open(encoding="utf-8")))
        scores = ", ".join(f"{row['val_pck_no_flip']} after {row['size']} px" for row in rows)
        click.echo(f"{folder.name}: {left_out} people left out, {scores}")


if __name__ == "__main__":
    main()
