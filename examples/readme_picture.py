"""Draws the picture of the README: two photographs of scikit-image, as "balanced" sees them.

python examples/readme_picture.py docs/demo.png
"""

from pathlib import Path

import click
import skimage

import gatedpose
from gatedpose.media.drawing import contact_sheet
from gatedpose.media.images import read_image, write_image


@click.command(help=__doc__)
@click.argument("out", type=Path)
def main(out: Path) -> None:
    """See the top of the file."""
    photos = [Path(skimage.__file__).parent / "data" / n for n in ("astronaut.png", "camera.png")]
    predictor, drawn = gatedpose.Predictor("balanced"), []
    for photo in photos:
        poses = predictor(photo)
        drawn.append(read_image(gatedpose.draw(photo, poses)))
        for pose in poses:
            click.echo(f"{photo.name}: {int(pose.found.sum())} of {len(pose.found)} joints found")
    write_image(contact_sheet(drawn, columns=2), out)


if __name__ == "__main__":
    main()
