"""CPU seconds and memory of `gatedpose predict` on large photos, in fresh processes.

    python examples/benchmark_photos.py FOLDER [--photos 30]

Photos of FOLDER, spread over it, are enlarged to 12 megapixels, with grain as cameras have, and
stored as JPEG, some 5 MB each. "photos" is the whole command; "CPU s" its user and system time,
less that for a single photo of them, so that start-up is left out.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from PIL import Image

PIXELS = 12e6
WAYS = {
    "keypoints": ["--no-pictures"],
    "keypoints, --fast": ["--no-pictures", "--fast"],
    "drawn, --max-side 1024": ["--max-side", "1024"],
    "drawn": [],
}


def enlarge(source: Path, target: Path, seed: int) -> None:
    """Writes a photo of 12 megapixels, its sides multiples of 16 as a camera's."""
    grain = np.random.default_rng(seed).normal(0, 4, (512, 512, 1))
    with Image.open(source) as image:
        factor = (PIXELS / (image.width * image.height)) ** 0.5
        width, height = (round(side * factor / 16) * 16 for side in image.size)
        pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    tiles = -(-height // 512), -(-width // 512), 1
    noisy = pixels + np.tile(grain, tiles)[:height, :width]
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target, quality=92)


def run(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds by the clock and of the processor, and the most megabytes held, of a command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "gatedpose.cli", "predict", *arguments]
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)
        if status:
            errors.seek(0)
            raise click.ClickException(errors.read().decode()[-500:])
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--photos", default=30, show_default=True, type=click.IntRange(2))
def main(folder: Path, photos: int) -> None:
    """See the top of the file."""
    sources = sorted(folder.glob("*.jpg"))
    if len(sources) < photos:
        raise click.UsageError(f"{folder} holds {len(sources)} .jpg files, {photos} are needed")
    click.echo("| way | photos | s | CPU s | MB at most |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as place:
        many, one = Path(place, "many"), Path(place, "one")
        many.mkdir()
        one.mkdir()
        for i in range(photos):
            enlarge(sources[i * len(sources) // photos], many / f"{i}.jpg", i)
        shutil.copy(many / "0.jpg", one)
        for way, options in WAYS.items():
            run([str(one), "--out", f"{place}/out0", *options])  # prepares engines
            _, alone, _ = run([str(one), "--out", f"{place}/out1", *options])
            clock, used, most = run([str(many), "--out", f"{place}/out2", *options])
            click.echo(f"| {way} | {photos} | {clock:.1f} | {used - alone:.1f} | {most:.0f} |")
            for name in ("out0", "out1", "out2"):
                shutil.rmtree(Path(place, name), ignore_errors=True)


if __name__ == "__main__":
    main()
