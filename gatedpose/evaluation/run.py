"""Scores on a dataset, of a network or of predictions made elsewhere.

A network is scored from whole images, with the predictor that users call.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from gatedpose.catalogue import Averaging
from gatedpose.data.joints import group_means, joint_groups
from gatedpose.data.samples import Sample
from gatedpose.errors import InputError
from gatedpose.evaluation.metrics import Score, has_lsp_torso, lsp_pck, pck, pckh, torso_lengths
from gatedpose.evaluation.people import mean_oks, torso_pck
from gatedpose.evaluation.predictions import Points
from gatedpose.files.whole import write_whole
from gatedpose.predict.predictor import Predictor
from gatedpose.skeleton import COCO17, MPII16, PEOPLE19

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What a network predicted and how well.

    Attributes:
        score: By the metric of the samples' skeleton, see `score_people`.
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


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    progress: bool = True,
    *,
    threshold: float | None = None,
    averaging: Averaging = "hrnet",
) -> Evaluation:
    """Predicts every person from their annotated box and scores the joints that are labelled.

    Args:
        predictor: Of a network with the samples' joints, or others that they are known from, see
            `gatedpose.data.joints`: MPII's 16 are scored on LSP's 14.
        samples: See `gatedpose.data.readers.read_dataset`.
        progress: Show a bar.
        threshold: See `score_people`.
        averaging: See `score_people`.

    Joints that the network does not predict are not scored; their keypoints are NaN, their scores
    0.

    Raises:
        ValueError: If network and dataset share no joint.
    """
    skeleton = samples[0].skeleton
    groups = joint_groups(predictor.skeleton, skeleton, partly=True)
    known = np.array([bool(group) for group in groups])
    counted = labelled_of(samples, known)
    nothing = np.zeros((len(samples), len(known), 2))
    score_people(counted, nothing, threshold, averaging)  # errors come before hours of work
    pairs = ((sample.image, sample.box[None]) for sample in samples)
    bar = tqdm(
        predictor.stream(pairs), "evaluating", len(samples), unit="person", disable=not progress
    )
    poses = [pose for found in bar for pose in found]
    keypoints, scores = (
        np.asarray(group_means(torch.from_numpy(np.stack(values)), groups))
        for values in ([pose.keypoints for pose in poses], [pose.scores for pose in poses])
    )
    keypoints = np.where(known[:, None], keypoints, np.nan).astype(np.float32)
    return Evaluation(
        score=score_people(counted, keypoints, threshold, averaging),
        ids=tuple(sample.id for sample in samples),
        keypoints=keypoints,
        scores=scores,
    )


def labelled_of(samples: Sequence[Sample], known: npt.NDArray[np.bool_]) -> list[Sample]:
    """Samples without the labels of joints that a network does not predict; the log names them."""
    if lacking := [samples[0].skeleton.joints[k] for k in np.flatnonzero(~known)]:
        LOG.warning(f"not scored, since the network does not predict it: {', '.join(lacking)}")
    return [replace(sample, labelled=sample.labelled & known) for sample in samples]


def score_people(
    samples: Sequence[Sample],
    keypoints: Points,
    threshold: float | None = None,
    averaging: Averaging = "hrnet",
) -> Score:
    """Scores predictions by the metric that is usual for the samples' joints.

    Args:
        samples: N people with the same skeleton: LSP's 14 joints are scored by `lsp_pck`, those of
            the dataset mpii by `pckh`, COCO's 17 and the 19 of people by `torso_pck` and, as a
            further column, `mean_oks` of the box's area, any others, and people none of whom has a
            labelled torso, by PCK with the longer side of the box as normaliser. The order of the
            joints does not matter.
        keypoints: (N, K, 2) predicted, image pixels.
        threshold: 0.5 for PCKh and 0.2 for PCK if None.
        averaging: Of PCKh, see `gatedpose.evaluation.metrics.pckh`; no other metric has several.

    Raises:
        ValueError: If shapes do not fit, an MPII person has no head box, or an averaging is given
            for another metric.
    """
    target = np.stack([sample.keypoints for sample in samples])
    labelled = np.stack([sample.labelled for sample in samples])
    skeleton = samples[0].skeleton
    usual = 0.5 if skeleton == MPII16 else 0.2
    reach = usual if threshold is None else threshold
    if skeleton != MPII16 and averaging != "hrnet":
        raise InputError(
            f"score_people: averaging {averaging!r} is of PCKh, which the dataset mpii is scored "
            f"by; {skeleton.name} is scored by PCK"
        )
    if has_lsp_torso(labelled, skeleton):
        return lsp_pck(keypoints, target, labelled, reach, skeleton)
    if skeleton == MPII16:
        heads = [sample.head_box for sample in samples if sample.head_box is not None]
        if lacking := [sample.id for sample in samples if sample.head_box is None]:
            raise InputError(
                f"score_people: PCKh needs head boxes; {len(lacking)} of {len(samples)} people "
                f"have none, such as {lacking[0]}; they are in mpii_human_pose_v1_u12_1.mat and, "
                "for val, in detections_our_format.mat: put one beside the annotations"
            )
        return pckh(keypoints, target, np.stack(heads), ~labelled, reach, averaging)
    boxes = np.stack([sample.box for sample in samples])
    sizes = boxes[:, 2:] - boxes[:, :2]
    torso = any(set(skeleton.joints) == set(known.joints) for known in (COCO17, PEOPLE19))
    if torso and np.isfinite(torso_lengths(target, labelled, skeleton)).any():
        score = torso_pck(keypoints, target, labelled, skeleton, reach)
        oks = mean_oks(keypoints, target, labelled, sizes.prod(axis=1), skeleton)
        return replace(score, columns={**score.columns, "OKS": oks})
    score = pck(keypoints, target, sizes.max(axis=1), labelled, reach)
    return replace(score, metric=f"{score.metric} (normaliser: longer side of the box)")
