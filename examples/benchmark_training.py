"""Prints how fast a network trains here, what memory a batch takes, and what drawing batches costs.

    pip install ".[train]"
    python examples/benchmark_training.py [--model gated_hg_4s_144 --batch-size 64]

Runs training steps of the recipe "lsp" on random crops as large as `gatedpose train` packs them, in
float32 and bfloat16, compiled, and with gradient checkpointing; with the same batch again and
again, and with a fresh one a step: the difference is what reading, moving and augmenting take.
Drawing is also timed alone, since on a CPU, where nothing runs beside it, the difference drowns in
the noise of the steps. On a GPU or, where there is none, on the CPU.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import click
import torch
from tqdm import tqdm

import gatedpose
from gatedpose.batches.augment import Batch
from gatedpose.batches.crops import PACK_SIZE, Crops
from gatedpose.device import keep_freed_memory
from gatedpose.research.bench import peak_mb
from gatedpose.skeleton import LSP14
from gatedpose.training.devices import make_accelerator
from gatedpose.training.groups import Phase
from gatedpose.training.recipes import LSP, Recipe
from gatedpose.training.trainer import Trainer

PEOPLE = 256
WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bf16": {"precision": "bf16"},
    "bf16-compiled": {"precision": "bf16", "compile": True},
    "bf16-checkpointing": {"precision": "bf16", "checkpointing": True},
}


@dataclass(frozen=True)
class Speed:
    """Images a second with the same batch and with fresh ones, and of drawing alone; memory."""

    way: str
    same: float
    fresh: float
    drawing: float
    peak_mb: float


def random_crops() -> Crops:
    """People of noise: what the pixels show does not matter to the time."""
    images = torch.randint(0, 256, (PEOPLE, 3, PACK_SIZE, PACK_SIZE), dtype=torch.uint8)
    keypoints = torch.rand(PEOPLE, 14, 2) * PACK_SIZE
    return Crops(images, keypoints, torch.ones(PEOPLE, 14, dtype=torch.bool))


def steps_a_second(trainer: Trainer, batches: Iterable[Batch], steps: int) -> float:
    """Speed of training steps."""
    start = time.perf_counter()
    for batch in islice(batches, steps):
        trainer.step(batch)  # reads the loss, and so waits for the device
    return steps / (time.perf_counter() - start)


def draws_a_second(batches: Iterator[Batch], steps: int) -> float:
    """Speed of drawing and augmenting alone."""
    start = time.perf_counter()
    for batch in islice(batches, steps):
        batch.images[0, 0, 0, 0].item()  # waits for the device
    return steps / (time.perf_counter() - start)


def measure(way: str, recipe: Recipe, model: str, crops: Crops, steps: int, turns: int) -> Speed:
    """Trains a fresh network for a while."""
    network = gatedpose.create_model(model, num_keypoints=14)
    with tempfile.TemporaryDirectory() as folder:
        data = crops, torch.ones(PEOPLE), crops, LSP14
        accelerator = make_accelerator(recipe.precision)
        trainer = Trainer(accelerator, network, *data, recipe, Path(folder))
        fresh, same = trainer.batches(), repeat(next(trainer.batches()))
        steps_a_second(trainer, fresh, 3)  # to warm up
        rates = [
            [steps_a_second(trainer, source, steps) for source in (same, fresh)]
            for _ in range(turns)
        ]
        drawn = draws_a_second(fresh, steps * turns)
        peak = peak_mb(lambda: trainer.step(next(same)), trainer.accelerator.device)
    medians = [statistics.median(column) for column in zip(*rates, strict=True)]
    same_rate, fresh_rate, draws = (trainer.phase.batch_size * r for r in (*medians, drawn))
    return Speed(way, same_rate, fresh_rate, draws, peak)


@click.command(help=__doc__)
@click.option("--model", default="gated_hg_1s_68", show_default=True)
@click.option("--size", default=256, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option(
    "--way", "ways", multiple=True, type=click.Choice(list(WAYS)), default=list(WAYS),
    show_default=True, help="Repeat it.",
)  # fmt: skip
@click.option("--steps", default=6, show_default=True, help="Of each turn.")
@click.option("--turns", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    model: str,
    size: int,
    batch_size: int,
    ways: tuple[str, ...],
    steps: int,
    turns: int,
    as_json: bool,
) -> None:
    """See the top of the file."""
    keep_freed_memory()  # as all commands do
    phase = Phase(size, 10**9, batch_size, sigma=1.5)
    base = replace(LSP, name="benchmark", datasets={}, phases=(phase,), calibrate=0)
    crops = random_crops()
    speeds = [
        measure(way, replace(base, **WAYS[way]), model, crops, steps, turns)
        for way in tqdm(ways, "timing", unit="way")
    ]
    if as_json:
        click.echo(json.dumps([asdict(speed) for speed in speeds], indent=1))
        return
    click.echo(
        f"{model} at {size} px in batches of {batch_size}, medians of {turns} turns of {steps} "
        f"steps\n\n| way | times {ways[0]} | images/s | with fresh batches | peak MB |"
        "\n|---|---:|---:|---:|---:|"
    )
    for s in speeds:
        drawing = f"{100 * s.fresh / s.same:.0f} %; drawing is {100 * s.same / s.drawing:.0f} %"
        click.echo(
            f"| {s.way} | {s.same / speeds[0].same:.2f} | {s.same:.1f} | {drawing} of a step | "
            f"{s.peak_mb:.0f} |"
        )


if __name__ == "__main__":
    main()
