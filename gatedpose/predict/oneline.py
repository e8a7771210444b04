"""`gatedpose.predict`: poses in one line."""

import functools
from typing import Any

from gatedpose.catalogue import DEFAULT_WORD
from gatedpose.predict.predictor import Predictor

_predictor = functools.lru_cache(maxsize=2)(Predictor)


def predict(
    images: Any, boxes: Any = None, *, model: str = DEFAULT_WORD, channels: str = "rgb"
) -> Any:
    """Poses of the people in a photo, or in each of several, by trained weights.

        poses = gatedpose.predict("photo.jpg")

    Args:
        images: Path, bytes or open file, PIL image, array or tensor, or a list of them, as in a
            call of `Predictor`.
        boxes: Where the people are, see there; they are looked for if None.
        model: "fast", "balanced", "best", or the name of weights; kept for the next call,
            whatever becomes of its files.
        channels: "bgr" for arrays and tensors as OpenCV gives them.

    Returns:
        The poses, or for a list of images a list of them.

    Raises:
        UnknownModelError: For an unknown name.
        WeightsError: If the weights cannot be had.
        ImageError: If an image cannot be read.
        BoxError: For bad boxes.
    """
    return _predictor(model)(images, boxes, channels=channels)
