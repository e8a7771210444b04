r"""Pictures whose names in a table are encoded, or behind folders that are not there.

Label Studio writes "/data/upload/1/a.jpg", "..\..\upload\1\a.jpg" or "my%20photo.jpg"; macOS
writes an accent as a letter of its own (Unicode's NFD), where others have one for both (NFC).
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os.path import isfile  # unlike Path's for names that no file can have, too
from pathlib import Path
from unicodedata import normalize
from urllib.parse import unquote

from gatedpose.data.annotations import Row

LOG = logging.getLogger(__name__)


def bare_names(images: Mapping[int | str, Row], folders: Sequence[Path]) -> dict[int | str, Row]:
    """The pictures that are in the likeliest folder by the last part of their name, so renamed.

    Of several files with that last part it is the one whose whole name differs in spelling alone.
    A file that another picture has by its whole name is not taken for it.
    """
    told = {i: str(row.values.get("file_name", "")) for i, row in images.items()}
    names = {i: name if "/" in name else name.replace("\\", "/") for i, name in told.items()}
    there = {
        folder: {i for i, name in names.items() if isfile(folder / name)}
        for folder in folders
        if folder.is_dir()
    }
    home = max(there, key=lambda folder: len(there[folder]), default=None)
    if home is None or len(there[home]) == len(images):
        return {}
    taken = {home / names[i] for i in there[home]}
    files: dict[str, list[Path]] = {}
    for file in set(home.rglob("*")) - taken:
        files.setdefault(normalize("NFC", file.name), []).append(file.relative_to(home))
    whole = {
        i: normalize("NFC", unquote(name)).replace("\\", "/")
        for i, name in names.items()
        if i not in there[home]
    }
    bare = {i: name.rpartition("/")[2] for i, name in whole.items()}
    count = Counter(bare.values())
    found = {}
    for i, name in bare.items():
        places = files.get(name, [])
        same = [place for place in places if normalize("NFC", place.as_posix()) == whole[i]]
        if not same and count[name] == 1:  # not a file of that name in a folder of another name
            same = [place for place in places if f"/{whole[i]}".endswith(f"/{place.as_posix()}")]
            same = same if "/" in whole[i] else places
        if len(same) == 1:
            values = {**images[i].values, "file_name": same[0].as_posix()}
            found[i] = replace(images[i], values=values)
    if found:
        first = next(iter(found))
        text = f"{told[first]!r:.80} is {found[first].values['file_name']!r}, for example"
        LOG.warning(f"{images[first].file}: {len(found)} pictures found by bare name: {text}")
    return found
