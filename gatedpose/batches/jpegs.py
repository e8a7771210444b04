"""Many square pictures in memory as JPEG: a tenth of the bytes of their pixels."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

QUALITY = 95


@dataclass(frozen=True)
class JpegImages:
    """N square RGB pictures that stand in for a uint8 tensor (N, 3, P, P); decoded when indexed.

    Attributes:
        files: The N files, each (bytes,) uint8.
        side: P in pixels, after `shrink`.
        shrink: 1, 2, 4 or 8: pictures are decoded at this fraction of their size, which costs less
            than the whole.
    """

    files: Sequence[Tensor]
    side: int
    shrink: int = 1

    @classmethod
    def of(cls, pictures: Iterable[Tensor], side: int, quality: int = QUALITY) -> "JpegImages":
        """Codes pictures (3, P, P) uint8 one by one."""
        files = (bytearray(encode_jpeg(picture, quality)) for picture in pictures)
        return cls([torch.frombuffer(file, dtype=torch.uint8) for file in files], side)

    @staticmethod
    def join(parts: Sequence["JpegImages"]) -> "JpegImages":
        """All pictures of several, of the same side, in their order."""
        return replace(parts[0], files=[file for part in parts for file in part.files])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, P, P)."""
        return len(self), 3, self.side, self.side

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The pictures at `indices` (B,), decoded: (B, 3, P, P) uint8."""
        return torch.stack([self._decoded(self.files[i]) for i in indices.tolist()])

    def take(self, indices: Tensor) -> "JpegImages":
        """The pictures at `indices`, in that order, still coded."""
        return replace(self, files=[self.files[i] for i in indices.tolist()])

    def shrunk(self, factor: int) -> "JpegImages":
        """The same pictures at a `factor`-th of their side, an eighth of the whole at least."""
        return replace(self, side=self.side // factor, shrink=self.shrink * factor)

    def _decoded(self, file: Tensor) -> Tensor:
        with Image.open(io.BytesIO(file.numpy().tobytes()), formats=["JPEG"]) as picture:
            picture.draft("RGB", (self.side, self.side))
            pixels = np.array(picture)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def end_to_end(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Tensors of unlike lengths in one, and where each of them ends, (N,) int64, to be written.

    The inverse is `torch.tensor_split(joined, ends[:-1])`.
    """
    return torch.cat(list(parts)), torch.tensor([len(part) for part in parts]).cumsum(0)


def encode_jpeg(picture: Tensor, quality: int) -> bytes:
    """A picture (3, H, W) uint8 as a JPEG file.

    4:4:4, since left and right, and small joints, often differ by their colour alone.
    """
    file = io.BytesIO()
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
