"""Eight bits for a network: ranges from people whom it has learnt from, scores on others."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gatedpose.data.preprocessing import Preprocessing
from gatedpose.data.samples import Sample
from gatedpose.engines.engine import check_installed
from gatedpose.engines.optimize import optimize
from gatedpose.engines.quantise import find_ranges, save_ranges
from gatedpose.engines.runtimes import Precision, openvino_graph
from gatedpose.errors import InputError
from gatedpose.evaluation.metrics import Score
from gatedpose.evaluation.run import evaluate
from gatedpose.geometry import crop_image, crop_matrices
from gatedpose.media.images import read_image
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.finder import GatedFinder
from gatedpose.predict.predictor import Predictor

BATCH = 8  # crops at once


def quantise(model: HeatmapNetwork, samples: Sequence[Sample], people: int = 256) -> int:
    """Finds ranges for eight bits and writes them beside a network's weights.

    Args:
        model: A network that `create_model` has loaded by "local-dir:FOLDER", or packaged weights.
        samples: People whom it has learnt from, see `gatedpose.data.readers.read_dataset`.
        people: So many of them are looked at, evenly spread.

    Returns:
        How many there are: one for each activation that is rounded.

    Raises:
        ImportError: Without OpenVINO; names the pip command that brings it.
        InputError: For a finder.
        ImageError: If a picture cannot be read.
    """
    check_installed("openvino")
    if isinstance(model, GatedFinder):
        raise InputError("quantise: a finder has no eight bits, only networks of keypoints have")
    chosen = np.linspace(0, len(samples) - 1, min(people, len(samples))).round().astype(int)
    ranges = find_ranges(model, _batches(model, [samples[i] for i in chosen]), openvino_graph)
    save_ranges(model, ranges)
    return len(ranges)


def score_in(precision: Precision, model: HeatmapNetwork, samples: Sequence[Sample]) -> Score:
    """What a network scores with the flip test where OpenVINO computes it in a precision."""
    fast = optimize(model, engine="openvino", precision=precision)
    return evaluate(Predictor(fast, batch_size=BATCH, flip_test=True), samples).score


def _batches(model: HeatmapNetwork, samples: Sequence[Sample]) -> Iterator[Tensor]:
    """Normalised crops (B, 3, H, W), as a `Predictor` cuts them."""
    wanted = Preprocessing.of(model)
    mean, std = wanted.scales(torch.device("cpu"), white=255)
    for start in range(0, len(samples), BATCH):
        crops = []
        for sample in samples[start : start + BATCH]:
            [matrix] = crop_matrices(torch.as_tensor(sample.box)[None], wanted.size)
            crop = crop_image(read_image(sample.image), matrix, wanted.size, mean)
            crops.append((crop - mean) / std)
        yield torch.stack(crops)
