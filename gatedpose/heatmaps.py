"""Heatmaps and back: encoding and decoding together, so that their offsets cannot drift apart.

Cell (m, n) of a heatmap is centred on crop pixel (4 (m + 0.5), 4 (n + 0.5)), so a point x lies at
cell coordinate u = x / 4 - 0.5.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from gatedpose.catalogue import DECODERS, DEFAULT_DECODER, Decoder
from gatedpose.errors import InputError, check_choice, check_range
from gatedpose.geometry import without_autocast

STRIDE = 4  # image pixels a heatmap cell
DARK_SIGMA = 1.0  # cells; smoothing before the logarithm
DARK_RADIUS = 3  # cells that the smoothing reaches
SOFTARGMAX_SHARPNESS = 3.0
SOFTARGMAX_RADIUS = 5  # cells


def encode(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Gaussians of peak 1 at exact sub-cell positions.

    Args:
        points: (B, K, 2) float, crop pixels.
        size: (height, width) of the heatmaps in cells.
        sigma: Standard deviation in cells, from 0.01 to 100.

    Returns:
        (B, K, height, width). A point far outside gives a map of zeros.

    Raises:
        ValueError: For another sigma, or points of another shape.
    """
    check_range("encode: sigma", sigma, (0.01, 100.0))
    if points.dim() != 3 or points.shape[-1] != 2:
        raise InputError(f"encode: points must be (B, K, 2), got {tuple(points.shape)}")
    cells = points / STRIDE - 0.5
    columns = torch.arange(size[1], device=points.device, dtype=points.dtype)
    rows = torch.arange(size[0], device=points.device, dtype=points.dtype)
    across = torch.exp(-((columns - cells[..., :1]) ** 2) / (2 * sigma**2))  # (B, K, width)
    down = torch.exp(-((rows - cells[..., 1:]) ** 2) / (2 * sigma**2))  # (B, K, height)
    return down.unsqueeze(-1) * across.unsqueeze(-2)


def decode(heatmaps: Tensor, method: Decoder = DEFAULT_DECODER) -> tuple[Tensor, Tensor]:
    """Keypoints and confidences from heatmaps.

    Args:
        heatmaps: (B, K, h, w) float, h and w at least 3.
        method: "argmax" (centre of the highest cell), "quarter" (a quarter cell towards the higher
            neighbour, Newell et al.), "dark" (Taylor step on the logarithm of the smoothed map,
            Zhang et al., CVPR 2020) or "softargmax" (centroid of exp(3 h) - 1 in a window about the
            highest cell). "dark" and "softargmax" invert `encode` of a sigma from 1 to 2 to 0.02
            cell away from the border.

    Returns:
        Points (B, K, 2) in crop pixels and scores (B, K) in [0, 1]: the height of the peak, which
        falls where a joint is out of sight; it is no calibrated probability.

    Raises:
        ValueError: For an unknown method or heatmaps of another rank or too small.
    """
    check_choice("decode: method", method, DECODERS)
    if heatmaps.dim() != 4 or min(heatmaps.shape[-2:]) < 3:
        raise InputError(
            f"decode: heatmaps must be (B, K, h, w) with h, w >= 3, got {tuple(heatmaps.shape)}; "
            "of a model's output (B, S, K, h, w) pass the last stack, [:, -1]"
        )
    maps = heatmaps.float().contiguous()
    width = maps.shape[-1]
    peak, index = maps.flatten(2).max(dim=2)
    column, row = index % width, index // width
    cell = torch.stack((column, row), dim=-1)  # (B, K, 2)
    if method == "argmax":
        refined = cell.to(maps.dtype)
    elif method == "quarter":
        refined = cell + _quarter_step(maps, cell)
    elif method == "dark":
        refined = _dark(maps, cell)
    else:
        refined = _local_centroid(maps, cell)
    return STRIDE * (refined + 0.5), peak.clamp(0, 1)


def _patch(maps: Tensor, centre: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The squares of n = 2 * radius + 1 cells about centres (B, K, 2), each a column and a row.

    Gives values (B, K, n, n), rows first, 0 outside of the map, and their cells (B, K, 2, n),
    columns first.
    """
    height, width = maps.shape[-2:]
    cells = centre.unsqueeze(-1) + torch.arange(-radius, radius + 1, device=maps.device)
    last = torch.tensor((width - 1, height - 1), device=maps.device).unsqueeze(1)
    inside = (cells >= 0) & (cells <= last)
    columns, rows = cells.clamp_min(0).minimum(last).unbind(dim=2)
    index = rows.unsqueeze(-1) * width + columns.unsqueeze(-2)  # (B, K, n, n)
    values = maps.flatten(2).gather(2, index.flatten(2)).view_as(index)
    return values * (inside[:, :, 1].unsqueeze(-1) & inside[:, :, 0].unsqueeze(-2)), cells


def _quarter_step(maps: Tensor, cell: Tensor) -> Tensor:
    padded, _ = _patch(F.pad(maps, (1, 1, 1, 1), mode="reflect"), cell + 1, 1)
    across = padded[..., 1, 2] - padded[..., 1, 0]
    down = padded[..., 2, 1] - padded[..., 0, 1]
    return 0.25 * torch.stack((across, down), dim=-1).sign()


def _dark(maps: Tensor, cell: Tensor) -> Tensor:
    height, width = maps.shape[-2:]
    # At the border the stencil moves inwards: the logarithm of a Gaussian is quadratic everywhere.
    last = torch.tensor((width - 2, height - 2), device=maps.device)
    centre = cell.clamp_min(1).minimum(last)
    # Smoothing would pull the peak inwards there, so the raw map serves within its reach.
    edge = ((centre <= DARK_RADIUS) | (centre >= last + 1 - DARK_RADIUS)).any(dim=-1)
    raw, smooth = (_patch(each, centre, 1)[0] for each in (maps, _smooth(maps)))
    log = torch.where(edge[..., None, None], raw, smooth).clamp_min(1e-6).log()
    dx = (log[..., 1, 2] - log[..., 1, 0]) / 2
    dy = (log[..., 2, 1] - log[..., 0, 1]) / 2
    dxx = log[..., 1, 2] - 2 * log[..., 1, 1] + log[..., 1, 0]
    dyy = log[..., 2, 1] - 2 * log[..., 1, 1] + log[..., 0, 1]
    dxy = (log[..., 2, 2] - log[..., 2, 0] - log[..., 0, 2] + log[..., 0, 0]) / 4
    det = dxx * dyy - dxy**2
    peaked = (det > 1e-9) & (dxx < 0) & (dyy < 0)
    det = torch.where(peaked, det, 1.0)
    step = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), dim=-1) / det.unsqueeze(-1)
    # A step beyond a cell from the peak means the map is no Gaussian: keep the cell.
    refined = centre + step
    near = peaked & ((refined - cell).abs().amax(dim=-1) <= 1)
    return torch.where(near.unsqueeze(-1), refined, cell.to(maps.dtype))


@without_autocast  # which would round what is smoothed
def _smooth(maps: Tensor) -> Tensor:
    radius = DARK_RADIUS
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * DARK_SIGMA**2))
    kernel = kernel / kernel.sum()
    flat = maps.flatten(0, 1).unsqueeze(1)  # (B K, 1, h, w)
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    return flat.view_as(maps)


def _local_centroid(maps: Tensor, cell: Tensor) -> Tensor:
    window, cells = _patch(maps, cell, SOFTARGMAX_RADIUS)
    weights = torch.expm1(SOFTARGMAX_SHARPNESS * window.clamp(0, 4))
    total = weights.sum(dim=(2, 3)).unsqueeze(-1)
    along = torch.stack((weights.sum(dim=2), weights.sum(dim=3)), dim=2)  # (B, K, 2, n)
    centroid = (along * cells).sum(dim=3) / total.clamp_min(1e-9)
    return torch.where(total > 1e-9, centroid, cell.to(maps.dtype))


def flip_back(heatmaps: Tensor, permutation: tuple[int, ...]) -> Tensor:
    """Heatmaps of the unflipped image from those of its mirror image.

    Args:
        heatmaps: (..., K, h, w) predicted on the image flipped left to right.
        permutation: `Skeleton.flip_permutation`.

    Returns:
        The same shape, mirrored, with left and right channels exchanged. In this package's
        coordinates no shift is needed.
    """
    if len(permutation) != heatmaps.shape[-3]:
        raise InputError(
            f"flip_back: the permutation is of {len(permutation)} joints, there are heatmaps of "
            f"{heatmaps.shape[-3]}"
        )
    index = torch.tensor(permutation, device=heatmaps.device)
    return heatmaps.flip(-1).index_select(-3, index)
