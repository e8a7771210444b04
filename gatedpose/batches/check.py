"""A look at a dataset before it is trained on: whole images, counts, a picture of annotations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from gatedpose.batches.crops import cut
from gatedpose.data.agreement import examine, headers_of
from gatedpose.data.samples import Sample
from gatedpose.geometry import CROP_MARGIN
from gatedpose.media.drawing import contact_sheet, draw_people
from gatedpose.media.images import Header, image_header, read_image
from gatedpose.pose import Pose

SHOWN = 24  # people of the contact sheet
CROP = 224  # pixels, of the contact sheet's pictures


def check_people(samples: Sequence[Sample], progress: bool = True) -> dict[str, Any]:
    """Reads every image of a split, sees whether every box lies in its image, and counts.

    DatasetError names five of the images that cannot be read and boxes that lie outside.
    """
    images = dict.fromkeys(sample.image for sample in samples)
    bar = tqdm(images, "reading", unit="image", disable=not progress)
    doubted = examine(samples, *headers_of(bar, _read_whole))
    labelled = np.stack([sample.labelled for sample in samples]).sum(axis=0)
    skeleton = samples[0].skeleton
    return {
        "people": len(samples),
        "images": len(images),
        "labelled": dict(zip(skeleton.joints, labelled.tolist(), strict=True)),
        "flip_pairs": [[skeleton.joints[end] for end in pair] for pair in skeleton.flip_pairs],
        "doubts": doubted,
    }


def _read_whole(path: Path) -> Header:
    read_image(path)
    return image_header(path)


def annotation_sheet(samples: Sequence[Sample]) -> Tensor:
    """A picture (3, H, W) of people's crops with their labelled joints, spread over the split."""
    chosen = np.linspace(0, len(samples) - 1, min(SHOWN, len(samples))).round().astype(int)
    pictures = []
    for sample in (samples[i] for i in chosen):
        picture, points = cut(sample, CROP, CROP_MARGIN)
        whole, shown = np.array([0, 0, CROP, CROP]), sample.labelled.astype(np.float32)
        pose = Pose(points.numpy(), shown, whole, sample.skeleton)
        pictures.append(draw_people(picture, [pose], scale=1))
    return contact_sheet(pictures, 6)
