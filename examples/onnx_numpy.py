"""Keypoints of a photo by an exported network, with onnxruntime and NumPy alone; Pillow reads it.

gatedpose export gated_hg_1s_68 --with-decode --out pose.onnx
python examples/onnx_numpy.py pose.onnx photo.jpg 10,20,210,420
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image


def crop(photo: Image.Image, box: list[float], facts: dict) -> tuple[np.ndarray, np.ndarray]:
    """The network's input about a box (x0, y0, x1, y1), and where it lies: left, top, scale."""
    height, width = facts["size"]
    scale = min(height, width) / (1.25 * max(box[2] - box[0], box[3] - box[1]))
    left = (box[0] + box[2] - width / scale) / 2
    top = (box[1] + box[3] - height / scale) / 2
    fill = tuple(round(255 * value) for value in facts["mean"])
    room = [int(max(0, -left, left + width / scale - photo.width)) + 2,
            int(max(0, -top, top + height / scale - photo.height)) + 2]  # fmt: skip
    canvas = Image.new("RGB", (photo.width + 2 * room[0], photo.height + 2 * room[1]), fill)
    canvas.paste(photo, tuple(room))
    x, y = left + room[0], top + room[1]
    area = (x, y, x + width / scale, y + height / scale)
    pixels = canvas.resize((width, height), Image.Resampling.BILINEAR, box=area)
    values = (np.asarray(pixels) / 255 - facts["mean"]) / facts["std"]
    return values.transpose(2, 0, 1)[None].astype(np.float32), np.array([left, top, scale])


def main(model: str, photo: str, box: str = "") -> None:
    """See the top of the file."""
    session = onnxruntime.InferenceSession(model)
    if "keypoints" not in {output.name for output in session.get_outputs()}:
        sys.exit(f"{model} gives no keypoints: export it again with --with-decode")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["gatedpose"])
    image = Image.open(photo).convert("RGB")
    corners = [float(v) for v in box.split(",")] if box else [0, 0, *image.size]
    images, (left, top, scale) = crop(image, corners, facts)
    keypoints, scores = session.run(["keypoints", "scores"], {"images": images})
    for name, point, score in zip(
        facts["skeleton"]["joints"], keypoints[0], scores[0], strict=True
    ):
        x, y = point / scale + (left, top)
        print(f"{name:15} x {x:8.2f}  y {y:8.2f}  confidence {score:.2f}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
