"""Splits the 19-joint labels of LSP and LSP-extended as the readers split their people.

    python examples/split_people_labels.py LABELS/lsp.json.gz LSP OUT/lsp
    python examples/split_people_labels.py LABELS/lspet.json.gz LSPET OUT/lspet

LSP and LSPET are the folders of the datasets (joints.mat, images/). OUT/lsp then holds train.json,
val.json and a link to the images, to be read as "own:lsp". People whom the readers leave out, such
as near-duplicates of a validation picture, are left out there, too.
"""

import json
import sys
from pathlib import Path

from gatedpose.data.readers import read_dataset
from gatedpose.files.typed_json import read_json


def main(labels: Path, dataset: Path, out: Path) -> None:
    """Writes OUT/train.json and OUT/val.json and links OUT/images."""
    name = labels.name.removesuffix(".json.gz")
    table = read_json(labels)
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "images").exists():
        (out / "images").symlink_to((dataset / "images").resolve(), target_is_directory=True)
    for split in ("train", "val"):
        files = {person.image.name for person in read_dataset(name, dataset, split)}
        images = [image for image in table["images"] if image["file_name"] in files]
        ids = {image["id"] for image in images}
        people = [person for person in table["annotations"] if person["image_id"] in ids]
        part = {**table, "images": images, "annotations": people}
        (out / f"{split}.json").write_text(json.dumps(part), "utf-8")
        print(f"{out / split}.json: {len(people)} of the reader's {len(files)} people")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
