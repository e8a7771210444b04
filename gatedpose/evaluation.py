"""Scores on a dataset, of a network or of predictions made elsewhere.

A network is scored from whole images, with the predictor that users call.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from tqdm import tqdm

from gatedpose.data.annotations import load_json, load_mat
from gatedpose.data.augment import NONE, augment
from gatedpose.data.crops import Crops
from gatedpose.data.joints import group_means, joint_groups
from gatedpose.data.samples import Sample
from gatedpose.files import write_whole
from gatedpose.geometry import CROP_MARGIN
from gatedpose.heatmaps import decode
from gatedpose.media import contact_sheet, draw_poses
from gatedpose.metrics import Averaging, Score, lsp_pck, pck, pckh
from gatedpose.predictor import Predictor
from gatedpose.skeleton import LSP14, MPII16, Skeleton

Points = npt.NDArray[np.floating[Any]]


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

    Raises:
        ValueError: If the network lacks joints of the dataset's.
    """
    skeleton = samples[0].skeleton
    groups = joint_groups(predictor.skeleton, skeleton)
    pairs = ((sample.image, sample.box[None]) for sample in samples)
    bar = tqdm(
        predictor.stream(pairs), "evaluating", len(samples), unit="person", disable=not progress
    )
    poses = [pose for found in bar for pose in found]
    keypoints, scores = (
        np.asarray(group_means(torch.from_numpy(np.stack(values)), groups))
        for values in ([pose.keypoints for pose in poses], [pose.scores for pose in poses])
    )
    return Evaluation(
        score=score_people(samples, keypoints, threshold, averaging),
        ids=tuple(sample.id for sample in samples),
        keypoints=keypoints,
        scores=scores,
    )


def score_people(
    samples: Sequence[Sample],
    keypoints: Points,
    threshold: float | None = None,
    averaging: Averaging = "hrnet",
) -> Score:
    """Scores predictions by the metric that is usual for the samples' joints.

    Args:
        samples: N people with the same skeleton: LSP's 14 joints are scored by `lsp_pck`, MPII's 16
            by `pckh`, any others by PCK with the longer side of the box as normaliser.
        keypoints: (N, K, 2) predicted, image pixels.
        threshold: 0.5 for PCKh and 0.2 for PCK if None.
        averaging: Of PCKh, see `gatedpose.metrics.pckh`.

    Raises:
        ValueError: If shapes do not fit, or an MPII person has no head box.
    """
    target = np.stack([sample.keypoints for sample in samples])
    labelled = np.stack([sample.labelled for sample in samples])
    if samples[0].skeleton == LSP14:
        return lsp_pck(keypoints, target, labelled, 0.2 if threshold is None else threshold)
    if samples[0].skeleton == MPII16:
        heads = [sample.head_box for sample in samples if sample.head_box is not None]
        if len(heads) < len(samples):
            raise ValueError(
                "score_people: PCKh needs head boxes; they are in mpii_human_pose_v1_u12_1.mat "
                "and, for val, in detections_our_format.mat: put one beside the annotations"
            )
        reach = 0.5 if threshold is None else threshold
        return pckh(keypoints, target, np.stack(heads), ~labelled, reach, averaging)
    boxes = np.stack([sample.box for sample in samples])
    sides = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    score = pck(keypoints, target, sides, labelled, 0.2 if threshold is None else threshold)
    return replace(score, metric=f"{score.metric} (normaliser: longer side of the box)")


def load_predictions(path: str | Path, samples: Sequence[Sample], shift: float = 0.0) -> Points:
    """Reads predictions made elsewhere, one set of keypoints for each sample.

    Formats by suffix:

    - .npz: "keypoints" (N, K, 2) and, if there are, "ids" (N,): what `Evaluation.save` writes.
    - .npy: (N, K, 2).
    - .json: nested lists (N, K, 2), or an object with "keypoints" and, if there are, "ids".
    - .mat: "preds" (N, K, 2) as pytorch-pose and HRNet write it.

    With ids, predictions may come in any order; without, in that of the samples.

    Args:
        path: The file; nothing in it is unpickled.
        samples: N people.
        shift: Added to x and y to get this package's coordinates, in which the first pixel's centre
            is (0.5, 0.5): -0.5 where it is (1, 1), as for MPII, and 0.5 where it is (0, 0).

    Returns:
        (N, K, 2) in the order of the samples, image pixels.

    Raises:
        ValueError: For another format or shape, or if ids are missing or unknown; they are named.
    """
    return _stored(Path(path), "keypoints", samples, (2,)) + shift


def load_confidences(path: str | Path, samples: Sequence[Sample]) -> Points:
    """Reads the "scores" of predictions, see `load_predictions`.

    Returns:
        (N, K) in the order of the samples.

    Raises:
        ValueError: As `load_predictions`, or for a file without.
    """
    return _stored(Path(path), "scores", samples)


def _stored(path: Path, name: str, samples: Sequence[Sample], each: tuple[int, ...] = ()) -> Points:
    """An array (N, K, *each) of a file, in the order of the samples."""
    stored = _stored_predictions(path)
    if name not in stored:
        raise ValueError(f"{path} holds {', '.join(stored) or 'nothing'}, but no {name!r}")
    words = ", ".join(("N", "K", *map(str, each)))
    ids = stored.get("ids")
    try:
        values = np.asarray(stored[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {name} must be numbers ({words}): {error}") from error
    shape = (len(samples), samples[0].skeleton.num_keypoints, *each)
    if ids is not None:
        place = {str(name): i for i, name in enumerate(ids)}
        wanted = [sample.id for sample in samples]
        missing = [name for name in wanted if name not in place]
        unknown = sorted(set(place) - set(wanted))
        if missing or unknown or len(ids) != len(place) or len(ids) != len(values):
            raise ValueError(
                f"{path}: ids must be those of the {len(wanted)} people, once each; "
                f"missing: {', '.join(missing[:3]) or 'none'}; unknown: "
                f"{', '.join(unknown[:3]) or 'none'}; {len(ids)} ids for {len(values)} predictions"
            )
        values = values[[place[name] for name in wanted]]
    if values.shape != shape:
        raise ValueError(f"{path}: {name} must be ({words}) = {shape}, got {values.shape}")
    return values


def _stored_predictions(path: Path) -> Mapping[str, Any]:
    """What a file holds, by name: "keypoints" and perhaps "ids"."""
    suffix = path.suffix.lower()
    if suffix == ".mat":
        return {"keypoints": load_mat(path, "preds")}
    if suffix == ".json":
        found = load_json(path)
    elif suffix in (".npy", ".npz"):
        try:
            with path.open("rb") as file:
                found = np.load(file, allow_pickle=False)
                found = dict(found) if suffix == ".npz" else found
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f"{path} cannot be read as NumPy's {suffix}: {error}") from error
    else:
        raise ValueError(f"{path}: predictions are .npz, .npy, .json or .mat, not {suffix!r}")
    return found if isinstance(found, dict) else {"keypoints": found}


@torch.no_grad()
def watch(
    model: nn.Module, val: Crops, skeleton: Skeleton, size: int, batch_size: int = 16
) -> tuple[Score, Tensor]:
    """A quick look at a network in training: PCK@0.2 on crops, without flip test, and a picture.

    Joints other than LSP's are scored with the longer side of the box as normaliser.

    The figure of record comes from `gatedpose evaluate`, on whole images.
    """
    model.eval()
    parameter = next(model.parameters())
    mean = torch.tensor(IMAGENET_DEFAULT_MEAN, device=parameter.device)
    std = torch.tensor(IMAGENET_DEFAULT_STD, device=parameter.device)
    val = val.shrunk(size)
    pred: list[Tensor] = []
    target: list[Tensor] = []
    pictures: list[Tensor] = []
    for start in range(0, len(val), batch_size):
        crops = val.take(torch.arange(start, min(start + batch_size, len(val))))
        batch = augment(
            crops.to(parameter.device), (size, size), skeleton, NONE, mean, std, torch.Generator()
        )
        points, scores = decode(model(batch.images)[:, -1])
        pred.append(points.cpu())
        target.append(batch.keypoints.cpu())
        if len(pictures) < 16:
            colours = batch.images * std.view(3, 1, 1) + mean.view(3, 1, 1)
            for image, keypoints, score in zip(colours, points, scores, strict=True):
                picture = (image.clamp(0, 1) * 255).to(torch.uint8).cpu()
                pictures.append(
                    draw_poses(picture, keypoints[None].cpu(), score[None].cpu(), skeleton, scale=1)
                )
    people = torch.cat(pred).numpy(), torch.cat(target).numpy()
    labelled, sides = val.labelled.numpy(), np.full(len(val), size / CROP_MARGIN)
    lsp = skeleton == LSP14
    found = lsp_pck(*people, labelled) if lsp else pck(*people, sides, labelled)
    return found, contact_sheet(pictures[:16], 4)
