"""What a training takes its people from: a dataset's folder, or shards packed from one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from gatedpose.data.crops import Crops, packed
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.data.shards import holds_shards, load_shards
from gatedpose.skeleton import Skeleton


@dataclass(frozen=True)
class Source:
    """People of one split, read and checked, but perhaps not cut out of their images yet.

    Attributes:
        name: Of the dataset and split, "lsp-train".
        skeleton: The joints that are annotated.
        people: Annotated people, or their crops if they come from shards.
    """

    name: str
    skeleton: Skeleton
    people: Sequence[Sample] | Crops

    def __len__(self) -> int:
        return len(self.people)

    def crops(self, chosen: Sequence[int], folder: Path) -> Crops:
        """Crops of the people with these indices; those not from shards are packed in `folder`."""
        if isinstance(self.people, Crops):
            whole = len(chosen) == len(self.people)
            return self.people if whole else self.people.take(torch.tensor(chosen))
        return packed([self.people[i] for i in chosen], folder / f"{self.name}.safetensors")


def open_source(dataset: str, folder: Path, split: str) -> Source:
    """Reads a split of a dataset from its folder, or from a folder of shards.

    Raises:
        DatasetError: See `read_dataset` and `load_shards`.
    """
    name = f"{dataset}-{split}"
    if holds_shards(folder):
        crops, skeleton = load_shards(folder, split, dataset)
        return Source(name, skeleton, crops)
    samples = read_dataset(dataset, folder, split)
    return Source(name, samples[0].skeleton, samples)
