"""Networks trained alike: which gate (Table II), which merge (Table IV), which variant."""

import bisect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gatedpose.catalogue import markdown
from gatedpose.data.readers import read_dataset
from gatedpose.evaluation.plots import BLUE, new_figure, png
from gatedpose.evaluation.reports import cost_facts, count_variant, plot_scores
from gatedpose.evaluation.run import evaluate
from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import write_whole
from gatedpose.models.profiling import count_parameters
from gatedpose.models.variants import Variant, find_variant
from gatedpose.models.zoo import create_model
from gatedpose.predict.predictor import Predictor
from gatedpose.training.recipes import Recipe, find_recipe
from gatedpose.training.run import check_start, train

TABLES: dict[str, dict[str, dict[str, Any]]] = {
    "gates": {  # Table II
        "none": {"gate": 1.0},
        "fixed at 0.5": {"gate": 0.5},
        "scalar": {"gate": "scalar"},
        "channel": {"gate": "channel"},
    },
    "merges": {  # Table IV, at equal parameters
        "sum": {"merge": "sum"},
        "concat": {"merge": "concat"},
        "grouped": {"merge": "grouped"},
    },
}


def variant_parameters(variant: Variant, **config: Any) -> int:
    """Parameters of a variant with a changed configuration; nothing is allocated."""
    with torch.device("meta"):
        return count_parameters(variant.build(**config))


def equal_width(variant: Variant, params: int, **config: Any) -> int:
    """The width, a multiple of 4, whose network's parameters come closest to `params`."""

    def count(width: int) -> int:
        return variant_parameters(variant, **config, width=width)

    widths = range(8, 4 * variant.config.width, 4)
    above = bisect.bisect_left(widths, params, key=count)
    return min(widths[max(0, above - 1) : above + 1], key=lambda width: abs(count(width) - params))


def choices(table: str, name: str) -> dict[str, dict[str, Any]]:
    """What a table compares: configurations by label; merges have the width that equalises them."""
    variant = find_variant(name)
    if table == "gates":
        for config in TABLES[table].values():
            variant_parameters(variant, **config)  # refuses networks without gates
        return TABLES[table]
    params = variant_parameters(variant)
    return {
        label: {**config, "width": equal_width(variant, params, **config)}
        for label, config in TABLES[table].items()
    }


def ablate(
    table: str, name: str, recipe: Recipe, folders: Mapping[str, Path], out: Path
) -> list[dict[str, Any]]:
    """Trains and scores each choice of a table alike; run again, it goes on where it stopped.

    The paper's network for its tables is gated_hg_2s_128. The first dataset's "val" split is
    scored, with flip test. `out` gets a folder for each choice, and `table`.json and .png.
    """
    networks = {label: (name, config) for label, config in choices(table, name).items()}
    rows = _train_alike(networks, recipe, folders, out)
    if rows:
        title = f"{name}, {rows[0]['images']}, {next(iter(folders))} val"
        _write(out, table, rows, _bars(rows, title))
    return rows


def compare(
    names: Sequence[str], recipe: Recipe, folders: Mapping[str, Path], out: Path
) -> list[dict[str, Any]]:
    """Trains and scores variants alike; run again, it goes on where it stopped.

    The first dataset's "val" split is scored, with flip test; costs are as `gatedpose list` counts
    them. `out` gets a folder for each variant, and networks.json and .png.
    """
    variants = [find_variant(name) for name in names]
    costs = {v.name: cost_facts(v, count_variant(v)) for v in variants}
    rows = _train_alike({name: (name, {}) for name in costs}, recipe, folders, out)
    rows = [{**row, **costs[row["choice"]]} for row in rows]
    if rows:
        size = recipe.phases[-1].size
        label = f"{next(iter(folders))}-val: {rows[0]['metric']} (%), {size} px, flip test"
        _write(out, "networks", rows, plot_scores({label: rows}))
    return rows


def _train_alike(
    networks: Mapping[str, tuple[str, Mapping[str, Any]]],
    recipe: Recipe,
    folders: Mapping[str, Path],
    out: Path,
) -> list[dict[str, Any]]:
    """Trains and scores networks, variant and configuration by label; [] but on one process."""
    for name, config in networks.values():  # all of them before the first is trained
        check_start(name, recipe, config)
    first, folder = next(iter(folders.items()))
    samples = read_dataset(first, folder, "val")
    size = recipe.phases[-1].size
    rows = []
    for label, (name, config) in networks.items():
        place = out / label.replace(" ", "-")
        if not train(name, recipe, folders, place, crops=out, config=config, resume=True):
            continue  # another process than the first
        model = create_model(f"local-dir:{place / 'model'}", pretrained=True)
        score = evaluate(Predictor(model, flip_test=True, size=(size, size)), samples).score
        row: dict[str, Any] = {"choice": label, "config": config, "metric": score.metric}
        row["params"] = count_parameters(model)
        phases = find_recipe(str(place / "recipe.json")).phases
        row["images"] = ", ".join(f"{p.images:,} images of {p.size} px" for p in phases)
        rows.append({**row, "mean": round(score.mean, 2)})
    return rows


def _write(out: Path, name: str, rows: Sequence[Mapping[str, Any]], plot: bytes) -> None:
    write_whole(out / f"{name}.json", to_json(rows, indent=1))
    write_whole(out / f"{name}.png", plot)


def ablation_text(table: str, name: str, recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table that says at which scale it was made."""
    head = (
        f"{name}, recipe {recipe.name}, {rows[0]['images']}, seed {recipe.seed}. The paper's Table "
        f"{'II' if table == 'gates' else 'IV'} is of 200 epochs of MPII: this one is small-scale."
    )
    lines = [(row["choice"], f"{row['params']:,}", f"{row['mean']:.2f}") for row in rows]
    columns = table[:-1], "parameters:", f"{rows[0]['metric']}:"
    return f"{head}\n\n{markdown(columns, lines)}"


def comparison_text(recipe: Recipe, rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table that says at which scale it was made."""
    head = f"Trained alike: recipe {recipe.name}, {rows[0]['images']}, seed {recipe.seed}."
    lines = [
        (row["name"], f"{row['params']:,}", f"{row['conv_gmacs']:.4f}", f"{row['mean']:.2f}")
        for row in rows
    ]
    columns = "model", "parameters:", "conv GMACs:", f"{rows[0]['metric']}:"
    return f"{head}\n\n{markdown(columns, lines)}"


def _bars(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    figure = new_figure(6, 0.6 * len(rows) + 1.2)
    axes = figure.subplots()
    labels = [f"{row['choice']}\n{row['params'] / 1e6:.2f} M" for row in rows]
    bars = axes.barh(labels, [row["mean"] for row in rows], color=BLUE)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(rows[0]["metric"])
    axes.set_title(title, fontsize=9)
    return png(figure)
