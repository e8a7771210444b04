"""What the second look of `Predictor` leaves out of the finder's boxes, and whom it adds.

    python examples/second_look.py gated_hg_2s_128.people STANFORD40 --empty THINGS --empty ROOMS

First, for several limits of the mean score of the joints in the boxes that the finder is in doubt
about, it prints how many people have a box that fits (IoU of half or more), and in how many
pictures of nobody somebody is found. `gatedpose.predict.looks.LIKELY` is chosen by this table. Then
the same for the pictures in which no box is left, by the mean score of two more looks: `SURE_AGAIN`
is chosen by that one.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import click
import torch
from torch import Tensor
from torchvision.ops import box_iou
from tqdm import tqdm

import gatedpose
from gatedpose.batches.pictures import Labelled, read_empty, read_labelled
from gatedpose.media.images import read_image
from gatedpose.predict.finder import MIN_SCORE, PersonFinder
from gatedpose.predict.looks import DOUBT, LIKELY, UNSURE, LookAgain, sureness

LIKELIES = (0.0, 0.7, 0.8, 0.9, 1.0, 1.1)
LIMITS = (0.5, 0.54, 0.58, 0.62, 0.66, 0.7, 0.74, 0.78, 0.82)


class Seen(NamedTuple):
    """What is seen in one picture.

    Attributes:
        fits: (N,) bool, of the finder's boxes that count: whether each is a person's who is listed.
        joints: (N,), the mean score of their joints over what a whole picture needs; infinite where
            the finder is not in doubt.
        sureness: Of two more looks; 0 if there is nothing to look at.
        right: Whether their box is that of a person who is listed.
    """

    fits: Tensor
    joints: Tensor
    sureness: float
    right: bool


def see(again: LookAgain, pictures: Iterable[Labelled]) -> list[Seen]:
    """Looks at pictures as `LookAgain` does, and keeps what it sees."""
    seen = []
    for one in tqdm(list(pictures)):
        image = read_image(one.path)
        people = one.pixels(*image.shape[1:])
        boxes, scores = again.finder.find(image, UNSURE)
        found = torch.cat((boxes, scores[:, None]), dim=1)
        known = found[scores >= again.finder.min_score]
        joints = torch.tensor(sureness(again.predictor, image, known)) / again.whole
        joints[known[:, 4] >= DOUBT] = torch.inf
        left = bool((joints >= LIKELY).any()) or not len(found)
        box, surest = (found[:0], 0.0) if left else again.twice(image, found[:1])
        fits = (box_iou(known[:, :4], people) >= 0.5).any(dim=1)
        seen.append(Seen(fits, joints, surest, bool((box_iou(box[:, :4], people) >= 0.5).any())))
    return seen


@click.command(help=__doc__)
@click.argument("name")
@click.argument("folder", type=Path)
@click.option("--split", default="val", show_default=True)
@click.option("--limit", type=int, help="So many pictures with people only.")
@click.option("--min-score", type=float, default=MIN_SCORE, show_default=True)
@click.option("--empty", type=Path, multiple=True, help="Folder of pictures of nobody.")
def main(
    name: str,
    folder: Path,
    split: str,
    limit: int | None,
    min_score: float,
    empty: tuple[Path, ...],
) -> None:
    """See the top of the file."""
    model = gatedpose.create_model(name, pretrained=True)
    predictor = gatedpose.Predictor(
        gatedpose.optimize(model, engine="openvino", precision="float32")
    )
    again = LookAgain(PersonFinder(min_score=min_score), predictor)
    people = see(again, read_labelled(folder, split)[:limit])
    nobody = {one: see(again, read_empty(one)) for one in empty}
    total = ", ".join(f"{len(seen)} of {one.name}" for one, seen in nobody.items())
    looked = torch.stack([seen.joints.isfinite().sum() for seen in people]).float().mean()
    click.echo(f"{len(people)} pictures of people; {looked:.2f} boxes a picture are in doubt")
    click.echo(f"pictures of nobody: {total or 'none'}")

    def somebody(some: list[Seen], least: float) -> int:
        return sum(bool((seen.joints >= least).any()) for seen in some)

    click.echo("the finder's boxes, by the joints in those in doubt")
    for least in LIKELIES:
        fitting = sum(bool((seen.fits & (seen.joints >= least)).any()) for seen in people)
        false = [somebody(seen, least) for seen in nobody.values()]
        click.echo(
            f"from {least:.2f}: somebody in {somebody(people, least)}, a box fits in {fitting}; "
            f"nobody {false}"
        )
    click.echo(f"two more looks where no box is left (joints from {LIKELY:.2f})")
    for sure in LIMITS:
        every = sum(seen.sureness >= sure for seen in people)
        fitting = sum(seen.sureness >= sure and seen.right for seen in people)
        false = [sum(seen.sureness >= sure for seen in some) for some in nobody.values()]
        click.echo(f"from {sure:.2f}: {every} people more, {fitting} of them fit; nobody {false}")


if __name__ == "__main__":
    main()
