"""`gatedpose evaluate` and `gatedpose train`."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

import gatedpose
from gatedpose.cli.options import best_device, decoder_option, device_option, json_option

DATA_HELP = "Folder of the dataset: joints.mat and images/."


@click.command()
@click.argument("name")
@click.option("--dataset", type=click.Choice(["lsp", "lspet"]), default="lsp", show_default=True)
@click.option("--data", type=Path, required=True, help=DATA_HELP)
@click.option("--split", default="val", show_default=True)
@click.option("--flip/--no-flip", default=True, show_default=True, help="Flip test.")
@decoder_option
@click.option("--size", default=256, show_default=True, help="Side of the input in pixels.")
@click.option(
    "--weights", type=Path, help="A .safetensors file of the model NAME to score instead."
)
@device_option
@click.option("--save", type=Path, help="Writes the raw predictions (.npz).")
@json_option
def evaluate(
    name: str,
    dataset: str,
    data: Path,
    split: str,
    flip: bool,
    decoder: Any,
    size: int,
    weights: Path | None,
    device: str | None,
    save: Path | None,
    as_json: bool,
) -> None:
    """Scores a model on a dataset: PCK@0.2, person-centric, by joint."""
    from gatedpose.data.lsp import read_dataset
    from gatedpose.evaluation import evaluate as run
    from gatedpose.reports import score_facts, score_text

    samples = read_dataset(dataset, data, split)
    options: dict[str, Any] = {"flip_test": flip, "decoder": decoder, "size": (size, size)}
    model = gatedpose.create_model(
        name,
        pretrained=weights is None,
        num_keypoints=samples[0].skeleton.num_keypoints if weights else None,
        checkpoint_path=weights,
    )
    predictor = gatedpose.Predictor(model, device=best_device(device), **options)
    result = run(predictor, samples, progress=not as_json)
    if save:
        result.save(save)
    settings = {"model": name, "dataset": dataset, "split": split, "people": len(samples)}
    facts = score_facts(result.score, samples[0].skeleton, {**settings, **options})
    click.echo(json.dumps(facts, indent=1) if as_json else score_text(facts))


@click.command()
@click.argument("name")
@click.option("--recipe", default="lsp", show_default=True)
@click.option("--lsp", type=Path, required=True, help="Folder of LSP.")
@click.option("--lspet", type=Path, required=True, help="Folder of LSP-extended.")
@click.option("--out", type=Path, required=True, help="Folder for checkpoints, log and weights.")
@click.option(
    "--phase", "phases", multiple=True, metavar="SIZE,IMAGES,BATCH,SIGMA",
    help="Replaces the recipe's phases; repeat it.",
)  # fmt: skip
@click.option("--seed", type=int, help="Replaces the recipe's seed.")
@click.option(
    "--precision",
    type=click.Choice(["no", "bf16", "fp16"]),
    help="Replaces the recipe's: autocast.",
)
@click.option("--init", type=Path, help="A .safetensors file to start from.")
@click.option(
    "--watch-every", default=20_000, show_default=True, help="Images between checkpoints."
)
@json_option
def train(
    name: str,
    recipe: str,
    lsp: Path,
    lspet: Path,
    out: Path,
    phases: tuple[str, ...],
    seed: int | None,
    precision: Any,
    init: Path | None,
    watch_every: int,
    as_json: bool,
) -> None:
    """Trains a model on LSP and LSP-extended; run again, it goes on where it stopped.

    For several processes: accelerate launch --num_processes 2 -m gatedpose.cli train ...
    """
    from gatedpose.recipes import RECIPES, Phase
    from gatedpose.training import train_lsp

    if recipe not in RECIPES:
        raise click.BadParameter(f"there are {', '.join(RECIPES)}", param_hint="--recipe")
    chosen = RECIPES[recipe]
    if phases:
        parts = [phase.split(",") for phase in phases]
        chosen = replace(
            chosen, phases=tuple(Phase(int(a), int(b), int(c), float(d)) for a, b, c, d in parts)
        )
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    if precision is not None:
        chosen = replace(chosen, precision=precision)
    path = train_lsp(name, chosen, {"lsp": lsp, "lspet": lspet}, out, watch_every, init)
    if path and as_json:
        click.echo(json.dumps({"weights": str(path), "recipe": asdict(chosen)}))
    elif path:
        click.echo(f"wrote {path}; score it with")
        click.echo(f"  gatedpose evaluate {name} --weights {path} --dataset lsp --data {lsp}")
