"""Finds the ranges of activations that eight bits need, from people that weights were trained on.

    python examples/quantise_weights.py gated_hg_1s_68.lsp --data LSP

This writes the file that `gatedpose.optimize(..., precision="int8")` reads, beside the weights.
"""

from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

import gatedpose
from gatedpose.data.readers import read_dataset
from gatedpose.engines.quantise import find_ranges, ranges_file, save_ranges
from gatedpose.engines.runtimes import openvino_graph
from gatedpose.evaluation import evaluate
from gatedpose.models.base import HeatmapNetwork


class Seen(nn.Module):
    """Stands in for a network and keeps the crops that it is shown."""

    def __init__(self, model: HeatmapNetwork) -> None:
        super().__init__()
        self.num_keypoints, self.pretrained_cfg = model.num_keypoints, model.pretrained_cfg
        self.batches: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """No heatmaps."""
        self.batches.append(images)
        height, width = images.shape[2:]
        return torch.zeros(len(images), 1, self.num_keypoints, height // 4, width // 4)


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--dataset", default="lsp", show_default=True)
@click.option("--data", type=Path, required=True, help="Folder of the dataset.")
@click.option("--people", default=256, show_default=True, help="Of the training half.")
def main(names: tuple[str, ...], dataset: str, data: Path, people: int) -> None:
    """Writes ranges for the weights NAMES, and what they score with them."""
    samples = read_dataset(dataset, data, "train")
    chosen = np.linspace(0, len(samples) - 1, people).round().astype(int)
    for name in names:
        model = gatedpose.create_model(name, pretrained=True)
        seen = Seen(model)
        pairs = ((samples[i].image, samples[i].box[None]) for i in chosen)
        list(gatedpose.Predictor(seen, batch_size=8).stream(pairs))
        ranges = find_ranges(model, seen.batches, openvino_graph)
        save_ranges(model, ranges)  # rounded: what is stored is what is scored
        fast = gatedpose.optimize(model, engine="openvino", precision="int8")
        predictor = gatedpose.Predictor(fast, batch_size=8, flip_test=True)
        score = evaluate(predictor, read_dataset(dataset, data, "val")).score.mean
        scores = {"lsp-val" if dataset == "lsp" else "people-val": round(score, 6)}
        save_ranges(model, ranges, scores)
        click.echo(f"{name}: {len(ranges)} ranges in {ranges_file(model)}, {scores}")


if __name__ == "__main__":
    main()
