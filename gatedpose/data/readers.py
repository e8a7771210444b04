"""The readers by the name of their dataset."""

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from filecmp import cmp
from pathlib import Path

from gatedpose.data.coco import coco
from gatedpose.data.lsp import lsp, lspet
from gatedpose.data.mpii import mpii
from gatedpose.data.own import has_validation, own, splits_in
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError, did_you_mean

LOG = logging.getLogger(__name__)
READERS: dict[str, Callable[..., list[Sample]]] = {
    "lsp": lsp,
    "lspet": lspet,
    "mpii": mpii,
    "coco": coco,
    "own": own,
}


def splits_of(name: str, folder: str | Path) -> tuple[str, ...]:
    """The splits to look at: "train" and "val", or all there are of own data that has neither."""
    there = tuple(splits_in(Path(folder))) if name.partition(":")[0] == "own" else ()
    usual = {"train", "val", "valid", "validation"} & {split.lower() for split in there}
    return there if there and not usual else ("train", "val")


def read_dataset(
    name: str, folder: str | Path, split: str, *, check_images: bool = True
) -> list[Sample]:
    """Reads a split of a dataset.

    Args:
        name: A key of `READERS`; the reader of that name says what its folder must hold. Several
            sets of one kind are told apart by a name of your own behind a colon, "own:kites", with
            which the ids of their people then begin.
        folder: The dataset's folder.
        split: "train" or "val"; some datasets have more.
        check_images: Whether the images must be there; annotations alone serve to score the
            predictions of others.

    Raises:
        DatasetError: For an unknown name or split, or files that are missing or damaged.
    """
    reader, colon, label = name.partition(":")
    if reader not in READERS:
        raise DatasetError(f"unknown dataset {name!r}; {did_you_mean(reader, READERS)}")
    people = READERS[reader](folder, split, check_images=check_images)
    if not colon:
        return people
    if not re.fullmatch(r"[\w-]+", label):
        raise DatasetError(
            f"{name!r}: the name behind the colon must be of letters, digits, - and _"
        )
    return [replace(s, id=f"{label}/{s.id.partition('/')[2]}") for s in people]


def lends_validation(name: str, folder: str | Path) -> bool:
    """Whether "val" of a dataset is a part of its "train", as that of own data without a table."""
    return name.partition(":")[0] == "own" and not has_validation(folder)


def apart(name: str, folder: str | Path, train: list[Sample], val: list[Sample]) -> list[Sample]:
    """The people of "train" to learn from, beside those of "val" of the same dataset.

    Own data without a table for "val" lends it some, who are left out. Where tables share pictures,
    or hold copies of them, all stay, and the log says so.
    """
    if lends_validation(name, folder):
        held = {sample.image for sample in val}
        return [sample for sample in train if sample.image not in held]
    warn_of_shared(folder, train, val)
    return train


def warn_of_shared(folder: str | Path, train: Sequence[Sample], val: Sequence[Sample]) -> None:
    """Says how many people of "train" are in pictures of "val", perhaps of another dataset."""
    held = {sample.image for sample in val}
    held |= _copies({sample.image for sample in train} - held, held)
    if shared := sum(sample.image in held for sample in train):
        LOG.warning(
            f"{folder}: {shared} of the {len(train)} people of train are in "
            "pictures of val: scores on val are too high"
        )


def _copies(images: set[Path], others: set[Path]) -> set[Path]:
    """Which pictures are, byte for byte, one of the same name elsewhere; links are, too."""
    places: dict[tuple[str, int], list[Path]] = {}
    for other in others:
        places.setdefault((other.name, other.stat().st_size), []).append(other)
    return {
        image
        for image in images
        for other in places.get((image.name, image.stat().st_size), ())
        if cmp(image, other, shallow=False)
    }
