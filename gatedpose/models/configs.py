"""What config.json of a saved network says, held against itself and against the weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from gatedpose.errors import InputError, WeightsError
from gatedpose.models.calibration import Calibration
from gatedpose.models.variants import BY_NAME
from gatedpose.skeleton import SKELETONS, Skeleton

LARGEST_SIDE = 8192  # of an input, in pixels
COLOURS = {"mean": (-10.0, 10.0), "std": (1e-3, 10.0)}  # of colours from 0 to 1


def check_config(config: Any, where: str) -> dict[str, Any]:
    """A config.json of timm's, each of whose fields that matters has been checked.

    Raises:
        WeightsError: For a field that is missing, of another kind, out of its range or in
            contradiction to another one; the message names it.
    """

    def bad(text: str) -> WeightsError:
        return WeightsError(f"{where} is no config.json of timm's: {text}")

    if not isinstance(config, Mapping) or not isinstance(config.get("architecture"), str):
        raise bad("it must be an object with the name of an 'architecture'")
    cfg = config.get("pretrained_cfg", config)
    arguments = config.get("model_args", {})
    for name, part in (("pretrained_cfg", cfg), ("model_args", arguments)):
        if not isinstance(part, Mapping):
            raise bad(f"{name!r} must be an object, got {part!r:.80}")
    if unknown := sorted(set(cfg) - _cfg_fields()):
        place = "'pretrained_cfg'" if "pretrained_cfg" in config else "without 'pretrained_cfg' it"
        raise bad(f"{place} has the unknown field {unknown[0]!r}")
    if variant := BY_NAME.get(config["architecture"]):
        known = {"in_chans", "num_classes", *(f.name for f in dataclasses.fields(variant.config))}
        if unknown := sorted(set(arguments) - known):
            raise bad(f"'model_args' has the unknown field {unknown[0]!r}")
    channels = _agreed(
        {
            "input_size": _input_size(cfg, bad)[0],
            "in_chans": arguments.get("in_chans"),
            "in_channels": arguments.get("in_channels"),
        },
        bad,
    )
    keypoints = _agreed(
        {
            "num_classes": config.get("num_classes"),
            "num_classes of pretrained_cfg": cfg.get("num_classes"),
            "num_classes of model_args": arguments.get("num_classes"),
            "num_keypoints of model_args": arguments.get("num_keypoints"),
        },
        bad,
    )
    for name in ("mean", "std"):
        values = cfg.get(name, [1] * channels)
        if not _numbers(values, channels, *COLOURS[name]):
            low, high = COLOURS[name]
            raise bad(
                f"{name!r} must be {channels} numbers from {low:g} to {high:g}, of colours from 0 "
                f"to 1, got {values!r:.80}"
            )
    _check_told(config, keypoints, bad)
    return dict(config)


def _check_told(config: Mapping[str, Any], keypoints: int | None, bad: Any) -> None:
    """Sees that joints and calibration are such, and the joints as many as heatmaps."""
    if told := config.get("skeleton"):
        try:
            skeleton = Skeleton.from_dict(told)
        except InputError as error:
            raise bad(str(error)) from error
        joints, known_as = skeleton.num_keypoints, SKELETONS.get(skeleton.name, skeleton)
        if keypoints not in (None, joints):
            raise bad(f"num_classes is {keypoints}, the skeleton has {joints} joints")
        pairs = (sorted(map(sorted, one.flip_pairs)) for one in (skeleton, known_as))
        if skeleton.joints != known_as.joints or len(set(map(str, pairs))) > 1:
            raise bad(f"its skeleton is not the one that is known as {skeleton.name!r}")
    if told := config.get("calibration"):
        try:
            Calibration(**told)
        except (InputError, TypeError, ValueError) as error:
            raise bad(f"'calibration': {error}") from error


def _cfg_fields() -> set[str]:
    from timm.models import PretrainedCfg  # takes long

    return {field.name for field in dataclasses.fields(PretrainedCfg)}


def _input_size(cfg: Mapping[str, Any], bad: Any) -> tuple[int, ...]:
    size = cfg.get("input_size", (3, 256, 256))
    whole = isinstance(size, list | tuple) and all(type(n) is int for n in size)
    if not whole or len(size) != 3 or not all(1 <= n <= LARGEST_SIDE for n in size):
        raise bad(
            f"'input_size' must be channels, height and width up to {LARGEST_SIDE}, "
            f"got {size!r:.80}"
        )
    return tuple(size)


def _agreed(values: Mapping[str, Any], bad: Any) -> Any:
    """The one number that several fields give, None if none does."""
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if type(value) is not int or value < 1:
            raise bad(f"{name} must be a whole number from 1, got {value!r:.80}")
    if len(set(given.values())) > 1:
        raise bad("; ".join(f"{name} is {value}" for name, value in given.items()))
    return next(iter(given.values()), None)


def _numbers(values: Any, count: int, low: float, high: float) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == count
        and all(type(v) in (int, float) and low <= v <= high for v in values)
    )
