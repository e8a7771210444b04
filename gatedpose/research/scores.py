"""Scores of published weights beside how fast their networks are."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatedpose.catalogue import WORDS, weights_table
from gatedpose.engines.quantise import rounded_scores
from gatedpose.evaluation.plots import new_figure, png
from gatedpose.research.ways import MODES

if TYPE_CHECKING:
    from gatedpose.research.bench import Timing

SCORES = {"lsp-val": "lsp", "people-val": "people"}  # and the tag of the weights that have it


def scores_of(model: str, rounded: bool) -> dict[str, float]:
    """PCK of a network's weights on each of `SCORES` that was measured; in eight bits if asked."""
    variant, _, asked = WORDS.get(model, model).partition(".")
    found: dict[str, float] = {}
    for name, tag in SCORES.items():
        if not (weights := weights_table().get(f"{variant}.{asked or tag}")):
            continue
        exact = {split: score["mean"] for split, score in weights.scores.items()}
        scores = rounded_scores(weights.name) if rounded else exact
        if name in scores:
            found[name] = scores[name]
    return found


def draw_scores(timings: Sequence["Timing"], name: str = "lsp-val") -> bytes:
    """Score over milliseconds an image, a line for each mode, as PNG; fastest to the left."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    for mode, colour in MODES.items():
        points = sorted(
            (t.milliseconds / t.batch, score, t.model)
            for t in timings
            if t.mode == mode
            and (score := scores_of(t.model, mode == "openvino-int8").get(name)) is not None
        )
        if points:
            places = [point[:2] for point in points]
            axes.plot(*zip(*places, strict=True), "o-", color=colour, label=mode, markersize=4)
            for x, y, model in points:
                axes.annotate(
                    model.removeprefix("gated_hg_"), (x, y), (3, -9), textcoords="offset points",
                    fontsize=6,
                )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds an image")
    axes.set_ylabel(f"PCK@0.2 on {name}")
    axes.legend(fontsize=8)
    return png(figure)
