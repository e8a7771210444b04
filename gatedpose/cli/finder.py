"""`gatedpose finder`: training and scores of a network that finds people."""

from pathlib import Path
from typing import Any

import click

from gatedpose.cli.commands import Commands
from gatedpose.cli.options import (
    COUNT,
    POSITIVE,
    SEED,
    SHARE,
    best_device,
    give_way,
    json_option,
    phase_option,
    pixels_option,
)
from gatedpose.files.typed_json import to_json


@click.group(cls=Commands)
def finder() -> None:
    """Trains and scores the network that finds people: boxes, not joints."""


@finder.command()
@click.argument("name", default="gated_finder_320")
@click.option(
    "--complete", "complete", multiple=True, type=Path, metavar="FOLDER",
    help="Pictures with a box for every person, in YOLO's or COCO's layout; repeat it.",
)  # fmt: skip
@click.option(
    "--partly", "partly", multiple=True, type=Path, metavar="FOLDER",
    help="Pictures where people may lack a box; only what is in boxes is learnt; repeat it.",
)  # fmt: skip
@click.option(
    "--stretched", multiple=True, type=Path, metavar="FOLDER",
    help="Like --complete, for pictures that were squeezed into squares; repeat it.",
)  # fmt: skip
@click.option(
    "--empty", multiple=True, type=Path, metavar="FOLDER",
    help="Pictures without people; they get a tenth of the draws; repeat it.",
)  # fmt: skip
@click.option("--out", type=Path, required=True, help="Folder for packed pictures and results.")
@phase_option("SIZE,PICTURES,BATCH", "FinderPhase", int, int, int)
@click.option("--lr", type=POSITIVE, help="Replaces the recipe's highest learning rate.")
@click.option("--seed", type=SEED, help="Replaces the recipe's seed.")
@click.option(
    "--init", help='Finder, its .safetensors or pose network to start from; "" for fresh weights.'
)
@click.option(
    "--bf16/--no-bf16", default=None, help="Compute in bfloat16. [where the machine has it]"
)
@click.option(
    "--watch-every", type=COUNT, default=10_000, show_default=True, help="Pictures between looks."
)
@click.option("--resume", is_flag=True, help="Go on with the training in --out.")
@pixels_option
def train(name: str, out: Path, **options: Any) -> None:
    """Trains the finder NAME on the "train" splits of folders; their "val" splits watch it."""
    give_way()
    from gatedpose.engines.rates import emulates_bfloat16
    from gatedpose.training.finder import train_finder
    from gatedpose.training.recipes import FinderRecipe

    folders = {key: options.pop(key) for key in ("complete", "stretched", "partly", "empty")}
    watch_every, resume = options.pop("watch_every"), options.pop("resume")
    if (half := options.pop("bf16")) is None:
        half = best_device(None) == "cuda" or not emulates_bfloat16()
    given = {key: value for key, value in options.items() if value not in (None, ())}
    given["precision"] = "bf16" if half else "no"
    given["init"] = given.get("init", FinderRecipe().init) or None
    recipe = FinderRecipe(**given)
    model = train_finder(name, recipe, folders, out, watch_every=watch_every, resume=resume)
    click.echo(f"wrote {model}; score it with\n  gatedpose finder evaluate local-dir:{model} ...")


@finder.command()
@click.argument("name", default="gated_finder_320")
@click.option("--data", type=Path, required=True, help="Folder in YOLO's or COCO's layout.")
@click.option("--split", default="val", show_default=True)
@click.option(
    "--least", type=SHARE, default=0.0, show_default=True,
    help="People below this share of the picture's height do not count.",
)  # fmt: skip
@click.option(
    "--precision", type=SHARE, default=0.8, show_default=True,
    help="Tell the recall at this precision.",
)  # fmt: skip
@click.option("--min-score", type=SHARE, help="Score of boxes that count. [the finder's own]")
@pixels_option
@json_option
def evaluate(name: str, data: Path, split: str, as_json: bool, **limits: Any) -> None:
    """Scores the finder NAME on pictures with people's boxes, from whole files, as users use it."""
    from gatedpose.evaluation.detection import evaluate_finder, finder_text

    facts = evaluate_finder(name, data, split, **limits)
    click.echo(to_json(facts) if as_json else finder_text(facts))
