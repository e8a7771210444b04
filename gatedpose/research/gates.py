"""What trained gates do: their factors alpha in each block, and features before and after the skip.

Source: Bulat et al., FG 2020, Figures 3 (factors cluster around 0) and 4 (what a block computes
survives the sum, since little of its input is added).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gatedpose.catalogue import markdown
from gatedpose.errors import InputError
from gatedpose.evaluation.plots import BLUE, GREEN, GREY, ORANGE, new_figure, png
from gatedpose.models.layers import SoftGatedResidual

NEAR_ZERO = 0.1  # a factor of less is called near zero
SAMPLES = 4096  # values kept of a feature map


@dataclass(frozen=True)
class BlockGates:
    """The learnt factors of one block."""

    name: str  # of the module
    alpha: Tensor  # (C,) float32, or (1,) for a scalar gate
    projected: bool  # whether the shortcut is a convolution, and not the block's input itself

    def facts(self) -> dict[str, float | str]:
        """Name, number, mean, spread and quartiles of the factors, and how many are near zero."""
        low, middle, high = self.alpha.quantile(torch.tensor((0.25, 0.5, 0.75))).tolist()
        return {
            "block": self.name,
            "gates": len(self.alpha),
            "projected": self.projected,
            "mean": float(self.alpha.mean()),
            "std": float(self.alpha.std(correction=0)),
            "quartile_1": low,
            "median": middle,
            "quartile_3": high,
            "near_zero": share_near_zero(self.alpha),
        }


@dataclass(frozen=True)
class BlockFeatures:
    """Values of one block's feature maps at the same places; as many of each."""

    name: str
    shortcut: Tensor  # what comes in over the skip connection, before the gate
    gated: Tensor  # the same after the gate
    learnt: Tensor  # what the block's convolutions give
    total: Tensor  # the sum of the last two: the block's output

    def facts(self) -> dict[str, float | str]:
        """Standard deviations, and how alike the block's own features and its output are."""
        parts = {key: getattr(self, key) for key in ("shortcut", "gated", "learnt", "total")}
        kept = torch.corrcoef(torch.stack((self.learnt, self.total)))[0, 1]
        spread = {f"{key}_std": float(values.std(correction=0)) for key, values in parts.items()}
        return {"block": self.name, **spread, "correlation": float(kept)}


def share_near_zero(alpha: Tensor) -> float:
    """Share of factors of an absolute value below `NEAR_ZERO`."""
    return float((alpha.abs() < NEAR_ZERO).float().mean())


def find_gates(model: nn.Module) -> list[BlockGates]:
    """The learnt gates of a network, in the order of its modules; InputError if it has none."""
    gates = [
        BlockGates(
            name=name,
            alpha=block.gate.alpha.detach().float().cpu(),
            projected=not isinstance(block.shortcut, nn.Identity),
        )
        for name, block in model.named_modules()
        if isinstance(block, SoftGatedResidual) and block.gate.alpha is not None
    ]
    if not gates:
        raise InputError(f"{type(model).__name__} has no learnt gates")
    return gates


@contextmanager
def watch_skips(model: nn.Module) -> Iterator[dict[str, BlockFeatures]]:
    """A dict of what goes through each `SoftGatedResidual` by name, of the last forward pass."""
    seen: dict[str, BlockFeatures] = {}

    def ran(name: str, block: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        shortcut = block.shortcut(inputs[0])
        gated = block.gate(shortcut)
        parts = (shortcut, gated, output - gated, output)
        step = -(-output.numel() // SAMPLES)
        seen[name] = BlockFeatures(
            name, *(part.detach().float().flatten()[::step].cpu() for part in parts)
        )

    hooks = [
        block.register_forward_hook(partial(ran, name))
        for name, block in model.named_modules()
        if isinstance(block, SoftGatedResidual)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def gates_text(title: str, gates: Sequence[BlockGates]) -> str:
    """A Markdown table of the gates of a network."""
    lines = [f"{title}: gates within {NEAR_ZERO} of zero"]
    for what, projected in (("the input itself", False), ("a convolution of it", True)):
        if alphas := [gate.alpha for gate in gates if gate.projected == projected]:
            alpha = torch.cat(alphas)
            lines.append(
                f"- where the skip is {what}: {share_near_zero(alpha):.1%} of {len(alpha):,}"
            )
    rows = []
    for gate in gates:
        fact, skip = gate.facts(), "conv" if gate.projected else "input"
        quartiles = ", ".join(f"{fact[k]:.2f}" for k in ("quartile_1", "median", "quartile_3"))
        moments = f"{fact['mean']:.3f}", f"{fact['std']:.3f}"
        zero = f"{fact['near_zero']:.1%}"
        rows.append((gate.name, skip, str(len(gate.alpha)), *moments, quartiles, zero))
    columns = "block", "skip", "gates:", "mean:", "std:", "quartiles", "near zero:"
    return "\n".join((*lines, "", markdown(columns, rows)))


def plot_gates(title: str, gates: Sequence[BlockGates]) -> bytes:
    """The paper's Figure 3 as PNG: how the factors of each block are distributed."""
    figure = new_figure(7, 1.2 + 0.25 * len(gates))
    axes = figure.subplots()
    _violins(axes, [gate.alpha for gate in gates], [gate.name for gate in gates], BLUE)
    axes.set_xlabel("alpha; the thin line is its range")
    axes.set_title(title, fontsize=9)
    return png(figure)


def plot_skips(title: str, skips: Mapping[str, BlockFeatures]) -> bytes:
    """The paper's Figure 4 as PNG: features before and after the skip connection is added."""
    figure = new_figure(14, 1.2 + 0.25 * len(skips))
    parts = (
        ("shortcut", "input over the skip", GREY),
        ("gated", "after the gate", ORANGE),
        ("learnt", "the block's own", BLUE),
        ("total", "sum", GREEN),
    )
    panels = figure.subplots(1, 4, sharex=True, sharey=True)
    for axes, (key, label, colour) in zip(panels, parts, strict=True):
        values = [getattr(skip, key) for skip in skips.values()]
        _violins(axes, values, list(skips), colour)
        axes.set_title(label, fontsize=9)
    totals = torch.cat([skip.total for skip in skips.values()]).abs()
    reach = max(float(totals.quantile(0.999)), 1e-6)
    panels[0].set_xlim(-reach, reach)
    figure.suptitle(title, fontsize=9)
    return png(figure)


def _violins(axes: Any, values: Sequence[Tensor], names: Sequence[str], colour: str) -> None:
    """A row for each block, the first on top."""
    numbers = [v.numpy() if len(v) > 1 else v.repeat(2).numpy() for v in values]
    rows = range(len(numbers))
    flat = [i for i in rows if numbers[i].std() < 1e-6]  # has no density to draw
    drawn = [i for i in rows if i not in flat]
    if drawn:
        parts = axes.violinplot(
            [numbers[i] for i in drawn],
            drawn,
            orientation="horizontal",
            widths=0.9,
            showextrema=True,
        )
        for body in parts["bodies"]:
            body.set(facecolor=colour, alpha=0.7)
        for key in ("cmins", "cmaxes", "cbars"):
            parts[key].set(color=colour, linewidth=0.8)
    axes.plot([numbers[i][0] for i in flat], flat, "|", color=colour)
    axes.axvline(0, color="grey", linewidth=0.6, linestyle=":")
    axes.set_yticks(rows, names, fontsize=6)
    axes.set_ylim(len(numbers) - 0.5, -0.5)
