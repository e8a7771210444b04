"""Prints what drawing and augmenting batches costs a training, beside the network.

    pip install ".[train]"
    python examples/benchmark_loader.py [--model gated_hg_4s_144 --precision bf16 --batch-size 64]

Runs training steps on random crops as large as `gatedpose train` packs them, with a fresh batch a
step and with the same batch again and again, in turns: the difference is what reading, moving and
augmenting take. Drawing is also timed alone, since on a CPU, where nothing runs beside it, the
difference drowns in the noise of the steps. On a GPU or, where there is none, on the CPU.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice, repeat
from pathlib import Path

import click
import torch

import gatedpose
from gatedpose.data.augment import Batch
from gatedpose.data.crops import PACK_SIZE, Crops
from gatedpose.recipes import LSP, Phase, Recipe
from gatedpose.skeleton import LSP14
from gatedpose.trainer import Trainer

PEOPLE = 256


def random_crops() -> Crops:
    """People of noise: what the pixels show does not matter to the time."""
    images = torch.randint(0, 256, (PEOPLE, 3, PACK_SIZE, PACK_SIZE), dtype=torch.uint8)
    keypoints = torch.rand(PEOPLE, 14, 2) * PACK_SIZE
    return Crops(images, keypoints, torch.ones(PEOPLE, 14, dtype=torch.bool))


def images_a_second(trainer: Trainer, batches: Iterable[Batch], phase: Phase, steps: int) -> float:
    """Speed of training steps."""
    start = time.perf_counter()
    for batch in islice(batches, steps):
        trainer.step(batch, phase)  # reads the loss, and so waits for the device
    return steps * phase.batch_size / (time.perf_counter() - start)


def batches_drawn_a_second(batches: Iterator[Batch], steps: int) -> float:
    """Speed of drawing and augmenting alone."""
    start = time.perf_counter()
    for batch in islice(batches, steps):
        batch.images[0, 0, 0, 0].item()  # waits for the device
    return steps / (time.perf_counter() - start)


@click.command(help=__doc__)
@click.option("--model", default="gated_hg_1s_68", show_default=True)
@click.option("--size", default=256, show_default=True)
@click.option("--batch-size", default=16, show_default=True)
@click.option("--steps", default=6, show_default=True, help="Of each turn.")
@click.option("--turns", default=3, show_default=True)
@click.option("--precision", type=click.Choice(["no", "bf16", "fp16"]), default="no")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    model: str, size: int, batch_size: int, steps: int, turns: int, precision: str, as_json: bool
) -> None:
    """See the top of the file."""
    phase = Phase(size, 10**9, batch_size, sigma=1.5)
    recipe = Recipe(
        "benchmark", {}, (phase,), optimizer=LSP.optimizer, augmentation=LSP.augmentation,
        precision=precision,  # type: ignore[arg-type]
    )  # fmt: skip
    crops = random_crops()
    network = gatedpose.create_model(model, num_keypoints=14)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(network, crops, torch.ones(PEOPLE), crops, LSP14, recipe, Path(folder))
        fresh, same = trainer.batches(phase), repeat(next(trainer.batches(phase)))
        images_a_second(trainer, fresh, phase, 3)  # to warm up
        speeds = [
            [images_a_second(trainer, source, phase, steps) for source in (fresh, same)]
            for _ in range(turns)
        ]
        drawn = batches_drawn_a_second(fresh, steps * turns) * batch_size
    real, synthetic = (statistics.median(column) for column in zip(*speeds, strict=True))
    facts = {"model": model, "device": str(trainer.accelerator.device), "precision": precision}
    facts |= {"fresh_images_a_second": real, "same_images_a_second": synthetic}
    facts |= {"fresh_over_same": real / synthetic, "drawing_alone_images_a_second": drawn}
    facts |= {"drawing_over_step": synthetic / drawn}
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    click.echo(
        f"{model} at {size} px, batch {batch_size}, {facts['device']}, precision {precision}, "
        f"medians of {turns} turns of {steps} steps:\n"
        f"  {real:.1f} images/s with fresh batches, {synthetic:.1f} with the same one: "
        f"{100 * real / synthetic:.1f} %\n"
        f"  drawing and augmenting alone: {drawn:.1f} images/s, "
        f"{100 * synthetic / drawn:.1f} % of a step's time"
    )


if __name__ == "__main__":
    main()
