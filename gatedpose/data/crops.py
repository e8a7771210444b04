"""Person crops packed into memory, so that training reads no image file twice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from gatedpose.data.samples import DatasetError, Sample
from gatedpose.geometry import CROP_MARGIN, crop_image, crop_matrices, transform_points
from gatedpose.media import read_image, write_whole

PACK_SIZE = 320  # pixels; the square that becomes a 256 px input lies within at full resolution
PACK_MARGIN = 2.0  # side of the packed square over the person's longer side: room to turn and zoom
FILL = (124.0, 116.0, 104.0)  # outside the image: the mean colour, which normalises to 0


@dataclass(frozen=True)
class Crops:
    """Square crops of N people with what is known of them.

    Attributes:
        images: (N, 3, P, P) uint8 RGB, the person centred, `PACK_MARGIN` times the box wide.
        keypoints: (N, K, 2) float32, in crop pixels.
        labelled: (N, K) bool.
    """

    images: Tensor
    keypoints: Tensor
    labelled: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: Tensor) -> "Crops":
        """The crops at `indices` (B,)."""
        return Crops(self.images[indices], self.keypoints[indices], self.labelled[indices])

    def shrunk(self, size: int) -> "Crops":
        """Halved as often as an input of `size` pixels allows without losing detail.

        Coarse training then neither reads nor aliases pixels that it has no use for.
        """
        halvings = math.log2(self.images.shape[-1] * CROP_MARGIN / (PACK_MARGIN * size))
        factor = 2 ** max(0, math.floor(halvings))
        if factor == 1:
            return self
        small = [
            F.avg_pool2d(part.float(), factor).round().to(torch.uint8)
            for part in torch.split(self.images, 256)
        ]
        return Crops(torch.cat(small), self.keypoints / factor, self.labelled)

    def to(self, device: torch.device) -> "Crops":
        """The same crops on another device."""
        return Crops(*(t.to(device) for t in (self.images, self.keypoints, self.labelled)))


def pack(samples: list[Sample], size: int = PACK_SIZE) -> Crops:
    """Cuts every person out of their image; shows a progress bar.

    Raises:
        ImageError: For an image that cannot be read; nothing is skipped.
    """
    boxes = torch.from_numpy(np.stack([sample.box for sample in samples]))
    keypoints = torch.from_numpy(np.stack([sample.keypoints for sample in samples]))
    labelled = torch.from_numpy(np.stack([sample.labelled for sample in samples]))
    matrices = crop_matrices(boxes, (size, size), margin=PACK_MARGIN)
    images = torch.empty(len(samples), 3, size, size, dtype=torch.uint8)
    fill = torch.tensor(FILL)
    for i, sample in enumerate(tqdm(samples, desc="packing crops", unit="person")):
        image = read_image(sample.image)
        crop = crop_image(image, matrices[i], (size, size), fill)
        images[i] = crop.round().clamp(0, 255).to(torch.uint8)
    return Crops(images, transform_points(matrices, keypoints), labelled)


def save_crops(crops: Crops, path: Path) -> None:
    """Writes crops as one safetensors file that appears whole."""
    from safetensors.torch import save

    tensors = {"images": crops.images, "keypoints": crops.keypoints, "labelled": crops.labelled}
    write_whole(path, save(tensors))


def load_crops(path: Path) -> Crops:
    """Reads what `save_crops` wrote."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    return Crops(tensors["images"], tensors["keypoints"], tensors["labelled"])


def packed(samples: list[Sample], path: Path) -> Crops:
    """The crops in `path`, made from `samples` first if the file is not there."""
    if not path.exists():
        save_crops(pack(samples), path)
    crops = load_crops(path)
    if len(crops) != len(samples):
        raise DatasetError(
            f"{path} holds {len(crops)} people, the dataset {len(samples)}; remove it to pack anew"
        )
    return crops


def batches(
    weights: Tensor, batch_size: int, seed: int, start: int, rank: int = 0, world: int = 1
) -> Iterator[Tensor]:
    """Endless random batches of indices, the same whenever they are asked for again.

    Args:
        weights: (N,) how often each person is drawn, in relation to the others.
        batch_size: B, on each process.
        seed: Of the order.
        start: Step to start from, for a resumed training.
        rank: This process.
        world: Number of processes.

    Yields:
        (B,) indices.
    """
    step = start
    while True:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        drawn = torch.multinomial(weights, batch_size * world, generator=generator)
        yield drawn[rank * batch_size : (rank + 1) * batch_size]
        step += 1
