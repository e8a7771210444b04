"""Times networks in processes that keep the memory they free, and in others: `gatedpose.device`.

    python examples/benchmark_allocator.py [--model gated_hg_1s_68 --batch-size 32]

Prediction, and forward and backward of training, in float32 on the CPU. Fresh processes of both
kinds take turns; medians are printed.
"""

import json
import resource
import statistics
import subprocess
import sys

import click
import torch
from tqdm import tqdm

import gatedpose
from gatedpose.device import keep_freed_memory
from gatedpose.engines.rates import timer

WAYS = ("returned", "kept")


def measure(model: str, batch_size: int) -> dict[str, float]:
    """What is printed, of this process as it is."""
    network = gatedpose.create_model(model, num_keypoints=14)
    images = torch.randn(batch_size, 3, 256, 256)

    def learn() -> None:
        network(images).square().mean().backward()

    network.eval()
    predicting = timer(torch.inference_mode()(lambda: network(images)))
    predicted = predicting.blocked_autorange(min_run_time=2).median
    network.train()
    learnt = timer(learn).blocked_autorange(min_run_time=2).median
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "predicting, ms a batch": 1e3 * predicted,
        "learning, ms a batch": 1e3 * learnt,
        "held at most, GB": held / 1e9,
    }


def measure_apart(way: str, model: str, batch_size: int) -> dict[str, float]:
    """`measure` in a fresh process."""
    options = ["--model", model, "--batch-size", str(batch_size), "--way", way]
    told = subprocess.run(
        [sys.executable, __file__, *options], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(told.stdout)
    return found


@click.command(help=__doc__)
@click.option("--model", default="gated_hg_4s_144", show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--turns", default=3, show_default=True)
@click.option("--way", type=click.Choice(WAYS), help="Only this, in this process, as JSON.")
def main(model: str, batch_size: int, turns: int, way: str | None) -> None:
    """See the top of the file."""
    if way != "returned" and not keep_freed_memory():
        raise click.ClickException("this needs Linux with glibc")
    if way:
        click.echo(json.dumps(measure(model, batch_size)))
        return
    rows = [
        [measure_apart(each, model, batch_size) for each in WAYS]
        for _ in tqdm(range(turns), "timing", unit="turn")
    ]
    for what in rows[0][0]:
        returned, kept = (
            statistics.median(row[what] for row in column) for column in zip(*rows, strict=True)
        )
        click.echo(f"{what}: returned {returned:.4g}, kept {kept:.4g}, ratio {returned / kept:.2f}")


if __name__ == "__main__":
    main()
