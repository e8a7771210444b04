"""Person crops packed into memory, so that training reads no image file twice."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from gatedpose.batches.looks import step_generator
from gatedpose.batches.packs import QUALITY, JpegImages, Packed, kept, pack_each
from gatedpose.data.joints import Groups, group_means
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.files.typed_json import to_json
from gatedpose.geometry import (
    CROP_MARGIN,
    FARTHEST,
    SMALLEST,
    crop_image,
    crop_matrices,
    transform_points,
)
from gatedpose.media.images import read_image

PACK_SIZE = 320  # pixels; the square that becomes a 256 px input lies within at full resolution
PACK_MARGIN = 2.0  # side of the packed square over the person's longer side: room to turn and zoom
WHOLE = "/whole"  # behind the id of a person who is shown by the whole picture, too
FILL = (124.0, 116.0, 104.0)  # outside the image: the mean colour, which normalises to 0


@dataclass(frozen=True)
class Crops(Packed):
    """Square crops of N people with what is known of them."""

    # (N, 3, P, P) uint8 RGB, the person centred, `PACK_MARGIN` times the box wide; or JPEG files.
    images: Tensor
    keypoints: Tensor  # (N, K, 2) float32, in crop pixels
    labelled: Tensor  # (N, K) bool
    # (N, K) bool, joints that are sure to be out of the picture; none if not given.
    absent: Tensor = None  # type: ignore[assignment]  # always a tensor once made
    ids: tuple[str, ...] = ()  # N of them or none

    def __post_init__(self) -> None:
        if self.absent is None:
            object.__setattr__(self, "absent", torch.zeros_like(self.labelled))

    def with_joints(self, groups: Groups) -> "Crops":
        """The same people with means of their joints, see `gatedpose.data.joints`.

        A joint is labelled, or absent, where all that it is the mean of are; neither if these are
        none.
        """
        if groups == tuple((joint,) for joint in range(self.labelled.shape[1])):
            return self
        labelled, absent = (
            group_means(flags.float(), groups) == 1 for flags in (self.labelled, self.absent)
        )
        keypoints = group_means(self.keypoints, groups)
        return replace(self, keypoints=keypoints, labelled=labelled, absent=absent)

    def shrunk(self, size: int) -> "Crops":
        """Halved as often as an input of `size` pixels allows without losing detail.

        JPEG files are decoded at an eighth at least.
        """
        halvings = math.log2(self.images.shape[-1] * CROP_MARGIN / (PACK_MARGIN * size))
        factor = 2 ** min(max(0, math.floor(halvings)), 3)
        if factor == 1:
            return self
        if isinstance(self.images, JpegImages):
            images = cast(Tensor, self.images.shrunk(factor))
        else:
            small = (F.avg_pool2d(part.float(), factor) for part in torch.split(self.images, 256))
            images = torch.cat([part.round().to(torch.uint8) for part in small])
        return replace(self, images=images, keypoints=self.keypoints / factor)

    def to(self, device: torch.device) -> "Crops":
        """The same crops on another device, their pictures decoded."""
        tensors = ("images", "keypoints", "labelled", "absent")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def cut(sample: Sample, size: int, margin: float = PACK_MARGIN) -> tuple[Tensor, Tensor]:
    """One person out of their image: the crop (3, size, size) uint8 and the joints (K, 2) in it."""
    if not SMALLEST <= (side := (sample.box[2:] - sample.box[:2]).max()) <= FARTHEST:
        raise DatasetError(
            f"{sample.id}: a box of {side:g} pixels, {sample.box.tolist()}, no person's"
        )
    matrix = crop_matrices(torch.from_numpy(sample.box)[None], (size, size), margin=margin)
    crop = crop_image(read_image(sample.image), matrix[0], (size, size), torch.tensor(FILL))
    keypoints = transform_points(matrix, torch.from_numpy(sample.keypoints)[None])
    return crop.round().clamp(0, 255).to(torch.uint8), keypoints[0]


def coded(sample: Sample, size: int, quality: int = QUALITY) -> Crops:
    """The crop of one person, as JPEG."""
    crop, points = cut(sample, size)
    images = cast(Tensor, JpegImages.of([crop], size, quality))
    labelled, absent = map(torch.from_numpy, (sample.labelled, sample.absent_joints))
    return Crops(images, points[None], labelled[None], absent[None], (sample.id,))


def pack(samples: list[Sample], size: int = PACK_SIZE) -> Crops:
    """Cuts every person out of their image; see `pack_each`."""
    return pack_each(samples, lambda sample: coded(sample, size), "packing crops", "person")


def packed(samples: list[Sample], path: Path) -> Crops:
    """The crops in `path`, made from `samples` first if the file is not there; see `read_pack`."""
    about = {"annotations": digest(samples), "pictures": _bytes_of(samples)}
    tensors = kept(path, about, lambda: pack(samples).tensors())
    return Crops.of(tensors, ids=tuple(sample.id for sample in samples))


def digest(samples: Sequence[Sample], size: int = PACK_SIZE, quality: int = QUALITY) -> str:
    """Of everything that crops depend on, but for the pictures themselves."""
    people: list[list[Any]] = []
    for s in samples:
        arrays = (s.box, s.keypoints, s.labelled, s.absent_joints)
        people.append([s.id, s.image.name, *(array.tolist() for array in arrays)])
    return hashlib.sha256(to_json([size, PACK_MARGIN, quality, people]).encode()).hexdigest()


def _bytes_of(samples: Sequence[Sample]) -> str:
    """Of the lengths of the pictures' files, which tell changed ones from those before."""
    images = [sample.image for sample in samples]
    sizes = {image: image.stat().st_size for image in {*images} if image.is_file()}
    return hashlib.sha256(to_json([sizes.get(image) for image in images]).encode()).hexdigest()


def batches(
    weights: Tensor, batch_size: int, seed: int, start: int, rank: int = 0, world: int = 1
) -> Iterator[Tensor]:
    """Endless random batches of indices (B,), the same whenever they are asked for again.

    `weights` (N,) say how often each person is drawn, in relation to the others; `start` is the
    step to start from; of a `world` of processes this one has the number `rank`.
    """
    step = start
    while True:
        generator = step_generator(seed, step)
        drawn = torch.multinomial(weights, batch_size * world, generator=generator)
        yield drawn[rank * batch_size : (rank + 1) * batch_size]
        step += 1
