"""Files that this package makes for itself and keeps between programs: `cache_folder`.

Whatever is in it can be made again. A file that is damaged, cut off or of another version is made
anew; where nothing can be written, programs go on without.
"""

import hashlib
import io
import logging
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import write_whole

Facts: TypeAlias = dict[str, Any]
Parts: TypeAlias = dict[str, bytes]
log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """$GATEDPOSE_CACHE, else "gatedpose" in $XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("GATEDPOSE_CACHE")
    general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own) if own else Path(general) / "gatedpose"


def keep(name: str, facts: Facts, make: Callable[[], Parts]) -> Parts:
    """What `make` gave the last time that it was called for the same facts, or gives now.

    Args:
        name: Of the file, before a short hash of the facts.
        facts: All that the parts depend on, versions too; of JSON's kinds.
        make: Gives named parts.
    """
    digest = hashlib.sha256(to_json(facts, sort_keys=True).encode()).hexdigest()
    path = cache_folder() / f"{name}-{digest[:16]}.zip"
    if path.is_file():
        try:
            with zipfile.ZipFile(path) as file:  # which checks what it reads
                return {part: file.read(part) for part in file.namelist()}
        except Exception as error:  # zipfile raises many kinds on a damaged file
            log.warning("%s is damaged (%s) and is made anew", path, error)
    parts, data = make(), io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for part, content in parts.items():
            file.writestr(part, content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data.getvalue())
    except OSError as error:
        log.warning("not kept for the next time: %s", error)
    return parts
