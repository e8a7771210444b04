"""Figures as PNG: matplotlib, imported only when something is drawn."""

import io
from typing import TYPE_CHECKING

from gatedpose.errors import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#1eaaff", "#ff8c1a", "#5a9e4b", "#d1495b", "#9aa5b1"
PURPLE = "#8a63d2"


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches."""
    module = require("matplotlib.figure", "plots need matplotlib", "gatedpose[train]")
    figure: Figure = module.Figure(figsize=(width, height), layout="constrained")
    return figure


def png(figure: "Figure") -> bytes:
    """The figure as a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    return data.getvalue()
