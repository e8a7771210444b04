"""Files and folders that a crash leaves whole, and locks."""

import errno
import itertools
import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from gatedpose.errors import InputError


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Lends a name to write to; afterwards that file takes the place of `path`.

    An older file stays as it was until the new one is on the disk, and for good if the writing
    fails. Its mode stays, and a symbolic link is followed. A device or a pipe is not replaced but
    written to. The suffix is kept, for those who tell formats by it. What a killed program has left
    of the same file is written over.
    """
    if _is_stream(path):
        with TemporaryDirectory() as folder:
            part = Path(folder) / f"whole{Path(path).suffix}"
            yield part
            with _named_errors(path), part.open("rb") as file, Path(path).open("wb") as stream:
                shutil.copyfileobj(file, stream)
        return
    target = target_of(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, f"cannot write {path}: it is a folder")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, f"cannot write {path}: it is write-protected")
    with ExitStack() as mine:
        with _named_errors(path):
            part = _part(target, mine)
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        yield part
        with _named_errors(path):
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.replace(target)


def write_whole(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file through `whole_file`; text as UTF-8."""
    with whole_file(path) as part, _named_errors(path):
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def _is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether a path is something to write to and not to replace: a device, a pipe, a socket."""
    path = Path(path)
    regular = path.is_file() or path.is_dir()
    return (path.exists() and not regular) or path.absolute().parts[1:2] in (("dev",), ("proc",))


def target_of(path: str | os.PathLike[str]) -> Path:
    """What a path stands for, through links; its folder must be there."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():  # only those in a circle are left
        raise OSError(errno.ELOOP, f"cannot write {path}: its links lead in a circle")
    if target.parent.exists() and not target.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"cannot write {path}: its folder is a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {target.parent}")
    return target


def _part(target: Path, mine: ExitStack) -> Path:
    """An empty file beside the target, which no other program takes before `mine` is left."""
    stem = target.stem[:25].encode(errors="ignore").decode()  # 100 bytes at most, all of Unicode
    for number in itertools.count():
        part = target.with_name(f".{stem}.{number}.part{target.suffix}")
        with suppress(InputError):
            mine.enter_context(held(part.with_name(f"{part.name}.lock"), "in use"))
            break
    mine.callback(part.unlink, missing_ok=True)  # still there only if something went wrong
    part.write_bytes(b"")
    return part


@contextmanager
def held(path: Path, text: str | None = None) -> Iterator[None]:
    """Holds the lock file `path`, which goes afterwards.

    Who comes second waits, or, if there is a text, gets an InputError that begins with it.
    """
    lock = FileLock(path, timeout=-1 if text is None else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise InputError(f"{text}: wait for its end, or take another folder") from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):  # a file system without locks
            raise
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows, where it goes with its release
            path.unlink()
        lock.release()


@contextmanager
def whole_folder(path: str | os.PathLike[str], files: Collection[str]) -> Iterator[Path]:
    """Lends a new folder beside `path` to fill; afterwards that one takes the place of `path`.

    A symbolic link is followed. An older folder, which may hold such `files` alone, stays as it was
    if the writing fails.
    """
    target = target_of(path)
    part = target.with_name(f".{target.name[:100]}.part")
    old = target.with_name(f".{target.name[:100]}.old")
    guard = target.with_name(f".{target.name[:100]}.lock")
    with _named_errors(path), held(guard, f"{path} is being written by another program"):
        if old.exists() and not target.exists():  # killed between the two renames below
            old.rename(target)
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
        check_replaceable(path, files)
        part.mkdir()
        try:
            yield part
            if target.exists():
                target.rename(old)
            try:
                part.rename(target)
            except OSError:
                if old.exists():
                    old.rename(target)
                raise
            shutil.rmtree(old, ignore_errors=True)  # only now that the new one is in its place
        finally:
            shutil.rmtree(part, ignore_errors=True)


def check_replaceable(path: str | os.PathLike[str], files: Collection[str]) -> None:
    """Raises FileExistsError if `path` is there and no folder of such files alone."""
    target = Path(path).resolve()
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{path} is a file, not a folder to replace")
    others = {p.name for p in target.iterdir()} - set(files) if target.exists() else set()
    if others:
        raise FileExistsError(
            f"{path} holds other files than {', '.join(sorted(files))}, {min(others)} for example, "
            "which would be lost: take a new folder"
        )


@contextmanager
def _named_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno is None or str(error).startswith("cannot write"):
            raise  # it says what happened already
        raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error
