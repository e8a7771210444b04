"""Finds training images that nearly repeat a validation image, by perceptual hash (pHash, 64 bits).

    pip install "gatedpose[train]" imagehash
    python examples/find_near_duplicates.py --lsp LSP --lspet LSPET >
    gatedpose/data/near_duplicates.txt

Prints one id a line, and on standard error the distances found, so that the threshold can be
judged. The image and its mirror image are both compared.
"""

import sys
from pathlib import Path

import click
import imagehash
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from gatedpose.data.lsp import LSP_SPLITS, load_joints, lspet_val


def hashes(paths: list[Path], mirrored: bool = False) -> np.ndarray:
    """(N, 64) bool, one perceptual hash a row."""
    rows = []
    for path in tqdm(paths, desc="hashing", unit="image"):
        with Image.open(path) as image:
            picture = ImageOps.mirror(image) if mirrored else image
            rows.append(imagehash.phash(picture).hash.ravel())
    return np.array(rows)


def nearest(paths: list[Path], others: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(N,) differing bits of each picture to the nearest other or its mirror image; (N,) which."""
    own = np.packbits(hashes(paths), axis=1)
    bits, partner = np.full(len(paths), 64), np.zeros(len(paths), dtype=int)
    for mirrored in (False, True):
        for i, other in enumerate(np.packbits(hashes(others, mirrored), axis=1)):
            differing = np.bitwise_count(own ^ other).sum(axis=1, dtype=int)
            partner[differing < bits] = i
            bits = np.minimum(bits, differing)
    return bits, partner


@click.command(help=__doc__)
@click.option("--lsp", "lsp_folder", type=Path, required=True, help="Folder of LSP.")
@click.option("--lspet", "lspet_folder", type=Path, required=True, help="Folder of LSP-extended.")
@click.option(
    "--distance", default=10, help="Largest number of differing bits of a near-duplicate."
)
def main(lsp_folder: Path, lspet_folder: Path, distance: int) -> None:
    """See the top of the file."""
    labelled = load_joints(lspet_folder, (14, 3, 10000)).transpose(2, 0, 1)[..., 2] > 0
    drawn = set(lspet_val(labelled))
    names = {f"lsp/im{i + 1:04d}": i in LSP_SPLITS["val"] for i in range(1000)}
    names |= {f"lspet/im{i + 1:05d}": i in drawn for i in range(len(labelled))}
    folders = {"lsp": lsp_folder, "lspet": lspet_folder}
    paths = {n: folders[n.split("/")[0]] / "images" / f"{n.split('/')[1]}.jpg" for n in names}
    train = [name for name in names if not names[name]]
    val = [name for name in names if names[name]]
    bits, partner = nearest([paths[name] for name in train], [paths[name] for name in val])
    for i in np.argsort(bits, kind="stable"):
        if bits[i] <= distance + 4:
            print(f"{bits[i]:2d} bits: {train[i]} ~ {val[partner[i]]}", file=sys.stderr)
    for i in np.flatnonzero(bits <= distance):  # in the order of the datasets
        print(train[i])


if __name__ == "__main__":
    main()
