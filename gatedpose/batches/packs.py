"""What is packed once: pictures as JPEG with what is known of each, in memory and in a file.

A pack is a safetensors file: "data" holds the JPEG files end to end, "ends" where each of them
ends, "side" their side in pixels, the other tensors what is known of each. "about" in its
metadata tells what it was made of, and the sha256 of that and of the tensors.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from gatedpose.data.samples import first_five
from gatedpose.errors import DatasetError, ImageError
from gatedpose.files.typed_json import parse_json, to_json
from gatedpose.files.whole import write_whole

QUALITY = 95
MOST_THREADS = 8  # Python lets one of them run between reading, cutting and coding
AHEAD = 64  # items
T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", bound="Packed")


@dataclass(frozen=True)
class JpegImages:
    """N square RGB pictures that stand in for a uint8 tensor (N, 3, P, P); decoded when indexed."""

    files: tuple[Tensor, ...]  # N of them, each (bytes,) uint8
    side: int  # of the files, in pixels
    shrink: int = 1  # 1, 2, 4 or 8: decoded at this fraction of their size, rounded up

    @classmethod
    def of(cls, pictures: Iterable[Tensor], side: int, quality: int = QUALITY) -> "JpegImages":
        """Codes pictures (3, P, P) uint8 one by one.

        4:4:4, since left and right, and small joints, often differ by their colour alone.
        """
        files = []
        for picture in pictures:
            image, file = Image.fromarray(picture.permute(1, 2, 0).numpy()), io.BytesIO()
            image.save(file, "JPEG", quality=quality, subsampling=0)
            files.append(torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8))
        return cls(tuple(files), side)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, P, P)."""
        side = -(-self.side // self.shrink)
        return len(self), 3, side, side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The pictures at `indices` (B,), decoded: (B, 3, P, P) uint8."""
        return torch.stack([self._decoded(self.files[i]) for i in indices.tolist()])

    def shrunk(self, factor: int) -> "JpegImages":
        """The same pictures at a `factor`-th of their side, an eighth of the whole at least."""
        return replace(self, shrink=self.shrink * factor)

    def to(self, device: torch.device) -> Tensor:
        """All pictures on a device, decoded."""
        return self[torch.arange(len(self))].to(device)

    def _decoded(self, file: Tensor) -> Tensor:
        with Image.open(io.BytesIO(file.numpy().tobytes()), formats=["JPEG"]) as picture:
            picture.draft("RGB", (self.side // self.shrink, self.side // self.shrink))
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


@dataclass(frozen=True)
class Packed:
    """N pictures and what is known of each: further fields are tensors or tuples of N."""

    images: Any  # (N, 3, P, P) uint8 RGB, as JPEG files where there are many

    def __len__(self) -> int:
        return len(self.images)

    def take(self: P, indices: Tensor) -> P:
        """The pictures at `indices` (B,), in that order; what is coded stays so."""
        return replace(self, **{name: _taken(value, indices) for name, value in vars(self).items()})

    @staticmethod
    def join(parts: Sequence[P]) -> P:
        """All pictures of several, in their order; DatasetError if they have unlike sizes."""
        if len(parts) == 1:  # most often: nothing of these gigabytes is copied
            return parts[0]
        if len(sizes := {part.images.shape[-1] for part in parts}) > 1:
            raise DatasetError(
                f"crops of {', '.join(map(str, sorted(sizes)))} pixels a side cannot be mixed: "
                "pack all with the same --size"
            )
        names = vars(parts[0])
        return replace(parts[0], **{n: _joined([vars(part)[n] for part in parts]) for n in names})

    def in_one_block(self: P) -> P:
        """The same, coded pictures end to end in memory.

        Small files that stay, each where a picture was decoded, leave no room to decode the next:
        a process that packs thousands would come to hold gigabytes.
        """
        files = self.images.files
        one = torch.cat(files).split([len(file) for file in files])
        return replace(self, images=replace(self.images, files=one))

    def tensors(self) -> dict[str, Tensor]:
        """What a pack holds of coded pictures: everything but tuples."""
        files, side = self.images.files, torch.tensor(self.images.side)
        ends = torch.tensor([len(file) for file in files]).cumsum(0)
        known = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        return {"data": torch.cat(files), "ends": ends, "side": side, **known}

    @classmethod
    def of(cls: type[P], tensors: Mapping[str, Tensor], **tuples: Any) -> P:
        """What `tensors` was called on, with the tuples that it leaves out."""
        known = dict(tensors)
        files = torch.tensor_split(known.pop("data").to(torch.uint8), known.pop("ends")[:-1])
        return cls(JpegImages(files, int(known.pop("side"))), **known, **tuples)


def _taken(values: Any, indices: Tensor) -> Any:
    if isinstance(values, JpegImages):
        return replace(values, files=_taken(values.files, indices))
    if isinstance(values, tuple):
        return tuple(values[i] for i in indices.tolist() if values)
    return values[indices]


def _joined(parts: list[Any]) -> Any:
    if isinstance(parts[0], JpegImages):
        return replace(parts[0], files=_joined([part.files for part in parts]))
    return tuple(chain(*parts)) if isinstance(parts[0], tuple) else torch.cat(parts)


def pack_each(items: Sequence[T], read: Callable[[T], P], what: str, unit: str) -> P:
    """What `read` gives of all items, joined; ImageError names five that could not be read."""

    def attempt(item: T) -> P | ImageError:
        try:
            return read(item)
        except ImageError as error:
            return error

    parts: list[P] = []
    wrong: dict[str, None] = {}
    for part in by_threads(items, attempt, what, unit):
        if isinstance(part, ImageError):
            wrong[str(part)] = None
        else:
            gather(parts, part)
    if wrong:
        raise ImageError(first_five(list(wrong), "\n"))
    return Packed.join(parts)


def gather(parts: list[P], one: P) -> None:
    """Adds a picture to `parts`, to be joined; each time that `AHEAD` are single, joins those."""
    parts.append(one)
    if len(parts) >= AHEAD and len(parts[-AHEAD]) == 1:
        parts[-AHEAD:] = [Packed.join(parts[-AHEAD:]).in_one_block()]


def by_threads(items: Sequence[T], work: Callable[[T], R], what: str, unit: str) -> Iterator[R]:
    """What `work` gives of each item, in their order, by several threads; shows a progress bar."""
    threads = min(MOST_THREADS, torch.get_num_threads())
    with ThreadPoolExecutor(threads) as pool, tqdm(total=len(items), desc=what, unit=unit) as bar:
        for start in range(0, len(items), AHEAD):  # what has been done waits in memory
            for result in pool.map(work, items[start : start + AHEAD]):
                bar.update()
                yield result


def write_pack(path: Path, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors, and what they were made of; the file appears whole."""
    told = {**about, "sha256": sha256_of(about, tensors)}
    write_whole(path, save(dict(tensors), {"about": to_json(told)}))


def read_pack(path: Path, right: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_pack` was given, mapped into memory; DatasetError if damaged or not `right`."""
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {})["about"]
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = dict(parse_json(told, "what it says of itself"))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is damaged ({error}): copy it again, or pack anew") from error
    for key, value in right.items():
        if (found := about.get(key)) != value:
            text = f"other {key}, {found!r:.70} and not {value!r:.70}: remove it to pack anew"
            raise DatasetError(f"{path} was packed from {text}")
    if about.pop("sha256", None) != sha256_of(about, tensors):
        raise DatasetError(f"{path} is damaged (its sha256 is another): copy it, or pack anew")
    return about, tensors


def sha256_of(about: Any, tensors: Mapping[str, Tensor]) -> str:
    """Of what JSON can say, and of tensors."""
    digest = hashlib.sha256(to_json(about).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def kept(
    path: Path, about: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """The tensors of a pack, made first if it is not there; see `read_pack`."""
    if not path.exists():
        write_pack(path, about, make())
    return read_pack(path, about)[1]
