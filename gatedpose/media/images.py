"""Reading and writing images. Every one becomes the same: a uint8 RGB tensor (3, H, W), upright."""

import functools
import importlib
import io
import logging
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from gatedpose.errors import GatedPoseError, ImageError, InputTypeError, check_range
from gatedpose.files.whole import write_whole
from gatedpose.media.arrays import from_array, from_tensor
from gatedpose.media.encoded import check_path, encoded_image

Array: TypeAlias = np.ndarray[Any, Any]
ImageSource: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | Array | Tensor

LOG = logging.getLogger(__name__)
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}  # what write_image writes
# Others, such as EPS, would be given to programs of this computer.
READ = (
    "AVIF", "BMP", "DIB", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP",
)  # fmt: skip
VIDEOS = (  # of files that commands take for videos: cameras and recorders name them so
    ".3g2", ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
HINTS = {
    (".heic", ".heif", ".hif"): "; for HEIC: pip install pillow-heif",
    VIDEOS: "; for videos: gatedpose predict FILE, one each, or gatedpose.media.video.read_video",
}
PILLOWS_LIMIT = 2**28 // 3  # its own; others have been chosen
MAX_PIXELS = 64_000_000  # of a file: 8000 x 8000, some 800 MB while it is converted
LARGER = (
    " Make it smaller or, if you trust it, raise PIL.Image.MAX_IMAGE_PIXELS; commands take "
    "--max-megapixels."
)
OPENING = threading.Lock()  # the filters of warnings are those of all threads
ORIENTATION = 0x0112  # EXIF's tag; how the stored pixels are turned upright, by its value:
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DARK = 1 / 8  # of what 16 bits hold: a picture whose brightest value is below it looks black


def read_image(source: ImageSource) -> Tensor:
    """Reads an image as a uint8 RGB tensor (3, H, W), in whatever memory layout it comes.

    Files and PIL images are turned upright by their EXIF orientation; grey, palette, CMYK and
    16-bit images (modes I;16 and I, scaled and not clipped) are converted; what is transparent goes
    onto white; an animation gives its first frame. Pillow's limit against bombs holds.

    Args:
        source: A path; the bytes of a file, or one opened in binary mode, which is read from its
            start; a PIL image; a NumPy array (H, W, 3), (H, W, 1) or (H, W); or a tensor (3, H, W)
            or (1, H, W). Arrays and tensors are RGB, uint8 or float in [0, 1]. A tensor that is
            right already is returned as it is, not copied.

    Raises:
        ImageError: For what is not a whole image of at least 2 x 2 pixels, or a folder.
        FileNotFoundError: For a path that does not exist.
        TypeError: For any other type of source.
    """
    if isinstance(source, Image.Image):
        return from_pil(source, f"PIL image of mode {source.mode}")
    if isinstance(source, np.ndarray):
        return from_array(source, f"NumPy array of {source.dtype} {source.shape}")
    if isinstance(source, Tensor):
        return from_tensor(source.detach(), f"tensor of {source.dtype} {tuple(source.shape)}")
    encoded = encoded_image(source)
    if encoded is not None:
        with opened(*encoded) as image:
            return from_pil(image, encoded[1])
    hint = ": for a loop there is Predictor.stream" if isinstance(source, Iterator) else ""
    raise InputTypeError(
        "need a path, bytes, a binary file, a PIL image, an array or a tensor, got "
        f"{type(source).__name__}{hint}"
    )


def allow_megapixels(count: float) -> None:
    """Lets pictures of up to `count` million pixels be read; beyond 64, files must be trusted."""
    check_range("allow_megapixels: count", count, (1.0, 1e4))
    Image.MAX_IMAGE_PIXELS = int(count * 1e6)


@contextmanager
def opened(source: Path | bytes, name: str) -> Iterator[Image.Image]:
    """An image of which only the header is read; errors, those of the block too, name `name`."""
    if isinstance(source, Path):
        check_path(source, name)
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source) as file:
        if not file.seek(0, os.SEEK_END):
            raise ImageError(f"{name} is empty (0 bytes): copy or download it again")
        file.seek(0)
        with _named_errors(name), _open(file, name) as image:
            yield image


def _open(file: BinaryIO, path: str | os.PathLike[str]) -> Image.Image:
    """Reads the header alone; refuses more pixels than are allowed."""
    with _warnings_settled():
        image = Image.open(file, formats=readable())
    pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit == PILLOWS_LIMIT and pixels > MAX_PIXELS:  # else somebody has chosen one
        raise ImageError(
            f"{path} has {image.width} x {image.height} = {pixels / 1e6:.1f} million pixels, the "
            f"limit is {MAX_PIXELS / 1e6:g} million.{LARGER}"
        )
    return image


@contextmanager
def _warnings_settled() -> Iterator[None]:
    """More pixels than are allowed are an error; a broken EXIF block is nothing to speak of."""
    with OPENING, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield


class Header(NamedTuple):
    """What a file says of its picture before it is decoded."""

    width: int  # of the upright picture, as `read_image` gives it
    height: int
    turned: bool  # whether the sides change places when the stored pixels are turned upright


def image_header(path: str | os.PathLike[str]) -> Header:
    """Reads a picture's size and orientation, and no pixels."""
    with opened(Path(path), str(path)) as image:
        return header_of(image)


def header_of(image: Image.Image) -> Header:
    """The header of an open image that is not decoded yet."""
    turned, size = orientation(image) in (5, 6, 7, 8), image.size
    if isinstance(image, TiffImageFile):  # whose `size` is upright already in newer Pillows
        size = image.tag_v2[256], image.tag_v2[257]
    return Header(*(size[::-1] if turned else size), turned)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height that `read_image` gives a file, from its `image_header`."""
    return image_header(path)[:2]


def orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where the EXIF block is broken: the pixels may be good."""
    try:
        with _warnings_settled():
            value = image.getexif().get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # Pillow's parser raises many kinds on a damaged block
        return 1
    return value if isinstance(value, int) and value in UPRIGHT else 1


@functools.cache
def readable() -> list[str]:
    """The formats that are read, of those that this Pillow has: never by another program."""
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return [name for name in READ if name in Image.OPEN]


def hints(names: Iterable[str]) -> str:
    """What to do, if there are Apple's photos or videos among files that cannot be read."""
    there = [name.lower() for name in names]
    return "".join(hint for ends, hint in HINTS.items() if any(n.endswith(ends) for n in there))


@contextmanager
def _named_errors(name: str) -> Iterator[None]:
    """Turns whatever Pillow's decoders raise on a bad image into an `ImageError` about `name`."""
    try:
        yield
    except (GatedPoseError, MemoryError):
        raise
    except Exception as error:
        text = f"{name} is not a whole image that Pillow can read: "
        unknown = f"it is none of {', '.join(readable())}{hints([name])}"
        text += unknown if isinstance(error, UnidentifiedImageError) else str(error)
        if isinstance(error, (Image.DecompressionBombWarning, Image.DecompressionBombError)):
            text += LARGER
        raise ImageError(text) from error


def from_pil(image: Image.Image, name: str) -> Tensor:
    """The pixels of an open image, as `read_image` gives them; errors are about `name`."""
    with _named_errors(name):
        deep = _has_16_bits(image)
        if image.format != "MPO" and getattr(image, "is_animated", False) and not image.tell():
            LOG.warning(f"{name} holds several pictures: the first one is taken")
        image.load()  # turns TIFFs, and takes their orientation away
        if (stored := orientation(image)) != 1:
            image = image.transpose(UPRIGHT[stored])
        if image.mode == "F":
            return from_array(np.asarray(image), name)
        if image.mode[0] == "I":  # 16 bits; Pillow's convert clips
            pixels = np.asarray(image)
            _warn_of_black(int(pixels.max(initial=0)), name)
            return from_array(pixels / 65535, name)
        if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
        if deep:
            _warn_of_black(int(pixels.max(initial=0)) * 257 - 128, name)  # about, of eight bits
        return from_tensor(torch.from_numpy(pixels).permute(2, 0, 1), name)


def _has_16_bits(image: Image.Image) -> bool:
    """Whether a file holds 16 bits a colour, of which Pillow keeps eight."""
    ways = (tile[3] for tile in getattr(image, "tile", ()))
    each = ((way,) if isinstance(way, str) else tuple(way) for way in ways)
    return any(";16" in str(way[:1]) or 65535 in way for way in each)  # a raw mode, or PPM's most


def _warn_of_black(brightest: int, name: str) -> None:
    """Says so if a picture of 16 bits comes out nearly black, since fewer of them are used."""
    if 0 < brightest < DARK * 65535:
        LOG.warning(
            f"{name} comes out nearly black: its brightest value is {brightest} of 65535, as if "
            f"{brightest.bit_length()} bits were stored in 16: multiply its values by "
            f"{2 ** (16 - brightest.bit_length())}"
        )


def to_pil(image: Tensor) -> Image.Image:
    """A picture (3, H, W) uint8 as Pillow's."""
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def write_image(image: ImageSource, path: str | os.PathLike[str]) -> None:
    """Writes an image as PNG or JPEG, by the path's suffix, through `write_whole`."""
    kind = FORMATS.get(Path(path).suffix.lower())
    if kind is None:
        raise ImageError(f"cannot write {path}: the suffix must be one of {', '.join(FORMATS)}")
    data = io.BytesIO()
    to_pil(read_image(image)).save(data, kind, quality=92, compress_level=1)
    write_whole(path, data.getvalue())
