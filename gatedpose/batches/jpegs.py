"""Many square pictures in memory as JPEG: a tenth of the bytes of their pixels."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gatedpose.errors import InputError

QUALITY = 95


@dataclass(frozen=True)
class JpegImages:
    """N square RGB pictures that stand in for a uint8 tensor (N, 3, P, P); decoded when indexed.

    Attributes:
        data: (bytes,) uint8, the files one after the other.
        ends: (N,) int64, where each of them ends.
        side: P in pixels, after `shrink`.
        shrink: 1, 2, 4 or 8: pictures are decoded at this fraction of their size, which costs less
            than the whole.
    """

    data: Tensor
    ends: Tensor
    side: int
    shrink: int = 1

    @classmethod
    def of(cls, pictures: Iterable[Tensor], side: int, quality: int = QUALITY) -> "JpegImages":
        """Codes pictures (3, P, P) uint8 one by one."""
        files = [encode_jpeg(picture, quality) for picture in pictures]
        data = torch.frombuffer(bytearray(b"".join(files)), dtype=torch.uint8)
        return cls(data, torch.tensor([len(file) for file in files]).cumsum(0), side)

    @staticmethod
    def join(parts: Sequence["JpegImages"]) -> "JpegImages":
        """All pictures of several, of the same side, in their order."""
        starts = np.cumsum([0, *(len(part.data) for part in parts[:-1])])
        ends = [part.ends + int(start) for part, start in zip(parts, starts, strict=True)]
        return replace(
            parts[0], data=torch.cat([part.data for part in parts]), ends=torch.cat(ends)
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, P, P)."""
        return len(self.ends), 3, self.side, self.side

    @property
    def dtype(self) -> torch.dtype:
        """That of the decoded pictures."""
        return torch.uint8

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """The pictures at `indices` (B,), decoded: (B, 3, P, P) uint8."""
        return torch.stack([self._decoded(i) for i in indices.tolist()])

    def take(self, indices: Tensor) -> "JpegImages":
        """The pictures at `indices`, in that order, still coded."""
        files = [self._file(i) for i in indices.tolist()]
        ends = torch.tensor([len(file) for file in files]).cumsum(0)
        return replace(self, data=torch.cat(files), ends=ends)

    def _file(self, i: int) -> Tensor:
        return self.data[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])]

    def shrunk(self, factor: int) -> "JpegImages":
        """The same pictures at a `factor`-th of their side, if JPEG can be decoded so.

        Raises:
            ValueError: For a factor that does not divide the side or is over 8 in all.
        """
        if self.side % factor or self.shrink * factor > 8:
            raise InputError(f"JPEG pictures of {self.side} px cannot be decoded at 1/{factor}")
        return replace(self, side=self.side // factor, shrink=self.shrink * factor)

    def _decoded(self, i: int) -> Tensor:
        file = io.BytesIO(self._file(i).numpy().tobytes())
        with Image.open(file, formats=["JPEG"]) as picture:
            picture.draft("RGB", (self.side, self.side))
            pixels = np.array(picture)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def encode_jpeg(picture: Tensor, quality: int = QUALITY) -> bytes:
    """A picture (3, H, W) uint8 as a JPEG file.

    4:4:4, since left and right, and small joints, often differ by their colour alone.
    """
    file = io.BytesIO()
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()
