"""What a machine could do at best with a network: operations and bytes against its own rates.

Williams, Waterman & Patterson, "Roofline: an insightful visual performance model", CACM 2009. Only
convolutions and linear layers are counted, each as reading its input and weights and writing its
output once: norms, ReLUs, gates and sums could be part of them. So the bound is one that no program
can beat, and a share of it says how much is left.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def timer(work: Callable[[], object]) -> Any:
    """PyTorch's `torch.utils.benchmark.Timer` of `work`, on all threads; it waits for GPUs."""
    from torch.utils.benchmark import Timer

    return Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads())


@functools.cache
def copy_rate(device: str) -> float:
    """Bytes a second, read and written, that a device copies of 256 MB; measured once."""
    source = torch.zeros(2**28 // 4, device=device)
    target = torch.empty_like(source)
    return 2 * 2**28 / _best(lambda: target.copy_(source))


@functools.cache
def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Operations a second in the product of two square matrices; measured once."""
    side = 1024 if device == "cpu" else 4096
    matrix = torch.randn(side, side, device=device).to(dtype)
    return 2 * side**3 / _best(lambda: matrix @ matrix)


def best_seconds(
    network: nn.Module, images: Tensor, dtype: torch.dtype, bytes_rate: float, flops_rate: float
) -> float:
    """The least time that the convolutions and linear layers of a network can take.

    Args:
        network: Any; on "meta" nothing is computed.
        images: A batch for it.
        dtype: That the convolutions would compute in.
        bytes_rate: Bytes a second, such as `copy_rate`.
        flops_rate: Operations a second, such as `matrix_rate`.
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


def _best(work: Callable[[], object]) -> float:
    return float(min(timer(work).blocked_autorange(min_run_time=0.2).times))
