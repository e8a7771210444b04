"""`gatedpose research`: speed beside others, and what the gates of a network are like."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
from tqdm import tqdm

import gatedpose
from gatedpose.cli.options import (
    BATCH,
    PICTURE,
    Number,
    check_apart,
    check_device,
    check_unused,
    json_option,
    pixels_option,
    size_option,
)
from gatedpose.errors import require
from gatedpose.files.typed_json import to_json

DEFAULTS = ("gated_hg_1s_68", "gated_hg_2s_128", "gated_hg_4s_144")
UNUSED = {  # options by the way of timing that does without
    "--pipeline": ("size", "seconds", "against", "roofline", "cpu_seconds", "plot", "plot_scores"),
    "--scaling": ("size", "batches", "against", "roofline", "cpu_seconds", "plot_scores"),
}
PEERS = ("hourglass_8s_256", "cu_net_8", "hrnet_w32")


@click.command()
@click.argument("names", nargs=-1)
@click.option("--peers", is_flag=True, help="HRNet-W32, CU-Net-8 and the 8-stack hourglass, too.")
@click.option(
    "--mode", "modes", multiple=True, 
    type=click.Choice(
        ["eager", "optimized", "onnx", "openvino", "openvino-float32", "openvino-int8"]
    ),
    default=("eager", "optimized"), show_default=True, help="How to run them; repeat it.",
)  # fmt: skip
@click.option(
    "--batch", "batches", multiple=True, type=BATCH, default=(8,), show_default=True,
    help="Images at once; repeat it.",
)  # fmt: skip
@size_option
@click.option("--device", default="cpu", show_default=True, callback=check_device)
@click.option(
    "--seconds", type=Number(0, 86_400, min_open=True), default=3.0, show_default=True,
    help="Time for each, in each of 3 rounds.",
)  # fmt: skip
@click.option("--against", help="What ratios refer to. [the first]")
@click.option("--roofline", is_flag=True, help="Tell the share of the device's own rates.")
@click.option(
    "--pipeline", is_flag=True,
    help="Time the way from photos to keypoints, and the network alone, instead.",
)  # fmt: skip
@click.option(
    "--scaling", is_flag=True, help="Time against batch, input size and number of stacks instead."
)
@click.option(
    "--cpu-seconds", is_flag=True,
    help="Count the processor's seconds, if others use it, too; with OMP_NUM_THREADS=1.",
)  # fmt: skip
@click.option("--plot", type=PICTURE, help="Draw images per second, or the scaling (.png).")
@click.option("--plot-scores", type=PICTURE, help="Draw scores over milliseconds (.png).")
@json_option
def bench(
    names: tuple[str, ...],
    peers: bool,
    modes: tuple[Any, ...],
    batches: tuple[int, ...],
    against: str | None,
    pipeline: bool,
    scaling: bool,
    plot: Path | None,
    plot_scores: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Times models: as they are, optimised or exported, beside other networks.

    NAMES are of the zoo ("gated_hg_*" for several), hrnet_w32 (of timm), vitpose_base (of
    transformers) or ONNX files, of any network of images.
    """
    from gatedpose.files.whole import write_whole

    chosen = _chosen([*(names or DEFAULTS), *(PEERS if peers else ())])
    reference = against or chosen[0]
    if reference not in chosen:
        among = ", ".join(chosen)
        raise click.BadParameter(f"{reference} is not among {among}", param_hint="--against")
    if pipeline and scaling:
        raise click.UsageError("--pipeline does not go with --scaling")
    if way := "--pipeline" if pipeline else "--scaling" if scaling else None:
        check_unused(way, UNUSED[way])
    if plot or plot_scores:
        require("matplotlib", "plots need matplotlib", "gatedpose[train]")
    if pipeline:
        found = _pipeline(chosen, modes, batches, options["device"])
    elif scaling:
        found = _scaling(chosen, modes, options["device"], options["seconds"])
    else:
        found = _timings(chosen, modes, batches, reference, **options)
    if plot:
        write_whole(plot, found.draw())
    if plot_scores:
        write_whole(plot_scores, found.draw_scores())
    click.echo(to_json(found.rows, indent=1) if as_json else found.text)


class _Found(NamedTuple):
    """What was measured, for programs and for people, and what draws it (needs matplotlib)."""

    rows: list[dict[str, Any]]
    text: str
    draw: Callable[[], bytes] = bytes
    draw_scores: Callable[[], bytes] = bytes


def _pipeline(
    names: Sequence[str], modes: Sequence[Any], batches: Sequence[int], device: str
) -> _Found:
    from gatedpose.research.bench import measure_pipeline

    ways = list(itertools.product(names, modes, batches))
    rows = [measure_pipeline(*way, device) for way in tqdm(ways, "timing", unit="row")]
    return _Found(rows, "\n".join(map(_sentence, rows)))


def _scaling(names: Sequence[str], modes: Sequence[Any], device: str, seconds: float) -> _Found:
    from gatedpose.research.scaling import draw_scaling, measure_scaling, scaling_table

    found = (measure_scaling(name, mode, device, seconds) for name in names for mode in modes)
    lines = list(tqdm(itertools.chain.from_iterable(found), "timing", unit="axis"))
    return _Found(
        [asdict(line) for line in lines], scaling_table(lines), partial(draw_scaling, lines)
    )


def _timings(
    names: Sequence[str],
    modes: Sequence[Any],
    batches: Sequence[int],
    reference: str,
    **options: Any,
) -> _Found:
    from gatedpose.research.bench import benchmark, draw, table
    from gatedpose.research.scores import draw_scores

    done = list(tqdm(benchmark(names, modes, batches, **options), "timing", unit="row"))
    rows, text = [asdict(timing) for timing in done], table(done, reference)
    return _Found(rows, text, partial(draw, done), partial(draw_scores, done))


def _chosen(names: Sequence[str]) -> list[str]:
    """Each once; a pattern stands for what it fits in the zoo."""
    found = (gatedpose.list_models(name) if "*" in name else [name] for name in names)
    if not (chosen := list(dict.fromkeys(itertools.chain(*found)))):
        raise click.BadParameter(f"no model fits {' '.join(names)}", param_hint="NAMES")
    return chosen


def _sentence(row: dict[str, Any]) -> str:
    return (
        f"{row['model']}, {row['mode']}, batches of {row['batch']}: "
        f"{row['photos_per_second']:.1f} photos/s to keypoints, network alone "
        f"{row['network_per_second']:.1f} images/s: {100 * row['share']:.1f} %"
    )


@click.command()
@click.argument("name")
@click.option(
    "--out", type=PICTURE, help="Draw the factors of each block (.png), as the paper's Fig. 3."
)
@click.option(
    "--features", type=PICTURE,
    help="Draw features before and after the skip (.png), as the paper's Fig. 4.",
)  # fmt: skip
@click.option("--photo", type=Path, help="Photo of a person, for --features. [the example]")
@pixels_option
@json_option
def gates(
    name: str, out: Path | None, features: Path | None, photo: Path | None, as_json: bool
) -> None:
    """Says how the factors of the skip connections of the trained model NAME are distributed."""
    from gatedpose.files.whole import write_whole
    from gatedpose.media.demo import demo_image
    from gatedpose.media.images import image_size
    from gatedpose.models.variants import find_word
    from gatedpose.research.gates import find_gates, gates_text, plot_gates, plot_skips, watch_skips

    check_apart("--out", out, photo, features)
    check_apart("--features", features, photo)
    if photo and not features:
        raise click.UsageError("--photo is for --features, which is not given")
    name = find_word(name)
    model = gatedpose.create_model(name, pretrained=True)
    found = find_gates(model)
    facts: dict[str, object] = {"model": name, "gates": [gate.facts() for gate in found]}
    text = [gates_text(name, found)]
    if out:
        write_whole(out, plot_gates(f"{name}: alpha of each block", found))
        text.append(f"drawn in {out}")
        facts["picture"] = str(out)
    if features:
        picture = photo or demo_image()
        width, height = image_size(picture)
        with watch_skips(model) as skips:
            gatedpose.Predictor(model)(picture, [[0.0, 0.0, width, height]])
        facts |= {"photo": str(picture), "skips": [skip.facts() for skip in skips.values()]}
        write_whole(features, plot_skips(f"{name}: features of {picture.name}", skips))
        text.append(f"features of {picture} drawn in {features}")
        facts["features"] = str(features)
    click.echo(to_json(facts, indent=1) if as_json else "\n\n".join(text))
