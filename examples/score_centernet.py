"""How well CenterNet finds people, beside our finder, on the same pictures.

    python examples/score_centernet.py centernet.onnx --data HUMAN --least 0.1667
    python examples/score_centernet.py centernet.onnx --data STANFORD40

See `label_boxes.py` for the network, and `gatedpose finder evaluate` for the options. CenterNet has
2 M parameters and sees pictures of 512 x 512 pixels; ours has 0.4 M and sees 320.
"""

from pathlib import Path

import click
from label_boxes import Detector, centernet
from tqdm import tqdm

from gatedpose.batches.pictures import read_labelled
from gatedpose.evaluation.detection import LOWEST, any_right, match, surest_right
from gatedpose.media.images import read_image
from gatedpose.predict.finder import FINDER, PersonFinder


@click.command(help=__doc__)
@click.argument("network", type=Path)
@click.option("--data", type=Path, required=True)
@click.option("--split", default="val", show_default=True)
@click.option("--least", default=0.0, show_default=True)
@click.option("--precision", default=0.8, show_default=True)
def main(network: Path, data: Path, split: str, least: float, precision: float) -> None:
    """See the top of the file."""
    finders: dict[str, Detector] = {
        "CenterNet": centernet(network, LOWEST),
        FINDER: PersonFinder(min_score=LOWEST).find,
    }
    rows = read_labelled(data, split)
    for name, find in finders.items():
        found, people = [], []
        for row in tqdm(rows, name, unit="picture"):
            image = read_image(row.path)
            found.append(find(image))
            people.append((row.pixels(*image.shape[1:]), image.shape[1]))
        recall, _ = match(found, people, least).recall_at(precision)
        click.echo(
            f"{name}: {len(rows)} pictures; surest box right {surest_right(found, people):.2%}, "
            f"some box right {any_right(found, people):.2%}, recall at a precision of {precision} "
            f"{recall:.2%}"
        )


if __name__ == "__main__":
    main()
