"""Which keypoints a network predicts: names, left-right pairs and the limbs that join them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gatedpose.errors import InputError


def plain_name(joint: str) -> str:
    """A joint's name as this package writes it: "LeftEye" and "left_eye" are "left eye"."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", joint)
    return " ".join(words.split()).lower()


def same_joints(names: Sequence[str], joints: Sequence[str]) -> dict[int, int]:
    """Which of `joints` each of `names` is, by their indices; those that are none are left out.

    "left_ear" and "LeftEar" are "left ear", see `plain_name`, unless either has two of that name.

    >>> same_joints(["LeftEar", "tail", "nose"], ["nose", "left_ear"])
    {0: 1, 2: 0}
    """
    plain, others = ([plain_name(name) for name in some] for some in (names, joints))
    found = {}
    for index, name in enumerate(names):
        if name in joints:
            found[index] = joints.index(name)
        elif plain.count(plain[index]) == others.count(plain[index]) == 1:
            found[index] = others.index(plain[index])
    return found


@dataclass(frozen=True)
class Skeleton:
    """Joints of a dataset, in the order of the heatmap channels.

    Attributes:
        name: Short name, "lsp14" for example.
        joints: Name of each of the K joints.
        flip_pairs: Index pairs (right, left) that change places in a mirrored image.
        limbs: Index pairs joined by a line in drawings.

    Raises:
        ValueError: For a repeated joint, an index out of range, or a joint in two flip pairs.
    """

    name: str
    joints: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if len(set(self.joints)) != len(self.joints) or "" in (self.joints or [""]):
            raise InputError(f"Skeleton {self.name!r}: joint names must be given and differ")
        paired = [index for pair in self.flip_pairs for index in pair]
        used = [*paired, *(index for limb in self.limbs for index in limb)]
        if any(not 0 <= index < len(self.joints) for index in used):
            raise InputError(
                f"Skeleton {self.name!r}: flip pairs and limbs must index {len(self.joints)} joints"
            )
        if len(set(paired)) != len(paired):
            raise InputError(f"Skeleton {self.name!r}: a joint can be in one flip pair only")

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Skeleton":
        """The skeleton that `dataclasses.asdict` made `fields` of, perhaps by way of JSON.

        Raises:
            ValueError: For fields that are missing, unknown or of another kind.
        """
        try:
            flip_pairs, limbs = (
                tuple((int(a), int(b)) for a, b in fields[name]) for name in ("flip_pairs", "limbs")
            )
            name, joints = str(fields["name"]), tuple(str(joint) for joint in fields["joints"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"no skeleton: {error!r} in {fields!r}") from error
        return cls(name, joints, flip_pairs, limbs)

    @property
    def num_keypoints(self) -> int:
        """Number K of joints."""
        return len(self.joints)

    @cached_property
    def flip_permutation(self) -> tuple[int, ...]:
        """Index of the joint whose place each joint takes in a mirrored image, length K."""
        order = list(range(self.num_keypoints))
        for right, left in self.flip_pairs:
            order[right], order[left] = left, right
        return tuple(order)


MPII16 = Skeleton(
    name="mpii16",
    joints=(
        "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle",
        "pelvis", "thorax", "upper neck", "head top",
        "right wrist", "right elbow", "right shoulder",
        "left shoulder", "left elbow", "left wrist",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (10, 15), (11, 14), (12, 13)),
    limbs=(
        (0, 1), (1, 2), (2, 6), (6, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 9),
        (10, 11), (11, 12), (12, 7), (7, 13), (13, 14), (14, 15),
    ),
)  # fmt: skip

LSP14 = Skeleton(
    name="lsp14",
    joints=(
        "right ankle", "right knee", "right hip", "left hip", "left knee", "left ankle",
        "right wrist", "right elbow", "right shoulder",
        "left shoulder", "left elbow", "left wrist", "neck", "head top",
    ),
    flip_pairs=((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9)),
    limbs=(
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (6, 7), (7, 8), (8, 12), (12, 9), (9, 10),
        (10, 11), (8, 2), (9, 3), (12, 13),
    ),
)  # fmt: skip

COCO17 = Skeleton(
    name="coco17",
    joints=(
        "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder",
        "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist", "left hip",
        "right hip", "left knee", "right knee", "left ankle", "right ankle",
    ),
    flip_pairs=((2, 1), (4, 3), (6, 5), (8, 7), (10, 9), (12, 11), (14, 13), (16, 15)),
    limbs=(
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7),
        (6, 8), (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
)  # fmt: skip

# COCO's 17 and, from LSP, the neck and the top of the head: what the ".people" weights predict.
PEOPLE19 = Skeleton(
    name="people19",
    joints=(*COCO17.joints, "neck", "head top"),
    flip_pairs=COCO17.flip_pairs,
    limbs=(*COCO17.limbs, (17, 18)),
)

SKELETONS = {skeleton.name: skeleton for skeleton in (MPII16, LSP14, COCO17, PEOPLE19)}
