"""From datasets and the name of a variant to a trained network in a folder."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gatedpose.batches.corrections import corrected, load_corrections
from gatedpose.batches.crops import Crops
from gatedpose.batches.sources import Source, open_source
from gatedpose.data.joints import check_known, join_skeletons, joint_groups, pairs_text, unlike
from gatedpose.data.readers import apart, lends_validation, warn_of_shared
from gatedpose.errors import DatasetError, InputError
from gatedpose.files.whole import held
from gatedpose.models.saved import save_model, skeleton_of
from gatedpose.models.weights import read_tensors
from gatedpose.models.zoo import create_model
from gatedpose.skeleton import LSP14, SKELETONS, Skeleton
from gatedpose.training.devices import make_accelerator
from gatedpose.training.folder import check_folder
from gatedpose.training.optimizer import make_optimizer
from gatedpose.training.recipes import Recipe
from gatedpose.training.schedule import check_batches
from gatedpose.training.start import check_variant, starting_model
from gatedpose.training.trainer import Trainer

LOG = logging.getLogger(__name__)


class Part(NamedTuple):
    """People of a source to train on, by their indices, and how often each is drawn."""

    source: Source
    people: Sequence[int]
    weight: float = 1.0


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

    Each set of own data without a "val" split keeps a fifth of its pictures for it. Joints of
    several datasets are joined by name; a joint that a dataset lacks counts as not labelled there.

    Args:
        name: A variant of the zoo.
        recipe: See `gatedpose.training.recipes`; it is drawn from the folders given, each with the
            weight that the recipe has for it, or 1.
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
        DatasetError: For a folder that is not what it should be, or datasets that share no joint.
        ImportError: Without accelerate, matplotlib or tensorboard.
        FileExistsError: If `out` holds a training and is not to be resumed, or its folder "model"
            holds other files than a model's.
        ValueError: For joints that the recipe needs and a dataset has not, or see
            `make_accelerator` and `Trainer`.
        UnknownModelError: For an unknown variant or tag.
        WeightsError: For weights to start from that there are not, or that do not fit.
    """
    check_folder(out, resume, folders.values())
    accelerator = make_accelerator(recipe.precision)
    check_start(name, recipe, config or {})
    teacher = create_model(recipe.teacher, pretrained=True) if recipe.teacher else None
    corrections = load_corrections(recipe.corrections) if recipe.corrections else None
    sources, watched, skeleton = _open(recipe, folders)
    chosen = choose([len(source) for source in sources], recipe)
    recipe = recipe.scaled(sum(map(len, chosen)))
    weights = (float(recipe.datasets.get(dataset, 1.0)) for dataset in folders)
    parts = list(map(Part, sources, chosen, weights))
    if recipe.whole:
        parts = _with_whole_pictures(parts, recipe.whole)
    torch.manual_seed(recipe.seed)
    model = starting_model(name, skeleton, recipe.init, **(config or {}))
    people = sum(len(part.people) for part in parts)
    check_batches(recipe, accelerator.num_processes, people, model)  # before they are packed
    if teacher:
        known = skeleton_of(teacher)
        if why := unlike(known, skeleton) if known else "it does not say which":
            text = f"predicts other joints than those of {skeleton.name}: {why}"
            raise InputError(f"the teacher {recipe.teacher} {text}")
    out.mkdir(parents=True, exist_ok=True)
    alone = held(out / ".lock", f"another program trains into {out}")
    with alone if accelerator.is_main_process else nullcontext():
        packs = crops or out
        with accelerator.main_process_first():  # the others read what the first has packed
            train_crops = _crops(parts, packs, skeleton)
            val_crops = _crops([Part(watched, range(len(watched)))], packs, skeleton)
        if corrections:
            train_crops = corrected(train_crops, corrections, skeleton)
        _warn_of_unlearnt(train_crops, skeleton)
        draws = torch.cat([torch.full((len(part.people),), part.weight) for part in parts])
        training = model, train_crops, draws, val_crops, skeleton, recipe, out
        trainer = Trainer(accelerator, *training, teacher=teacher, watch_every=watch_every)
        averaged = trainer.run()
        if not trainer.main:
            return None
        save_model(averaged, out / "model", skeleton)
    return out / "model"


def check_start(name: str, recipe: Recipe, config: Mapping[str, Any]) -> None:
    """Meets names, files and optimisers that there are not before data is read."""
    check_variant(name)
    file = recipe.init if recipe.init and recipe.init.endswith(".safetensors") else None
    if file:  # for joints that only the data tells
        read_tensors(Path(file))
    model = starting_model(name, LSP14, None if file else recipe.init, **config)
    if model.in_channels != 3:
        raise InputError(f"train: crops have 3 colours, and {name} takes {model.in_channels}")
    make_optimizer(recipe, model)


def _open(recipe: Recipe, folders: Mapping[str, Path]) -> tuple[list[Source], Source, Skeleton]:
    """What to train on, what to watch it by, and the joints to learn."""
    if missing := set(recipe.datasets) - set(folders):
        text = f"recipe {recipe.name} needs --data {', '.join(sorted(missing))}=FOLDER"
        raise DatasetError(f"{text}; joints of your own are learnt by --recipe finetune")
    sources = [open_source(dataset, folder, "train") for dataset, folder in folders.items()]
    first = next(iter(folders))
    watched = open_source(first, folders[first], "val")
    sources = [
        _to_learn(source, dataset, folders[dataset], watched, dataset == first)
        for source, dataset in zip(sources, folders, strict=True)
    ]
    try:
        if recipe.joints:
            skeleton = SKELETONS[recipe.joints]
            for source in (watched, *sources):
                check_known(source.skeleton, skeleton)
        else:
            skeleton = join_skeletons([watched.skeleton, *(s.skeleton for s in sources)])
    except ValueError as error:
        raise DatasetError(f"{', '.join(folders)} cannot be learnt together: {error}") from error
    LOG.info(pairs_text(skeleton))
    return sources, watched, skeleton


def _to_learn(source: Source, dataset: str, folder: Path, val: Source, first: bool) -> Source:
    """The people of a set to learn from, without those that it lends to "val", watched or not."""
    if isinstance(source.people, Crops):
        return source
    lent = val if first else None
    if not first and lends_validation(dataset, folder):
        lent = open_source(dataset, folder, "val")
    people = source.people
    if lent and not isinstance(lent.people, Crops):
        people = apart(dataset, folder, [*people], [*lent.people])
    if not first and not isinstance(val.people, Crops):
        warn_of_shared(folder, people, val.people)
    return replace(source, people=people)


def _with_whole_pictures(parts: Sequence[Part], share: float) -> list[Part]:
    """Beside each part its whole pictures, which have a `share` of the draws of their people."""
    both: list[Part] = []
    for part in parts:
        both.append(part._replace(weight=part.weight * (1 - share)))
        shards = isinstance(part.source.people, Crops)
        if not shards and (whole := part.source.whole_pictures(part.people)):
            both.append(Part(whole, range(len(whole)), part.weight * share))
        else:
            why = "only crops are in shards" if shards else "nobody is alone and large in one"
            LOG.warning(f"{part.source.name}: no whole pictures to learn from: {why}")
    return both


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


def _crops(parts: Sequence[Part], folder: Path, skeleton: Skeleton) -> Crops:
    # Before any work: sets that share no joint are refused.
    groups = [joint_groups(part.source.skeleton, skeleton, partly=True) for part in parts]
    crops = [
        part.source.crops(part.people, folder).with_joints(group)
        for part, group in zip(parts, groups, strict=True)
        if part.people
    ]
    return Crops.join(crops)


def _warn_of_unlearnt(crops: Crops, skeleton: Skeleton) -> None:
    never = ~(crops.labelled | crops.absent).any(dim=0)
    if names := [skeleton.joints[k] for k in torch.nonzero(never).flatten()]:
        LOG.warning(f"not learnt, since nobody to train on has a label of it: {', '.join(names)}")
