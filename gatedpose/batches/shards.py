"""Person crops packed into files of some MB each, to be copied around and trained from.

`SPLIT-00000.safetensors` and so on are packs (see `gatedpose.batches.packs`) of a split's people in
their order. The metadata of each say what all of them were made of, whose crops it holds and which
is the first of them, so that a file that is missing, or of another packing, is seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from gatedpose.batches.crops import PACK_MARGIN, PACK_SIZE, Crops, coded, digest
from gatedpose.batches.packs import by_threads, gather, read_pack, write_pack
from gatedpose.data.samples import Sample, first_five
from gatedpose.errors import DatasetError
from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import held
from gatedpose.skeleton import Skeleton

FORMAT, VERSION = "gatedpose shards", 2
HEAD = 2048  # bytes of a file's head at most, without its skeleton and ids


def pack_shards(
    samples: Sequence[Sample],
    dataset: str,
    split: str,
    folder: str | Path,
    *,
    size: int = PACK_SIZE,
    quality: int = 95,
    shard_bytes: int = 60 * 2**20,
) -> list[Path]:
    """Cuts every person of a split out of their image into shards; shows a progress bar.

    The same people give the same bytes. If anything fails, the shards written are removed again.
    The files are named after the split; DatasetError if the folder, made if need be, holds it.
    Crops have a side of `size` pixels, JPEG files a `quality` of 100 at most; a shard exceeds
    `shard_bytes` only for a single person.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"format": FORMAT, "version": VERSION, "dataset": dataset, "split": split}
    about |= {"people": len(samples), "size": size, "margin": PACK_MARGIN, "quality": quality}
    about["annotations"] = digest(samples, size, quality)
    about["skeleton"] = asdict(samples[0].skeleton)
    crops = by_threads(samples, lambda s: coded(s, size, quality), "packing crops", "person")
    files: list[Path] = []
    done = 0
    with (
        held(folder / f".{split}.lock", f"another program packs {split!r} into {folder}"),
        ExitStack() as undone,
    ):
        require_free(folder, split)
        for shard in _filled(crops, shard_bytes - HEAD - len(to_json(to_json(about)))):
            files.append(folder / f"{split}-{len(files):05d}.safetensors")
            undone.callback(files[-1].unlink, missing_ok=True)
            part = {"people before": done, "ids": shard.ids}
            write_pack(files[-1], {**about, **part}, shard.tensors())
            done += len(shard)
        undone.pop_all()
    return files


def _filled(crops: Iterable[Crops], room: int) -> Iterator[Crops]:
    """Single people, joined to as many as there is room for."""
    shard: list[Crops] = []
    used = 0
    for one in crops:
        need = sum(t.nbytes for t in one.tensors().values()) + len(to_json(to_json(one.ids)))
        if shard and used + need > room:
            yield Crops.join(shard)
            shard, used = [], 0
        gather(shard, one)
        used += need
    yield Crops.join(shard)


def require_free(folder: Path, split: str) -> None:
    """Sees that packing would replace nothing."""
    paths = sorted(folder.glob("*.safetensors"))
    if there := [path.name for path in paths if path.stem.rpartition("-")[0] == split]:
        text = f"{there[0]}: remove {split}-*.safetensors, or choose another folder"
        raise DatasetError(f"{folder} already holds {text}")


def holds_shards(folder: str | Path) -> bool:
    """Whether a folder holds a split that `pack_shards` wrote."""
    return any(Path(folder).glob("*-00000.safetensors"))


def load_shards(folder: str | Path, split: str, dataset: str) -> tuple[Crops, Skeleton]:
    """Reads a packed split, and the joints that its keypoints are of; pictures stay in their files.

    Raises:
        DatasetError: For a split that is not there, or files that are missing, damaged, altered, of
            another dataset, packing or format: the message names the file and what is wrong.
    """
    right = {"format": FORMAT, "version": VERSION, "margin": PACK_MARGIN}
    parts: list[Crops] = []
    count = 0
    while True:
        path = Path(folder, f"{split}-{len(parts):05d}.safetensors")
        if not path.is_file():
            there = sorted(other.name for other in path.parent.glob("*.safetensors"))
            raise DatasetError(f"{path} is missing, there: {first_five(there) or 'none'}")
        about, tensors = read_pack(path, {**right, "people before": count})
        if (packed := about.get("dataset")) != dataset:
            raise DatasetError(
                f"{path} was packed as {packed!r:.70}, not {dataset!r}: give it as --data "
                f"{packed!s:.70}={folder}, or pack it by gatedpose data pack --dataset {dataset}"
            )
        right["annotations"] = about.get("annotations")  # of all that follow, too
        try:
            skeleton = Skeleton.from_dict(about["skeleton"])
            parts.append(Crops.of(tensors, ids=tuple(about["ids"])))
            count += len(parts[-1])
            done = count >= about["people"]
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise DatasetError(f"{path} is no shard: {error}") from error
        if done:
            return Crops.join(parts), skeleton
