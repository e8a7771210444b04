"""From the joints of one dataset to those of another, by name."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatedpose.data.sides import guess_flip_pairs
from gatedpose.errors import InputError, did_you_mean
from gatedpose.skeleton import SKELETONS, Skeleton, plain_name

# What stands in for joints that one release annotates and another does not. The paper interpolates
# the two of MPII's that LSP lacks (Section III-C); LSP's neck is MPII's upper neck.
STAND_INS = {
    "pelvis": ("right hip", "left hip"),
    "thorax": ("right shoulder", "left shoulder"),
    "upper neck": ("neck",),
    "neck": ("upper neck",),
}

Groups = tuple[tuple[int, ...], ...]


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


def joint_groups(source: Skeleton, target: Skeleton, *, partly: bool = False) -> Groups:
    """For each joint of `target` the indices of the joints of `source` whose mean it is.

    Args:
        source: The joints that there are.
        target: The joints to be had.
        partly: Whether `source` may lack some, but not all, of them; their groups are empty.

    Raises:
        ValueError: For a joint of `target` that `source` has neither itself nor by a stand-in.
    """
    same = same_joints(target.joints, source.joints)
    groups: list[tuple[int, ...]] = []
    for index, name in enumerate(target.joints):
        names = STAND_INS.get(plain_name(name), ())
        means = tuple(same_joints(names, source.joints).values())
        groups.append((same[index],) if index in same else means * (len(means) == len(names)))
    missing = [name for name, group in zip(target.joints, groups, strict=True) if not group]
    if len(missing) == len(groups):
        raise InputError(
            f"{source.name} and {target.name} share no joint: {', '.join(source.joints)} against "
            f"{', '.join(target.joints)}"
        )
    if missing and not partly:
        raise InputError(
            f"the joints differ: {source.name} has no {', '.join(missing)}, which {target.name} "
            "needs"
        )
    return tuple(groups)


def unlike(one: Skeleton, other: Skeleton) -> str:
    """What tells two skeletons' heatmaps apart; "" if nothing, whatever their names and limbs."""
    same = same_joints(one.joints, other.joints)
    more = [name for index, name in enumerate(one.joints) if index not in same]
    less = [name for index, name in enumerate(other.joints) if index not in same.values()]
    if more or less:
        told = ("it has ", more), ("it has no ", less)
        return ", and ".join(text + ", ".join(names) for text, names in told if names)
    if list(same.values()) != list(range(len(other.joints))):
        return "they have another order"
    pairs = ({frozenset(pair) for pair in skeleton.flip_pairs} for skeleton in (one, other))
    return "" if next(pairs) == next(pairs) else "its flip pairs differ"


def check_known(source: Skeleton, target: Skeleton) -> None:
    """Sees that joints of `source` that `target` lacks are at least joints that are known.

    Raises:
        ValueError: For a name that no dataset known here has, a misspelt one for example: its
            labels would be lost.
    """
    known = {plain_name(n) for skeleton in (target, *SKELETONS.values()) for n in skeleton.joints}
    for name in source.joints:
        if plain_name(name) not in known:
            raise InputError(
                f"{source.name} has a joint {name!r}, which {target.name} lacks; "
                f"{did_you_mean(name, target.joints)}"
            )


def group_means(values: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Means (N, len(groups), ...) of values (N, K, ...) over each group of joints, 0 of none."""
    none = torch.zeros_like(values[:, 0])
    means = [values[:, list(group)].mean(1) if group else none for group in groups]
    return torch.stack(means, 1)


def named_skeleton(joints: Sequence[str], like: Skeleton) -> Skeleton:
    """The skeleton of joints in this order: `like`, one of the package's, or guessed by names."""
    for known in (like, *SKELETONS.values()):
        if same := in_order(known, joints):
            return same
    return Skeleton("own", tuple(joints), guess_flip_pairs(joints), ())


def in_order(known: Skeleton, joints: Sequence[str]) -> Skeleton | None:
    """A skeleton with its joints in another order, or written so; None if they are others."""
    place = same_joints(known.joints, joints)
    if not len(place) == len(known.joints) == len(joints):
        return None
    flips, limbs = (
        tuple((place[a], place[b]) for a, b in pairs) for pairs in (known.flip_pairs, known.limbs)
    )
    return Skeleton(known.name, tuple(joints), flips, limbs)


def join_skeletons(skeletons: Sequence[Skeleton]) -> Skeleton:
    """All joints of several datasets by name, in the order in which they first come.

    One that holds all the others' joints is taken as it is, with its limbs. A joint that they
    write differently, see `same_joints`, is written plainly if any does, else as the first does.

    Raises:
        ValueError: If one shares no joint with the others, two disagree about flip pairs, or two
            names that are not the same differ by case, spaces or signs alone.
    """
    skeletons = _written_alike(skeletons)
    for i, skeleton in enumerate(skeletons):
        others = {name for other in (*skeletons[:i], *skeletons[i + 1 :]) for name in other.joints}
        if others and not others & set(skeleton.joints):
            raise InputError(f"{skeleton.name} ({', '.join(skeleton.joints)}) shares no joint")
    spelt: dict[str, str] = {}
    for name in (name for skeleton in skeletons for name in skeleton.joints):
        plain = re.sub(r"[\W_]", "", name).lower()
        if (other := spelt.setdefault(plain, name)) != name and not any(
            {other, name} <= set(skeleton.joints) for skeleton in skeletons
        ):
            raise InputError(
                f"joints are joined by name, but {other!r} and {name!r} differ: rename"
            )
    joints = set().union(*(skeleton.joints for skeleton in skeletons))
    largest = next((one for one in skeletons if set(one.joints) == joints), None)
    joined = largest or _union(skeletons)
    for skeleton in skeletons:
        if _named_flips(skeleton) != _named_flips(joined, set(skeleton.joints)):
            raise InputError(f"the flip pairs of {skeleton.name} and {joined.name} differ")
    return joined


def _written_alike(skeletons: Sequence[Skeleton]) -> list[Skeleton]:
    """The same skeletons, in which a joint that several have is written the same."""
    several: Counter[str] = Counter()
    written: dict[str, str] = {}
    for skeleton in skeletons:
        counts = Counter(map(plain_name, skeleton.joints))
        several |= counts  # the most that one has of a name
        for name in skeleton.joints:
            plain = plain_name(name)
            written[plain] = name if name == plain else written.get(plain, name)
    return [
        replace(
            s, joints=tuple(n if several[p := plain_name(n)] > 1 else written[p] for n in s.joints)
        )
        for s in skeletons
    ]


def _union(skeletons: Sequence[Skeleton]) -> Skeleton:
    joints = tuple(dict.fromkeys(name for s in skeletons for name in s.joints))
    flips, limbs = (
        {
            tuple(joints.index(s.joints[end]) for end in pair): None
            for s in skeletons
            for pair in getattr(s, kind)
        }
        for kind in ("flip_pairs", "limbs")
    )
    name = "+".join(dict.fromkeys(s.name for s in skeletons))
    return Skeleton(name, joints, tuple(flips), tuple(limbs))  # type: ignore[arg-type]


def _named_flips(skeleton: Skeleton, among: set[str] | None = None) -> set[frozenset[str]]:
    pairs = (frozenset(skeleton.joints[end] for end in pair) for pair in skeleton.flip_pairs)
    return {pair for pair in pairs if among is None or pair <= among}
