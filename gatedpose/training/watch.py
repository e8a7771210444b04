"""A quick look at a network in training."""

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from gatedpose.data.augment import NONE, augment
from gatedpose.data.crops import Crops
from gatedpose.evaluation.metrics import Score, lsp_pck, pck
from gatedpose.geometry import CROP_MARGIN
from gatedpose.heatmaps import decode
from gatedpose.media.drawing import contact_sheet, draw_poses
from gatedpose.skeleton import LSP14, Skeleton


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
