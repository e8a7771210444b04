"""Scores and milliseconds of networks: the package's beside MoveNet's.

    python examples/score_over_time.py gated_hg_1s_68.people movenet_thunder.onnx=1.25 \
        --people STANFORD40 --lsp LSP --out scores.json --plot scores.png

Each person is cut out by the given box, without flip test, in OpenVINO. The score is PCK@0.2 of the
torso over the twelve joints of the limbs; weights for LSP are scored on LSP only. Then all are
timed in turns, one picture at a time. Scores are kept in --out: add a network, and the others are
not scored again.

An ONNX file must give what MoveNet gives, a row of y, x (shares of the input's side) and score for
each of COCO's 17 joints; behind "=" is the side of the crop over the longer side of the box.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from matplotlib.ticker import LogLocator
from torch import Tensor

import gatedpose
from gatedpose.catalogue import markdown
from gatedpose.data.joints import group_means, joint_groups
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.engines.quantise import stored_ranges
from gatedpose.engines.rates import timer
from gatedpose.engines.runtimes import compile_openvino, openvino_core
from gatedpose.errors import WeightsError
from gatedpose.evaluation import evaluate
from gatedpose.evaluation.plots import BLUE, ORANGE, RED, new_figure, png
from gatedpose.evaluation.run import score_people
from gatedpose.files.whole import write_whole
from gatedpose.geometry import crop_image, crop_matrices, invert, transform_points
from gatedpose.media.images import read_image
from gatedpose.skeleton import COCO17

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
PRECISIONS: tuple[Literal["float32"], Literal["int8"]] = ("float32", "int8")
COLOURS = {"float32": BLUE, "int8": RED}


@dataclass(frozen=True)
class Way:
    """A network in one precision.

    Attributes:
        key: Name and precision.
        predict: From N people to (N, K, 2) keypoints, NaN for joints that it does not have.
        once: Runs it on one picture.
    """

    key: str
    predict: Callable[[Sequence[Sample]], np.ndarray]
    once: Callable[[], object]


def of_zoo(name: str) -> Iterator[Way]:
    """Weights in the precisions that they have."""
    model = gatedpose.create_model(name, pretrained=True)
    shape = (1, 3, 256, 256)
    images = torch.randn(shape)
    for precision in PRECISIONS:
        try:
            ranges = stored_ranges(model) if precision == "int8" else None
        except WeightsError:
            continue
        fast: Any = gatedpose.optimize(
            model, engine="openvino", precision=precision, ranges=ranges, example_shape=shape
        )
        predictor = gatedpose.Predictor(fast, batch_size=1)

        def predict(people: Sequence[Sample], predictor: Any = predictor) -> np.ndarray:
            return evaluate(predictor, people, progress=False).keypoints

        yield Way(f"{name} {precision}", predict, partial(fast, images))


def of_file(text: str) -> Iterator[Way]:
    """FILE=MARGIN, a network that gives what MoveNet gives."""
    path, _, margin = text.partition("=")
    model = openvino_core().read_model(path)
    _, height, width, _ = model.input(0).get_partial_shape().to_shape()  # colours come last
    request = compile_openvino(model, "float32").create_infer_request()
    dtype = model.input(0).get_element_type().to_dtype()

    def points(sample: Sample) -> Tensor:
        box, size = torch.from_numpy(sample.box[None]), (height, width)
        [matrix] = crop_matrices(box, size, margin=float(margin or 1.25))
        crop = crop_image(read_image(sample.image), matrix, size, torch.zeros(3))
        pixels = crop.permute(1, 2, 0)[None].round().numpy().astype(dtype)
        rows = torch.from_numpy(request.infer([pixels])[0].reshape(17, 3))
        found = rows[:, [1, 0]] * torch.tensor((width, height))
        return transform_points(invert(matrix[None]), found[None])[0]

    def predict(people: Sequence[Sample]) -> np.ndarray:
        groups = joint_groups(COCO17, people[0].skeleton, partly=True)
        keypoints = group_means(torch.stack([points(sample) for sample in people]), groups).numpy()
        keypoints[:, [not group for group in groups]] = np.nan
        return keypoints

    image = np.zeros((1, height, width, 3), dtype)
    yield Way(f"{Path(path).name} float32", predict, lambda: request.infer([image]))


def read(dataset: str, folder: Path, split: str) -> list[Sample]:
    """People, labelled at the limbs only."""
    people = read_dataset(dataset, folder, split)
    limb = [name.split()[-1] in LIMBS for name in people[0].skeleton.joints]
    return [replace(person, labelled=person.labelled & limb) for person in people]


def scores(way: Way, title: str, people: list[Sample]) -> dict[str, float]:
    """What the network is worth on a set: "title", and "title OKS" where that is known."""
    score = score_people(people, way.predict(people))
    known = {title: score.mean, f"{title} OKS": score.columns.get("OKS")}
    return {name: round(value, 2) for name, value in known.items() if value is not None}


def milliseconds(ways: Sequence[Way]) -> list[float]:
    """Of one picture, each; taken in turns."""
    timers = [timer(way.once) for way in ways]
    turns = [[t.blocked_autorange(min_run_time=0.3).median for t in timers] for _ in range(3)]
    return [round(1000 * float(np.median(times)), 2) for times in zip(*turns, strict=True)]


def table(rows: dict[str, Any]) -> str:
    """Markdown, fastest first."""
    keys = ("ms", "people-val", "people-val OKS", "lsp-val")
    lines = [
        [*key.split(), *(str(row.get(one, "-")) for one in keys)]
        for key, row in sorted(rows.items(), key=lambda item: item[1]["ms"])
    ]
    return markdown(("network", "precision", "ms:", "people-val:", "OKS:", "lsp-val:"), lines)


def draw(rows: dict[str, Any]) -> bytes:
    """A panel for each set: a line for each kind of weights and precision, as PNG."""
    figure = new_figure(11, 4.5)
    for axes, title in zip(figure.subplots(1, 2), ("people-val", "lsp-val"), strict=True):
        lines: dict[tuple[str, str], list[tuple[float, float, str]]] = {}
        for key, row in rows.items():
            if title in row:
                (stem, _, kind), precision = key.split()[0].rpartition("."), key.split()[1]
                point = row["ms"], row[title], stem.removeprefix("gated_hg_")
                lines.setdefault((kind, precision), []).append(point)
        for (kind, precision), points in lines.items():
            points.sort()
            peer = kind == "onnx"
            axes.plot(
                [p[0] for p in points], [p[1] for p in points],
                "*" if peer else "o-" if kind == "people" else "s--",
                color=ORANGE if peer else COLOURS[precision], markersize=10 if peer else 5,
                label=f"{'peers' if peer else '.' + kind}, {precision}",
            )  # fmt: skip
            for x, y, name in points:
                left = precision == "int8"
                axes.annotate(
                    name, (x, y), (-4, 5) if left else (4, -9), textcoords="offset points",
                    fontsize=7, ha="right" if left else "left",
                )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.margins(x=0.12)
        axes.set_xlabel("milliseconds a person")
        axes.set_ylabel(f"PCK@0.2 of the limbs on {title}")
        axes.legend(fontsize=7, loc="lower right")
    return png(figure)


@click.command(help=__doc__)
@click.argument("names", nargs=-1, required=True)
@click.option("--people", type=Path, help="Folder of labelled people, as dataset own reads it.")
@click.option("--lsp", type=Path, help="Folder of LSP.")
@click.option("--split", default="val", show_default=True)
@click.option("--out", type=Path, required=True, help="Keeps what is measured (.json).")
@click.option("--plot", type=Path, help="Draws it (.png).")
def main(
    names: tuple[str, ...],
    people: Path | None,
    lsp: Path | None,
    split: str,
    out: Path,
    plot: Path | None,
) -> None:
    """See the top of the file."""
    folders = {"people": ("own", people), "lsp": ("lsp", lsp)}
    sets = {
        f"{kind}-{split}": read(dataset, folder, split)
        for kind, (dataset, folder) in folders.items()
        if folder
    }
    ways = [way for name in names for way in (of_file if ".onnx" in name else of_zoo)(name)]
    rows = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    for way, (title, samples) in itertools.product(ways, sets.items()):
        row = rows.setdefault(way.key, {})
        foreign = ".lsp " in way.key and not title.startswith("lsp")
        if title not in row and not foreign:
            row |= scores(way, title, samples)
            write_whole(out, (json.dumps(rows, indent=1) + "\n").encode())
    click.echo(f"timing {len(ways)} networks", err=True)
    for way, time in zip(ways, milliseconds(ways), strict=True):
        rows[way.key]["ms"] = time
    write_whole(out, (json.dumps(rows, indent=1) + "\n").encode())
    measured = {way.key: rows[way.key] for way in ways}
    click.echo(table(measured))
    if plot:
        write_whole(plot, draw(measured))


if __name__ == "__main__":
    main()
