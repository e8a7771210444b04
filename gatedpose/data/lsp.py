"""Readers of the Leeds Sports Pose datasets.

LSP: Johnson & Everingham, BMVC 2010; 2,000 people, 1-1000 for training, 1001-2000 for testing.
LSP-extended ("lspet"): Johnson & Everingham, CVPR 2011; 10,000 people with noisy crowd labels.
Both are published for research with a request to cite. Splits of this package:

| dataset, split | people |
|---|---|
| lsp train | im0001-im0800 but the near-duplicates of a validation image |
| lsp val | im0801-im1000 |
| lsp test | im1001-im2000, scored only |
| lspet val | 400 fully labelled people, drawn once with a fixed seed |
| lspet train | all others but those near-duplicates |
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from gatedpose.data.annotations import load_mat
from gatedpose.data.samples import Sample, check_split, require_images
from gatedpose.errors import DatasetError
from gatedpose.geometry import keypoints_to_box
from gatedpose.skeleton import LSP14

LOG = logging.getLogger(__name__)
LSPET_VAL_SEED = 20200228
LSPET_VAL_PEOPLE = 400
LSP_SPLITS = {"train": range(800), "val": range(800, 1000), "test": range(1000, 2000)}


def lsp(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads LSP: "train", "val" or "test" of joints.mat and images/im0001.jpg to im2000.jpg.

    A half suffices for its splits. People are in the order of the images. Every joint is labelled
    (the published flag marks occlusion); the box is the tight box of the joints. DatasetError names
    missing and unexpected images.
    """
    check_split("lsp", split, LSP_SPLITS)
    joints = load_joints(Path(folder), (3, 14, 2000)).transpose(2, 1, 0)  # (2000, 14, 3)
    labelled = np.ones(joints.shape[:2], dtype=bool)
    people = LSP_SPLITS[split]
    return _samples(Path(folder), "lsp", split, joints[..., :2], labelled, people, check_images)


def lspet(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads LSP-extended: "train" or "val" of joints.mat and images/im00001.jpg to im10000.jpg.

    People are in the order of the images; joints without a label are masked, and people without two
    labelled joints, who give no box, are left out of "train".
    """
    check_split("lspet", split, ("train", "val"))
    joints = load_joints(Path(folder), (14, 3, 10000)).transpose(2, 0, 1)  # (10000, 14, 3)
    labelled = joints[..., 2] > 0
    people = val = lspet_val(labelled)
    if split == "train":
        people = sorted(set(np.flatnonzero(labelled.sum(axis=1) >= 2).tolist()) - set(val))
        bare = len(labelled) - len(val) - len(people)
        LOG.info(f"lspet train: left out: {bare} with fewer than two labelled joints")
    return _samples(Path(folder), "lspet", split, joints[..., :2], labelled, people, check_images)


def lspet_val(labelled: np.ndarray) -> list[int]:
    """Indices of the 400 people of "lspet val", drawn among the fully labelled ones (N, 14)."""
    full = np.flatnonzero(labelled.all(axis=1))
    drawn = np.random.default_rng(LSPET_VAL_SEED).choice(full, LSPET_VAL_PEOPLE, replace=False)
    return sorted(int(i) for i in drawn)


def near_duplicates() -> set[str]:
    """Ids of people left out of training: their image nearly repeats a validation image.

    Found by a perceptual hash: `python examples/find_near_duplicates.py` reprints the list.
    """
    return set(Path(__file__).with_name("near_duplicates.txt").read_text("utf-8").split())


def load_joints(folder: Path, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """The "joints" of `folder`/joints.mat, whose shape must be `shape`, as float32."""
    path = folder / "joints.mat"
    if not path.is_file():
        raise DatasetError(f"{folder} holds no joints.mat; it must hold joints.mat and images/")
    joints = load_mat(path, "joints")
    if joints.shape != shape:
        other = "LSP-extended" if joints.shape == (14, 3, 10000) else "LSP"
        hint = f" (that is {other})" if joints.shape in ((14, 3, 10000), (3, 14, 2000)) else ""
        raise DatasetError(f"{path}: 'joints' must have shape {shape}, got {joints.shape}{hint}")
    return np.asarray(joints, dtype=np.float32)


def _samples(
    folder: Path,
    dataset: str,
    split: str,
    points: np.ndarray,
    labelled: np.ndarray,
    people: Sequence[int],
    check_images: bool,
) -> list[Sample]:
    """Samples of the people with these indices, in "train" without near-duplicates."""
    # im0001 to im2000, im00001 to im10000
    names = [f"im{i + 1:0{len(str(len(points)))}d}" for i in range(len(points))]
    if split == "train":
        left_out = near_duplicates()
        kept = [i for i in people if f"{dataset}/{names[i]}" not in left_out]
        LOG.info(
            f"{dataset} train: {len(kept)} people; left out: {len(people) - len(kept)} whose "
            "picture nearly repeats one of val"
        )
        people = kept
    keypoints = points.astype(np.float32) - 0.5  # 1-based pixel indices -> continuous coordinates
    boxes = keypoints_to_box(
        torch.from_numpy(keypoints[people]), torch.from_numpy(labelled[people])
    ).numpy()
    samples = [
        Sample(
            id=f"{dataset}/{names[i]}",
            image=folder / "images" / f"{names[i]}.jpg",
            keypoints=keypoints[i],
            labelled=labelled[i],
            box=box,
            skeleton=LSP14,
        )
        for i, box in zip(people, boxes, strict=True)
    ]
    if check_images:
        require_images(folder / "images", samples, [f"{name}.jpg" for name in names])
    return samples
