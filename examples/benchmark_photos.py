"""CPU seconds and memory of `gatedpose predict` on large photos, in fresh processes.

    python examples/benchmark_photos.py FOLDER [--photos 30]

Photos of FOLDER, spread over it, are enlarged to 12 megapixels, with grain as cameras have, and
stored as JPEG, some 5 MB each. "photos" is the whole command; "CPU s" its user and system time,
less that for a single photo of them, so that start-up is left out.
"""

import subprocess
import sys
import threading
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
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr
    text: list[bytes] = []
    reader = threading.Thread(target=lambda: text.append(child.stderr.read()))  # type: ignore[union-attr]
    reader.start()
    _, status, used = __import__("os").wait4(child.pid, 0)
    reader.join()
    if status:
        raise click.ClickException(text[0].decode()[-500:])
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024
