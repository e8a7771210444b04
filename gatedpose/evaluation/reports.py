"""What the commands and the documentation print of models and scores: plain facts, then text."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch

from gatedpose.catalogue import paper_text, score_label, weights_table
from gatedpose.errors import InputError
from gatedpose.evaluation.metrics import Score
from gatedpose.evaluation.plots import BLUE, GREEN, ORANGE, new_figure, png
from gatedpose.files.typed_json import to_text
from gatedpose.models.profiling import Profile, profile
from gatedpose.models.variants import BY_NAME, VARIANTS, Variant, find_weights, parse_name
from gatedpose.skeleton import Skeleton

Facts = dict[str, Any]


def cost_facts(variant: Variant, costs: Profile) -> Facts:
    """A variant's counted costs next to what the paper prints; K = 16."""
    return {
        "name": variant.name,
        "size": list(costs.size),
        "params": costs.params,
        "conv_gmacs": round(costs.conv_macs / 1e9, 4),
        "total_gflops_fvcore": round(costs.total_flops_fvcore / 1e9, 4),
        "uncounted_by_fvcore": dict(costs.uncounted),
        "paper": variant.paper,
        "paper_params_m": variant.paper_params,
        "paper_gflops": variant.paper_gmacs,
    }


def count_variant(
    variant: Variant, size: tuple[int, int] = (256, 256), *, by_module: bool = False
) -> Profile:
    """Counts a variant for one image of `size`, quickly.

    Every operation here costs in proportion to the image's area, so the smallest image that the
    network takes is counted, with weights that were never initialised, and multiplied.
    """
    with torch.device("meta"):
        model = variant.build()
        model.check_input(torch.empty(1, model.in_channels, *size))
    side = model.size_multiple
    costs = profile(model.to_empty(device="cpu"), (side, side), by_module=by_module)
    times = size[0] * size[1] // side**2
    return replace(
        costs,
        size=size,
        conv_macs=costs.conv_macs * times,
        total_flops_fvcore=costs.total_flops_fvcore * times,
        by_module={name: (n, macs * times) for name, (n, macs) in costs.by_module.items()},
    )


def count_rows() -> list[Facts]:
    """Costs of all variants at 256 x 256, counted anew; see `gatedpose.catalogue`."""
    return [cost_facts(variant, count_variant(variant)) for variant in VARIANTS]


FAMILIES = {
    "gated_hg": ("soft-gated", BLUE),
    "hourglass": ("hourglass", ORANGE),
    "cu_net": ("CU-Net", GREEN),
}
COSTS = (("params", 1e-6, "parameters (M)"), ("conv_gmacs", 1.0, "GMACs of convolutions at 256 px"))


def plot_models(rows: Sequence[Facts]) -> bytes:
    """Scores of trained models over their parameters and over their MACs, as PNG.

    Of each row, see `gatedpose.catalogue`, the first weights are drawn, with panels for each split.
    """
    scored = [(row, next(iter(row["weights"].values()))) for row in rows if row["weights"]]
    if not scored:
        raise InputError("there are no scores to plot: none of the models has weights")
    panels: dict[str, list[Facts]] = {}
    for row, scores in scored:
        for split, score in scores.items():
            if "label" in score:
                continue  # of people found, not of joints
            label = f"{split}: PCK@0.2 (%), 256 px, flip test"
            panels.setdefault(label, []).append({**row, "mean": score["mean"]})
    return plot_scores(panels)


def plot_scores(panels: Mapping[str, Sequence[Facts]]) -> bytes:
    """Scores over parameters and over MACs, as PNG: a line for each family of networks and tag.

    `panels` has rows of "name", "params", "conv_gmacs" and "mean" for each label of scores.
    """
    figure = new_figure(11, 4 * len(panels))
    axes = figure.subplots(len(panels), 2, squeeze=False, sharex="col", sharey="row")
    for line, (label, rows) in zip(axes, panels.items(), strict=True):
        for ax, (key, scale, unit) in zip(line, COSTS, strict=True):
            points = [(row[key] * scale, row["mean"], row["name"]) for row in rows]
            _draw_families(ax, points)
            ax.set_xlabel(unit)
        line[0].set_title(label, loc="left", fontsize=9)
        line[0].legend(fontsize=8, loc="lower right")
    return png(figure)


def _draw_families(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    tags = sorted({name.partition(".")[2] for _, _, name in points}, reverse=True)
    for (prefix, (family, colour)), tag in itertools.product(FAMILIES.items(), tags):
        alike = (p for p in points if p[2].startswith(prefix) and p[2].partition(".")[2] == tag)
        if not (mine := sorted(alike)):
            continue
        costs, means = [cost for cost, _, _ in mine], [mean for _, mean, _ in mine]
        label = f"{family}, .{tag}" if tag else family
        axes.plot(costs, means, "o-" if tag == tags[0] else "s--", color=colour, label=label)
        for cost, mean, name in mine:
            # slanted below the line, which rises: names of close points do not meet
            place = name.partition(".")[0], (cost, mean), (3, -3)
            text = axes.annotate(*place, textcoords="offset points")
            text.set(fontsize=6, rotation=-45, rotation_mode="anchor", ha="left", va="top")
    axes.set_xscale("log", subs=(2, 3, 5))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.margins(0.22)
    axes.grid(alpha=0.3, which="both")


def describe_model(name: str, size: tuple[int, int], by_module: bool = False) -> Facts:
    """Everything known of a model: configuration, costs, modules if asked for, weights."""
    _, plain, tag = parse_name(name)
    if tag or plain not in BY_NAME:
        find_weights(name)  # names close matches
    variant = BY_NAME[plain]
    costs = count_variant(variant, size, by_module=by_module)
    weights = [w for key, w in weights_table().items() if name in (key, key.partition(".")[0])]
    facts = {**cost_facts(variant, costs), "name": name, "config": asdict(variant.config)}
    facts["weights"] = {w.name: asdict(w) for w in weights}
    if by_module:
        facts["modules"] = {
            module: {"params": params, "conv_macs": macs}
            for module, (params, macs) in costs.by_module.items()
        }
    return facts


def info_text(facts: Facts) -> str:
    """`describe_model` for people."""
    height, width = facts["size"]
    config = ", ".join(f"{key}={value!r}" for key, value in facts["config"].items())
    uncounted = ", ".join(f"{name} x{n}" for name, n in facts["uncounted_by_fvcore"].items())
    lines = [
        facts["name"],
        f"  parameters           {facts['params']:,} (batch norm and gates included)",
        f"  convolution GMACs    {facts['conv_gmacs']:.4f} at {height} x {width}",
        f"  fvcore's total       {facts['total_gflops_fvcore']:.4f} G; "
        f"it did not count {uncounted}",
        f"  the paper            {paper_text(facts)}",
        f"  configuration        {config} (of a model without weights)",
    ]
    for name, weights in facts["weights"].items():
        lines.append(f"  weights {name}: {weights['size']:,} bytes, {weights['license']}")
        lines.append(f"    data: {', '.join(weights['data'])}")
        for split, score in weights["scores"].items():
            kind = "" if "label" in score else "PCK@0.2 "
            mean = f"{kind}{score['mean']:.2f}{score_label(score)}"
            lines.append(f"    {split}: {mean}; {score['command']}")
    for module, counts in facts.get("modules", {}).items():
        lines.append(f"  {module or '(all)':60} {counts['params']:>12,} {counts['conv_macs']:>15,}")
    return "\n".join(lines)


def score_facts(score: Score, skeleton: Skeleton, settings: Mapping[str, Any]) -> Facts:
    """A score for a program to read: per cent, of six decimals."""
    facts = {
        **settings,
        "metric": score.metric,
        "mean": _rounded(score.mean),
        "columns": {name: _rounded(value) for name, value in score.columns.items()},
    }
    if score.per_joint:
        rates = map(_rounded, score.per_joint)
        facts["per_joint"] = dict(zip(skeleton.joints, rates, strict=True))
        facts["joints_counted"] = score.counted
    return facts


def _rounded(value: float) -> float | None:
    """Six decimals; None where nothing was counted, since JSON has no NaN."""
    return None if math.isnan(value) else round(value, 6)


def score_text(facts: Facts) -> str:
    """`score_facts` for people."""
    how = "predictions as given"
    if "flip_test" in facts:
        side = " x ".join(map(str, facts["size"]))
        flip = "with" if facts["flip_test"] else "without"
        how = f"{side}, {flip} flip test, decoder {facts['decoder']}"
    head = (
        f"{facts['model']} on {facts['dataset']} {facts['split']}, {facts['people']} people, "
        f"{how}: {facts['metric']}"
    )
    shown = facts["columns"]
    if len(shown) == 1:  # of joints of one's own, which no usual column stands for
        shown = {**facts.get("per_joint", {}), **shown}
    columns = {k: "-" if v is None else f"{v:.2f}" for k, v in shown.items()}
    names = "  ".join(f"{name:>8}" for name in columns)
    figures = "  ".join(f"{figure:>{max(8, len(name))}}" for name, figure in columns.items())
    return f"{head}\n{names}\n{figures}"


def pose_text(facts: Facts) -> str:
    """An image's poses for people: "image", "picture" and "poses", each as `Pose.to_dict`."""
    lines = [to_text(f"{facts['image']} -> {facts['picture']}")]
    for number, pose in enumerate(facts["poses"]):
        lines.append(f"person {number}, box {', '.join(f'{v:g}' for v in pose['box'])}")
        lines += [
            f"  {joint:15} x {x:8.2f}  y {y:8.2f}  score {score:.2f}"
            f"{'  not found' if joint in pose['unsure'] else ''}"
            for joint, (x, y, score) in pose["keypoints"].items()
        ]
    return "\n".join(lines)
