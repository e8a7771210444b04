"""Labels the people of pictures with MoveNet's keypoints, where its networks agree.

    pip install ".[fast]" imagehash
    python examples/label_people.py HUMAN LSP19 thunder.onnx lightning.onnx OUT --split train
    python examples/label_people.py HUMAN LSP19 thunder.onnx lightning.onnx OUT --split val
    python examples/label_people.py SPORTS LSP19 thunder.onnx lightning.onnx OUT2 --find --apart VAL

HUMAN is a folder in YOLO's layout whose pictures were squeezed into squares (the public repository
brianhuster/human-dataset); LSP19 has LSP's people with 19 joints (`split_people_labels.py`); the
networks come from `movenet_to_onnx.py`. OUT is then a folder of the dataset `own`. With --find,
SPORTS is any folder of pictures: the people are found, at most two in each.

A joint is labelled where Thunder sees it in the crop and in the mirrored crop, and Lightning sees
it at the same place. A person is left out whose joints lie outside of the box, since they are
somebody else's, or who has fewer than five joints of the limbs left. The pictures are widened to
4:3 where that makes Thunder surer. With --find they may be made narrower, too, and crops of people
whom Thunder is not sure of are turned: gymnasts hang upside down. Neck and head top follow from
face, shoulders and hips by a linear map that is fitted to LSP's people. Joints that hang below the
picture are `absent`. Pictures that nearly repeat one in an --apart folder are left out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import openvino
from find_near_duplicates import nearest
from PIL import Image
from tqdm import tqdm

from gatedpose.batches.pictures import read_labelled
from gatedpose.media.folders import find_images
from gatedpose.predict.finder import find_people
from gatedpose.skeleton import COCO17, PEOPLE19

WIDENED = (1.0, 4 / 3)  # width of the camera's picture over that of the squeezed one
RESHAPED = (1.0, 4 / 3, 3 / 4)  # with --find
LEAST = 0.086, 0.3125  # width and height of people, as shares of the picture's
SURE = 0.55  # mean score of Thunder from which on a crop is not turned
GAIN = 0.1  # of that score, by which turning has to help
NEAR = 10  # differing bits of two pictures' hashes, of 64
PEOPLE = 2  # of a picture, with --find
CHANCE = 0.4  # that a box found is somebody's
SIDE = 256  # of crops, in pixels
MARGIN = 1.2  # side of a crop over the longer side of the box
FLIP = list(COCO17.flip_permutation)
BELOW = {13: 15, 14: 16, 11: 13, 12: 14}  # a knee is out only if the ankle is; then hips
Run = Callable[[Image.Image], np.ndarray]


@dataclass(frozen=True)
class Seen:
    """What the networks see of a person.

    Attributes:
        picture: Its file.
        aspect: The best one, by Thunder's mean score.
        box: (x0, y0, x1, y1) in pixels of the squeezed picture.
        points: (17, 2), the same pixels: Thunder's in both crops on average.
        scores: (2, 17), Thunder's in either crop.
        apart: (2, 17), how far Thunder's mirrored points, and Lightning's, lie from Thunder's, as a
            share of the longer side of the box.
    """

    picture: Path
    aspect: float
    box: np.ndarray
    points: np.ndarray
    scores: np.ndarray
    apart: np.ndarray

    def labelled(self) -> np.ndarray | None:
        """(17,) bool, which joints are labelled; None for somebody else's."""
        sure = (self.scores[0] > 0.3) & (self.scores[1] > 0.25)
        sure &= (self.apart < [[0.06], [0.08]]).all(axis=0)
        low, high = self.box.reshape(2, 2)
        reach = 0.1 * (high - low).max()
        inside = ((self.points > low - reach) & (self.points < high + reach)).all(axis=1)
        if (sure & inside).sum() < 0.85 * sure.sum():
            return None
        good: np.ndarray = sure & inside & (self.scores.min(axis=0) > 0.3)
        return good

    def absent(self, height: float) -> list[int]:
        """Joints that are below the picture: the box is cut off there, and nothing is seen."""
        out = self.scores.min(axis=0) < (0.1 if self.box[3] >= 0.97 * height else 0)
        for joint, below in BELOW.items():
            out[joint] &= out[below]
        return [joint for joint in range(11, 17) if out[joint]]


def network(path: Path) -> Run:
    """An ONNX file of MoveNet: from a square crop to (17, 3), x and y from 0 to 1, and scores."""
    compiled = openvino.compile_model(path, "CPU")
    side = compiled.input(0).partial_shape[1].get_length()

    def run(crop: Image.Image) -> np.ndarray:
        pixels = np.asarray(crop.resize((side, side), Image.Resampling.BICUBIC), np.int32)
        rows: np.ndarray = compiled(pixels[None])[0][0, 0]
        return rows[:, [1, 0, 2]]

    return run


def cut(image: Image.Image, centre: np.ndarray, half: np.ndarray) -> Image.Image:
    """The (SIDE, SIDE) crop that reaches half, (width, height), to each side of the centre."""
    corners = np.concatenate((centre - half, centre + half)).tolist()
    if half[1] < 0.75 * SIDE:
        how = Image.Transform.EXTENT, tuple(corners), Image.Resampling.BICUBIC
        return image.transform((SIDE, SIDE), *how)
    crop = image.crop(tuple(map(round, corners)))  # transform does not smooth
    return crop.resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def turned(crop: Image.Image, quarters: int) -> Image.Image:
    """The crop after some quarter turns against the clock."""
    return crop.rotate(90 * quarters) if quarters else crop


def turned_back(points: np.ndarray, quarters: int) -> np.ndarray:
    """(17, 2) points of a turned crop, from 0 to 1, where they are in the crop itself."""
    for _ in range(quarters):
        points = np.stack((1 - points[:, 1], points[:, 0]), axis=1)
    return points


def aspects(image: Image.Image, find: bool) -> tuple[float, ...]:
    """What to try: a square may have been squeezed from anything, another picture was not."""
    if not find:
        return WIDENED
    return RESHAPED if image.width == image.height else (1.0,)


def look(
    image: Image.Image, picture: Path, box: np.ndarray, thunder: Run, light: Run, find: bool
) -> Seen:
    """Runs the networks on a person."""
    low, high = box.reshape(2, 2)
    centre = (low + high) / 2
    tries = []
    for aspect in aspects(image, find):
        side = MARGIN * max((high - low) * (aspect, 1))
        half = np.array([side / aspect, side]) / 2
        crop = cut(image, centre, half)
        tries.append((thunder(crop), aspect, crop, half, 0))
    best = max(tries, key=surest)
    if find and surest(best) < SURE:
        _, aspect, crop, half, _ = best
        turns = [(turned(crop, quarters), quarters) for quarters in (1, 2, 3)]
        other = max(((thunder(one), aspect, one, half, turn) for one, turn in turns), key=surest)
        best = other if surest(other) > surest(best) + GAIN else best
    first, aspect, crop, half, turn = best
    mirrored = thunder(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT))[FLIP]
    mirrored[:, 0] = 1 - mirrored[:, 0]
    middle = (first[:, :2] + mirrored[:, :2]) / 2
    apart = [
        MARGIN * np.linalg.norm(one - two, axis=1)
        for one, two in ((first[:, :2], mirrored[:, :2]), (middle, light(crop)[:, :2]))
    ]
    points = centre - half + 2 * half * turned_back(middle, turn)
    scores = np.stack((first[:, 2], mirrored[:, 2]))
    return Seen(picture, aspect, box, points, scores, np.stack(apart))


def surest(one: Any) -> float:
    """Thunder's mean score in a try."""
    return float(one[0][:, 2].mean())


def middles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of (N, 17, 2) joints (N, 2, 4) ears, eyes, nose, hips seen from (N, 2) mid-shoulders."""
    left, right = points[:, [5, 3, 1, 0, 11]], points[:, [6, 4, 2, 0, 12]]
    shoulders, *others = ((left + right) / 2).transpose(1, 0, 2)
    return np.stack([other - shoulders for other in others], axis=-1), shoulders


def fit_head(lsp: Path) -> np.ndarray:
    """(4, 2) weights of `middles` for neck and head top, from LSP's people."""
    rows = json.loads((lsp / "train.json").read_text("utf-8"))["annotations"]
    joints = np.array([row["keypoints"] for row in rows], float).reshape(-1, 19, 3)
    joints = joints[(joints[:, [*range(7), 11, 12, 17, 18], 2] > 0).all(axis=1), :, :2]
    known, shoulders = middles(joints)
    wanted = joints[:, 17:] - shoulders[:, None]  # (N, 2, 2): joint, then x and y
    flat = wanted.transpose(0, 2, 1).reshape(-1, 2)
    weights: np.ndarray = np.linalg.lstsq(known.reshape(-1, 4), flat, rcond=None)[0]
    return weights


def annotation(seen: Seen, good: np.ndarray, aspect: float, head: np.ndarray, size: Any) -> Any:
    """A person as COCO's tables have it, in pixels of the widened picture of this size."""
    stretch = np.array([aspect, 1.0])
    points = np.zeros((19, 3))
    points[:17][good, :2], points[:17][good, 2] = (seen.points * stretch)[good], 2
    if good[[0, 5, 6]].all() and good[1:5].sum() >= 3 and good[11:13].any():
        known, shoulders = middles((seen.points * stretch)[None])
        placed = shoulders + (known[0] @ head).T
        kept = ((placed > -2) & (placed < np.array(size) + 2)).all(axis=1)
        points[17:][kept, :2], points[17:][kept, 2] = placed[kept], 2
    corner, far = seen.box[:2] * stretch, seen.box[2:] * stretch
    box = [*corner.tolist(), *(far - corner).tolist()]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [round(value, 1) for value in box],
        "area": round(box[2] * box[3], 1),
        "keypoints": [round(value, 1) for value in points.ravel().tolist()],
        "num_keypoints": int((points[:, 2] > 0).sum()),
        "scores": [*seen.scores.min(axis=0).round(3).tolist(), 0, 0],
        "absent": seen.absent(size[1]),
    }


def pictures_in(folder: Path) -> list[Path]:
    """All pictures in and under a folder."""
    return find_images(folder / "**" / "*")


def boxes(source: Path, split: str, find: bool) -> Iterator[tuple[Path, Image.Image, np.ndarray]]:
    """Each picture, and (N, 4) boxes of its people."""
    if find:
        for path in pictures_in(source):
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            found, chances = find_people(image)
            yield path, image, found[chances > CHANCE][:PEOPLE].double().numpy()
        return
    for one in read_labelled(source, split):
        with Image.open(one.path) as opened:
            image = opened.convert("RGB")
        yield one.path, image, one.pixels(image.height, image.width).double().numpy()


def people(source: Path, split: str, find: bool, thunder: Run, light: Run) -> Iterator[Seen]:
    """Looks at all people who are large enough."""
    for path, image, rows in tqdm(boxes(source, split, find), "looking", unit="picture"):
        for box in rows:
            if ((box[2:] - box[:2]) / image.size >= LEAST).all():
                yield look(image, path, box, thunder, light, find)


def write(
    seen: list[Seen], near: set[Path], head: np.ndarray, source: Path, out: Path, split: str
) -> Counter[str]:
    """Writes OUT/SPLIT.json and the pictures; returns what became of the people."""
    votes: dict[Path, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for one in seen:
        votes[one.picture][one.aspect] += float(one.scores[0].mean())
    images: dict[Path, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    counts: Counter[str] = Counter(looked_at=len(seen))
    for one in seen:
        if one.picture in near:
            counts["picture to score on"] += 1
            continue
        good = one.labelled()
        if good is None or good[5:].sum() < 5:
            counts["somebody else" if good is None else "few joints"] += 1
            continue
        aspect = max(votes[one.picture], key=votes[one.picture].__getitem__)
        if one.picture not in images:
            with Image.open(one.picture) as opened:
                image = opened.convert("RGB")
            image = image.resize((round(image.width * aspect), image.height))
            number = len(images) + 1
            name = f"{split}_{number:06d}.jpg"
            image.save(out / "images" / name, quality=92)
            size = {"width": image.width, "height": image.height}
            origin = one.picture.relative_to(source).as_posix()
            images[one.picture] = {"id": number, "file_name": name, "source": origin, **size}
        told = images[one.picture]
        row = annotation(one, good, aspect, head, (told["width"], told["height"]))
        rows.append({"id": len(rows) + 1, "image_id": told["id"], **row})
    category = {"id": 1, "name": "person", "keypoints": list(PEOPLE19.joints)}
    table = {"images": list(images.values()), "annotations": rows, "categories": [category]}
    (out / f"{split}.json").write_text(json.dumps(table), "utf-8")
    counts["labelled"] = len(rows)
    return counts


@click.command(help=__doc__)
@click.argument("source", type=Path)
@click.argument("lsp", type=Path)
@click.argument("thunder", type=Path)
@click.argument("lightning", type=Path)
@click.argument("out", type=Path)
@click.option("--split", type=click.Choice(["train", "val"]), default="train", show_default=True)
@click.option("--find", is_flag=True, help="Look for the people: there are no boxes.")
@click.option("--apart", multiple=True, type=Path, help="Folders of pictures to score on.")
def main(
    source: Path,
    lsp: Path,
    thunder: Path,
    lightning: Path,
    out: Path,
    split: str,
    find: bool,
    apart: tuple[Path, ...],
) -> None:
    """See the file."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    seen = list(people(source, split, find, network(thunder), network(lightning)))
    others = [path for folder in apart for path in pictures_in(folder)]
    pictures = sorted({one.picture for one in seen})
    far = nearest(pictures, others)[0] if others else np.full(len(pictures), 64)
    near = {path for path, bits in zip(pictures, far, strict=True) if bits <= NEAR}
    print(dict(write(seen, near, fit_head(lsp), source, out, split)))


if __name__ == "__main__":
    main()
