"""What config.json of a saved network says, held against itself and against the weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gatedpose.errors import InputError, WeightsError, check_range
from gatedpose.models.calibration import Calibration
from gatedpose.models.variants import BY_NAME
from gatedpose.skeleton import SKELETONS, Skeleton

LARGEST_SIDE = 8192  # of an input, in pixels
COLOURS = {"mean": (-10.0, 10.0), "std": (1e-3, 10.0)}  # of colours from 0 to 1


def check_config(config: Any, where: str) -> dict[str, Any]:
    """A config.json of timm's, each of whose fields that matters has been checked.

    A WeightsError names what is missing, no good or in contradiction to another field.
    """
    try:
        _check(config)
    except InputError as error:
        raise WeightsError(f"{where} is no config.json of timm's: {error}") from error
    return dict(config)


def _check(config: Any) -> None:
    if not isinstance(config, Mapping) or not isinstance(config.get("architecture"), str):
        raise InputError("it must be an object with the name of an 'architecture'")
    cfg = config.get("pretrained_cfg", config)
    arguments = config.get("model_args", {})
    for name, part in (("pretrained_cfg", cfg), ("model_args", arguments)):
        if not isinstance(part, Mapping):
            raise InputError(f"{name!r} must be an object, got {part!r:.80}")
    _check_names(config, cfg, arguments)
    size = cfg.get("input_size", (3, 256, 256))
    what = "channels, height and width in 'input_size'"
    check_range(what, size, (1, LARGEST_SIDE), count=3)
    told = {name: arguments.get(name) for name in ("in_chans", "in_channels")}
    channels = _agreed({"input_size": size[0], **told})
    keypoints = _agreed(
        {
            "num_classes": config.get("num_classes"),
            "num_classes of pretrained_cfg": cfg.get("num_classes"),
            "num_classes of model_args": arguments.get("num_classes"),
            "num_keypoints of model_args": arguments.get("num_keypoints"),
        }
    )
    for name, limits in COLOURS.items():
        if name in cfg:
            what = f"colours are from 0 to 1: {name!r}"
            check_range(what, cfg[name], limits, count=channels)
    if skeleton := config.get("skeleton"):
        _check_skeleton(Skeleton.from_dict(skeleton), keypoints)
    if calibration := config.get("calibration"):
        try:
            Calibration(**calibration)
        except (TypeError, ValueError) as error:
            raise InputError(f"'calibration': {error}") from error


def _check_names(
    config: Mapping[str, Any], cfg: Mapping[str, Any], arguments: Mapping[str, Any]
) -> None:
    """Sees that timm knows the fields of its configuration, and the network its options."""
    from timm.models import PretrainedCfg  # takes long

    if unknown := sorted(set(cfg) - {field.name for field in dataclasses.fields(PretrainedCfg)}):
        place = "'pretrained_cfg'" if "pretrained_cfg" in config else "without 'pretrained_cfg' it"
        raise InputError(f"{place} has the unknown field {unknown[0]!r}")
    if variant := BY_NAME.get(config["architecture"]):
        known = {"in_chans", "num_classes", *(f.name for f in dataclasses.fields(variant.config))}
        if unknown := sorted(set(arguments) - known):
            raise InputError(f"'model_args' has the unknown field {unknown[0]!r}")


def _check_skeleton(skeleton: Skeleton, keypoints: int | None) -> None:
    """Sees that joints are as many as heatmaps, and those that their name stands for."""
    joints = skeleton.num_keypoints
    if keypoints not in (None, joints):
        raise InputError(f"num_classes is {keypoints}, the skeleton has {joints} joints")
    check_name(skeleton)


def check_name(skeleton: Skeleton) -> None:
    """Raises InputError for another skeleton under the name of one of the package."""
    known_as = SKELETONS.get(skeleton.name, skeleton)
    pairs = (sorted(map(sorted, one.flip_pairs)) for one in (skeleton, known_as))
    if skeleton.joints != known_as.joints or len(set(map(str, pairs))) > 1:
        raise InputError(f"its skeleton is not the one that is known as {skeleton.name!r}")


def _agreed(values: Mapping[str, Any]) -> Any:
    """The one number that several fields give, None if none does."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if type(value) is not int or value < 1:
            raise InputError(f"{name} must be a whole number from 1, got {value!r:.80}")
    if len(set(given.values())) > 1:
        raise InputError("; ".join(f"{name} is {value}" for name, value in given.items()))
    return next(iter(given.values()), None)
