"""Files that appear whole or not at all."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lends a name in the same folder to write to; afterwards that file takes the place of `path`.

    An older file stays as it was until the new one is on the disk, and for good if the writing
    fails. A symbolic link is followed. The suffix is kept, for those who tell formats by it.

    Raises:
        OSError: As the system does, FileNotFoundError for a missing folder for example.
    """
    target = Path(path).resolve()
    if not target.parent.exists():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    name = f".{target.stem[:100]}.{secrets.token_hex(4)}.part{target.suffix}"
    part = target.with_name(name)
    try:
        yield part
        with _named_errors(path):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink()  # still there only if something went wrong


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file through `whole_file`; text as UTF-8."""
    with whole_file(path) as part, _named_errors(path):
        part.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def _named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
