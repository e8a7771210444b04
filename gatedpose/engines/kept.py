"""Files that this package makes for itself and keeps between programs: `cache_folder`.

Whatever is in it can be made again. A file that is damaged, cut off or of another version is made
anew; where nothing can be written, programs go on without.
"""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from gatedpose.errors import InputError
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
    text = to_json(facts, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = cache_folder() / f"{name}-{digest[:16]}"
    if path.is_file():
        try:
            return _read(path, text)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s) and is made anew", path, error)
    parts = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = b"".join(parts.values())
        sizes = {name: len(part) for name, part in parts.items()}
        head = {"facts": text, "sizes": sizes, "sha256": hashlib.sha256(data).hexdigest()}
        write_whole(path, to_json(head).encode() + b"\n" + data)
    except OSError as error:
        log.warning("not kept for the next time: %s", error)
    return parts


def _read(path: Path, facts: str) -> Parts:
    line, _, data = path.read_bytes().partition(b"\n")
    head = json.loads(line)
    if head["facts"] != facts or hashlib.sha256(data).hexdigest() != head["sha256"]:
        raise InputError("its checksum is another")
    parts, start = {}, 0
    for name, size in head["sizes"].items():
        parts[name] = data[start : start + size]
        start += size
    return parts
