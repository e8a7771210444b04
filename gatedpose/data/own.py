"""Reader of a user's own data: COCO's format with any joints, which the file itself names."""

from collections.abc import Sequence
from pathlib import Path

from gatedpose.data.annotations import Row
from gatedpose.data.coco import joints_category, load_index, read_people
from gatedpose.data.samples import Sample, require_images
from gatedpose.errors import DatasetError
from gatedpose.skeleton import SKELETONS, Skeleton

SIDES = (("right", "left"), ("Right", "Left"), ("RIGHT", "LEFT"), ("r", "l"), ("R", "L"))


def own(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads a user's own data.

    Args:
        folder: Holds `split`.json and images/. The file is COCO's, coordinates included: images
            (id, file_name), annotations (id, image_id, category_id, keypoints; bbox may be left
            out, then the tight box of the labelled joints is taken) and categories. The first
            category counts: its "keypoints" names the joints, "skeleton" lists limbs as pairs of
            joint numbers from 1, and "flip_pairs" pairs of joint names that change places in a
            mirrored image. Without flip_pairs they are guessed, see `guess_flip_pairs`. An
            annotation may list under "absent" joints, by their numbers from 0, that are sure to be
            out of the picture: training then teaches that they are not there.
        split: Any for which there is a file: "train", "val" and so on.
        check_images: Whether the images must be there.

    Returns:
        People with a labelled joint, in the order of the file; ids are "own/image id/annotation
        id".

    Raises:
        DatasetError: For an unknown split, missing files, or a row that is wrong: the message names
            file, row and field.
        ImportError: Without pycocotools.
    """
    if not Path(folder).is_dir():
        raise DatasetError(f"there is no folder {folder}")
    files = {path.stem: path for path in sorted(Path(folder).glob("*.json"))}
    if split not in files:
        there = (
            f"has the splits {', '.join(files)}" if files else "holds no split such as train.json"
        )
        raise DatasetError(f"{folder} {there}, not {split!r}" if files else f"{folder} {there}")
    images = Path(folder) / "images"
    index = load_index(files[split])
    skeleton = _skeleton(joints_category(files[split], index))
    people = read_people(files[split], index, images, "own", skeleton, bbox_needed=False)
    if check_images:
        require_images(images, {person.image.relative_to(images).as_posix() for person in people})
    return people


def guess_flip_pairs(joints: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Pairs of joints whose names differ by the side alone.

    The side is left or right, or l or r, at the name's start or end, in any of the usual cases. If
    a joint has two possible partners nothing is guessed.

    Returns:
        Index pairs (right, left).

    >>> guess_flip_pairs(["nose", "left_eye", "right_eye", "paw.R", "paw.L"])
    ((2, 1), (3, 4))
    """
    pairs = set()
    for i, name in enumerate(joints):
        for right, left in SIDES:
            mirrored = []
            if name.startswith(right):
                mirrored.append(left + name.removeprefix(right))
            if name.endswith(right):
                mirrored.append(name.removesuffix(right) + left)
            pairs |= {(i, joints.index(other)) for other in mirrored if other in joints}
    paired = [joint for pair in pairs for joint in pair]
    return tuple(sorted(pairs)) if len(set(paired)) == len(paired) else ()


def _skeleton(category: Row) -> Skeleton:
    joints = tuple(category.get("keypoints"))
    for known in SKELETONS.values():  # then limbs, pairs and metrics are those of its name
        if joints == known.joints and not {"flip_pairs", "skeleton"} & set(category.values):
            return known
    flips = guess_flip_pairs(joints)
    if "flip_pairs" in category.values:
        flips = tuple(_pairs(category, "flip_pairs", joints))
    limbs: tuple[tuple[int, int], ...] = ()
    if "skeleton" in category.values:
        limbs = tuple(_pairs(category, "skeleton", range(1, len(joints) + 1)))
    try:
        return Skeleton(str(category.values.get("name", "own")), joints, flips, limbs)
    except ValueError as error:
        raise DatasetError(f"{category.file}, {category.name}: {error}") from error


def _pairs(
    category: Row, key: str, allowed: Sequence[str] | Sequence[int]
) -> list[tuple[int, int]]:
    """The pairs of a field as indices into `allowed`."""
    pairs = category.get(key)
    valid = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(end in allowed for end in pair)
        for pair in pairs
    )
    if not valid:
        raise category.error(
            key, f"must be pairs of {allowed[0]!r} to {allowed[-1]!r}, got {pairs!r:.80}"
        )
    return [(allowed.index(first), allowed.index(second)) for first, second in pairs]
