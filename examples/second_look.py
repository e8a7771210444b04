"""Whom the second look of `Predictor` finds where the finder is sure of nobody.

    python examples/second_look.py gated_hg_2s_128.people STANFORD40 --empty THINGS --empty ROOMS

Takes the pictures in which no box reaches the finder's limit. For several limits of the mean score
of both looks it prints how many people get a box that fits (IoU of half or more), and in how many
pictures of nobody somebody is found. `gatedpose.predict.looks.SURE_AGAIN` is chosen by this table.
"""

from collections.abc import Iterable
from pathlib import Path

import click
import torch
from torchvision.ops import box_iou
from tqdm import tqdm

import gatedpose
from gatedpose.batches.pictures import read_empty, read_labelled
from gatedpose.media.images import read_image
from gatedpose.predict.finder import MIN_SCORE, PersonFinder
from gatedpose.predict.looks import UNSURE, FirstLook, LookAgain

LIMITS = (0.5, 0.54, 0.58, 0.62, 0.66, 0.7, 0.74, 0.78, 0.82)


def looks(again: LookAgain, paths: Iterable[Path]) -> list[tuple[Path, torch.Tensor, float] | None]:
    """Of each picture its box and sureness; None where the finder is sure of somebody itself."""
    seen: list[tuple[Path, torch.Tensor, float] | None] = []
    for path in tqdm(list(paths)):
        image = read_image(path)
        boxes, scores = again.finder.find(image, UNSURE)
        if len(scores) and scores[0] >= again.finder.min_score:
            seen.append(None)
        elif not len(scores):
            seen.append((path, torch.zeros(0, 5), 0.0))
        else:
            seen.append((path, *again.twice(image, torch.cat((boxes, scores[:, None]), 1)[:1])))
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
    again = LookAgain(PersonFinder(min_score=min_score), FirstLook(predictor), 0.0)
    people = {one.path: one for one in list(read_labelled(folder, split))[:limit]}
    with_people = [one for one in looks(again, people) if one]
    right = []
    for path, box, sureness in with_people:
        size = read_image(path).shape[1:]
        fits = bool((box_iou(box[:, :4], people[path].pixels(*size)) >= 0.5).any())
        right.append(sureness if fits else 0.0)
    nobody = {one: looks(again, (item.path for item in read_empty(one))) for one in empty}
    click.echo(f"{len(people)} pictures of people, {len(with_people)} without a sure box")
    for one, seen in nobody.items():
        click.echo(f"{one.name}: {len(seen)} pictures, in {seen.count(None)} the finder is sure")
    for least in LIMITS:
        false = [sum(bool(one and one[2] >= least) for one in seen) for seen in nobody.values()]
        fitting = sum(sureness >= least for sureness in right)
        every = sum(sureness >= least for _, _, sureness in with_people)
        click.echo(f"from {least:.2f}: {every} people more, {fitting} of them fit; nobody {false}")


if __name__ == "__main__":
    main()
