"""Makes a folder of the dataset `own` of labels in `labels/` and the pictures that they tell of.

    python examples/unpack_labels.py examples/labels/human.json.gz HUMAN OUT/human

HUMAN is a clone of the public repository brianhuster/human-dataset. The labels are this project's
own, made by `label_people.py`. OUT/human then holds train.json and the pictures, as wide as the
camera saw them; it is read as "own:human".
"""

from pathlib import Path

import click
from PIL import Image
from tqdm import tqdm

from gatedpose.files.typed_json import read_json, to_json
from gatedpose.files.whole import write_whole

PATH = click.Path(exists=True, path_type=Path)


@click.command(help=__doc__)
@click.argument("labels", type=PATH)
@click.argument("source", type=PATH)
@click.argument("out", type=Path)
def main(labels: Path, source: Path, out: Path) -> None:
    """Writes OUT/train.json and OUT/images."""
    table = read_json(labels)
    missing = [row["source"] for row in table["images"] if not (source / row["source"]).is_file()]
    if missing:
        count = f"{len(missing)} of {len(table['images'])} pictures are not in {source}"
        raise click.ClickException(f"{count}, {missing[0]} for example")
    (out / "images").mkdir(parents=True, exist_ok=True)
    for row in tqdm(table["images"], unit="picture"):
        with Image.open(source / row["source"]) as opened:
            image = opened.convert("RGB").resize((row["width"], row["height"]))
        image.save(out / "images" / row["file_name"], quality=92)
    write_whole(out / "train.json", to_json(table))


if __name__ == "__main__":
    main()
