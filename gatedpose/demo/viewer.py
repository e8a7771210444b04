"""The people on a photo, and how they were found: keypoints, heatmaps, times. For pages.

`gatedpose.demo.page` shows what this finds; nothing here knows of the browser.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from gatedpose.errors import BoxError, check_choice
from gatedpose.geometry import compose, crop_image, crop_matrices, invert, transform_points, warp
from gatedpose.heatmaps import STRIDE
from gatedpose.media.drawing import draw_people
from gatedpose.media.images import ImageSource, read_image
from gatedpose.models.variants import find_weights, find_word, list_models, parse_name
from gatedpose.pose import TRUST, Pose
from gatedpose.predict.people import WHOLE, find_people
from gatedpose.predict.predictor import People, Predictor

Picture = npt.NDArray[np.uint8]  # (H, W, 3), RGB

HEAT = (255, 90, 0)  # colour of heatmaps
OVERLAY = 320  # longer side of an overlay in pixels


@dataclass(frozen=True)
class Finding:
    """What the page shows of a photo."""

    poses: list[Pose]  # of the people, in pixels of the photo
    person: int  # whose overlays there are, from 0
    picture: Picture  # the photo with skeletons and boxes, enlarged if it is small
    overlays: list[Picture]  # each heatmap over what the network saw, in grey
    milliseconds: dict[str, float]  # of each step, by name
    first: bool  # whether the variant was not used before: times include warming up


class _WatchedPredictor(Predictor):
    """Keeps the heatmaps of a call and when the network began and ended."""

    used = False
    began = ended = 0.0  # seconds
    maps: Tensor  # (N, K, H/4, W/4)

    def heatmaps(self, crops: Tensor) -> Tensor:
        began = self._now()
        maps = super().heatmaps(crops)
        self.ended = self._now()
        # More people than fill a batch come in several.
        self.maps = torch.cat((self.maps, maps)) if self.began else maps
        self.began = self.began or began
        return maps

    def looks(self, whole: bool) -> People:
        """What finds the people; "whole" where nobody looks for them."""
        people: People = self._chosen(WHOLE if whole else None)
        return people

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # else the clock stops before the work does
        return time.perf_counter()


class PoseFinder:
    """Finds the keypoints of the people on a photo, with any of several variants.

    Args:
        model: The variant to begin with, "fast", "variant", "variant.tag", "hf-hub:..." or
            "local-dir:..."; loaded at once, the others when they are first asked for, each only
            once.
        device: Where the networks run.

    Attributes:
        names: Variants to choose from: those with trained weights, and `model`.
        chosen: The name in `names` that `model` stands for.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        model = find_word(model)
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
            self._predictors[name] = _WatchedPredictor(name, device=self.device)
        return self._predictors[name]

    def __call__(
        self,
        photo: ImageSource,
        name: str,
        box: Sequence[float | None] = (),
        flip: bool = False,
        min_score: float = TRUST,
        *,
        whole: bool = False,
        person: int = 0,
        at: tuple[float, float] | None = None,
    ) -> Finding:
        """Finds the people of a photo.

        Args:
            photo: Anything that `gatedpose.media.images.read_image` reads.
            name: One of `names`.
            box: (x0, y0, x1, y1) about a person, in pixels; people are looked for if all are None.
            flip: Average with the prediction on the mirrored photo.
            min_score: Joints below it are drawn hollow or not at all.
            whole: Whether, without a box, the whole photo is one person.
            person: Whose heatmaps are wanted; the last person if there are not so many.
            at: A point (x, y) of the photo: the person there is wanted instead, if there is one.
        """
        given = [number for number in box if number is not None]
        if given and len(given) != 4:
            raise BoxError(f"a box has four numbers, x0, y0, x1, y1; {len(given)} are filled in")
        with self._lock:
            predictor = self._predictor(name)
            predictor.flip_test = flip
            marks = [("", time.perf_counter())]
            pixels = read_image(photo)
            marks.append(("reading", time.perf_counter()))
            boxes: People = [given] if given else predictor.looks(whole)
            if callable(boxes):  # looks by the network itself are over before its maps are kept
                boxes = find_people(boxes, pixels)
                marks.append(("finding people", time.perf_counter()))
            predictor.began = 0.0
            poses, overlays = predictor(pixels, boxes), []
            if poses:
                marks += [("cropping", predictor.began), ("network", predictor.ended)]
                marks.append(("decoding", time.perf_counter()))
                person = max(0, min(person, len(poses) - 1))
                person = person if at is None else _person_at(poses, *at, person)
                overlays = _overlays(predictor, pixels, poses[person], person)
            first, predictor.used = not predictor.used, True
        times = {step: 1000 * (b - a) for (_, a), (step, b) in pairwise(marks)}
        picture = picture_of(pixels, poses, min_score, None, bool(given), person)
        return Finding(poses, person, picture, overlays, times, first)

    def trust(self, name: str) -> float:
        """Score from which on a joint of a variant counts as found."""
        with self._lock:
            return self._predictor(name).trust

    def live(self, frame: ImageSource, name: str, min_score: float = TRUST) -> Picture:
        """A frame of a camera with its people drawn."""
        with self._lock:
            predictor = self._predictor(name)
            predictor.flip_test, predictor.began = False, 0.0
            poses = predictor(frame)
        return picture_of(read_image(frame), poses, min_score, 1)


def _person_at(poses: Sequence[Pose], x: float, y: float, otherwise: int) -> int:
    areas = {}
    for index, pose in enumerate(poses):
        x0, y0, x1, y1 = pose.box.tolist()
        if x0 <= x <= x1 and y0 <= y <= y1:
            areas[index] = (x1 - x0) * (y1 - y0)
    return min(areas, key=areas.__getitem__, default=otherwise)


def picture_of(
    pixels: Tensor,
    poses: Sequence[Pose],
    min_score: float,
    scale: int | None,
    with_box: bool = False,
    person: int | None = None,
) -> Picture:
    """Everybody on a photo (3, H, W), with their boxes if they are several, found or `with_box`.

    The box of `person` is coloured if there are several people.
    """
    boxes = with_box or len(poses) > 1 or any(pose.box_score is not None for pose in poses)
    picture = draw_people(pixels, poses, boxes=boxes, min_score=min_score, scale=scale)
    if person is not None and len(poses) > 1:
        width = max(2, max(picture.shape) // 200)
        corners = torch.from_numpy(poses[person].box)[None] * (picture.shape[2] // pixels.shape[2])
        picture = draw_bounding_boxes(picture, corners, colors=[HEAT], width=width)
    return picture.permute(1, 2, 0).numpy()


def _overlays(
    predictor: _WatchedPredictor, pixels: Tensor, pose: Pose, person: int
) -> list[Picture]:
    """The heatmaps of a person, each over what the network saw of the photo."""
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
    cells = predictor.maps[person, None].float().cpu()
    [maps] = warp(cells, from_cells, (rows, columns))  # (K, H, W)
    weight = maps.clamp(0, 1).sqrt().unsqueeze(-1)  # the root shows faint second peaks, too
    mixed = grey + weight * (grey.new_tensor(HEAT) - grey)
    return list(mixed.round().clamp(0, 255).to(torch.uint8).numpy())
