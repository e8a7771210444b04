"""Prints what it gives that a process keeps the memory it frees: see `gatedpose.allocator`.

    python examples/benchmark_allocator.py [--model gated_hg_1s_68 --batch-size 32]

Predicting, and learning (forward and backward), in float32 on the CPU, in fresh processes that give
freed memory back to the system and that keep it, in turns; medians are printed.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable

import click
import torch

import gatedpose
from gatedpose.allocator import keep_freed_memory
from gatedpose.roofline import timer

Seconds = dict[str, float]


def measure(model: str, batch_size: int) -> Seconds:
    """Seconds a batch, in this process as it is, and the most memory that it ever held."""
    network = gatedpose.create_model(model, num_keypoints=14)
    images = torch.randn(batch_size, 3, 256, 256)

    def learn() -> None:
        network(images).square().mean().backward()

    predict: Callable[[], object] = torch.inference_mode()(lambda: network(images))
    network.eval()
    predicting = timer(predict).blocked_autorange(min_run_time=2).median
    network.train()
    learning = timer(learn).blocked_autorange(min_run_time=2).median
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"predicting": predicting, "learning": learning, "gigabytes": gigabytes}


def measure_apart(way: str, model: str, batch_size: int) -> Seconds:
    """`measure` in a fresh process."""
    options = ["--model", model, "--batch-size", str(batch_size), "--way", way]
    told = subprocess.run(
        [sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(told.stdout)  # type: ignore[no-any-return]


@click.command(help=__doc__)
@click.option("--model", default="gated_hg_4s_144", show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--turns", default=3, show_default=True)
@click.option("--way", type=click.Choice(["returned", "kept"]), help="Only this, here, as JSON.")
def main(model: str, batch_size: int, turns: int, way: str | None) -> None:
    """See the top of the file."""
    if way:
        if way == "kept" and not keep_freed_memory():
            raise click.ClickException("this needs Linux with glibc")
        click.echo(json.dumps(measure(model, batch_size)))
        return
    rows = [
        [measure_apart(w, model, batch_size) for w in ("returned", "kept")] for _ in range(turns)
    ]
    for what in rows[0][0]:
        returned, kept = (
            statistics.median(row[what] for row in column) for column in zip(*rows, strict=True)
        )
        times = "" if what == "gigabytes" else f", {returned / kept:.2f} times as fast"
        scale, unit = (1, "GB at most") if what == "gigabytes" else (1000, "ms a batch")
        click.echo(
            f"{what}: returned {returned * scale:.4g}, kept {kept * scale:.4g} {unit}{times}"
        )


if __name__ == "__main__":
    main()
