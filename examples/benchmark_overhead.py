"""Prints what gatedpose costs beside the network: its import, and its prediction on the CPU.

    pip install ".[demo]"
    python examples/benchmark_overhead.py [--json]

Import: median wall time of `import gatedpose` over that of `import timm`, alternating, in fresh
processes. Prediction: what the predictor needs besides the network (read, crop, normalise, decode,
map back) over the network's own time, for 8 people at 256 x 256: as 8 photos of one person, as
one photo of 8 people, and as 8 photos of 12 megapixels, read by threads and by none. The photos are
the demo portrait, stored as JPEG.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import click
import torch
from PIL import Image
from torch import nn

import gatedpose
from gatedpose.media.demo import demo_image

PEOPLE = 8
LARGE = (4000, 3000)

Pairs: TypeAlias = list[tuple[Path, list[list[float]] | None]]


class TimedPredictor(gatedpose.Predictor):
    """Notes the seconds that the network takes."""

    def __init__(self, model: nn.Module, workers: int | None) -> None:
        super().__init__(model, workers=workers)
        self.times: list[float] = []

    def heatmaps(self, crops: torch.Tensor) -> torch.Tensor:
        """See `Predictor`."""
        start = time.perf_counter()
        maps = super().heatmaps(crops)
        self.times.append(time.perf_counter() - start)
        return maps


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Median wall time of `run` after one warm-up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def import_ratio(repeats: int) -> dict[str, float]:
    """Median seconds of both imports, taken in turns, and their ratio."""
    times: dict[str, list[float]] = {"timm": [], "gatedpose": []}
    for _ in range(repeats + 1):
        for package, taken in times.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {package}"], check=True)
            taken.append(time.perf_counter() - start)
    timm, ours = (statistics.median(taken[1:]) for taken in times.values())
    return {"timm_s": timm, "gatedpose_s": ours, "ratio": ours / timm}


def prediction_overhead(name: str, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of network and of all the rest, and the rest's share of the network's."""
    model = gatedpose.create_model(name, num_keypoints=14)
    box = [20.0, 20.0, 490.0, 500.0]
    results = {}
    with tempfile.TemporaryDirectory() as folder, Image.open(demo_image()) as image:
        photo, large = Path(folder) / "photo.jpg", Path(folder) / "large.jpg"
        image.convert("RGB").save(photo, quality=92)
        image.convert("RGB").resize(LARGE).save(large, quality=92)
        cases: dict[str, tuple[Pairs, int | None]] = {
            "8 photos of 1 person": ([(photo, [box])] * PEOPLE, None),
            "1 photo of 8 people": ([(photo, [box] * PEOPLE)], None),
            "8 photos of 12 megapixels": ([(large, None)] * PEOPLE, None),
            "8 photos of 12 megapixels, workers=0": ([(large, None)] * PEOPLE, 0),
        }
        for case, (pairs, workers) in cases.items():
            predictor = TimedPredictor(model, workers=workers)
            total = seconds(lambda p=predictor, pairs=pairs: list(p.stream(pairs)), repeats)  # type: ignore[misc]
            own = statistics.median(predictor.times[1:])
            results[case] = {"network_s": own, "rest_s": total - own, "share": (total - own) / own}
    return results


@click.command(help=__doc__)
@click.option("--model", default="gated_hg_1s_68", show_default=True)
@click.option("--repeats", default=9, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(model: str, repeats: int, as_json: bool) -> None:
    """See the top of the file."""
    facts = {"import": import_ratio(repeats), "prediction": prediction_overhead(model, repeats)}
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    imports = facts["import"]
    click.echo(
        f"import gatedpose {imports['gatedpose_s']:.2f} s, timm {imports['timm_s']:.2f} s: "
        f"{imports['ratio']:.2f} times"
    )
    for case, times in facts["prediction"].items():
        click.echo(
            f"{case}: network {1000 * times['network_s']:.0f} ms, the rest "
            f"{1000 * times['rest_s']:.0f} ms: {100 * times['share']:.1f} % of the network's time"
        )


if __name__ == "__main__":
    main()
