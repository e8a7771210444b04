"""From datasets and the name of a variant to a trained network in a folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gatedpose.cleaning import corrected, load_corrections
from gatedpose.data.crops import Crops
from gatedpose.data.joints import joint_groups
from gatedpose.data.samples import DatasetError
from gatedpose.data.sources import Source, open_source
from gatedpose.devices import make_accelerator
from gatedpose.files import check_replaceable
from gatedpose.growth import grow
from gatedpose.hub import MODEL_FILES, save_model
from gatedpose.network import HeatmapNetwork
from gatedpose.recipes import Recipe
from gatedpose.skeleton import SKELETONS, Skeleton
from gatedpose.trainer import CHECKPOINT, Trainer
from gatedpose.variants import UnknownModelError
from gatedpose.zoo import create_model, skeleton_of

GROW = "grow:"


def train(
    name: str,
    recipe: Recipe,
    folders: Mapping[str, Path],
    out: Path,
    *,
    watch_every: int = 20_000,
    crops: Path | None = None,
    config: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> Path | None:
    """Trains a variant on the "train" split of datasets; the first one's "val" split watches it.

    Args:
        name: A variant of the zoo.
        recipe: See `gatedpose.recipes`; it is drawn from the folders given, each with the weight
            that the recipe has for it, or 1.
        folders: Folder of each dataset by its name, see `gatedpose.data.readers`; or of the shards
            that `gatedpose data pack` has made of it.
        out: Folder for the packed crops, checkpoints, log and weights.
        watch_every: Images between two checkpoints.
        crops: Folder of the packed crops, for trainings that share them; `out` if None.
        config: Fields of the variant's configuration to change, see `create_model`.
        resume: Go on with the training in `out`, if there is one.

    Returns:
        Folder of the trained network, to be used as "local-dir:" model; None on other processes
        than the first.

    Raises:
        DatasetError: For a folder that is not what it should be, or datasets of other joints.
        ImportError: Without accelerate.
        FileExistsError: If `out` holds a training and is not to be resumed, or its folder "model"
            holds other files than a model's.
        ValueError: For joints that the recipe needs and a dataset has not, or see
            `make_accelerator` and `Trainer`.
        UnknownModelError: For an unknown variant or tag.
        WeightsError: For weights to start from that there are not, or that do not fit.
    """
    if (out / CHECKPOINT).exists() and not resume:
        raise FileExistsError(
            f"{out} holds a training: go on with it by --resume, or train into another folder"
        )
    check_replaceable(out / "model", MODEL_FILES)
    accelerator = make_accelerator(recipe.precision)
    sources, watched, skeleton = _open(recipe, folders)
    chosen = choose([len(source) for source in sources], recipe)
    recipe = recipe.scaled(sum(map(len, chosen)))
    counts = torch.tensor([len(part) for part in chosen])
    weights = torch.tensor([float(recipe.datasets.get(dataset, 1.0)) for dataset in folders])
    corrections = load_corrections(recipe.corrections) if recipe.corrections else None
    model = _model(name, recipe, skeleton, config or {})
    teacher = _teacher(recipe.teacher, skeleton) if recipe.teacher else None
    out.mkdir(parents=True, exist_ok=True)
    packs = crops or out
    with accelerator.main_process_first():  # the others read what the first has packed
        train_crops = _crops(sources, chosen, packs, skeleton)
        val_crops = _crops([watched], [range(len(watched))], packs, skeleton)
    if corrections:
        train_crops = corrected(train_crops, corrections, skeleton)
    people = train_crops, weights.repeat_interleave(counts), val_crops, skeleton
    trainer = Trainer(model, *people, recipe, out, teacher=teacher, watch_every=watch_every)
    averaged = trainer.run()
    if not trainer.main:
        return None
    save_model(averaged, out / "model", skeleton)
    return out / "model"


def _model(
    name: str, recipe: Recipe, skeleton: Skeleton, config: Mapping[str, Any]
) -> HeatmapNetwork:
    """The network to train, which says that it is to be used at the last phase's size."""
    torch.manual_seed(recipe.seed)
    model = starting_model(name, skeleton.num_keypoints, recipe.init, **config)
    size = recipe.phases[-1].size
    model.pretrained_cfg["input_size"] = (model.in_channels, size, size)
    return model


def _teacher(name: str, skeleton: Skeleton) -> HeatmapNetwork:
    model = create_model(name, pretrained=True)
    if (known := skeleton_of(model)) != skeleton:
        joints = known.name if known else "unknown joints"
        raise ValueError(f"the teacher {name} predicts {joints}, not {skeleton.name}")
    return model


def _open(recipe: Recipe, folders: Mapping[str, Path]) -> tuple[list[Source], Source, Skeleton]:
    """What to train on, what to watch it by, and the joints to learn."""
    if missing := set(recipe.datasets) - set(folders):
        raise DatasetError(f"recipe {recipe.name} needs --data {', '.join(sorted(missing))}=FOLDER")
    sources = [open_source(dataset, folder, "train") for dataset, folder in folders.items()]
    first = next(iter(folders))
    watched = open_source(first, folders[first], "val")
    skeleton = SKELETONS[recipe.joints] if recipe.joints else watched.skeleton
    if not recipe.joints and any(source.skeleton != skeleton for source in sources):
        raise DatasetError(f"the joints, flip pairs or limbs of {', '.join(folders)} differ")
    return sources, watched, skeleton


def choose(counts: Sequence[int], recipe: Recipe) -> list[list[int]]:
    """Indices of the people of each source that a recipe trains on: all, or its `limit`.

    Raises:
        DatasetError: If there are not as many as the limit.
    """
    if recipe.limit is None:
        return [list(range(count)) for count in counts]
    if recipe.limit > sum(counts):
        raise DatasetError(f"--limit {recipe.limit} is more than the {sum(counts)} people there")
    generator = torch.Generator().manual_seed(recipe.seed)
    drawn = torch.randperm(sum(counts), generator=generator)[: recipe.limit].sort().values
    parts, start = [], 0
    for count in counts:
        parts.append([i - start for i in drawn.tolist() if start <= i < start + count])
        start += count
    return parts


def _crops(
    sources: Sequence[Source],
    chosen: Sequence[Sequence[int]],
    folder: Path,
    skeleton: Skeleton,
) -> Crops:
    """Crops of the chosen people of all sources, with the joints of `skeleton`."""
    groups = [joint_groups(source.skeleton, skeleton) for source in sources]  # before any work
    parts = [
        source.crops(part, folder).with_joints(group)
        for source, part, group in zip(sources, chosen, groups, strict=True)
        if part
    ]
    return Crops.join(parts)


def starting_model(
    name: str, num_keypoints: int, init: str | None, **config: Any
) -> HeatmapNetwork:
    """The network that a training starts from.

    Args:
        name: A variant of the zoo.
        num_keypoints: K.
        init: A .safetensors file for the same joints; or a tag of the variant's weights, or
            "pretrained" for the default ones, whose heads and heatmap remaps start afresh where
            they have another number of joints; or "grow:" and the name of a smaller trained model,
            see `gatedpose.growth.grow`. Fresh weights if None.
        **config: Fields of the variant's configuration to change.
    """
    if init is None:
        return create_model(name, num_keypoints=num_keypoints, **config)
    if init.endswith(".safetensors"):
        return create_model(name, num_keypoints=num_keypoints, checkpoint_path=init, **config)
    if init.startswith(GROW):
        model = create_model(name, num_keypoints=num_keypoints, **config)
        small = create_model(init.removeprefix(GROW), pretrained=True, num_keypoints=num_keypoints)
        grow(small, model)
        return model
    full = name if init == "pretrained" else f"{name}.{init}"
    try:
        return create_model(full, pretrained=True, num_keypoints=num_keypoints, **config)
    except UnknownModelError as error:
        hint = "--init can also be a .safetensors file to start from"
        raise UnknownModelError(f"{error} ({hint})") from error
