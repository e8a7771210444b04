"""`gatedpose data`: what concerns datasets."""

import shlex
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gatedpose.catalogue import DATASETS
from gatedpose.cli.commands import Commands, notes_kept
from gatedpose.cli.options import (
    FILE,
    PICTURE,
    POSITIVE,
    SHARE,
    check_apart,
    check_makeable,
    check_replaced,
    check_writable,
    json_option,
    pixels_option,
)
from gatedpose.files.typed_json import to_json

if TYPE_CHECKING:
    from gatedpose.batches.corrections import Corrections
    from gatedpose.data.samples import Sample


@click.group(cls=Commands)
def data() -> None:
    """Checks datasets, finds wrong labels, packs people into a few files."""


dataset_option = click.option("--dataset", required=True, help=", ".join(DATASETS))
folder_option = click.option(
    "--data", "folder", type=Path, required=True, help="Folder of the dataset."
)
splits_option = click.option(
    "--split", "splits", multiple=True, default=("train", "val"), show_default=True,
    help="Repeat it.",
)  # fmt: skip


@data.command()
@dataset_option
@folder_option
@click.option(
    "--split", "splits", multiple=True,
    help="Repeat it. [train and val; if own data has neither, all there are]",
)  # fmt: skip
@click.option("--out", type=Path, help="Folder for a picture of annotated people of each split.")
@pixels_option
@json_option
def check(
    dataset: str, folder: Path, splits: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Reads all annotations and images, counts people and joints, and draws some of them.

    Says what was left out or assumed, what is doubtful about the labels, and which joints change
    places in a mirrored image.
    """
    from gatedpose.batches.check import annotation_sheet, check_people
    from gatedpose.data.readers import apart, read_dataset, splits_of
    from gatedpose.media.images import write_image

    if out:
        check_makeable(out)
    people: dict[str, list[Sample]] = {}
    told: dict[str, list[str]] = {}
    for split in splits or splits_of(dataset, folder):  # all of them before pictures are read
        with notes_kept() as told[split]:
            samples = people[split] = read_dataset(dataset, folder, split)
            if split == "val" and "train" in people:
                people["train"] = apart(dataset, folder, people["train"], samples)
    for split, samples in people.items():
        facts = {"dataset": dataset, "split": split, **check_people(samples, not as_json)}
        facts["notes"] = [note for note in told[split] if note not in facts["doubts"]]
        if out:
            out.mkdir(parents=True, exist_ok=True)
            facts["picture"] = str(out / f"{dataset}-{split}.png")
            write_image(annotation_sheet(samples), facts["picture"])
        if as_json:
            click.echo(to_json(facts))
            continue
        click.echo(f"{dataset} {split}: {facts['people']} people in {facts['images']} images")
        for joint, count in facts["labelled"].items():
            click.echo(f"  {joint:15} {count:6} labelled ({100 * count / facts['people']:.1f} %)")
        pairs = [" - ".join(pair) for pair in facts["flip_pairs"]]
        click.echo(f"  flip pairs: {', '.join(pairs) or 'none'}")
        for note in (*facts["notes"], *facts["doubts"]):
            click.echo(f"  {note}")
        if out:
            click.echo(f"  drawn in {facts['picture']}")


@data.command()
@dataset_option
@folder_option
@click.option("--split", default="train", show_default=True)
@click.option(
    "--predictions", "files", type=FILE, multiple=True, required=True,
    help="From gatedpose evaluate --save, for this split; repeat it: then all must agree.",
)  # fmt: skip
@click.option("--better", type=POSITIVE, help="Exchange left and right if nearer by this. [0.08]")
@click.option("--far", type=POSITIVE, help="Drop joints farther than this from predictions. [0.25]")
@click.option("--sure", type=SHARE, help="... if their score is at least this. [drop none]")
@click.option("--out", type=Path, required=True, help="File for the corrections (.json).")
@click.option("--picture", type=PICTURE, help="Draw people before and after (.png).")
@pixels_option
@json_option
def clean(
    dataset: str,
    folder: Path,
    split: str,
    files: tuple[Path, ...],
    out: Path,
    picture: Path | None,
    as_json: bool,
    **rule: float | None,
) -> None:
    """Finds labels that are wrong by the predictions of trained networks, for train --corrections.

    Distances are shares of the longer side of a person's box.
    """
    import numpy as np

    from gatedpose.data.readers import read_dataset
    from gatedpose.evaluation.predictions import load_confidences, load_predictions
    from gatedpose.research.judging import Rule, find_corrections

    check_apart("--out", out, *files)
    check_writable(out.parent)
    check_replaced("--out", out, "file of corrections", b'"swapped"')  # annotations are .json, too
    chosen = Rule(**{name: value for name, value in rule.items() if value is not None})
    samples = read_dataset(dataset, folder, split, check_images=picture is not None)
    keypoints = np.stack([load_predictions(file, samples) for file in files])
    scores = np.stack([load_confidences(file, samples) for file in files])
    about = {"dataset": dataset, "split": split, "rule": str(chosen)}
    about["predictions"] = ", ".join(file.name for file in files)
    found = find_corrections(samples, keypoints, scores, chosen, about)
    found.save(out)
    facts = {
        **about,
        "people": len(samples),
        "labels": int(sum(sample.labelled.sum() for sample in samples)),
        "swapped": len(found.swapped),
        "dropped": sum(map(len, found.dropped.values())),
        "out": str(out),
    }
    if picture and found.names:
        _draw_changed(samples, found, picture)
        facts["picture"] = str(picture)
    if as_json:
        click.echo(to_json(facts))
        return
    click.echo(
        f"{dataset} {split}: sides exchanged on {facts['swapped']} of {facts['people']} people, "
        f"{facts['dropped']} of {facts['labels']} labels dropped, in {out}"
    )


def _draw_changed(samples: Sequence["Sample"], found: "Corrections", picture: Path) -> None:
    import numpy as np

    from gatedpose.batches.check import annotation_sheet
    from gatedpose.batches.corrections import corrected_samples
    from gatedpose.media.images import write_image

    before = [sample for sample in samples if sample.id in found.names]
    some = np.linspace(0, len(before) - 1, min(12, len(before))).round().astype(int)
    before = [before[i] for i in some]
    after = corrected_samples(before, found)
    write_image(annotation_sheet(list(chain(*zip(before, after, strict=True)))), picture)


@data.command()
@dataset_option
@folder_option
@splits_option
@click.option("--out", type=Path, required=True, help="Folder for the shards.")
@click.option(
    "--size", type=click.IntRange(2, 2048), default=320, show_default=True,
    help="Side of a crop in pixels.",
)  # fmt: skip
@click.option(
    "--quality", type=click.IntRange(1, 100), default=95, show_default=True, help="JPEG quality."
)
@click.option(
    "--shard-mb", type=click.IntRange(1, 65_536), default=60, show_default=True,
    help="Size of a file in MB.",
)  # fmt: skip
@pixels_option
@json_option
def pack(
    dataset: str,
    folder: Path,
    splits: tuple[str, ...],
    out: Path,
    size: int,
    quality: int,
    shard_mb: int,
    as_json: bool,
) -> None:
    """Cuts out all people into a few files, to copy and to train from."""
    from gatedpose.batches.shards import pack_shards, require_free
    from gatedpose.data.readers import apart, lends_validation, read_dataset

    # All splits are looked at before the first is packed: errors come at once.
    check_apart("--out", out, folder)
    check_makeable(out)
    for split in splits:
        require_free(out, split)
    people = {split: read_dataset(dataset, folder, split) for split in splits}
    if "train" in people and ("val" in people or lends_validation(dataset, folder)):
        held = people.get("val") or read_dataset(dataset, folder, "val")
        people["train"] = apart(dataset, folder, people["train"], held)
    for split, samples in people.items():
        shards = pack_shards(
            samples, dataset, split, out, size=size, quality=quality, shard_bytes=shard_mb * 2**20
        )
        total = sum(shard.stat().st_size for shard in shards)
        facts = {"dataset": dataset, "split": split, "people": len(samples)}
        facts |= {"shards": len(shards), "bytes": total, "files": list(map(str, shards))}
        files = "1 shard" if len(shards) == 1 else f"{len(shards)} shards"
        text = f"{len(samples)} people in {files}, {total / 2**20:.1f} MB"
        click.echo(to_json(facts) if as_json else f"{dataset} {split}: {text}")
    if not as_json:
        recipe = " --recipe finetune" if dataset.partition(":")[0] == "own" else ""
        data = shlex.quote(f"{dataset}={out}")
        click.echo(f"train on them with\n  gatedpose train NAME{recipe} --data {data} --out run")
