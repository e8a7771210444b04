"""What a predictor asks of a network, whoever built it."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from gatedpose.boxmaps import BOX_CHANNELS, BOX_STRIDE
from gatedpose.engines.optimize import OptimizedNetwork
from gatedpose.errors import InputError, InputTypeError, WeightsError, check_range
from gatedpose.heatmaps import STRIDE
from gatedpose.models.configs import LARGEST_SIDE
from gatedpose.models.saved import check_skeleton, skeleton_of
from gatedpose.models.zoo import create_model
from gatedpose.predict.exported import SUFFIXES, ExportedNetwork
from gatedpose.skeleton import Skeleton


def load_network(name: str | os.PathLike[str], device: Any) -> tuple[nn.Module, Any]:
    """Trained weights by name, or an exported file, and the device: the best one if None."""
    if Path(name).suffix.lower() in SUFFIXES:
        if str(device or "cpu") != "cpu":
            raise InputError(f"Predictor: {name} runs on the CPU, not on {str(device)!r}")
        return ExportedNetwork(os.fspath(name)), "cpu"
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return create_model(os.fspath(name), pretrained=True), device


def finds_boxes(model: nn.Module) -> bool:
    """Whether a network is a finder of people, whose maps are boxes and no joints."""
    info = getattr(model, "feature_info", None)
    stride = info[0].get("reduction") if isinstance(info, list) and info else None
    return (getattr(model, "num_keypoints", None), stride) == (BOX_CHANNELS, BOX_STRIDE)


def input_dtype(model: nn.Module) -> torch.dtype:
    """What a network wants its images in; those that are optimised take any, and round it."""
    like = next(model.parameters(), torch.empty(0, dtype=torch.float32))
    return torch.float32 if isinstance(model, OptimizedNetwork) else like.dtype


def count_keypoints(model: nn.Module) -> int:
    """How many heatmaps a network has, by `num_keypoints` or timm's `num_classes`."""
    kind = type(model).__name__
    if not isinstance(model, nn.Module):
        raise InputTypeError(
            f"Predictor: needs a network or a name, got {kind}; create_model makes one"
        )
    for name in ("num_keypoints", "num_classes"):
        if isinstance(keypoints := getattr(model, name, None), int):
            return keypoints
    raise InputTypeError(
        f"Predictor: {kind} does not say its num_keypoints (timm's num_classes); of what wraps a "
        "network, as DataParallel, pass .module"
    )


def find_skeleton(model: nn.Module, skeleton: Skeleton | None = None) -> Skeleton:
    """The joints of a network's heatmaps: those given, or else its own."""
    keypoints = count_keypoints(model)
    if finds_boxes(model):
        raise InputError(
            f"Predictor: {describe(model)} finds people, not their joints: give it as detector="
            "gatedpose.predict.finder.PersonFinder(...), beside a network of joints"
        )
    skeleton = skeleton or skeleton_of(model)
    if skeleton is None:
        raise InputError(
            f"Predictor: which joints do the {keypoints} heatmaps of this model stand for? "
            "Pass skeleton=, one of gatedpose.skeleton or your own"
        )
    check_skeleton("Predictor", skeleton, keypoints)
    return skeleton


def as_pair(item: Any) -> tuple[Any, Any]:
    """One of the images of a stream and its boxes, None if they are not given."""
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) != 2:
        raise InputError(
            "Predictor.stream: takes images, and pairs of an image and its boxes; got a "
            f"{type(item).__name__} of {len(item)}"
        )
    return item[0], item[1]


def check_evaluating(what: str, model: nn.Module) -> None:
    """Raises InputError in training mode, in which norms go by the batch and are changed by it."""
    if model.training:
        raise InputError(f"{what}: its model is in training mode; call model.eval() before it")


def check_many(images: object) -> None:
    """Raises InputTypeError for one picture, or none, where several are asked for."""
    if isinstance(images, (str, bytes, os.PathLike, Image.Image)):
        raise InputTypeError(
            f"Predictor.stream: takes several images, got a lone {type(images).__name__}; call the "
            "predictor itself for one, or write [image]"
        )
    if isinstance(images, Mapping):
        raise InputTypeError(
            "Predictor.stream: takes images, and pairs of an image and its boxes, got a mapping; "
            "give it .items()"
        )
    if getattr(images, "ndim", 1) in (2, 3):
        raise InputTypeError(
            "Predictor.stream: takes several images, got an array of one; call the predictor "
            "itself for one, or write [image]"
        )
    if not isinstance(images, Iterable):
        raise InputTypeError(
            f"Predictor.stream: takes images, a list for example, got {images!r:.80}"
        )


def describe(model: nn.Module) -> str:
    """What messages call a model: its weights' name, and where they are if it is a folder."""
    cfg = getattr(model, "pretrained_cfg", {})
    parts = [cfg.get(key) for key in ("architecture", "tag")]
    name = ".".join(filter(None, parts)) or type(model).__name__
    return f"{name} of {cfg['file']}" if cfg.get("source") == "local-dir" else name


def warn_of_untrained(model: nn.Module) -> None:
    """Says so if a network was never trained: all its running statistics are as at birth."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and m.track_running_stats]
    fresh = [m.running_mean is not None and not bool(m.running_mean.any()) for m in norms]
    if fresh and all(fresh):
        warnings.warn(
            f"Predictor: this {type(model).__name__} is untrained, its keypoints mean nothing: "
            "create_model(name, pretrained=True) loads weights",
            stacklevel=3,
        )


def last_maps(found: Any, size: Sequence[int], joints: int, model: nn.Module) -> Tensor:
    """The last stack's heatmaps (B, K, H/4, W/4) of what a network gave for inputs of `size`.

    InputError unless it gave such, of so many joints, for all stacks.
    """
    shape = tuple(found.shape) if isinstance(found, Tensor) else ()
    height, width = (STRIDE * cells for cells in shape[-2:] or (0, 0))
    fit = abs(height - size[0]) < STRIDE and abs(width - size[1]) < STRIDE
    if len(shape) != 5 or shape[1] < 1 or shape[2] != joints or not fit:
        wanted = f"{joints}, {size[0] // STRIDE}, {size[1] // STRIDE})"
        raise InputError(
            f"Predictor: {describe(model)} must give heatmaps (B, stacks, {wanted} of inputs of "
            f"{size[0]} x {size[1]}, the last stack of which counts; got "
            f"{shape or type(found).__name__}; of (B, {wanted} give [:, None]"
        )
    maps: Tensor = found[:, -1]
    return maps


def check_finite(maps: Tensor, model: nn.Module) -> None:
    """Raises WeightsError for heatmaps that are not finite."""
    if not bool(maps.sum(dtype=torch.float32).isfinite()):
        raise WeightsError(
            f"Predictor: {describe(model)} gave heatmaps that are not finite numbers, in "
            f"{maps.dtype}: its weights are damaged, or their products too large for the dtype"
        )


def check_options(size: Any, batch_size: Any, workers: Any, min_person: Any, detector: Any) -> None:
    """Raises InputError for what a predictor cannot work with."""
    if size is not None:
        check_range("Predictor: size, (height, width),", size, (1, LARGEST_SIDE), count=2)
    check_range("Predictor: batch_size, people,", batch_size, (1, 10**6))
    if workers is not None:
        check_range("Predictor: workers, threads,", workers, (0, 1024))
    if min_person is not None:
        check_range("Predictor: min_person", min_person, (0.0, 1.0))
    if not (detector is None or callable(detector)):
        raise InputTypeError(f"Predictor: a detector is called, got {detector!r:.80}")
