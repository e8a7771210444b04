"""How good a model is on everyday people, and whether its scores are chances.

    python examples/people_scores.py gated_hg_1s_68.people people=PEOPLE/stanford40 lsp19=PEOPLE/lsp

Each NAME=FOLDER is read as dataset "own", split "val", of 19 joints. Prints
- PCK@0.2 of the torso, and OKS, from the box;
- the expected calibration error of the scores;
- how many joints have a score below the threshold, of those out of the picture and of the labelled;
- PCK from the box and from the whole picture, of people who fill at least half of its height.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
import numpy as np

import gatedpose
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.evaluation.calibration import known_joints, plot_reliability
from gatedpose.evaluation.run import evaluate, score_people
from gatedpose.files.whole import write_whole
from gatedpose.media.images import image_size
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.calibration import calibration_error


def whole(samples: list[Sample]) -> tuple[list[int], list[Sample]]:
    """Numbers of the people who fill half of their picture's height, and they with that as box."""
    tall, pictures = [], []
    for i, sample in enumerate(samples):
        width, height = image_size(sample.image)
        if sample.box[3] - sample.box[1] >= height / 2:
            tall.append(i)
            box = np.array((0, 0, width, height), dtype=np.float32)
            pictures.append(replace(sample, box=box))
    return tall, pictures


@click.command(help=__doc__)
@click.argument("name")
@click.argument("sets", nargs=-1, required=True)
@click.option("--threshold", "thresholds", multiple=True, default=(0.4,), show_default=True)
@click.option("--size", type=int)
@click.option("--engine", type=click.Choice(["openvino"]), help="Float32 in a third of the time.")
@click.option("--plot", type=Path, help="Reliability plot (.png).")
def main(
    name: str,
    sets: tuple[str, ...],
    thresholds: tuple[float, ...],
    size: int | None,
    engine: Literal["openvino"] | None,
    plot: Path | None,
) -> None:
    """See the top of the file."""
    model: HeatmapNetwork = gatedpose.create_model(name, pretrained=True)
    if engine:
        model = gatedpose.optimize(model, engine=engine, precision="float32")
    side = (size, size) if size else None
    predictor = gatedpose.Predictor(model, flip_test=True, size=side)
    honest = {}
    for text in sets:
        title, _, folder = text.partition("=")
        samples = read_dataset("own", folder, "val")
        result = evaluate(predictor, samples, progress=False)
        columns = {key: round(value, 2) for key, value in result.score.columns.items()}
        click.echo(f"{title}: {len(samples)} people, {result.score.metric}: {columns}")
        honest[title] = known_joints(result, samples)
        click.echo(f"  expected calibration error {calibration_error(*honest[title])[0]:.3f}")
        labelled, absent = (
            np.stack([getattr(sample, key) for sample in samples])
            for key in ("labelled", "absent_joints")
        )
        for threshold in thresholds:
            low = result.scores < threshold
            gone = f"{low[absent].mean():.1%} of {absent.sum()}" if absent.any() else "none"
            click.echo(f"  below {threshold}: absent {gone}; labelled {low[labelled].mean():.1%}")
        tall, pictures = whole(samples)
        by_box = score_people([samples[i] for i in tall], result.keypoints[tall])
        by_picture = evaluate(predictor, pictures, False).score
        click.echo(
            f"  {len(tall)} tall people: by the box {by_box.mean:.2f}, by the whole picture "
            f"{by_picture.mean:.2f}"
        )
    if plot:
        write_whole(plot, plot_reliability(honest))


if __name__ == "__main__":
    main()
