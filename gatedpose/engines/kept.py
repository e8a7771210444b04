"""Files that this package makes for itself and keeps between programs: `cache_folder`.

Whatever is in it can be made again. A file that is damaged, cut off or of another version is made
anew; where nothing can be written, programs go on without.
"""

import hashlib
import logging
import os
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import held, whole_file

Facts: TypeAlias = dict[str, Any]
Parts: TypeAlias = dict[str, bytes]
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$GATEDPOSE_CACHE, else "gatedpose" in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("GATEDPOSE_CACHE"):
        return Path(own)
    if general := os.environ.get("XDG_CACHE_HOME"):
        return Path(general, "gatedpose")
    try:
        return Path.home() / ".cache" / "gatedpose"
    except RuntimeError as error:
        raise FileNotFoundError("the user has no home folder") from error


def keep(name: str, facts: Facts, make: Callable[[], Parts]) -> Parts:
    """What `make` gave the last time that it was called for the same facts, or gives now.

    Of several programs that ask at once one makes the parts, and the others wait for them. The
    facts, of JSON's kinds, are all that the parts depend on, versions too.
    """
    digest = hashlib.sha256(to_json(facts, sort_keys=True).encode()).hexdigest()
    with ExitStack() as stack:
        try:
            path = cache_folder() / f"{name}-{digest[:16]}.zip"
            if (parts := _kept(path)) is not None:
                return parts
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(path.with_suffix(".lock")))
            parts = _kept(path)  # by another program meanwhile
        except OSError as error:
            _warn_of_place(error)
            return make()
        if parts is None:
            parts = make()
            try:
                with whole_file(path) as part, zipfile.ZipFile(part, "w") as file:
                    for kind, content in parts.items():
                        file.writestr(kind, content)
            except OSError as error:
                _warn_of_place(f"{path}: {error}")
        return parts


def _warn_of_place(error: object) -> None:
    log.warning(
        "not kept for the next time: %s; GATEDPOSE_CACHE names a folder to keep such files in",
        error,
    )


def _kept(path: Path) -> Parts | None:
    """What a file holds; None if it is not there, or damaged, in which case it goes."""
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as file:  # which checks what it reads
            return {part: file.read(part) for part in file.namelist()}
    except PermissionError:
        raise
    except Exception as error:  # zipfile raises many kinds on a damaged file
        log.warning("%s is damaged (%s) and is made anew", path, error)
        path.unlink(missing_ok=True)
        return None
