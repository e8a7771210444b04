"""Reader of a user's own data: COCO's format or YOLO's, with any joints, which the file names."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gatedpose.data.agreement import require_pictures
from gatedpose.data.annotations import Row
from gatedpose.data.coco import read_people
from gatedpose.data.coco_table import as_table, joint_categories, joint_names
from gatedpose.data.joints import guess_flip_pairs, in_order, warn_of_unpaired
from gatedpose.data.samples import Sample
from gatedpose.data.yolo import common_folder, yolo_file, yolo_splits, yolo_table
from gatedpose.errors import DatasetError
from gatedpose.files.typed_json import read_json
from gatedpose.skeleton import MPII16, SKELETONS, Skeleton, plain_name

LOG = logging.getLogger(__name__)
ROBOFLOW = "_annotations.coco.json"
KEYPOINTS = "person_keypoints_"  # how CVAT's and COCO's files begin
ALIASES = (
    ("train", "training", "train2017"),
    ("val", "valid", "validation", "val2017"),
    ("test", "testing", "test2017"),
)
HELD_OUT = 1 / 5  # of the pictures validate where there is no split of its own for that


def own(folder: str | Path, split: str, *, check_images: bool = True) -> list[Sample]:
    """Reads a user's own data.

    Args:
        folder: Holds `split`.json and images/; or what CVAT (annotations/person_keypoints_*.json,
            images/), Roboflow (`split`/_annotations.coco.json beside the images) or Label Studio
            (result.json, images/) export; or data.yaml of YOLO's keypoints, see
            `gatedpose.data.yolo`. The file is COCO's, coordinates included: images (id,
            file_name), annotations (id, image_id, category_id, keypoints; bbox may be left out,
            then the tight box of the labelled joints is taken) and categories. The category that
            has "keypoints", which name the joints, counts, see `joint_categories`; its "skeleton"
            lists limbs as pairs of joint numbers from 1, and "flip_pairs" pairs of joint names that
            change places in a mirrored image. Without flip_pairs they are guessed, see
            `guess_flip_pairs`. An annotation may list under "absent" joints, by their numbers from
            0, that are sure to be out of the picture: training then teaches that they are not
            there.
        split: Any for which there is a file: "train", "val" and so on; "val" also finds "valid",
            "validation" and "val2017"; "train" is also the only table there is, whatever its name,
            see `splits_in`. Where "val" has no table it is about one in five of the pictures of
            "train", which `gatedpose.training.train` then leaves out of "train". Whether a picture
            is one of them follows from its own path in the folder of pictures alone, whatever
            others come or go; but of few pictures one at least is in either half.
        check_images: Whether the images must be there.

    Returns:
        People with a labelled joint, in the order of the file; ids are "own/image id/annotation
        id". The log says what was left out or assumed, and what speaks against the labels.

    Raises:
        DatasetError: For an unknown split, files that are missing or no pictures, or a row that is
            wrong: the message names file, row and field.
    """
    held = split.lower() in ALIASES[1] and not has_validation(folder)
    place = _place(Path(folder), "train" if held else split)
    yolo = place.file.suffix != ".json"
    content = yolo_table(place.file, place.split) if yolo else read_json(place.file)
    table = as_table(place.file, content, place.images)
    categories = joint_categories(table)
    skeleton = _skeleton(max(categories, key=lambda row: row.values.get("flip_pairs") is not None))
    warn_of_unpaired(skeleton, place.file)
    names = {table.image_of(row).file_name() for row in table.annotations}
    images = _image_folder(place, names) if check_images else place.images[0]
    people = read_people(table, categories, images, "own", skeleton)
    if held:
        people = _held_out(people, place.file, images)
    if check_images:
        require_pictures(images, people)
    return people


@dataclass(frozen=True)
class Place:
    """Where a split lies."""

    split: str  # its name there
    file: Path  # the table
    images: tuple[Path, ...]  # folders that its pictures may be in, the likeliest first


def splits_in(folder: Path) -> dict[str, Place]:
    """The splits of a folder by name, in each of the layouts that `own` knows."""
    found: dict[str, Place] = {}
    images = folder / "images"
    for file in _tables(folder):
        where = (images, images / file.stem, folder / file.stem, folder)
        found.setdefault(file.stem, Place(file.stem, file, where))
    for file in _tables(folder / "annotations"):
        name = file.stem.removeprefix(KEYPOINTS)
        where = (images / name, images, folder / name, folder)
        found.setdefault(name, Place(name, file, where))
    for file in sorted(folder.glob(f"*/{ROBOFLOW}")):
        name = file.parent.name
        found.setdefault(name, Place(name, file, (file.parent, file.parent / "images")))
    if not found and (facts := yolo_file(folder)):
        for name, places in yolo_splits(facts).items():
            found[name] = Place(name, facts, (common_folder(places),))
    return {name: place for name, place in found.items() if not name.startswith(".")}


def _tables(folder: Path) -> list[Path]:
    """JSON files that may be tables: called as a split is, or with pictures and annotations."""
    usual = {name for names in ALIASES for name in names}
    files = sorted(folder.glob("*.json"))
    return [file for file in files if file.stem.lower() in usual or _is_table(file)]


def _is_table(file: Path) -> bool:
    try:
        data = file.read_bytes()  # of a large file far faster than its JSON
    except OSError:
        return True  # whoever reads it says what is wrong
    return all(key in data for key in (b'"images"', b'"annotations"'))


def has_validation(folder: str | Path) -> bool:
    """Whether a folder of a user's own data has a table for "val"."""
    return bool(set(ALIASES[1]) & {name.lower() for name in splits_in(Path(folder))})


def _held_out(people: list[Sample], file: Path, images: Path) -> list[Sample]:
    """The people in the pictures whose paths have the lowest hashes, one picture at least."""
    # Roboflow's copies of one photo are called photo_jpg.rf.0123.jpg, photo_jpg.rf.4567.jpg.
    sources = {
        image: (image.relative_to(images).parent / image.name.partition(".rf.")[0]).as_posix()
        for image in (person.image for person in people)
    }
    hashes = {
        source: int(hashlib.sha256(source.encode()).hexdigest(), 16) / 2**256
        for source in sources.values()
    }
    if len(hashes) == 1:
        raise DatasetError(
            f"{file} has people in one picture only, and nothing is left to validate by: label "
            "more, or add val.json"
        )
    low = sum(share < HELD_OUT for share in hashes.values())
    lowest = set(sorted(hashes, key=hashes.__getitem__)[: min(max(1, low), len(hashes) - 1)])
    held = {image for image, source in sources.items() if source in lowest}
    LOG.info(
        f"{file.parent} has no val.json: {len(held)} of the {len(sources)} pictures of "
        f"{file.name} are kept for validation"
    )
    return [person for person in people if person.image in held]


def _place(folder: Path, split: str) -> Place:
    """The split of that name, in whatever case, or of one that means the same."""
    if not folder.is_dir():
        instead = "is a file: give the folder that holds it" if folder.exists() else "is not there"
        raise DatasetError(f"{folder} {instead}")
    places = splits_in(folder)
    lower = {name.lower(): place for name, place in reversed(places.items())}
    meant = next((names for names in ALIASES if split.lower() in names), ())
    place = places.get(split)
    for name in (split.lower(), *meant):
        place = place or lower.get(name)
    if meant == ALIASES[0] and len(places) == 1 and not set(lower) & set(ALIASES[1] + ALIASES[2]):
        [place] = places.values()  # the only table there is, and called as no other split
    if place:
        if place.split != split:
            LOG.info(f"{folder}: {split!r} is {place.file.relative_to(folder)}")
        return place
    if not places:
        raise DatasetError(
            f"{folder} holds no split such as train.json: tables are COCO's, as CVAT, Roboflow and "
            "Label Studio export them, or YOLO's, with a data.yaml that has kpt_shape; not "
            "DeepLabCut's .csv or SLEAP's .slp"
        )
    raise DatasetError(f"{folder} has the splits {', '.join(places)}, not {split!r}")


def _image_folder(place: Place, names: set[str]) -> Path:
    """Where most of the named pictures are; of equals the likeliest."""
    there = [folder for folder in place.images if folder.is_dir()]
    found = {folder: sum((folder / name).is_file() for name in names) for folder in there}
    return max(there, key=lambda folder: found[folder]) if any(found.values()) else place.images[0]


def _skeleton(category: Row) -> Skeleton:
    name = str(category.values.get("name", "own"))
    name = "own" if name in SKELETONS else name  # the package's names stand for its own joints
    joints = _known_names(joint_names(category))
    flips = guess_flip_pairs(joints)
    if category.values.get("flip_pairs") is not None:
        pairs = _pairs(category, "flip_pairs", joint_names(category))
        flips = tuple((b, a) if (b, a) in flips else (a, b) for a, b in pairs)  # right first
    for known in SKELETONS.values():  # then limbs and metrics are those of its joints
        same = in_order(known, joints)
        if same and set(map(frozenset, flips)) == set(map(frozenset, same.flip_pairs)):
            if same == known != MPII16:  # PCKh needs head boxes: tables have none
                return known
            return replace(same, name=name)
    limbs: tuple[tuple[int, int], ...] = ()
    if (given := category.values.get("skeleton")) is not None:  # some programs count from 0
        from_0 = isinstance(given, list) and any(isinstance(p, list) and 0 in p for p in given)
        numbers = range(len(joints)) if from_0 else range(1, len(joints) + 1)
        limbs = tuple(_pairs(category, "skeleton", numbers))
    try:
        return Skeleton(name, joints, flips, limbs)
    except ValueError as error:
        raise DatasetError(f"{category.file}, {category.name}: {error}") from error


def _known_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Names as this package writes them, if all are of its joints: "left_eye" is "left eye"."""
    plain = tuple(map(plain_name, names))
    known = {joint for skeleton in SKELETONS.values() for joint in skeleton.joints}
    return plain if set(plain) <= known else names


def _pairs(
    category: Row, key: str, allowed: Sequence[str] | Sequence[int]
) -> list[tuple[int, int]]:
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
