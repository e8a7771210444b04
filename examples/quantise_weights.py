"""Finds the ranges of activations that eight bits need, from people that weights were trained on.

    python examples/quantise_weights.py gated_hg_1s_68.lsp --data LSP

This writes the file that `gatedpose.optimize(..., precision="int8")` reads, beside the weights.
"""

from pathlib import Path

import click

import gatedpose
from gatedpose.data.readers import read_dataset
from gatedpose.engines.quantise import ranges_file, save_ranges, stored_ranges
from gatedpose.evaluation.eight_bits import quantise, score_in


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--dataset", default="lsp", show_default=True)
@click.option("--data", type=Path, required=True, help="Folder of the dataset.")
@click.option("--people", default=256, show_default=True, help="Of the training half.")
def main(names: tuple[str, ...], dataset: str, data: Path, people: int) -> None:
    """Writes ranges for the weights NAMES, and what they score with them."""
    samples = {split: read_dataset(dataset, data, split) for split in ("train", "val")}
    for name in names:
        model = gatedpose.create_model(name, pretrained=True)
        count = quantise(model, samples["train"], people)
        score = score_in("int8", model, samples["val"]).mean
        scores = {"lsp-val" if dataset == "lsp" else "people-val": round(score, 6)}
        save_ranges(model, stored_ranges(model), scores)
        click.echo(f"{name}: {count} ranges in {ranges_file(model)}, {scores}")


if __name__ == "__main__":
    main()
