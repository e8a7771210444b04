"""People found in whole pictures by a finder of the zoo, which comes with the package.

from gatedpose.predict.finder import find_people
boxes, scores = find_people("photo.jpg")
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from gatedpose.boxmaps import decode_boxes
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.device import find_device
from gatedpose.errors import InputError, WeightsError, check_range
from gatedpose.geometry import crop_image, invert, transform_points
from gatedpose.media.images import ImageSource, read_image
from gatedpose.media.photos import as_rgb
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.configs import LARGEST_SIDE
from gatedpose.models.zoo import create_model
from gatedpose.predict.networks import check_evaluating, finds_boxes, input_dtype

FINDER = "gated_finder_320"
MIN_SCORE = 0.45  # a compromise of people missed and somebody found where nobody is


@dataclass(frozen=True)
class BoxChance:
    """The chance that a box is a person's (IoU of half or more), from its peak and its size.

    Small boxes are less often right than large ones of the same peak. The packaged finder's numbers
    are a logistic regression on human-val (`python examples/fit_box_chance.py`).
    """

    bias: float = 2.721  # log-odds of a box as large as the picture, of a peak of one half
    peak: float = 2.494  # times the peak's log-odds, above 0
    share: float = 0.496  # times the logarithm of the box's share of the picture's area

    def __call__(self, peaks: Tensor, boxes: Tensor, area: float) -> Tensor:
        """Chances (N,) of boxes (N, 4) in a picture of that area, in pixels."""
        shares = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) / area
        odds = self.bias + self.peak * peaks.double().logit() + self.share * shares.double().log()
        return odds.sigmoid().float()

    def least_peak(self, chance: float) -> float:
        """The peak below which no box has that chance."""
        odds = torch.tensor(chance, dtype=torch.float64).logit()
        return float(((odds - self.bias) / self.peak).sigmoid())


class PersonFinder:
    """Finds people in pictures; an object of it is a detector for `Predictor` and `Tracker`.

    Args:
        model: A finder of the zoo, as "gated_finder_320", or by any name that `create_model` knows.
        min_score: Boxes below it are left out; `MIN_SCORE` if None.
        size: Longer side of the input in pixels; the model's own if None.
        device: Where it runs; the CPU if None.

    Raises:
        InputError: If the network is no finder, or for a score or size that is none.
        UnknownModelError: If there is none of that name.
        WeightsError: If it has no weights.
    """

    def __init__(
        self,
        model: str | HeatmapNetwork = FINDER,
        *,
        min_score: float | None = None,
        size: int | None = None,
        device: str | int | torch.device | None = None,
    ) -> None:
        network = create_model(model, pretrained=True) if isinstance(model, str) else model
        if not finds_boxes(network):
            raise InputError(
                f"PersonFinder: {type(network).__name__} is a network of joints, not one of boxes; "
                f"{FINDER} is"
            )
        self.min_score = MIN_SCORE if min_score is None else min_score
        check_range("PersonFinder: min_score", self.min_score, (0.0, 1.0))
        if size is not None:
            check_range("PersonFinder: size, pixels,", size, (1, LARGEST_SIDE))
        self.chance = BoxChance()
        self.device = find_device("cpu" if device is None else device)
        self.model = network.to(self.device).to(memory_format=torch.channels_last).eval()
        self.dtype = input_dtype(network)
        preprocessing = Preprocessing.of(network)
        self.size = self.longest_side = size or max(preprocessing.size)
        self.mean, self.std = preprocessing.scales(self.device, white=255)

    def __call__(self, image: ImageSource) -> Tensor:
        """Boxes of the people in a picture with their scores, (N, 5), see `find`."""
        boxes, scores = self.find(image)
        return torch.cat((boxes, scores[:, None]), dim=1)

    @torch.inference_mode()
    def find(
        self, image: ImageSource, min_score: float | None = None, *, channels: str = "rgb"
    ) -> tuple[Tensor, Tensor]:
        """The people in a picture.

        Args:
            image: Anything that `gatedpose.media.images.read_image` reads; a tensor (3, H, W) uint8
                for example.
            min_score: In place of the finder's own, if not None.
            channels: "bgr" for arrays and tensors as OpenCV gives them.

        Returns:
            Boxes (N, 4) float32, (x0, y0, x1, y1) within the picture, and scores (N,), the chances
            that they are right, see `BoxChance`; the surest first, both on the CPU; N may be 0.

        Raises:
            ImageError: If the picture cannot be read.
            InputError: For another score.
            WeightsError: If the network gives values that are not finite.
        """
        least = self.min_score if min_score is None else min_score
        check_range("PersonFinder.find: min_score", least, (0.0, 1.0))
        check_evaluating("PersonFinder", self.model)
        pixels = read_image(as_rgb(image, channels))
        height, width = pixels.shape[1:]
        matrix, shape = letterbox(height, width, self.size, self.model.size_multiple)
        crop = crop_image(pixels.to(self.device), matrix.to(self.device), shape, self.mean)
        batch = (crop - self.mean) / self.std
        with torch.autocast(self.device.type, enabled=False):  # the maps are coordinates
            images = batch[None].contiguous(memory_format=torch.channels_last)
            maps = self.model(images.to(self.dtype))[:, -1].float().cpu()
        if not bool(maps.sum().isfinite()):
            raise WeightsError("PersonFinder: its maps are not finite numbers: damaged weights?")
        [(boxes, peaks)] = decode_boxes(maps, self.chance.least_peak(least))
        corners = transform_points(invert(matrix[None]), boxes.view(1, -1, 2)).view(-1, 2, 2)
        limit = corners.new_tensor((width, height))
        inside = corners.clamp_min(0).minimum(limit).view(-1, 4)
        sides = inside[:, 2:] - inside[:, :2]
        there = (sides.amin(dim=1) > 0) & (sides.amax(dim=1) >= 1)  # as boxes must be
        inside = inside[there]
        scores, order = self.chance(peaks[there], inside, height * width).sort(descending=True)
        sure = scores >= least
        return inside[order[sure]], scores[sure]


def letterbox(height: int, width: int, side: int, multiple: int) -> tuple[Tensor, tuple[int, int]]:
    """The (2, 3) transform of a whole picture into a network's input, and its (height, width).

    The longer side becomes `side`, aspect and middle stay; the input is as small as holds the
    picture and `multiple` divides.
    """
    scale = side / max(height, width)
    fit = [max(1, round(length * scale)) for length in (height, width)]
    rows, columns = (-(-length // multiple) * multiple for length in fit)
    x, y = (columns - scale * width) / 2, (rows - scale * height) / 2
    matrix = torch.tensor([[scale, 0.0, x], [0.0, scale, y]], dtype=torch.float32)
    return matrix, (rows, columns)


default_finder = functools.cache(PersonFinder)  # that of the package, loaded once


def find_people(image: ImageSource, *, channels: str = "rgb") -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and scores (N,) of the people in a picture, see `PersonFinder.find`."""
    return default_finder().find(image, channels=channels)
