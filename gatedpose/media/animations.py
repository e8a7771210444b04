"""Frames of GIF, WebP, AVIF and APNG through Pillow: ffmpeg loses some of them, or all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from torch import Tensor

from gatedpose.errors import ImageError, VideoError
from gatedpose.media.images import from_pil, opened

SUFFIXES = {".gif", ".apng", ".webp", ".avif"}
USUAL = 0.1  # seconds that browsers show a frame for which a file gives no time


def frame_times(path: Path) -> list[float]:
    """When each frame of an animation begins, in seconds, and when the last one ends."""
    times = [0.0]
    with _animation(path) as image:
        for _ in _decoded(image):
            times.append(times[-1] + (image.info.get("duration") or 1000 * USUAL) / 1000)
    return times


def frame_images(path: Path) -> Iterator[Tensor]:
    """Each frame of an animation, (3, H, W) uint8; VideoError on the way if it is damaged."""
    with _animation(path) as image:
        for frame in _decoded(image):
            yield from_pil(frame, str(path))


def _decoded(image: Image.Image) -> Iterator[Image.Image]:
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        image.load()  # some formats know the duration only then
        yield image.copy()


@contextmanager
def _animation(path: Path) -> Iterator[Image.Image]:
    try:
        with opened(path, str(path)) as image:
            yield image
    except ImageError as error:
        raise VideoError(f"cannot read the animation: {error}") from error
