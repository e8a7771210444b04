"""Scores of networks over the milliseconds that they take, MoveNet's beside those of the zoo.

    python examples/score_over_time.py gated_hg_1s_68.people movenet_thunder.onnx=1.25 \
        --people STANFORD40 --lsp LSP --out scores.json --plot scores.png

Each person is cut out by the given box and looked at once, alone and without flip test, in
OpenVINO: that is timed (the median), and what is found is scored. PCK@0.2 is that of the torso over
the twelve joints of the limbs. What was measured before is kept in --out, so that a network can be
added or measured anew; without names the table and the plot are made of that.

An ONNX file must give what MoveNet gives, a row of y, x (shares of the input's side) and score for
each of COCO's 17 joints; behind "=" is the side of the crop over the longer side of the box.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

import gatedpose
from gatedpose.data.joints import group_means, joint_groups
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.errors import WeightsError
from gatedpose.evaluation import evaluate
from gatedpose.evaluation.plots import BLUE, ORANGE, RED, new_figure, png
from gatedpose.evaluation.run import score_people
from gatedpose.files.whole import write_whole
from gatedpose.geometry import crop_image, crop_matrices, invert, transform_points
from gatedpose.media.images import read_image
from gatedpose.models.quantise import stored_ranges
from gatedpose.models.runtimes import compile_openvino, openvino
from gatedpose.skeleton import COCO17

LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
COLOURS = {"float32": BLUE, "int8": RED}
Predict = Callable[[Sequence[Sample]], np.ndarray]  # (N, K, 2), NaN for joints that it has not


class Timed(nn.Module):
    """A network of the zoo, and the seconds that each of its calls took."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network, self.seconds = network, list[float]()
        self.num_keypoints, self.pretrained_cfg = network.num_keypoints, network.pretrained_cfg

    def forward(self, images: Tensor) -> Tensor:
        """The network's heatmaps."""
        begin = time.perf_counter()
        maps: Tensor = self.network(images)
        self.seconds.append(time.perf_counter() - begin)
        return maps


def of_zoo(name: str) -> Iterator[tuple[str, Predict, list[float]]]:
    """The precisions that weights have, what predicts in them, and its seconds."""
    model = gatedpose.create_model(name, pretrained=True)
    for precision in COLOURS:
        try:
            ranges = stored_ranges(model) if precision == "int8" else None
        except WeightsError:
            continue
        fast = gatedpose.optimize(
            model, engine="openvino", precision=precision, ranges=ranges,
            example_shape=(1, 3, 256, 256),
        )  # fmt: skip
        timed = Timed(fast)
        predictor = gatedpose.Predictor(timed, batch_size=1)
        yield (
            precision,
            lambda people, p=predictor: evaluate(p, people, False).keypoints,
            timed.seconds,
        )


def of_file(text: str) -> Iterator[tuple[str, Predict, list[float]]]:
    """As `of_zoo`, of FILE=MARGIN, a network that gives what MoveNet gives."""
    path, _, margin = text.partition("=")
    model, seconds = openvino().Core().read_model(path), list[float]()
    _, height, width, _ = model.input(0).get_partial_shape().to_shape()  # colours come last
    request = compile_openvino(model, "float32").create_infer_request()
    dtype = model.input(0).get_element_type().to_dtype()

    def points(sample: Sample) -> Tensor:
        box, size = torch.from_numpy(sample.box[None]), (height, width)
        [matrix] = crop_matrices(box, size, margin=float(margin or 1.25))
        crop = crop_image(sample.image, matrix, size, torch.zeros(3))
        pixels = crop.permute(1, 2, 0)[None].round().numpy().astype(dtype)
        begin = time.perf_counter()
        rows = request.infer([pixels])[0].reshape(17, 3)
        seconds.append(time.perf_counter() - begin)
        found = torch.from_numpy(rows[:, [1, 0]]) * torch.tensor((width, height))
        return transform_points(invert(matrix[None]), found[None])[0]

    def predict(people: Sequence[Sample]) -> np.ndarray:
        groups = joint_groups(COCO17, people[0].skeleton, partly=True)
        keypoints = group_means(torch.stack([points(sample) for sample in people]), groups).numpy()
        keypoints[:, [not group for group in groups]] = np.nan
        return keypoints

    yield "float32", predict, seconds


def prepared(sample: Sample) -> Sample:
    """The same person with the picture in memory, labelled at the limbs only."""
    limb = [name.split()[-1] in LIMBS for name in sample.skeleton.joints]
    picture: Any = read_image(sample.image)
    return replace(sample, image=picture, labelled=sample.labelled & limb)


def measured(predict: Predict, seconds: list[float], sets: dict[str, list[Sample]]) -> Any:
    """Milliseconds and scores on each set."""
    row: dict[str, float] = {}
    for title, samples in sets.items():
        score = score_people(samples, predict(samples))
        row[title] = round(score.mean, 2)
        if "OKS" in score.columns:
            row[f"{title} OKS"] = round(score.columns["OKS"], 2)
    return {"ms": round(1000 * float(np.median(seconds)), 2), **row}


def table(rows: dict[str, Any]) -> str:
    """Markdown, fastest first."""
    lines = [
        "| network | precision | ms | people-val | OKS | lsp-val |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for key, row in sorted(rows.items(), key=lambda item: item[1]["ms"]):
        name, precision = key.split()
        cells = (row.get(k, "-") for k in ("ms", "people-val", "people-val OKS", "lsp-val"))
        lines.append(f"| {name} | {precision} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def draw(rows: dict[str, Any]) -> bytes:
    """A panel for each set: a line for each kind of weights and precision, as PNG."""
    figure = new_figure(12, 5)
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
                axes.annotate(name, (x, y), (4, -9), textcoords="offset points", fontsize=7)
        axes.set_xscale("log")
        axes.set_xlabel("milliseconds a person")
        axes.set_ylabel(f"PCK@0.2 of the limbs on {title}")
        axes.legend(fontsize=8)
    return png(figure)


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--people", type=Path, help="Folder of labelled people, as dataset own reads it.")
@click.option("--lsp", type=Path, help="Folder of LSP.")
@click.option("--split", default="val", show_default=True)
@click.option("--first", type=int, help="Take only so many people of each.")
@click.option("--out", type=Path, required=True, help="Keeps what is measured (.json).")
@click.option("--plot", type=Path, help="Draws it (.png).")
def main(
    names: tuple[str, ...],
    people: Path | None,
    lsp: Path | None,
    split: str,
    first: int | None,
    out: Path,
    plot: Path | None,
) -> None:
    """See the top of the file."""
    folders = {"people": ("own", people), "lsp": ("lsp", lsp)}
    sets = {
        f"{title}-{split}": [
            prepared(sample) for sample in read_dataset(kind, folder, split)[:first]
        ]
        for title, (kind, folder) in folders.items()
        if folder
    }
    ways = [
        (f"{Path(name.partition('=')[0]).name} {precision}", predict, seconds)
        for name in names
        for precision, predict, seconds in (of_file if ".onnx" in name else of_zoo)(name)
    ]
    rows = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    click.echo(f"measuring {len(ways)} ways to predict", err=True)
    for key, predict, seconds in ways:
        mine = {
            k: v for k, v in sets.items() if not (key.split()[0].endswith(".lsp") and k[0] == "p")
        }
        rows[key] = measured(predict, seconds, mine)
        write_whole(out, (json.dumps(rows, indent=1) + "\n").encode())
    click.echo(table(rows))
    if plot:
        write_whole(plot, draw(rows))


if __name__ == "__main__":
    main()
