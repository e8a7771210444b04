"""Networks as folders, and what is known of a network beside its weights: joints, calibration.

A folder is laid out as a Hub repository: timm's config.json and the weights.
"""

import copy
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from gatedpose.catalogue import HUB_FILE, RANGES_FILE, weights_table
from gatedpose.errors import InputError, InputTypeError, WeightsError
from gatedpose.files.whole import whole_folder
from gatedpose.models.base import HeatmapNetwork, check_network
from gatedpose.models.calibration import Calibration
from gatedpose.models.configs import check_name
from gatedpose.models.variants import BY_NAME, NETWORKS, VARIANTS
from gatedpose.models.weights import read_config
from gatedpose.skeleton import SKELETONS, Skeleton

LOG = logging.getLogger(__name__)
MODEL_FILES = frozenset({"config.json", HUB_FILE, RANGES_FILE})


def save_model(
    model: HeatmapNetwork,
    folder: str | Path,
    skeleton: Skeleton | None,
    calibration: Calibration | None = None,
) -> None:
    """Writes a network so that `create_model("local-dir:folder", pretrained=True)` has it back.

    The folder, with config.json, which names the joints, and model.safetensors, is what a Hub
    repository holds. It appears whole, in place of an older one.

    Args:
        model: A network of the zoo.
        folder: Where to write; its parent must exist.
        skeleton: The model's joints; None for a finder, which has none.
        calibration: What its peaks are worth, if that is known.

    Raises:
        FileExistsError: If the folder holds other files, which would be lost.
        FileNotFoundError: If it has no parent.
        TypeError: If it is no network of the zoo, or one within another module.
        ValueError: If the skeleton has another number of joints than the model, or the name of one
            of the package's and other joints.
    """
    from timm.models import save_for_hf

    check_network("save_model", model)
    model.check_head("save_model")
    told = {}
    if skeleton is not None:
        check_skeleton("save_model", skeleton, model.num_keypoints)
        check_name(skeleton)  # as whoever reads it does
        told["skeleton"] = asdict(skeleton)
    if calibration is not None:
        told["calibration"] = asdict(calibration)
    alike = (v.name for v in VARIANTS if NETWORKS[type(v.config)] is type(model))
    cfg = {"architecture": next(alike, None), **model.pretrained_cfg}  # of one without a name
    standard = BY_NAME[cfg["architecture"]].config
    changed = {
        name: value
        for name, value in vars(model.config).items()
        if name not in ("num_keypoints", "in_channels") and value != getattr(standard, name)
    }
    network = copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format)
    # Older timm takes the channels from here, where they are those of the standard.
    network.pretrained_cfg = {**cfg, "input_size": (model.in_channels, *cfg["input_size"][1:])}
    with whole_folder(folder, MODEL_FILES) as part:
        try:
            save_for_hf(
                network,
                part,
                model_config=told,
                model_args={**changed, "in_chans": model.in_channels},
                safe_serialization=True,
            )
        except safetensors.SafetensorError as error:  # a full disk, for example
            raise OSError(f"cannot write {folder}: {error}") from error
        # Since safetensors 0.8 nobody else may read its files.
        shutil.copymode(part / "config.json", part / HUB_FILE)


def file_facts(path: Path) -> tuple[tuple[str, ...] | None, int | None]:
    """Joints and side of the input that a file of weights was trained for; None if it has none.

    A training writes them into best.safetensors; beside a saved model's file is its config.json.

    Raises:
        WeightsError: For a file that cannot be read.
    """
    if path.name == HUB_FILE and path.with_name("config.json").is_file():
        config = read_config("local-dir", str(path.parent))
        size = config.get("pretrained_cfg", {}).get("input_size")
        joints = (config.get("skeleton") or {}).get("joints")
        return tuple(joints) if joints else None, max(size[1:]) if size else None
    try:
        with safetensors.safe_open(path, "pt") as file:
            told = file.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsError(f"{path} cannot be read: {error}") from error
    joints, side = told.get("joints"), told.get("size", "")
    return tuple(joints.split("\n")) if joints else None, int(side) if side.isdecimal() else None


def check_skeleton(what: str, skeleton: object, keypoints: int) -> None:
    """Raises TypeError unless it is a skeleton, ValueError unless of so many joints."""
    if not isinstance(skeleton, Skeleton):
        raise InputTypeError(f"{what}: skeleton must be a gatedpose.Skeleton, got {skeleton!r:.80}")
    if skeleton.num_keypoints != keypoints:
        raise InputError(
            f"{what}: skeleton {skeleton.name!r} has {skeleton.num_keypoints} joints, the model "
            f"has {keypoints} heatmaps"
        )


def skeleton_of(model: nn.Module) -> Skeleton | None:
    """The joints that a model predicts, None if unknown, or if it finds boxes.

    They are its own `skeleton`, those of its weights' tag, or what config.json of its folder or
    repository says. A model without any, or with another number of keypoints, is taken to have the
    package's skeleton of as many joints, if there is one.
    """
    keypoints = getattr(model, "num_keypoints", None)
    for told in (getattr(model, "skeleton", None), _told(model)[0]):
        if isinstance(told, Skeleton) and told.num_keypoints == keypoints:
            return told
    taken = (one for one in SKELETONS.values() if one.num_keypoints == keypoints)
    if skeleton := next(taken, None):
        LOG.warning(
            f"a network of {keypoints} heatmaps does not say which joints they are: they are taken "
            f"for those of {skeleton.name}; if they are others, give skeleton="
        )
    return skeleton


def calibration_of(model: nn.Module, joints: Skeleton | None = None) -> Calibration | None:
    """What the peaks of a model's heatmaps are worth, None if that is not known of these joints."""
    if isinstance(own := getattr(model, "calibration", None), Calibration):
        return own
    if not getattr(model, "as_told", False):
        return None
    skeleton, told = _told(model)
    if told is None or (skeleton and skeleton.num_keypoints != model.num_keypoints):
        return None
    if skeleton and joints and skeleton.joints != joints.joints:
        return None
    return Calibration(**told)


def _told(model: nn.Module) -> tuple[Skeleton | None, Mapping[str, Any] | None]:
    """Joints and calibration: by config.json of a folder or repository, else by the table."""
    cfg = getattr(model, "pretrained_cfg", {})
    if (source := cfg.get("source")) in ("local-dir", "hf-hub"):
        place = cfg["file" if source == "local-dir" else "hf_hub_id"]
        known: Any = getattr(model, "told", None)  # each reading may ask the Hub
        if known is None or known[0] != place:
            config = read_config(source, place)
            skeleton = Skeleton.from_dict(config["skeleton"]) if config.get("skeleton") else None
            known = place, skeleton, config.get("calibration")
            object.__setattr__(model, "told", known)
        return known[1], known[2]
    weights = weights_table().get(f"{cfg.get('architecture')}.{cfg.get('tag')}")
    return (SKELETONS.get(weights.skeleton or ""), weights.calibration) if weights else (None, None)
