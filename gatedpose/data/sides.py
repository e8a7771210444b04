"""Left and right in the names of joints: which of them change places in a mirrored image."""

import logging
import re
from collections import Counter
from collections.abc import Sequence

from gatedpose.skeleton import Skeleton

LOG = logging.getLogger(__name__)
SIDES = (  # of which names may hold one: in English, German and Dutch, French, Spanish, Portuguese,
    # Italian, Chinese and Japanese
    ("right", "left"), ("rgt", "lft"), ("rechts", "links"), ("rechte", "linke"),
    ("droite", "gauche"), ("droit", "gauche"), ("derecha", "izquierda"), ("derecho", "izquierdo"),
    ("direita", "esquerda"), ("direito", "esquerdo"), ("destra", "sinistra"),
    ("destro", "sinistro"), ("dx", "sx"), ("右", "左"), ("r", "l"),
)  # fmt: skip


def guess_flip_pairs(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of joints whose names differ by the side alone.

    The side is left or right anywhere in the name, or l or r in its place, whatever the case and
    the signs between words. A joint with two possible partners gets none.

    Returns:
        Index pairs (right, left).

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
