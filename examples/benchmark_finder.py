"""How long finding people takes beside one pose: medians on the CPU, taking turns.

    python examples/benchmark_finder.py [PHOTO]

Whole calls with a picture in memory: `PersonFinder.find`, and `Predictor` with one box; and the two
networks alone. Without a photo, noise of 640 x 480.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

import click
import torch

import gatedpose
from gatedpose.engines.rates import timer
from gatedpose.media.images import read_image
from gatedpose.predict.finder import FINDER, PersonFinder

POSE = "gated_hg_1s_68"


def milliseconds(calls: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Median of each call, which take turns so that a busy machine is unfair to none."""
    timers = [timer(call) for call in calls.values()]
    turns = [[1000 * t.timeit(1).mean for t in timers] for _ in range(times + 3)][3:]  # warm
    return dict(zip(calls, map(statistics.median, zip(*turns, strict=True)), strict=True))


@click.command(help=__doc__)
@click.argument("photo", required=False, type=Path)
@click.option("--threads", type=int, help="Of PyTorch.")
@click.option("--times", default=30, show_default=True)
@click.option("--fresh", is_flag=True, help="Untrained finder: its times are the same.")
def main(photo: Path | None, threads: int | None, times: int, fresh: bool) -> None:
    """See the top of the file."""
    if threads:
        torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 255, (3, 480, 640), dtype=torch.uint8, generator=generator)
    image = read_image(photo) if photo else noise
    finder = PersonFinder(gatedpose.create_model(FINDER, pretrained=not fresh))
    predictor = gatedpose.Predictor(gatedpose.create_model(POSE, pretrained=True))
    height, width = image.shape[1:]
    box = [[0, 0, width, height]]
    inputs = {"finder": torch.randn(1, 3, 256, 320), "pose": torch.randn(1, 3, 256, 256)}
    with torch.inference_mode():
        found = milliseconds(
            {
                "finder": lambda: finder.find(image),
                "pose": lambda: predictor(image, box),
                "finder's network": lambda: finder.model(inputs["finder"]),
                "pose's network": lambda: predictor.model(inputs["pose"]),
            },
            times,
        )
    click.echo(f"{width} x {height} pixels, {torch.get_num_threads()} threads")
    for name, value in found.items():
        click.echo(f"{name:20} {value:7.1f} ms")
    click.echo(f"finder / pose        {found['finder'] / found['pose']:7.2f}")
    ratio = found["finder's network"] / found["pose's network"]
    click.echo(f"of the networks      {ratio:7.2f}")


if __name__ == "__main__":
    main()
