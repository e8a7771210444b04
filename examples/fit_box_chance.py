"""Fits the numbers of `gatedpose.predict.finder.BoxChance` on pictures with people's boxes.

    python examples/fit_box_chance.py gated_finder_320.people HUMAN

A logistic regression over all boxes found in the split "val", of people of any size. A box is right
if it overlaps a person's by half or more, and no surer box took that person.
"""

from pathlib import Path

import click
import numpy as np
import torch
from scipy.optimize import minimize
from tqdm import tqdm

from gatedpose.batches.pictures import read_labelled
from gatedpose.evaluation.detection import match
from gatedpose.media.images import read_image
from gatedpose.predict.finder import BoxChance, PersonFinder

LOWEST = 0.02  # peak


def boxes_found(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of D boxes: 1, log-odds of the peak and log share of the picture, (D, 3); right, (D,)."""
    finder = PersonFinder(name, min_score=LOWEST)
    finder.chance = BoxChance(0.0, 1.0, 0.0)  # scores are peaks
    values, right = [], []
    for labelled in tqdm(read_labelled(folder, "val"), desc=name):
        image = read_image(labelled.path)
        height, width = image.shape[1:]
        boxes, peaks = finder.find(image)
        shares = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / (height * width)
        values.append(torch.stack((torch.ones_like(peaks), peaks.logit(), shares.log()), dim=1))
        right.append(match([(boxes, peaks)], [(labelled.pixels(height, width), height)]).hits)
    return torch.cat(values).double().numpy(), torch.cat(right).numpy()


def fit(values: np.ndarray, right: np.ndarray) -> list[float]:
    """Weights of the values whose sums are the log-odds of being right, most likely so."""

    def surprise(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, np.where(right, -1, 1) * (values @ weights)).mean())

    return list(minimize(surprise, np.zeros(values.shape[1])).x)


@click.command(help=__doc__)
@click.argument("name")
@click.argument("folder", type=Path)
def main(name: str, folder: Path) -> None:
    """See the top of the file."""
    values, right = boxes_found(name, folder)
    bias, peak, share = fit(values, right)
    click.echo(f"{len(right)} boxes, {right.mean():.1%} right")
    click.echo(f"bias {bias:.3f}, peak {peak:.3f}, share {share:.3f}")


if __name__ == "__main__":
    main()
