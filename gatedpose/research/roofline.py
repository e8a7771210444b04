"""What a machine could do at best with a network: operations and bytes against its own rates.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model", CACM 2009. Only
convolutions and linear layers are counted, each as reading its input and weights and writing its
output once: norms, ReLUs, gates and sums could be part of them. So the bound is one that no program
can beat, and a share of it says how much is left.
"""

from typing import Any

import torch
from torch import Tensor, nn

COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def best_seconds(
    network: nn.Module, images: Tensor, dtype: torch.dtype, bytes_rate: float, flops_rate: float
) -> float:
    """The least time that a batch through a network's convolutions and linear layers can take.

    On "meta" nothing is computed. The convolutions would compute in `dtype`; the rates are a
    second's, such as `copy_rate` and `matrix_rate`.
    """
    total = 0.0
    width = torch.empty((), dtype=dtype).element_size()

    def count(layer: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        at = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        flops = 2 * at.numel() * layer.weight[0].numel()
        moved = width * (inputs[0].numel() + output.numel() + layer.weight.numel())
        total += max(flops / flops_rate, moved / bytes_rate)

    layers = (m for m in network.modules() if isinstance(m, COUNTED))
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return total
