"""A quick look at a network in training."""

import numpy as np
import torch
from torch import Tensor, nn

from gatedpose.batches.augment import NONE, augment
from gatedpose.batches.crops import Crops
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.evaluation.metrics import Score, has_lsp_torso, lsp_pck, pck
from gatedpose.geometry import CROP_MARGIN
from gatedpose.heatmaps import decode
from gatedpose.media.drawing import contact_sheet, draw_poses
from gatedpose.skeleton import Skeleton


@torch.no_grad()
def watch(
    model: nn.Module, val: Crops, skeleton: Skeleton, size: int, batch_size: int = 16
) -> tuple[Score, Tensor]:
    """A quick look at a network in training: PCK@0.2 on crops, without flip test, and a picture.

    Joints other than LSP's, or LSP's without anybody's torso, are scored with the longer side of
    the box as normaliser.

    The figure of record comes from `gatedpose evaluate`, on whole images.
    """
    model.eval()
    device, preprocessing = next(model.parameters()).device, Preprocessing.of(model)
    val = val.shrunk(size)
    pred: list[Tensor] = []
    target: list[Tensor] = []
    pictures: list[Tensor] = []
    for indices in torch.split(torch.arange(len(val)), batch_size):
        crops, generator = val.take(indices).to(device), torch.Generator()
        batch = augment(crops, (size, size), skeleton, NONE, preprocessing, generator)
        points, scores = decode(model(batch.images)[:, -1])
        pred.append(points.cpu())
        target.append(batch.keypoints.cpu())
        if len(pictures) < 16:
            colours = preprocessing.colours(batch.images)
            for image, keypoints, score in zip(colours, points, scores, strict=True):
                picture = (image.clamp(0, 1) * 255).to(torch.uint8).cpu()
                pictures.append(
                    draw_poses(picture, keypoints[None].cpu(), score[None].cpu(), skeleton, scale=1)
                )
    points_and_truth = torch.cat(pred).numpy(), torch.cat(target).numpy()
    labelled, sides = val.labelled.numpy(), np.full(len(val), size / CROP_MARGIN)
    if has_lsp_torso(labelled, skeleton):
        found = lsp_pck(*points_and_truth, labelled, skeleton=skeleton)
    else:
        found = pck(*points_and_truth, sides, labelled)
    return found, contact_sheet(pictures[:16], 4)
