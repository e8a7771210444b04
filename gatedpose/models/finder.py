"""A network that finds people in a whole picture: one hybrid hourglass over cells of 8 pixels.

The paper's blocks (Bulat et al., FG 2020) in another use than the paper's: the stem is that of
`GatedHourglass`, its output is halved once more, and the one head gives five maps, which
`gatedpose.boxmaps` turns into boxes.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn

from gatedpose.boxmaps import BOX_CHANNELS, BOX_STRIDE
from gatedpose.errors import InputError
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig

RARE = 0.01  # what a fresh centre map says everywhere
DISTANCE = 6.0  # cells, what fresh distances say everywhere


@dataclass(frozen=True)
class FinderConfig(GatedHourglassConfig):
    """Everything that shapes a `GatedFinder`: a pose network of always 1 stack and 5 maps."""

    width: int = 68
    stacks: int = 1
    num_keypoints: int = BOX_CHANNELS
    depth: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.stacks, self.num_keypoints) != (1, BOX_CHANNELS):
            raise InputError(
                f"a finder has 1 stack and {BOX_CHANNELS} maps, a centre and four distances; got "
                f"stacks={self.stacks!r}, num_keypoints={self.num_keypoints!r}"
            )


class GatedFinder(GatedHourglass):
    """Images (B, C, H, W) -> maps (B, 1, 5, H/8, W/8), raw; see `gatedpose.boxmaps`."""

    def __init__(self, config: FinderConfig) -> None:
        super().__init__(config)
        self.size_multiple = BOX_STRIDE * 2**config.depth
        for info in self.feature_info:
            info["reduction"] = BOX_STRIDE
        self.stem.add_module("halve", nn.MaxPool2d(2))  # from cells of 4 pixels to those of 8
        bias = self.heads[0].get_parameter("bias")
        with torch.no_grad():  # a fresh head finds nobody, and boxes of a middling size
            bias[0] = math.log(RARE / (1 - RARE))
            bias[1:] = math.log(DISTANCE)


@torch.no_grad()
def start_from_pose(finder: GatedFinder, pose: GatedHourglass) -> None:
    """Gives a fresh finder the weights of a pose network of one stack and the same width.

    Of a deeper hourglass the outer levels and the innermost blocks are taken.
    """
    mine, theirs = finder.config, pose.config
    alike = {"stacks": 1, "num_keypoints": BOX_CHANNELS, "in_channels": mine.in_channels}
    if vars(mine) != {**vars(theirs), **alike, "depth": mine.depth} or theirs.depth < mine.depth:
        raise InputError(f"a finder of {mine} cannot start from a pose network of {theirs}")
    skipped = "inner." * (theirs.depth - mine.depth)
    innermost = "stacks.0.hourglass." + "inner." * mine.depth
    trained, state = pose.state_dict(), finder.state_dict()
    for name in state:
        if not name.startswith("heads."):
            source = name
            if name.startswith(innermost):
                source = innermost + skipped + name.removeprefix(innermost)
            state[name] = trained[source]
    finder.load_state_dict(state)
