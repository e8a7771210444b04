"""`gatedpose data`: what concerns datasets."""

import json
from pathlib import Path

import click

from gatedpose.cli.options import json_option
from gatedpose.media import write_image


@click.group()
def data() -> None:
    """Looks at datasets."""


@data.command()
@click.option("--dataset", required=True, help="lsp, lspet, mpii, coco or own.")
@click.option("--data", "folder", type=Path, required=True, help="Folder of the dataset.")
@click.option(
    "--split", "splits", multiple=True, default=("train", "val"), show_default=True,
    help="Repeat it.",
)  # fmt: skip
@click.option("--out", type=Path, help="Folder for a picture of annotated people of each split.")
@json_option
def check(
    dataset: str, folder: Path, splits: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Reads all annotations and images, counts people and joints, and draws some of them."""
    from gatedpose.data.check import annotation_sheet, check_people
    from gatedpose.data.readers import read_dataset

    for split in splits:
        samples = read_dataset(dataset, folder, split)
        facts = {"dataset": dataset, "split": split, **check_people(samples, not as_json)}
        if out:
            out.mkdir(parents=True, exist_ok=True)
            facts["picture"] = str(out / f"{dataset}-{split}.png")
            write_image(annotation_sheet(samples), facts["picture"])
        if as_json:
            click.echo(json.dumps(facts))
            continue
        click.echo(f"{dataset} {split}: {facts['people']} people in {facts['images']} images")
        for joint, count in facts["labelled"].items():
            click.echo(f"  {joint:15} {count:6} labelled ({100 * count / facts['people']:.1f} %)")
        if out:
            click.echo(f"  drawn in {facts['picture']}")
