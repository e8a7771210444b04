"""What a network is trained for: the paper's per-stack MSE, and a loss that learns faster.

Every joint of a batch is in one of three states: not labelled (no loss), labelled and inside the
input (a Gaussian), labelled and outside (a map of zeros, so that the height of the peak says
whether a joint is in sight).
"""

from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from gatedpose.boxmaps import BoxTargets, boxes_of_cells
from gatedpose.errors import InputError, check_choice
from gatedpose.heatmaps import STRIDE, encode

Loss: TypeAlias = Literal["mse", "softmax"]

SHARPNESS = 10.0  # heatmap units to log-odds: exp(10) cells of background weigh as much as a peak


def targets(
    keypoints: Tensor, labelled: Tensor, size: tuple[int, int], sigma: float
) -> tuple[Tensor, Tensor]:
    """Heatmaps to learn (B, K, h, w), and which joints are labelled and inside of the input (B, K).

    Keypoints are in input pixels, `sigma` in cells. Maps of joints outside are zero.
    """
    limit = keypoints.new_tensor((size[1] * STRIDE, size[0] * STRIDE))
    inside = labelled & ((keypoints >= 0) & (keypoints < limit)).all(dim=-1)
    maps = encode(keypoints.nan_to_num(), size, sigma) * inside[..., None, None]
    return maps, inside


def heatmap_loss(
    heatmaps: Tensor,
    keypoints: Tensor,
    labelled: Tensor,
    sigma: float,
    loss: Loss,
    count: Tensor | None = None,
    taught: Tensor | None = None,
    teaching: float = 0.0,
) -> Tensor:
    """Loss of all stacks, averaged over labelled joints.

    Args:
        heatmaps: (B, S, K, h, w) predicted.
        keypoints: (B, K, 2) in input pixels.
        labelled: (B, K) bool.
        sigma: Of the Gaussian, in cells.
        loss: "mse" is the paper's Eq. 2, the mean square over all cells and labelled joints, summed
            over stacks. "softmax" adds two terms, both averaged over stacks: the cross-entropy
            between the spatial softmax of `SHARPNESS` times the heatmap and of `SHARPNESS` times
            the target (for joints inside), and the squared error relative to that of a map of
            zeros, which fixes the level. Both have their minimum where the heatmap is the target,
            so the output stays a heatmap with peaks near 1.
        count: Joints to average over, where this is a part of a batch; the labelled ones if None.
        taught: (B, K, h, w) heatmaps of a teacher's for the same images.
        teaching: Their share of the target of a labelled joint; the Gaussian has the rest.

    Returns:
        A scalar.

    Raises:
        ValueError: For another loss, or shapes that do not fit.
    """
    check_choice("heatmap_loss: loss", loss, get_args(Loss))
    _check_shapes(heatmaps, keypoints, labelled)
    heatmaps = heatmaps.float()
    size = (heatmaps.shape[-2], heatmaps.shape[-1])
    target, inside = targets(keypoints, labelled, size, sigma)
    if taught is not None:
        target = target.lerp(taught.clamp(0, 1), teaching)
    error = (heatmaps - target.unsqueeze(1)).square()  # (B, S, K, h, w)
    count = (labelled.sum() if count is None else count).clamp_min(1)
    if loss == "mse":
        return (error.mean(dim=(3, 4)).sum(dim=1) * labelled).sum() / count
    energy = torch.pi * sigma**2  # of the Gaussian: the squared error of a map of zeros
    level = (error.sum(dim=(3, 4)).mean(dim=1) * labelled).sum() / energy
    wanted = (SHARPNESS * target).flatten(2).softmax(dim=-1).unsqueeze(1)  # (B, 1, K, h w)
    surprise = -(wanted * (SHARPNESS * heatmaps).flatten(3).log_softmax(dim=-1)).sum(dim=-1)
    return ((surprise.mean(dim=1) * inside).sum() + level) / count


def _check_shapes(heatmaps: Tensor, keypoints: Tensor, labelled: Tensor) -> None:
    """Raises InputError for what broadcasting would learn wrongly."""
    people, _, joints = (*heatmaps.shape[:3], 0, 0, 0)[:3]
    wanted = [(people, joints, 2), (people, joints)]
    right = heatmaps.dim() == 5 and [tuple(keypoints.shape), tuple(labelled.shape)] == wanted
    if not right or labelled.dtype != torch.bool:
        raise InputError(
            "heatmap_loss: heatmaps must be (B, S, K, h, w), which unsqueeze(1) makes of those of "
            "one stack, keypoints (B, K, 2), labelled (B, K) bool; got "
            f"{tuple(heatmaps.shape)}, {tuple(keypoints.shape)}, {tuple(labelled.shape)} "
            f"{labelled.dtype}"
        )


def finder_loss(maps: Tensor, targets: BoxTargets) -> tuple[Tensor, Tensor]:
    """Losses of raw maps (B, 5, h, w): of centres and of boxes, averaged over the batch's boxes.

    The focal loss of "Objects as Points", and 1 - GIoU (Rezatofighi et al., CVPR 2019) averaged
    over the cells of each box.
    """
    maps = maps.float()
    logits, truth = maps[:, 0], targets.centres
    chance = logits.sigmoid()
    peak = truth == 1
    hit = -(1 - chance).square() * F.logsigmoid(logits)
    miss = -chance.square() * F.logsigmoid(-logits) * (1 - truth).pow(4)
    focal = torch.where(peak, hit, miss) * targets.known
    count = peak.sum().clamp_min(1)
    learnt = targets.weights > 0
    each = generalized_box_iou_loss(boxes_of_cells(maps)[learnt], targets.boxes[learnt])
    return focal.sum() / count, (each * targets.weights[learnt]).sum() / count
