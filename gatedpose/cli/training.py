"""`gatedpose train`, `gatedpose ablate` and `gatedpose compare`."""

import json
import shlex
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from gatedpose.catalogue import DATASETS
from gatedpose.cli.options import (
    COUNT,
    POSITIVE,
    SEED,
    give_way,
    json_option,
    phase_option,
    pixels_option,
)
from gatedpose.files.typed_json import to_json

Command = TypeVar("Command", bound=Callable[..., Any])


set_option = click.option(
    "--set", "fields", multiple=True, metavar="FIELD=VALUE",
    help="Replaces a field of the recipe: lr=1e-3, augmentation.rotation=40; repeat it.",
)  # fmt: skip


def recipe_options(command: Command) -> Command:
    """Adds the data, and a recipe with its changes."""
    for option in (
        click.option("--epochs", type=POSITIVE, help="Passes over the people; scales the phases."),
        click.option("--limit", type=COUNT, help="Train on this many people, by the seed. [all]"),
        click.option(
            "--corrections", help='Correct labels by this file of gatedpose data clean, or "lspet".'
        ),
        click.option(
            "--init",
            help='A trained model of this variant to start from, its tag or a .safetensors file; '
            '"pretrained"; "grow:NAME", a smaller trained model to put into this one; or '
            '"shrink:NAME", a larger one to cut to size.',
        ),
        click.option(
            "--precision", type=click.Choice(["no", "bf16", "fp16"]), help="Replaces the recipe's."
        ),
        click.option("--seed", type=SEED, help="Replaces the recipe's seed."),
        click.option("--lr", type=POSITIVE, help="Replaces the recipe's highest learning rate."),
        phase_option("SIZE,IMAGES,BATCH,SIGMA", "Phase", int, int, int, float),
        set_option,
        pixels_option,
        click.option(
            "--out", type=Path, required=True, help="Folder for checkpoints, logs and results."
        ),
        click.option(
            "--data", "folders", multiple=True, required=True, metavar="DATASET=FOLDER",
            help=f"A dataset to train on ({', '.join(DATASETS)}) or shards of it; repeat it.",
        ),
        click.option(
            "--recipe", default="lsp", show_default=True,
            help="finetune (own joints), lsp, people, mpii, lsp-finetune, or a .json file.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("name")
@recipe_options
@click.option(
    "--watch-every", type=COUNT, default=20_000, show_default=True,
    help="Images between looks at the validation people.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the training in --out, if there is one.")
@json_option
def train(
    name: str,
    recipe: str,
    folders: tuple[str, ...],
    out: Path,
    watch_every: int,
    resume: bool,
    as_json: bool,
    **changes: Any,
) -> None:
    """Trains the model NAME, from scratch or for joints of your own.

    For your own joints give --recipe finetune --data own=FOLDER --out run. The first dataset's
    "val" people are scored meanwhile. Several processes: accelerate launch --num_processes 2 -m
    gatedpose.cli train ...
    """
    give_way()
    from gatedpose.batches.shards import holds_shards
    from gatedpose.training.run import train as run

    chosen = _recipe(recipe, changes)
    datasets = _datasets(folders)
    if resume and not (out / "last.pt").exists():
        click.echo(f"{out} holds no training yet: this one starts afresh", err=True)
    model = run(name, chosen, datasets, out, watch_every=watch_every, resume=resume)
    if model is None:
        return
    done = json.loads((out / "recipe.json").read_text("utf-8"))
    facts = {"model": f"local-dir:{model}", "recipe": done}
    first, folder = next(iter(datasets.items()))
    pictures = "FOLDER" if holds_shards(folder) else shlex.quote(str(folder))  # else crops alone
    text = (
        f"wrote {model}; score it with\n"
        f"  gatedpose evaluate {shlex.quote(facts['model'])} --dataset {first} --data {pictures}"
    )
    click.echo(to_json(facts) if as_json else text)


@click.command()
@click.argument("table", type=click.Choice(["gates", "merges"]))
@click.option("--model", default="gated_hg_2s_128", show_default=True, help="A gated hourglass.")
@recipe_options
@json_option
def ablate(
    table: str,
    model: str,
    recipe: str,
    folders: tuple[str, ...],
    out: Path,
    as_json: bool,
    **changes: Any,
) -> None:
    """Trains and scores the paper's variants alike: gates (Table II), or merges (Table IV).

    Writes a table and a plot; run again, it goes on where it stopped.
    """
    give_way()
    from gatedpose.research.ablation import ablate as run
    from gatedpose.research.ablation import ablation_text

    chosen = _recipe(recipe, changes)
    rows = run(table, model, chosen, _datasets(folders), out)
    if rows:  # on the first process only
        text = ablation_text(table, model, chosen, rows)
        click.echo(to_json(rows) if as_json else f"{text}\n\ndrawn in {out / table}.png")


@click.command()
@click.argument("names", nargs=-1, required=True)
@recipe_options
@json_option
def compare(
    names: tuple[str, ...],
    recipe: str,
    folders: tuple[str, ...],
    out: Path,
    as_json: bool,
    **changes: Any,
) -> None:
    """Trains and scores the models NAMES alike: gated_hg_2s_96 cu_net_2, for example.

    Writes a table and a plot over parameters and operations; run again, it goes on where it
    stopped.
    """
    give_way()
    from gatedpose.research.ablation import compare as run
    from gatedpose.research.ablation import comparison_text

    chosen = _recipe(recipe, changes)
    rows = run(names, chosen, _datasets(folders), out)
    if rows:  # on the first process only
        text = f"{comparison_text(chosen, rows)}\n\ndrawn in {out / 'networks.png'}"
        click.echo(to_json(rows) if as_json else text)


@click.command()
@click.argument("name")
@set_option
def recipe(name: str, fields: tuple[str, ...]) -> None:
    """Prints the recipe NAME (finetune, lsp, people, mpii, lsp-finetune, or a .json file) as JSON.

    Save it, change it, and give the file to gatedpose train --recipe.
    """
    click.echo(to_json(asdict(_recipe(name, {"fields": fields})), indent=1))


def _recipe(name: str, changes: dict[str, Any]) -> Any:
    """The recipe called `name` with the options that were given in place of its own."""
    from gatedpose.training.recipes import find_recipe

    fields = changes.pop("fields")
    given = {key: value for key, value in changes.items() if value not in (None, ())}
    found = replace(find_recipe(name), **given)
    for field in fields:
        found = found.with_field(field)
    return found


def _datasets(texts: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for text in texts:
        name, equals, folder = text.partition("=")
        if not (name and equals and folder):
            raise click.BadParameter(f"{text!r} is not DATASET=FOLDER", param_hint="--data")
        if name in found:
            apart = "; call them own:a and own:b, for example" if name == "own" else ""
            raise click.BadParameter(f"{name} comes twice{apart}", param_hint="--data")
        found[name] = Path(folder)
    return found
