"""One person on one photo, and how it was found: keypoints, heatmaps, times. For pages.

`gatedpose.demo.page` shows what this finds; nothing here knows of the browser.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gatedpose.errors import BoxError, check_choice
from gatedpose.geometry import compose, crop_image, crop_matrices, invert, transform_points, warp
from gatedpose.heatmaps import STRIDE
from gatedpose.media.drawing import draw_poses
from gatedpose.media.images import ImageSource, read_image
from gatedpose.models.names import find_weights, list_models, parse_name
from gatedpose.models.zoo import create_model
from gatedpose.pose import Pose, stack_poses
from gatedpose.predict.people import WHOLE
from gatedpose.predict.predictor import Predictor

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

HEAT = (255, 90, 0)  # colour of heatmaps
OVERLAY = 320  # longer side of an overlay in pixels


@dataclass(frozen=True)
class Finding:
    """What the page shows of one person.

    Attributes:
        pose: Keypoints, scores and box, in pixels of the photo.
        picture: The photo with the skeleton drawn, (H, W, 3) uint8; small photos are enlarged.
        overlays: For each of the K joints its heatmap over what the network saw of the photo,
            in grey, (H, W, 3) uint8.
        milliseconds: Wall-clock time of each step, by name.
        first: Whether the variant had not been used before, so that the times include warming up.
    """

    pose: Pose
    picture: Picture
    overlays: list[Picture]
    milliseconds: dict[str, float]
    first: bool


class _WatchedPredictor(Predictor):
    """Keeps the last heatmaps and when the network began and ended."""

    used = False
    began = ended = 0.0  # seconds

    def heatmaps(self, crops: Tensor) -> Tensor:
        self.began = self._now()
        self.maps = super().heatmaps(crops)
        self.ended = self._now()
        return self.maps

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # else the clock stops before the work does
        return time.perf_counter()


class PoseFinder:
    """Finds the keypoints of the person on a photo, with any of several variants.

    Args:
        model: The variant to begin with, "variant", "variant.tag", "hf-hub:..." or "local-dir:...";
            loaded at once, the others when they are first asked for, each only once.
        device: Where the networks run.

    Attributes:
        names: Variants to choose from: those with trained weights, and `model`.
        chosen: The name in `names` that `model` stands for.

    Raises:
        UnknownModelError: If there is no such model.
        WeightsError: If it has no weights.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        self.chosen = model if parse_name(model)[0] else find_weights(model).name
        trained = [n for n in list_models(pretrained=True) if find_weights(n).skeleton]
        self.names = tuple(dict.fromkeys([*trained, self.chosen]))
        self.device = device
        self._predictors: dict[str, _WatchedPredictor] = {}
        self._lock = threading.Lock()  # visitors share the networks
        self._predictor(self.chosen)

    def _predictor(self, name: str) -> _WatchedPredictor:
        check_choice("gatedpose demo: variant", name, self.names)
        if name not in self._predictors:
            model = create_model(name, pretrained=True)
            self._predictors[name] = _WatchedPredictor(model, device=self.device)
        return self._predictors[name]

    def __call__(
        self,
        photo: ImageSource,
        name: str,
        box: Sequence[float | None] = (),
        flip: bool = False,
        min_score: float = 0.2,
    ) -> Finding:
        """Finds one person.

        Args:
            photo: Anything that `gatedpose.media.images.read_image` reads.
            name: One of `names`.
            box: (x0, y0, x1, y1) about the person, in pixels of the photo; the whole photo if empty
                or all None.
            flip: Average with the prediction on the mirrored photo.
            min_score: Joints below it are not drawn; they are in the pose all the same.

        Raises:
            ImageError: If the photo cannot be read.
            BoxError: If only some numbers of the box are given, or it does not fit the photo.
            ValueError: For another name.
        """
        given = [number for number in box if number is not None]
        if given and len(given) != 4:
            raise BoxError(f"a box has four numbers, x0, y0, x1, y1; {len(given)} are filled in")
        with self._lock:
            predictor = self._predictor(name)
            predictor.flip_test = flip
            start = time.perf_counter()
            pixels = read_image(photo)
            [pose] = predictor(pixels, [given] if given else WHOLE)
            stop = time.perf_counter()
            first, predictor.used = not predictor.used, True
            began, ended = predictor.began, predictor.ended
            overlays = _overlays(predictor, pixels, pose)
        milliseconds = {
            "reading and cropping": 1000 * (began - start),
            "network": 1000 * (ended - began),
            "decoding": 1000 * (stop - ended),
        }
        picture = _picture(pixels, pose, bool(given), min_score)
        return Finding(pose, picture, overlays, milliseconds, first)


def _picture(pixels: Tensor, pose: Pose, with_box: bool, min_score: float) -> Picture:
    keypoints, scores, boxes = stack_poses([pose])
    drawn = boxes if with_box else None
    picture = draw_poses(pixels, keypoints, scores, pose.skeleton, boxes=drawn, min_score=min_score)
    return picture.permute(1, 2, 0).numpy()


def _overlays(predictor: _WatchedPredictor, pixels: Tensor, pose: Pose) -> list[Picture]:
    """The heatmaps of the last person, each over what the network saw of the photo."""
    height, width = predictor.size
    to_crop = crop_matrices(torch.from_numpy(pose.box)[None], predictor.size)
    reach = to_crop.new_tensor([[[0, 0], [width, height]]])
    extent = reach.new_tensor((pixels.shape[-1], pixels.shape[-2]))
    low, high = transform_points(invert(to_crop), reach)[0].clamp_min(0).minimum(extent)
    scale = float(OVERLAY / (high - low).max())
    x0, y0 = (-scale * low).tolist()
    to_overlay = reach.new_tensor([[[scale, 0, x0], [0, scale, y0]]])
    columns, rows = (scale * (high - low)).round().clamp_min(1).int().tolist()
    photo = crop_image(pixels, to_overlay[0], (rows, columns), reach.new_zeros(3))
    grey = 0.6 * photo.mean(dim=0)[..., None]  # (H, W, 1)

    to_pixels = reach.new_tensor([[[STRIDE, 0, 0], [0, STRIDE, 0]]])  # cells -> crop
    from_cells = compose(to_overlay, compose(invert(to_crop), to_pixels))
    maps = warp(predictor.maps.float().cpu(), from_cells, (rows, columns))[0]  # (K, H, W)
    weight = maps.clamp(0, 1).sqrt().unsqueeze(-1)  # the root shows faint second peaks, too
    mixed = grey + weight * (grey.new_tensor(HEAT) - grey)
    return list(mixed.round().clamp(0, 255).to(torch.uint8).numpy())
