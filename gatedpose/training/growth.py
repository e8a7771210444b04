"""Networks that begin as a trained smaller or larger one, so that training starts where it ended.

Function-preserving, as Net2Net is (Chen, Goodfellow & Shlens, ICLR 2016), but new channels are not
copies: they start as in a fresh network, and what reads them starts with weights of 0 for them. New
stacks are copies of the last one, and what the stack before tells them starts as 0. The other way
channels are left out: of a network that has grown those that came last, which matter least.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatedpose.errors import InputError, InputTypeError
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.hourglass import STEM_WIDTH, GatedHourglass
from gatedpose.skeleton import same_joints


@torch.no_grad()
def grow(small: HeatmapNetwork, large: HeatmapNetwork) -> None:
    """Puts a trained network into a larger one of fresh weights, which is changed.

    In evaluation mode the stacks that both have then predict alike, and further ones as the last.
    InputError if `large` is not larger, differs in more, or has grouped merges; and if it is wider
    and norms are none of batch norm, or a width is 64.
    """
    small, large = _pair("grow", small, large)
    old, new = small.config, large.config
    places, fresh = _places(old.width, new.width), large.state_dict()
    for key, tensor in small.state_dict().items():
        grown, where = fresh[key], _where(tensor, fresh[key], places)
        if len(where) > 1:
            grown[where[0].flatten()] = 0  # so that what was there does not see what is new
        grown[where] = tensor
    last = old.stacks - 1
    for s in range(old.stacks, new.stacks):
        large.stacks[s].load_state_dict(large.stacks[last].state_dict())
        large.heads[s].load_state_dict(large.heads[last].state_dict())
        for remap in (large.remap_features[s - 1], large.remap_heatmaps[s - 1]):
            for weights in remap.parameters():
                weights.zero_()  # so that it gets what the last stack gets


@torch.no_grad()
def shrink(large: HeatmapNetwork, small: HeatmapNetwork) -> None:
    """Puts the first channels and stacks of a trained network into a smaller one, which is changed.

    The reverse of `grow`. Where the larger network has grown, little is lost.
    """
    small, large = _pair("shrink", small, large)
    places, full = _places(small.config.width, large.config.width), large.state_dict()
    for key, tensor in small.state_dict().items():
        tensor.copy_(full[key][_where(tensor, full[key], places)])


def _pair(
    how: str, small: HeatmapNetwork, large: HeatmapNetwork
) -> tuple[GatedHourglass, GatedHourglass]:
    if not (isinstance(small, GatedHourglass) and isinstance(large, GatedHourglass)):
        kinds = f"{type(small).__name__} and {type(large).__name__}"
        raise InputTypeError(f"{how}: only gated hourglasses have each other's layers, got {kinds}")
    less, more = small.config, large.config
    if replace(less, width=more.width, stacks=more.stacks) != more or more.merge == "grouped":
        raise InputError(
            f"{how}: networks may differ in width and stacks only, and not have grouped merges; "
            f"got {less} and {more}"
        )
    if less.width > more.width or less.stacks > more.stacks:
        raise InputError(
            f"{how}: {less.stacks} stacks of width {less.width} do not fit into {more.stacks} of "
            f"width {more.width}"
        )
    # Other norms see new channels, too. From the stem's width to its own a block has no shortcut.
    alone = more.norm_layer == "batchnorm2d" and STEM_WIDTH not in (less.width, more.width)
    if less.width < more.width and not alone:
        raise InputError(
            f"{how}: widths may differ where norms are batchnorm2d and no width is {STEM_WIDTH}, "
            f"the stem's; got {less.norm_layer} and widths {less.width} and {more.width}"
        )
    return small, large


@torch.no_grad()
def keep_shared_joints(
    old: HeatmapNetwork, new: HeatmapNetwork, joints: Sequence[str], wanted: Sequence[str]
) -> None:
    """Gives `new` the channels of `old` for the joints that both predict, by name.

    `new` is the same network, for joints that are `wanted`, with fresh heads and heatmap remaps.
    Its fresh joints tell the next stack nothing at first, so that its others begin where `old`
    ended.
    """
    shared = same_joints(wanted, joints)
    after, before = (torch.tensor([*part], dtype=torch.long) for part in (shared, shared.values()))
    trained = old.state_dict()
    for key, tensor in new.state_dict().items():
        if key.startswith("heads."):
            tensor[after] = trained[key][before]
        elif key.startswith("remap_heatmaps.") and tensor.dim() > 1:
            tensor.zero_()
            tensor[:, after] = trained[key][:, before]
        elif key.startswith("remap_heatmaps."):
            tensor.copy_(trained[key])


def _places(width: int, wider: int) -> dict[int, Tensor]:
    """Where each channel goes, for feature maps of every size that depends on the width.

    A block's output is concat(f1, f2, f3): each part stays within its own.
    """
    parts, starts = (width // 2, width // 4), (0, wider // 2, wider // 2 + wider // 4)
    sizes = (*parts, width - sum(parts))
    stream = torch.cat([torch.arange(n) + start for n, start in zip(sizes, starts, strict=True)])
    places = {n: torch.arange(n) for n in sizes}
    return {**places, width: stream, 2 * width: torch.cat((stream, wider + stream))}


def _where(small: Tensor, large: Tensor, places: dict[int, Tensor]) -> tuple[Tensor, ...]:
    """The indices of a tensor's outputs and inputs, as far as it has any, in its larger one."""
    each = [
        torch.arange(n) if n == m else places[n]
        for n, m in zip(small.shape[:2], large.shape[:2], strict=True)
    ]
    return (each[0][:, None], each[1]) if len(each) > 1 else tuple(each)
