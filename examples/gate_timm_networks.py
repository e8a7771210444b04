"""Shows that `gatedpose.gate_shortcuts` changes nothing in networks of timm, until gates learn.

    python examples/gate_timm_networks.py

Prints for each the gates, the parameters that they add, the largest difference of the outputs that
they make at first, and how many of them a gradient reaches.
"""

import copy

import timm
import torch

import gatedpose
from gatedpose.catalogue import markdown
from gatedpose.models.shortcuts import fold_gates, list_gates

NAMES = (
    "resnet18", "resnet50d", "resnetv2_50", "convnext_atto", "regnetx_002", "efficientnet_b0",
    "mobilenetv3_small_100", "vit_tiny_patch16_224",
)  # fmt: skip


def row(name: str) -> list[str]:
    """A row of the table."""
    torch.manual_seed(0)
    size = {"img_size": 64} if name.startswith("vit") else {}
    model = timm.create_model(name, **size).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        gates = list_gates(gatedpose.gate_shortcuts(model))
        difference = (model(images) - before).abs().max().item()
    added = sum(gate.alpha.numel() for gate in gates.values())
    model.train()(images).square().sum().backward()
    reached = sum(
        bool(gate.alpha.grad is not None and gate.alpha.grad.any()) for gate in gates.values()
    )
    foldable = fold_gates(copy.deepcopy(model))
    return [name, f"{len(gates)}", f"{added:,}", f"{difference:g}", f"{reached}", str(foldable)]


def main() -> None:
    """See the top of the file."""
    columns = "gates:", "parameters added:", "largest difference:", "gradient reaches:", "foldable:"
    print(markdown(("network", *columns), map(row, NAMES)))


if __name__ == "__main__":
    main()
