"""From datasets and the name of a variant to a trained network in a folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gatedpose.data.crops import packed
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import DatasetError
from gatedpose.hub import save_model
from gatedpose.network import HeatmapNetwork
from gatedpose.recipes import Recipe
from gatedpose.trainer import Trainer
from gatedpose.zoo import create_model


def train(
    name: str,
    recipe: Recipe,
    folders: Mapping[str, Path],
    out: Path,
    *,
    watch_every: int = 20_000,
    crops: Path | None = None,
    config: Mapping[str, Any] | None = None,
) -> Path | None:
    """Trains a variant on the "train" split of datasets; the first one's "val" split watches it.

    Args:
        name: A variant of the zoo.
        recipe: See `gatedpose.recipes`; it is drawn from the folders given, each with the weight
            that the recipe has for it, or 1.
        folders: Folder of each dataset by its name, see `gatedpose.data.readers`.
        out: Folder for the packed crops, checkpoints, log and weights.
        watch_every: Images between two checkpoints.
        crops: Folder of the packed crops, for trainings that share them; `out` if None.
        config: Fields of the variant's configuration to change, see `create_model`.

    Returns:
        Folder of the trained network, to be used as "local-dir:" model; None on other processes
        than the first.

    Raises:
        DatasetError: For a folder that is not what it should be, or datasets of other joints.
        UnknownModelError: For an unknown variant or tag.
        WeightsError: For weights to start from that there are not, or that do not fit.
    """
    from accelerate import PartialState

    if missing := set(recipe.datasets) - set(folders):
        raise DatasetError(f"recipe {recipe.name} needs --data {', '.join(sorted(missing))}=FOLDER")
    parts = {dataset: read_dataset(dataset, folders[dataset], "train") for dataset in folders}
    first = next(iter(folders))
    watched = read_dataset(first, folders[first], "val")
    people = [sample for samples in parts.values() for sample in samples]
    skeleton = people[0].skeleton
    if any(sample.skeleton != skeleton for sample in (*people, *watched)):
        raise DatasetError(f"the joints, flip pairs or limbs of {', '.join(folders)} differ")
    weights = [recipe.datasets.get(dataset, 1.0) for dataset in parts]
    draws = torch.cat(
        [torch.full((len(p),), float(w)) for p, w in zip(parts.values(), weights, strict=True)]
    )
    torch.manual_seed(recipe.seed)
    model = starting_model(name, skeleton.num_keypoints, recipe.init, **(config or {}))
    out.mkdir(parents=True, exist_ok=True)
    packs = crops or out
    with PartialState().main_process_first():  # the others read what the first has packed
        train_crops = packed(people, packs / "train.safetensors")
        val_crops = packed(watched, packs / "val.safetensors")
    trainer = Trainer(
        model, train_crops, draws, val_crops, skeleton, recipe, out, watch_every=watch_every
    )
    averaged = trainer.run()
    if not trainer.main:
        return None
    save_model(averaged, out / "model", skeleton)
    return out / "model"


def starting_model(
    name: str, num_keypoints: int, init: str | None, **config: Any
) -> HeatmapNetwork:
    """The network that a training starts from.

    Args:
        name: A variant of the zoo.
        num_keypoints: K.
        init: A .safetensors file for the same joints; or a tag of the variant's weights, or
            "pretrained" for the default ones, whose heads and heatmap remaps start afresh where
            they have another number of joints. Fresh weights if None.
        **config: Fields of the variant's configuration to change.
    """
    if init is None:
        return create_model(name, num_keypoints=num_keypoints, **config)
    if init.endswith(".safetensors"):
        return create_model(name, num_keypoints=num_keypoints, checkpoint_path=init, **config)
    full = name if init == "pretrained" else f"{name}.{init}"
    return create_model(full, pretrained=True, num_keypoints=num_keypoints, **config)
