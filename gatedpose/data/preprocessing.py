"""How a network wants its images: the one place where colours are normalised.

Every path asks here: prediction, training and its teacher, the look at a training, export. What the
model's own `pretrained_cfg` says is what happens.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gatedpose.catalogue import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Preprocessing:
    """What a network's images are made of: (colour - mean) / std, colours from 0 to 1."""

    mean: tuple[float, ...] = IMAGENET_MEAN  # ImageNet's unless the model says otherwise
    std: tuple[float, ...] = IMAGENET_STD
    size: tuple[int, int] = (256, 256)  # (height, width) of the input

    @classmethod
    def of(cls, model: nn.Module) -> "Preprocessing":
        """What a model's `pretrained_cfg` says; what it does not say is as above."""
        cfg: dict[str, Any] = getattr(model, "pretrained_cfg", {})
        told: dict[str, Any] = {k: tuple(cfg[k]) for k in ("mean", "std") if k in cfg}
        if "input_size" in cfg:
            told["size"] = tuple(cfg["input_size"][1:])
        return cls(**told)

    def scales(self, device: torch.device, white: float = 1.0) -> tuple[Tensor, Tensor]:
        """Mean and std, each (3, 1, 1), of colours from 0 to `white`."""
        both = torch.tensor((self.mean, self.std), dtype=torch.float32, device=device)
        mean, std = (white * both.unsqueeze(-1).unsqueeze(-1)).unbind()
        return mean, std

    def normalise(self, colours: Tensor) -> Tensor:
        """Network inputs from colours (..., 3, H, W) in [0, 1]."""
        mean, std = self.scales(colours.device)
        return (colours - mean) / std

    def colours(self, images: Tensor) -> Tensor:
        """The inverse of `normalise`."""
        mean, std = self.scales(images.device)
        return images * std + mean
