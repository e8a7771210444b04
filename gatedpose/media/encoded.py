"""Files of pictures, before anything of them is decoded: paths, bytes, and what is open already."""

import os
from pathlib import Path
from typing import Any

from gatedpose.errors import ImageError
from gatedpose.media.download import is_url


def encoded_image(source: Any) -> tuple[Path | bytes, str] | None:
    """The path or the bytes of a picture's file, and what messages call it; None for no file."""
    if isinstance(source, (str, os.PathLike)):
        return Path(source), str(source)
    if isinstance(source, bytes):
        return source, "picture"
    if not (hasattr(source, "read") and hasattr(source, "seek")):
        return None
    name = str(getattr(source, "name", None) or type(source).__name__)
    try:
        source.seek(0)
        data = source.read()
    except UnicodeDecodeError:
        data = None  # of a file in text mode
    except (OSError, ValueError) as error:  # closed, not to be read, a pipe
        raise ImageError(f"the open file {name} cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise ImageError(f'{name} is open in text mode: a picture needs open(..., "rb")')
    return data, name


def check_path(path: Path, name: str) -> None:
    """Raises ImageError for what can be no file's name, and for a folder."""
    if not name or "\0" in name:  # an empty path would be the folder that one is in
        raise ImageError(f"{name!r} is no file's name: a picture's path is needed")
    if is_url(name):
        raise ImageError(f"{name} is an address: download it, or give it to gatedpose predict")
    if path.is_dir():
        raise ImageError(
            f"{name} is a folder: gatedpose.media.folders.find_images lists its images"
        )
