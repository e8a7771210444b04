"""Names of joints: from those of one dataset to another's, and left and right in them."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from gatedpose.errors import InputError, did_you_mean
from gatedpose.skeleton import SKELETONS, Skeleton, plain_name, same_joints

LOG = logging.getLogger(__name__)
# What stands in for joints that one release annotates and another does not. The paper interpolates
# the two of MPII's that LSP lacks (Section III-C); LSP's neck is MPII's upper neck.
STAND_INS = {
    "pelvis": ("right hip", "left hip"),
    "thorax": ("right shoulder", "left shoulder"),
    "upper neck": ("neck",),
    "neck": ("upper neck",),
}

SIDES = (  # of which names may hold one: in English, German and Dutch, French, Spanish, Portuguese,
    # Italian, Chinese and Japanese
    ("right", "left"), ("rgt", "lft"), ("rechts", "links"), ("rechte", "linke"),
    ("droite", "gauche"), ("droit", "gauche"), ("derecha", "izquierda"), ("derecho", "izquierdo"),
    ("direita", "esquerda"), ("direito", "esquerdo"), ("destra", "sinistra"),
    ("destro", "sinistro"), ("dx", "sx"), ("右", "左"), ("r", "l"),
)  # fmt: skip

Groups = tuple[tuple[int, ...], ...]


def joint_groups(source: Skeleton, target: Skeleton, *, partly: bool = False) -> Groups:
    """For each joint of `target` the indices of the joints of `source` whose mean it is.

    With `partly`, `source` may lack some, but not all, of them: their groups are empty. Else
    InputError names what is lacking.
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
    """InputError for a joint that `target` lacks and no dataset has: misspelt, it would be lost."""
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

    One that holds all the others' joints is taken as it is, with its limbs. A joint that they write
    differently, see `same_joints`, is written plainly if any does, else as the first does.
    InputError if one shares no joint with the others, two disagree about flip pairs, or two names
    that are not the same differ by case, spaces or signs alone.
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


def guess_flip_pairs(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Index pairs (right, left) of joints whose names differ by the side alone.

    The side is left or right anywhere in the name, or l or r in its place, whatever the case and
    the signs between words. A joint with two possible partners gets none.

    >>> guess_flip_pairs(["nose", "left_eye", "right_eye", "paw.R", "paw.L"])
    ((2, 1), (3, 4))
    >>> guess_flip_pairs(["front_left_paw", "front_right_paw", "hip_FL", "hip_FR"])
    ((1, 0), (3, 2))
    """
    names = [re.sub(r"[\W_]+", " ", name).lower() for name in joints]
    if len(set(names)) < len(names):
        names = list(joints)
    place = {name: index for index, name in enumerate(names)}
    pairs = {
        (index, place[other])
        for name, index in place.items()
        for other in _mirrored(name)
        if other in place
    }
    partners = Counter(joint for pair in pairs for joint in pair)
    return tuple(sorted(pair for pair in pairs if all(partners[joint] == 1 for joint in pair)))


def _mirrored(name: str) -> set[str]:
    """Names that a joint with right in its name may have on the left."""
    names = set()
    for right, left in SIDES:
        starts = (at.start() for at in re.finditer(right, name))
        names |= {name[:at] + left + name[at + len(right) :] for at in starts}
        names.add(name.replace(right, left))  # of a finger of the hand of a side, all
    return names - {name}


def sided(name: str) -> bool:
    """Whether a name says left or right as a word, or begins or ends with it, or l or r.

    >>> [sided(name) for name in ("left_eye", "pawLeft", "righteye", "upright", "cleft lip")]
    [True, True, True, False, False]
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return bool(re.search(r"(?i)(?<![^\W_])(left|right|[lr](?![^\W_]))", words))


def pairs_text(skeleton: Skeleton) -> str:
    """The flip pairs in words."""
    pairs = [" - ".join(skeleton.joints[end] for end in pair) for pair in skeleton.flip_pairs]
    none = "none: if any joints are left and right, name them in the category's 'flip_pairs'"
    return f"{skeleton.name}: flip pairs: {', '.join(pairs) or none}"


def warn_of_unpaired(skeleton: Skeleton, where: object) -> None:
    """Says which joints have a side in their name and no partner in a mirrored image."""
    paired = {joint for pair in skeleton.flip_pairs for joint in pair}
    alone = [n for i, n in enumerate(skeleton.joints) if i not in paired and sided(n)]
    if alone:
        LOG.warning(
            f"{where}: joints that name a side but are in no flip pair keep it in mirrored images: "
            f"{', '.join(alone)}. Name the pairs in the category's 'flip_pairs'"
        )
