"""From folders of pictures with people's boxes to a trained finder in a folder."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gatedpose.batches.pictures import Pictures, read_empty, read_labelled
from gatedpose.errors import DatasetError, InputError
from gatedpose.files.whole import held
from gatedpose.models.finder import GatedFinder, start_from_pose
from gatedpose.models.hourglass import GatedHourglass
from gatedpose.models.saved import save_model
from gatedpose.models.weights import check_fit, load_tensors
from gatedpose.models.zoo import create_model
from gatedpose.training.finder import FinderTrainer
from gatedpose.training.finder_recipe import FinderRecipe
from gatedpose.training.folder import check_folder

WATCHED = 300  # pictures of a validation split that watch a training


def train_finder(
    name: str,
    recipe: FinderRecipe,
    folders: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    watch_every: int = 10_000,
    resume: bool = False,
) -> Path:
    """Trains a finder on the "train" splits of folders; their "val" splits watch it.

    Args:
        name: A finder of the zoo.
        recipe: See `FinderRecipe`.
        folders: Of "complete" pictures, in which all people have a box, of "stretched" ones, which
            are complete but not of the camera's aspect, of "partly" labelled and of "empty" ones;
            see `gatedpose.batches.pictures`.
        out: Folder for packed pictures, checkpoints, log and weights.
        watch_every: Pictures between two looks.
        resume: Go on with the training in `out`, if there is one.

    Returns:
        Folder of the trained network, to be used as "local-dir:" model.

    Raises:
        DatasetError: For no folder, or one that is not what it should be.
        FileExistsError: If `out` holds a training and is not to be resumed.
        InputError: For a network that is no finder, weights that it cannot start from, or an `out`
            that another program trains into.
    """
    check_folder(out, resume, itertools.chain(*folders.values()))
    torch.manual_seed(recipe.seed)
    model = _model(name, recipe.init)
    size = recipe.phases[-1].size
    model.pretrained_cfg["input_size"] = (model.in_channels, size, size)
    out.mkdir(parents=True, exist_ok=True)
    with held(out / ".lock", f"another program trains into {out}"):
        pictures, draws, val = _packed(folders, recipe, out)
        trainer = FinderTrainer(model, pictures, draws, val, recipe, out, watch_every=watch_every)
        save_model(trainer.run(), out / "model", None)
    return out / "model"


def _model(name: str, init: str | None) -> GatedFinder:
    """The finder to train: fresh, or from a trained finder or its file, or from a pose network."""
    own = init if init and init.endswith(".safetensors") else None
    model = create_model(name, checkpoint_path=own)
    if not isinstance(model, GatedFinder):
        raise InputError(f"{name} is a network of joints, not a finder")
    if init and not own:
        start = create_model(init, pretrained=True)
        if isinstance(start, GatedFinder):
            check_fit(model, start.state_dict(), init)
            load_tensors(model, start.state_dict(), init)
        elif isinstance(start, GatedHourglass):
            start_from_pose(model, start)
        else:
            raise InputError(f"a finder starts from a finder or a gated hourglass, not from {init}")
    return model


def _packed(
    folders: Mapping[str, Sequence[Path]], recipe: FinderRecipe, out: Path
) -> tuple[Pictures, Tensor, dict[str, Pictures]]:
    """Training pictures, how often each is drawn, and a folder's pictures to watch by its name."""
    places = [(kind, folder) for kind, some in folders.items() for folder in some]
    names = [folder.resolve().name for _, folder in places]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DatasetError(f"two folders are called {min(twice)}: their packs would be mixed up")
    if not any(kind != "empty" for kind, _ in places):
        raise DatasetError("a finder needs pictures with people: name at least one folder of them")
    splits = [
        (kind, name, split, read_empty(folder) if kind == "empty" else read_labelled(folder, split))
        for (kind, folder), name in zip(places, names, strict=True)
        for split in (("empty",) if kind == "empty" else ("train", "val"))
    ]  # all of them before any is packed, which takes its time
    parts: list[Pictures] = []
    weights: list[Tensor] = []
    watched: dict[str, Pictures] = {}
    for kind, name, split, labelled in splits:
        path = out / f"{name}.{split}.safetensors"
        pack = Pictures.packed(labelled, kind != "partly", kind == "stretched", path)
        if split == "val":
            few = torch.arange(0, len(pack), max(1, len(pack) // WATCHED))[:WATCHED]
            watched[name] = pack.take(few)
            continue
        parts.append(pack)
        weight = 0.0 if kind == "empty" else recipe.draws.get(name, 1.0)
        weights.append(torch.full((len(pack),), weight))
    return Pictures.join(parts), with_empty(torch.cat(weights), recipe.empty), watched


def with_empty(draws: Tensor, share: float) -> Tensor:
    """(N,) draws of which those that are 0, of pictures without people, get a share together."""
    empty = draws == 0
    each = float(draws.sum()) * share / (1 - share) / max(1, int(empty.sum()))
    return torch.where(empty, each, draws)
