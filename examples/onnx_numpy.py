"""Keypoints of a photo by an exported network, with onnxruntime and NumPy alone; Pillow reads it.

gatedpose export gated_hg_1s_68 --with-decode --out pose.onnx
python examples/onnx_numpy.py pose.onnx photo.jpg 10,20,210,420

The numbers are a box about the person; without them the whole photo is taken.
"""

import json
import sys
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def crop(
    photo: Image.Image, box: list[float], facts: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """The network's input about a box (x0, y0, x1, y1), and where it lies: left, top, scale.

    As `Predictor` does it: what the crop needs of the photo is shrunk with antialiasing, which
    Pillow's filters do, and then sampled bilinearly. Without antialiasing joints move by many
    pixels.
    """
    height, width = facts["size"]
    scale = min(height, width) / (1.25 * max(box[2] - box[0], box[3] - box[1]))
    left = (box[0] + box[2] - width / scale) / 2
    top = (box[1] + box[3] - height / scale) / 2
    reach = int(np.ceil(1 / scale)) + 1  # pixels beyond the crop that shrinking looks at
    x0, y0 = max(0, int(left) - reach), max(0, int(top) - reach)
    x1 = min(photo.width, int(np.ceil(left + width / scale)) + reach)
    y1 = min(photo.height, int(np.ceil(top + height / scale)) + reach)
    part = photo.crop((x0, y0, x1, y1))
    shrunk = min(1.0, scale)
    if scale < 1:
        small = max(1, int(part.width * scale)), max(1, int(part.height * scale))
        used = 0, 0, min(part.width, small[0] / scale), min(part.height, small[1] / scale)
        part = part.resize(small, Image.Resampling.BILINEAR, box=used)
    values = (np.asarray(part) / 255 - facts["mean"]) / facts["std"]
    across = shrunk * ((np.arange(width) + 0.5) / scale + left - x0) - 0.5
    down = shrunk * ((np.arange(height) + 0.5) / scale + top - y0) - 0.5
    pixels = sample(sample(values, down).swapaxes(0, 1), across).swapaxes(0, 1)
    return pixels.transpose(2, 0, 1)[None].astype(np.float32), np.array([left, top, scale])


def sample(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values between rows (N, ...), linearly; 0, which is the mean colour, outside."""
    padded = np.pad(rows, [(1, 1), *[(0, 0)] * (rows.ndim - 1)])
    places = np.clip(places + 1, 0, len(rows) + 1)
    low = np.minimum(places.astype(int), len(rows))
    share = (places - low).reshape(-1, *[1] * (rows.ndim - 1))
    mixed: np.ndarray = (1 - share) * padded[low] + share * padded[low + 1]
    return mixed


def main(model: str, photo: str, box: str = "") -> None:
    """See the top of the file."""
    session = onnxruntime.InferenceSession(model)
    if "keypoints" not in {output.name for output in session.get_outputs()}:
        sys.exit(f"{model} gives no keypoints: export it again with --with-decode")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["gatedpose"])
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGB")
    corners = [float(v) for v in box.split(",")] if box else [0.0, 0.0, *map(float, image.size)]
    images, (left, top, scale) = crop(image, corners, facts)
    keypoints, scores = session.run(["keypoints", "scores"], {"images": images})
    if told := facts["calibration"]:  # what peaks are worth: the chance that a joint is right
        scores = np.interp(scores, told["peaks"], told["chances"])
    for name, point, score in zip(
        facts["skeleton"]["joints"], keypoints[0], scores[0], strict=True
    ):
        x, y = point / scale + (left, top)
        score *= 0 <= x <= image.width and 0 <= y <= image.height
        print(f"{name:15} x {x:8.2f}  y {y:8.2f}  confidence {score:.2f}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
