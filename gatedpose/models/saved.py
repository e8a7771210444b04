"""Networks as folders in the layout of the Hugging Face Hub: timm's config.json and the weights."""

import copy
import json
from dataclasses import asdict, fields
from pathlib import Path

import safetensors
import timm
import torch

from gatedpose.errors import InputError
from gatedpose.files.typed_json import to_json
from gatedpose.files.whole import whole_folder
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.calibration import Calibration
from gatedpose.models.variants import BY_NAME
from gatedpose.models.weights import HUB_FILE
from gatedpose.skeleton import Skeleton

MODEL_FILES = frozenset({"config.json", HUB_FILE})


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
        ValueError: If the skeleton has another number of joints than the model.
    """
    if skeleton and skeleton.num_keypoints != model.num_keypoints:
        raise InputError(
            f"save_model: skeleton {skeleton.name!r} has {skeleton.num_keypoints} joints, the "
            f"model has {model.num_keypoints} heatmaps"
        )
    standard = BY_NAME[model.pretrained_cfg["architecture"]].config
    changed = {
        field.name: value
        for field in fields(standard)
        if field.name not in ("num_keypoints", "in_channels")
        and (value := getattr(model.config, field.name)) != getattr(standard, field.name)
    }
    told = {"calibration": asdict(calibration)} if calibration else {}
    with whole_folder(folder, MODEL_FILES) as part:
        try:
            timm.models.save_for_hf(
                copy.deepcopy(model).cpu().to(memory_format=torch.contiguous_format),
                part,
                model_config={**({"skeleton": asdict(skeleton)} if skeleton else {}), **told},
                model_args={**changed, "in_chans": model.in_channels},
                safe_serialization=True,
            )
        except safetensors.SafetensorError as error:  # a full disk, for example
            raise OSError(f"cannot write {folder}: {error}") from error
        config = json.loads((part / "config.json").read_text("utf-8"))
        config["pretrained_cfg"]["input_size"][0] = model.in_channels  # older timm leaves it at 3
        (part / "config.json").write_text(to_json(config, indent=2), "utf-8")
