"""Scores of a network on a dataset, from whole images, with the predictor that users call."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from gatedpose.data.samples import Sample
from gatedpose.media import write_whole
from gatedpose.metrics import Score, lsp_pck
from gatedpose.predictor import Predictor


@dataclass(frozen=True)
class Evaluation:
    """What a network predicted and how well.

    Attributes:
        score: PCK@0.2, see `gatedpose.metrics.lsp_pck`.
        ids: Of the people.
        keypoints: (N, K, 2) predicted, image pixels.
        scores: (N, K) confidences.
    """

    score: Score
    ids: tuple[str, ...]
    keypoints: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Writes ids, keypoints and scores as a compressed .npz that can be scored again."""
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer, ids=np.array(self.ids), keypoints=self.keypoints, scores=self.scores
        )
        write_whole(path, buffer.getvalue())


def evaluate(predictor: Predictor, samples: Sequence[Sample], progress: bool = True) -> Evaluation:
    """Predicts every person from their annotated box and scores the joints that are labelled.

    Args:
        predictor: Of a network with the samples' 14 joints.
        samples: See `gatedpose.data.lsp.read_dataset`.
        progress: Show a bar.

    Raises:
        ValueError: If the network's joints are not the dataset's.
    """
    skeleton = samples[0].skeleton
    if predictor.skeleton != skeleton:
        raise ValueError(
            f"evaluate: the network predicts {predictor.skeleton.name}, "
            f"the data has {skeleton.name}"
        )
    pairs = ((sample.image, sample.box[None]) for sample in samples)
    bar = tqdm(
        predictor.stream(pairs), "evaluating", len(samples), unit="person", disable=not progress
    )
    poses = [pose for found in bar for pose in found]
    keypoints = np.stack([pose.keypoints for pose in poses])
    target = np.stack([sample.keypoints for sample in samples])
    labelled = np.stack([sample.labelled for sample in samples])
    return Evaluation(
        score=lsp_pck(keypoints, target, labelled),
        ids=tuple(sample.id for sample in samples),
        keypoints=keypoints,
        scores=np.stack([pose.scores for pose in poses]),
    )
