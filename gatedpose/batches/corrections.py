"""Labels that trained networks are sure are wrong: found by a rule and kept from training.

LSP-extended was labelled by a crowd (Johnson & Everingham, CVPR 2011): some people have left and
right exchanged, some joints lie on another limb or another person.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from gatedpose.batches.crops import WHOLE, Crops
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.files.typed_json import from_json, read_json, to_json
from gatedpose.files.whole import write_whole
from gatedpose.skeleton import Skeleton

LABELS = ("keypoints", "labelled", "absent")
LSPET = Path(__file__).parents[1] / "data" / "lspet_corrections.json"


@dataclass(frozen=True)
class Corrections:
    """What is to be done with labels."""

    swapped: tuple[str, ...]  # ids of the people whose left and right are exchanged
    dropped: dict[str, tuple[str, ...]]  # joints, after that, that lose their label, by id
    about: dict[str, str] = field(default_factory=dict)  # how they were found

    @property
    def names(self) -> set[str]:
        """Ids of all people whose labels change."""
        return {*self.swapped, *self.dropped}

    def save(self, path: Path) -> None:
        """Writes them as JSON, a person a line."""
        write_whole(path, to_json(asdict(self), indent=0) + "\n")


def load_corrections(name: str | Path) -> Corrections:
    """What `Corrections.save` wrote, or "lspet", the packaged corrections; DatasetError if none."""
    path = LSPET if str(name) == "lspet" else Path(name)
    try:
        return from_json(Corrections, read_json(path), str(path))
    except ValueError as error:
        raise DatasetError(f"{path} holds no corrections: {error}") from error


def corrected(crops: Crops, corrections: Corrections, skeleton: Skeleton) -> Crops:
    """Crops with labels corrected; DatasetError if nobody of them is here or a joint is unknown."""
    named = corrections.names
    place: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(crops.ids):
        if (person := name.removesuffix(WHOLE)) in named:
            place[person].append(i)
    if named and not place:
        raise DatasetError(f"corrections of {min(named)} and others, but none of them is here")
    names = {name for joints in corrections.dropped.values() for name in joints}
    if unknown := sorted(names - set(skeleton.joints)):
        raise DatasetError(
            f"corrections of the joints {', '.join(unknown)}, unknown to {skeleton.name}"
        )
    labels = {name: getattr(crops, name).clone() for name in LABELS}
    flip = list(skeleton.flip_permutation)
    swap = [i for name in corrections.swapped for i in place.get(name, ())]
    for values in labels.values():
        values[swap] = values[swap][:, flip]
    for name, joints in corrections.dropped.items():
        for i in place.get(name, ()):
            labels["labelled"][i, [skeleton.joints.index(joint) for joint in joints]] = False
    return replace(crops, **labels)


def corrected_samples(samples: Sequence[Sample], corrections: Corrections) -> list[Sample]:
    """The same of people who are not cut out yet; their boxes stay."""
    arrays = [[s.keypoints, s.labelled, s.absent_joints] for s in samples]
    keypoints, labelled, absent = map(torch.from_numpy, map(np.stack, zip(*arrays, strict=True)))
    ids = tuple(sample.id for sample in samples)
    crops = Crops(torch.empty(len(ids)), keypoints, labelled, absent, ids)
    after = corrected(crops, corrections, samples[0].skeleton)
    return [
        replace(sample, **{name: getattr(after, name)[i].numpy() for name in LABELS})
        for i, sample in enumerate(samples)
    ]
