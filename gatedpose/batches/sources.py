"""What a training takes its people from: a dataset's folder, or shards packed from one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from gatedpose.batches.crops import WHOLE, Crops, packed
from gatedpose.batches.shards import holds_shards, load_shards
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.media.images import image_size
from gatedpose.skeleton import Skeleton

# A person is learnt from a whole picture that is at most so many times as long as they are.
LONGEST = 4


@dataclass(frozen=True)
class Source:
    """People of one split, read and checked, but perhaps not cut out of their images yet."""

    name: str  # of the dataset and split, "lsp-train"
    skeleton: Skeleton  # the joints that are annotated
    people: Sequence[Sample] | Crops  # their crops if they come from shards

    def __len__(self) -> int:
        return len(self.people)

    def crops(self, chosen: Sequence[int], folder: Path) -> Crops:
        """Crops of the people with these indices; those not from shards are packed in `folder`."""
        if isinstance(self.people, Crops):
            return self.people.take(torch.tensor(chosen))
        return packed([self.people[i] for i in chosen], folder / f"{self.name}.safetensors")

    def whole_pictures(self, chosen: Sequence[int]) -> "Source":
        """The chosen people with the whole picture as box, as prediction without a box sees them.

        Only people who are alone in their picture, as far as is annotated, and whose box is at
        least a quarter of it; not for shards, whose pictures are not there any more.
        """
        assert not isinstance(self.people, Crops)
        alone = Counter(sample.image for sample in self.people)
        views = []
        people = [self.people[i] for i in chosen]
        for sample in tqdm(people, desc="measuring pictures", unit="picture"):
            if alone[sample.image] == 1:
                width, height = image_size(sample.image)
                longer = float(max(sample.box[2:] - sample.box[:2]))
                if longer >= max(width, height) / LONGEST:
                    box = np.array((0, 0, width, height), dtype=np.float32)
                    views.append(replace(sample, id=f"{sample.id}{WHOLE}", box=box))
        return Source(f"{self.name}-whole", self.skeleton, views)


def open_source(dataset: str, folder: Path, split: str) -> Source:
    """Reads a split of a dataset from its folder, or from a folder of shards."""
    name = f"{dataset.replace(':', '-')}-{split}"
    if holds_shards(folder):
        crops, skeleton = load_shards(folder, split, dataset)
        return Source(name, skeleton, crops)
    samples = read_dataset(dataset, folder, split)
    return Source(name, samples[0].skeleton, samples)
