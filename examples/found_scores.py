"""What a model scores on people it has to find, beside the same people in given boxes.

    python examples/found_scores.py gated_hg_1s_68.people PEOPLE/stanford40

The folder is read as dataset "own". A listed person is taken to be the one whose found box fits
best, at an IoU of 0.1 or more; a person who is not found misses every joint. Prints PCK from given
and from found boxes, of all people and of those who fill at least half of their picture's height,
and what is lost by people who are not found and by boxes that do not fit.
"""

from pathlib import Path
from typing import Literal

import click
import numpy as np
import torch
from torchvision.ops import box_iou
from tqdm import tqdm

import gatedpose
from gatedpose.data.readers import read_dataset
from gatedpose.evaluation.run import evaluate, score_people
from gatedpose.media.images import image_size

LEAST, FITS = 0.1, 0.5  # IoU of a box that is somebody's, and of one that fits
TALL = 0.5  # of the picture's height


@click.command(help=__doc__)
@click.argument("name")
@click.argument("folder", type=Path)
@click.option("--split", default="val", show_default=True)
@click.option("--limit", type=int, help="So many people only.")
@click.option("--engine", type=click.Choice(["openvino"]), help="Float32 in a third of the time.")
def main(
    name: str, folder: Path, split: str, limit: int | None, engine: Literal["openvino"] | None
) -> None:
    """See the top of the file."""
    model = gatedpose.create_model(name, pretrained=True)
    fast = gatedpose.optimize(model, engine=engine, precision="float32") if engine else model
    predictor = gatedpose.Predictor(fast)
    samples = read_dataset("own", folder, split)[:limit]
    given = evaluate(predictor, samples, progress=False)
    assert samples[0].skeleton == predictor.skeleton, "the set's joints must be the model's"
    keypoints = np.full_like(given.keypoints, np.nan)
    overlaps, tall = np.zeros(len(samples)), np.zeros(len(samples), dtype=bool)
    stream = predictor.stream((sample.image, None) for sample in samples)
    for i, poses in enumerate(tqdm(stream, "finding", len(samples), unit="person")):
        _, height = image_size(samples[i].image)
        tall[i] = samples[i].box[3] - samples[i].box[1] >= TALL * height
        if poses:
            boxes = torch.from_numpy(np.stack([pose.box for pose in poses]))
            ious = box_iou(torch.from_numpy(samples[i].box)[None], boxes)[0]
            overlaps[i], best = float(ious.max()), int(ious.argmax())
            if overlaps[i] >= LEAST:
                keypoints[i] = poses[best].keypoints
    found, fits = overlaps >= LEAST, overlaps >= FITS
    score = score_people(samples, keypoints).mean
    missed = np.where(found[:, None, None], given.keypoints, np.nan)
    lost = given.score.mean - score_people(samples, missed).mean
    click.echo(f"{len(samples)} people, {given.score.metric}")
    click.echo(f"given boxes {given.score.mean:.2f}, found boxes {score:.2f}")
    click.echo(f"not found: {(~found).sum()}, which costs {lost:.2f}")
    rest = given.score.mean - lost - score
    click.echo(f"boxes that do not fit (IoU below {FITS}): {(found & ~fits).sum()}; all boxes that")
    click.echo(f"are not the given ones cost {rest:.2f}")
    for what, part in (("whose box fits", fits), ("who fill half of the height", tall)):
        people = [samples[i] for i in np.flatnonzero(part)]
        both = (score_people(people, points[part]).mean for points in (given.keypoints, keypoints))
        click.echo("of {} {}: given {:.2f}, found {:.2f}".format(len(people), what, *both))


if __name__ == "__main__":
    main()
