"""Where predictions of LSP's joints miss, by how far the body leans.

    gatedpose evaluate NAME --dataset lsp --data LSP --split val --save predictions.npz
    python examples/misses_by_lean.py --data LSP predictions.npz gated_hg_1s_68.lsp

A file is one of `evaluate --save`; a name stands for the validation predictions that lie beside
packaged weights. The lean is the angle between the picture's vertical and the line from the middle
of the hips to the neck. Of the misses, "exchanged" are those where the prediction of the other
side's joint would have hit, "near" those within 0.35 of the torso's length, "far" the rest.
"""

from pathlib import Path

import click
import numpy as np

from gatedpose.catalogue import WEIGHTS_DIR
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.evaluation.predictions import Points, load_predictions
from gatedpose.skeleton import LSP14

RANGES = ((0, 30), (30, 60), (60, 120), (120, 181))
NEAR = 0.35


def lean(keypoints: Points) -> Points:
    """(N,) degrees that bodies (N, 14, 2) lean: 0 upright, 180 upside down."""
    left, right, neck = (LSP14.joints.index(name) for name in ("left hip", "right hip", "neck"))
    spine = keypoints[:, neck] - (keypoints[:, left] + keypoints[:, right]) / 2
    angles: Points = np.degrees(np.arctan2(np.abs(spine[:, 0]), -spine[:, 1]))
    return angles


def predictions(source: str, dataset: str, samples: list[Sample]) -> Points:
    """(N, 14, 2) of a file or of packaged weights."""
    packaged = WEIGHTS_DIR / f"{source}.predictions.npz"
    if packaged.exists():
        found: Points = np.load(packaged)[f"{dataset}_keypoints"]
        return found
    return load_predictions(source, samples)


def distances(pred: Points, target: Points) -> Points:
    """(N, 14) from the joints, in units of the distance left shoulder - right hip."""
    shoulder, hip = LSP14.joints.index("left shoulder"), LSP14.joints.index("right hip")
    torso = np.linalg.norm(target[:, shoulder] - target[:, hip], axis=1)
    apart: Points = np.linalg.norm(pred - target, axis=2) / torso[:, None]
    return apart


@click.command(help=__doc__)
@click.argument("sources", nargs=-1, required=True)
@click.option("--data", type=Path, required=True)
@click.option("--dataset", type=click.Choice(["lsp", "lspet"]), default="lsp", show_default=True)
@click.option("--split", default="val", show_default=True)
def main(sources: tuple[str, ...], data: Path, dataset: str, split: str) -> None:
    """See the top of the file."""
    samples = list(read_dataset(dataset, data, split))
    target = np.stack([sample.keypoints for sample in samples])
    labelled = np.stack([sample.labelled for sample in samples])
    angles, order = lean(target), list(LSP14.flip_permutation)
    everyone = np.ones(len(samples), dtype=bool)
    groups = [(angles >= low) & (angles < high) for low, high in RANGES]
    names = [f"{low}-{min(high, 180)}" for low, high in RANGES]
    title = "PCK@0.2 by lean in degrees, then misses in per cent of all joints"
    click.echo(f"{dataset}-{split}: {title}")
    people = "".join(f"{name:>9}" for name in names)
    click.echo(f"{'':28}{people}{'all':>9}{'exchanged':>11}{'near':>7}{'far':>7}")
    counts = "".join(f"{group.sum():9}" for group in groups)
    click.echo(f"{'people':28}{counts}{len(samples):9}")
    for source in sources:
        pred = predictions(source, dataset, samples)
        apart, mirrored = distances(pred, target), distances(pred[:, order], target)
        counted = labelled & np.isfinite(apart)  # a torso without label measures nothing
        hit = apart <= 0.2
        exchanged = ~hit & (mirrored <= 0.2)
        near = ~hit & ~exchanged & (apart <= NEAR)
        far = ~hit & ~exchanged & ~near
        kinds = [100 * kind[counted].mean() for kind in (exchanged, near, far)]
        rates = [100 * hit[group][counted[group]].mean() for group in (*groups, everyone)]
        row = "".join(f"{rate:9.1f}" for rate in rates)
        click.echo(f"{Path(source).name:28}{row}{kinds[0]:11.1f}{kinds[1]:7.1f}{kinds[2]:7.1f}")


if __name__ == "__main__":
    main()
