"""`gatedpose train`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from gatedpose.cli.options import json_option


@click.command()
@click.argument("name")
@click.option("--recipe", default="lsp", show_default=True, help="lsp, mpii or finetune.")
@click.option(
    "--data", "folders", multiple=True, required=True, metavar="DATASET=FOLDER",
    help="A dataset to train on (lsp, lspet, mpii, coco, own); repeat it.",
)  # fmt: skip
@click.option("--out", type=Path, required=True, help="Folder for checkpoints, log and weights.")
@click.option(
    "--phase", "phases", multiple=True, metavar="SIZE,IMAGES,BATCH,SIGMA",
    help="Replaces the recipe's phases; repeat it.",
)  # fmt: skip
@click.option("--lr", type=float, help="Replaces the recipe's highest learning rate.")
@click.option("--seed", type=int, help="Replaces the recipe's seed.")
@click.option(
    "--precision", type=click.Choice(["no", "bf16", "fp16"]), help="Replaces the recipe's."
)
@click.option("--init", help='A .safetensors file or a tag to start from, or "pretrained".')
@click.option(
    "--watch-every", default=20_000, show_default=True, help="Images between checkpoints."
)
@json_option
def train(
    name: str,
    recipe: str,
    folders: tuple[str, ...],
    out: Path,
    phases: tuple[str, ...],
    watch_every: int,
    as_json: bool,
    **changes: Any,
) -> None:
    """Trains the model NAME; run again, it goes on where it stopped.

    The first dataset's "val" split watches the training. Several processes: accelerate launch
    --num_processes 2 -m gatedpose.cli train ...
    """
    from gatedpose.recipes import find_recipe
    from gatedpose.training import train as run

    changed = {key: value for key, value in changes.items() if value is not None}
    if phases:
        changed["phases"] = tuple(_phase(text) for text in phases)
    chosen = replace(find_recipe(recipe), **changed)
    model = run(name, chosen, dict(map(_dataset, folders)), out, watch_every=watch_every)
    if model is None:
        return
    facts = {"model": f"local-dir:{model}", "recipe": asdict(chosen)}
    first, folder = _dataset(folders[0])
    text = (
        f"wrote {model}; score it with\n"
        f"  gatedpose evaluate local-dir:{model} --dataset {first} --data {folder}"
    )
    click.echo(json.dumps(facts) if as_json else text)


def _dataset(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise click.BadParameter(f"{text!r} is not DATASET=FOLDER", param_hint="--data")
    return name, Path(folder)


def _phase(text: str) -> Any:
    from gatedpose.recipes import Phase

    try:
        size, images, batch, sigma = text.split(",")
        return Phase(int(size), int(images), int(batch), float(sigma))
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is not SIZE,IMAGES,BATCH,SIGMA: {error}", param_hint="--phase"
        ) from error
