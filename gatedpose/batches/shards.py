"""Person crops packed into tar files of some MB each, to be copied around and trained from.

`SPLIT-00000.tar` and so on hold `00000000.jpg`, the square crop, and `00000000.json` ("id",
"keypoints" in crop pixels, "labelled", and "absent" where joints are known to be out of the
picture) of each person, numbered through all shards of the split: what WebDataset and any archive
viewer open. `SPLIT.json` lists them; it is written last, so that a split that has one is complete.
"""

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gatedpose.batches.crops import PACK_MARGIN, PACK_SIZE, Crops, cut
from gatedpose.batches.jpegs import encode_jpeg
from gatedpose.data.annotations import Row, load_json, rows
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, ImageError, JsonError
from gatedpose.files.typed_json import parse_json, to_json
from gatedpose.files.whole import held, write_whole
from gatedpose.media.images import read_image
from gatedpose.skeleton import Skeleton

FORMAT, VERSION = "gatedpose shards", 1
HEAD = re.compile(rb'\s*\{\s*"format"\s*:\s*"' + FORMAT.encode() + rb'"')
SMALLEST_PERSON = 4 * tarfile.BLOCKSIZE  # two files with their heads
LARGEST_CROP = 4096  # pixels
END = bytes(2 * tarfile.BLOCKSIZE)  # what closes a tar


def pack_shards(
    samples: Sequence[Sample],
    dataset: str,
    split: str,
    folder: str | Path,
    *,
    size: int = PACK_SIZE,
    quality: int = 95,
    shard_bytes: int = 60 * 2**20,
) -> Path:
    """Cuts every person out of their image into shards; shows a progress bar.

    The same people give the same bytes. If anything fails, the shards written are removed again.

    Args:
        samples: People of one split, of the same joints.
        dataset: Its name, for the table and for messages.
        split: What the files are named after.
        folder: Where to write; made if it is not there.
        size: Side P of the crops in pixels.
        quality: Of the JPEG files, to 100.
        shard_bytes: What no shard exceeds, unless a single person does.

    Returns:
        Path of the split's .json file.

    Raises:
        DatasetError: For a folder that holds such files already.
        ImageError: For an image that cannot be read; nothing is skipped.
        OSError: For a file that cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "version": VERSION, "dataset": dataset, "split": split}
    about |= {"people": len(samples), "size": size, "margin": PACK_MARGIN, "quality": quality}
    about |= {"skeleton": asdict(samples[0].skeleton)}
    table = folder / f"{split}.json"
    with (
        held(folder / f".{split}.lock", f"another program packs {split!r} into {folder}"),
        ExitStack() as undone,
    ):
        require_free(folder, split)
        shards: list[dict[str, Any]] = []
        for data, count in _filled(samples, size, quality, shard_bytes):
            digest = hashlib.sha256(data).hexdigest()
            name = f"{split}-{len(shards):05d}.tar"
            shards.append({"name": name, "people": count, "bytes": len(data), "sha256": digest})
            undone.callback((folder / name).unlink, missing_ok=True)
            write_whole(folder / name, data)
        write_whole(table, to_json({**about, "shards": shards}, indent=1))
        undone.pop_all()
    return table


def require_free(folder: Path, split: str) -> None:
    """Sees that packing would replace nothing: neither a split nor somebody's own files."""
    if split in _splits(folder):
        text = f"already holds {split!r}: remove {split}.json and {split}-*.tar"
        raise DatasetError(f"{folder} {text}, or choose another folder")
    names = re.compile(re.escape(split) + r"(\.json|-\d{5}\.tar)")
    if there := sorted(path.name for path in folder.glob("*") if names.fullmatch(path.name)):
        raise DatasetError(
            f"{folder} holds {there[0]}, which packing would replace: choose another folder, or "
            f"remove {split}-*.tar if a packing was cut off there"
        )


def _filled(
    samples: Sequence[Sample], size: int, quality: int, shard_bytes: int
) -> Iterator[tuple[bytes, int]]:
    """Whole tars, and the number of people in each."""
    shard, people = io.BytesIO(), 0
    for number, sample in enumerate(tqdm(samples, desc="packing crops", unit="person")):
        crop, keypoints = cut(sample, size)
        labelled, absent = sample.labelled.tolist(), sample.absent_joints
        facts = {"id": sample.id, "keypoints": keypoints.tolist(), "labelled": labelled}
        if absent.any():
            facts["absent"] = absent.tolist()
        person = _member(f"{number:08d}.jpg", encode_jpeg(crop, quality))
        person += _member(f"{number:08d}.json", to_json(facts).encode())
        if people and shard.tell() + len(person) + len(END) > shard_bytes:
            shard.write(END)
            yield shard.getvalue(), people
            shard, people = io.BytesIO(), 0
        shard.write(person)
        people += 1
    shard.write(END)
    yield shard.getvalue(), people


def _member(name: str, data: bytes) -> bytes:
    """A file as it stands in a tar, of no owner and no time."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def holds_shards(folder: str | Path) -> bool:
    """Whether a folder holds a split that `pack_shards` wrote."""
    return bool(_splits(Path(folder)))


def _splits(folder: Path) -> list[str]:
    """Names of the packed splits; annotation tables may be large, so only the start is read."""
    found = []
    for path in sorted(path for path in folder.glob("*.json") if path.is_file()):
        with path.open("rb") as file:
            if HEAD.match(file.read(200)):
                found.append(path.stem)
    return found


def load_shards(
    folder: str | Path, split: str, dataset: str | None = None
) -> tuple[Crops, Skeleton]:
    """Reads a packed split into memory; shows a progress bar.

    Args:
        folder: Where `pack_shards` has put it.
        split: "train" or "val", for example.
        dataset: What they must have been packed from, if that matters.

    Returns:
        The crops, and the joints that their keypoints are of.

    Raises:
        DatasetError: For a split that is not there, or files that are missing, damaged, altered or
            of another format: the message names the file and what is wrong with it.
    """
    folder = Path(folder)
    about, skeleton = _table(folder, split, dataset)
    people, size = _count(about, "people"), _count(about, "size", LARGEST_CROP)
    shards = rows(about.file, "shards", about.get("shards"))
    if (total := sum(_count(shard, "people") for shard in shards)) != people:
        raise about.error("people", f"is {people}, but the shards have {total}")
    for shard in shards:  # all of them before any is read, which takes its time
        _require_length(folder, shard)
        if _count(shard, "bytes") < SMALLEST_PERSON * _count(shard, "people"):
            raise shard.error("people", "is more than a file of that length can hold")
    joints = skeleton.num_keypoints
    images = torch.empty(0)
    keypoints = torch.empty(people, joints, 2)
    labelled = torch.empty(people, joints, dtype=torch.bool)
    absent = torch.zeros_like(labelled)
    ids: list[str] = []
    with tqdm(total=people, desc="unpacking crops", unit="person") as bar:
        for shard in shards:
            for facts, jpeg in _people(folder, shard, len(ids)):
                i, picture = len(ids), _picture(facts, jpeg, size)
                if i == 0:  # only now is it sure that crops are of the size that the table tells
                    images = torch.empty(people, *picture.shape, dtype=torch.uint8)
                images[i] = picture
                keypoints[i] = torch.from_numpy(facts.numbers("keypoints", (joints, 2)))
                labelled[i] = _flags(facts, "labelled", joints)
                if "absent" in facts.values:
                    absent[i] = _flags(facts, "absent", joints)
                if (labelled[i] & absent[i]).any():
                    raise facts.error("absent", "has joints that are labelled, too")
                ids.append(str(facts.get("id")))
                bar.update()
    return Crops(images, keypoints, labelled, absent, tuple(ids)), skeleton


def _table(folder: Path, split: str, dataset: str | None) -> tuple[Row, Skeleton]:
    """What a split's table says, seen to be of this format and dataset, and its joints."""
    table = folder / f"{split}.json"
    if not table.is_file():
        there = ", ".join(_splits(folder)) or "none"
        raise DatasetError(f"{folder} holds no {table.name}; packed splits there: {there}")
    about = Row(table, "the table", load_json(table))
    about.choice("format", (FORMAT,))
    about.choice("version", (VERSION,))
    about.choice("margin", (PACK_MARGIN,))
    if dataset is not None:
        about.choice("dataset", (dataset,))
    try:
        return about, Skeleton.from_dict(about.get("skeleton"))
    except ValueError as error:
        raise about.error("skeleton", str(error)) from error


def _count(row: Row, key: str, most: int = 2**40) -> int:
    value = row.get(key)
    if type(value) is not int or not 1 <= value <= most:  # True is an int, too
        raise row.error(key, f"must be a whole number from 1 to {most}, got {value!r:.80}")
    return value


def _require_length(folder: Path, shard: Row) -> None:
    path, length = folder / shard.file_name("name"), _count(shard, "bytes")
    if not path.is_file():
        raise DatasetError(f"{path} is missing: copy it again, or pack anew")
    if (found := path.stat().st_size) != length:
        raise DatasetError(f"{path} has {found} bytes and not {length}: copy it again or pack anew")


def _people(folder: Path, shard: Row, first: int) -> Iterator[tuple[Row, bytes]]:
    """What is known of each person of a shard, and their JPEG file; numbers go on from `first`."""
    path = folder / shard.file_name("name")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != shard.get("sha256"):
        raise DatasetError(f"{path} was altered (its sha256 is another): copy it or pack anew")
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            files = {m.name: data[m.offset_data : m.offset_data + m.size] for m in tar if m.isreg()}
    except tarfile.TarError as error:
        raise DatasetError(f"{path} is no tar file: {error}") from error
    keys = [f"{number:08d}" for number in range(first, first + _count(shard, "people"))]
    expected = {f"{key}.{kind}" for key in keys for kind in ("jpg", "json")}
    if wrong := sorted(expected ^ set(files)):
        raise DatasetError(f"{path} lacks or should not hold {', '.join(wrong[:5])}")
    for key in keys:
        try:
            facts = parse_json(files[f"{key}.json"], f"{path}, {key}.json")
        except JsonError as error:
            raise DatasetError(str(error)) from error
        yield Row(path, key, facts), files[f"{key}.jpg"]


def _picture(facts: Row, jpeg: bytes, size: int) -> Tensor:
    where = f"{facts.file}, {facts.name}.jpg"
    try:
        image = read_image(Image.open(io.BytesIO(jpeg), formats=["JPEG"]))
    except (ImageError, OSError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{where} cannot be read: {error}") from error
    if image.shape != (3, size, size):
        raise DatasetError(f"{where} has shape {tuple(image.shape)} and not (3, {size}, {size})")
    return image


def _flags(facts: Row, key: str, count: int) -> Tensor:
    flags = facts.get(key)
    if not isinstance(flags, list) or [type(flag) for flag in flags] != [bool] * count:
        raise facts.error(key, f"must be {count} times true or false, got {flags!r:.80}")
    return torch.tensor(flags)
