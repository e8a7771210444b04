"""How good a model is on everyday people, and whether its scores are chances.

    python examples/people_scores.py gated_hg_1s_68.people people=PEOPLE/stanford40 lsp19=PEOPLE/lsp

Each NAME=FOLDER is read as dataset "own", split "val", of 19 joints. Prints
- PCK@0.2 of the torso, and OKS, from the box;
- the expected calibration error of the scores;
- how many joints have a score below the threshold, of those out of the picture and of the labelled;
- PCK of people who fill at least half of their picture's height: from the box, from the whole
  picture, and as "whole" does it, see `gatedpose.predict.looks.CloserLook`; the same of those of
  them in whose picture the finder finds one person or nobody: where it finds several, no rule can
  tell which of them the labels list.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch
from chances import calibration_error, known_joints, plot_reliability
from torch import Tensor

import gatedpose
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.evaluation.run import evaluate, score_people
from gatedpose.files.whole import write_whole
from gatedpose.media.images import image_size, read_image
from gatedpose.pose import TRUST_CALIBRATED
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.looks import CloserLook


def find_tall(samples: list[Sample]) -> list[int]:
    """Numbers of the people who fill at least half of their picture's height."""
    heights = [image_size(sample.image)[1] for sample in samples]
    return [
        i
        for i, (sample, height) in enumerate(zip(samples, heights, strict=True))
        if sample.box[3] - sample.box[1] >= height / 2
    ]


def boxed(sample: Sample, find: Callable[[Tensor], Tensor]) -> Sample:
    """The same person in the box that a detector finds."""
    return replace(sample, box=find(read_image(sample.image))[0].numpy())


def alone(samples: list[Sample]) -> list[int]:
    """Numbers of the people in whose pictures the finder finds one person or nobody."""
    finder = PersonFinder()
    return [i for i, sample in enumerate(samples) if len(finder(read_image(sample.image))) <= 1]


def told_ways(people: list[Sample], ways: dict[str, np.ndarray], chosen: list[int]) -> str:
    """The scores of the chosen of N people, by each way's keypoints (N, K, 2)."""
    samples = [people[i] for i in chosen]
    scores = {way: score_people(samples, found[chosen]).mean for way, found in ways.items()}
    return ", ".join(f"{way} {score:.2f}" for way, score in scores.items())


def whole(image: Tensor) -> Tensor:
    """A detector whose box is the picture."""
    return torch.tensor([[0.0, 0.0, image.shape[2], image.shape[1]]])


@click.command(help=__doc__)
@click.argument("name")
@click.argument("sets", nargs=-1, required=True)
@click.option(
    "--threshold", "thresholds", multiple=True, default=(TRUST_CALIBRATED,), show_default=True
)
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
    model = gatedpose.create_model(name, pretrained=True)
    fast = gatedpose.optimize(model, engine=engine, precision="float32") if engine else model
    side = (size, size) if size else None
    predictor = gatedpose.Predictor(fast, flip_test=True, size=side)
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
        tall = find_tall(samples)
        people, ways = [samples[i] for i in tall], {"box": result.keypoints[tall]}
        for way, find in (("picture", whole), ("whole", CloserLook(predictor))):
            found = [boxed(person, find) for person in people]
            ways[way] = evaluate(predictor, found, False).keypoints
        for who, chosen in (
            ("tall people", list(range(len(people)))), ("of them alone", alone(people)),
        ):  # fmt: skip
            click.echo(f"  {len(chosen)} {who}: {told_ways(people, ways, chosen)}")
    if plot:
        write_whole(plot, plot_reliability(honest))


if __name__ == "__main__":
    main()
