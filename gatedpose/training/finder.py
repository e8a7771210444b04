"""From folders of pictures with people's boxes to a trained finder in a folder."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from gatedpose.batches.looks import step_generator
from gatedpose.batches.packs import sha256_of
from gatedpose.batches.pictures import Pictures, read_empty, read_labelled
from gatedpose.batches.views import ViewBatch, draw_views
from gatedpose.boxmaps import BOX_STRIDE, encode_boxes
from gatedpose.errors import DatasetError, InputError
from gatedpose.evaluation.detection import LOWEST, any_right, match, surest_right
from gatedpose.files.whole import held
from gatedpose.models.finder import GatedFinder, start_from_pose
from gatedpose.models.hourglass import GatedHourglass
from gatedpose.models.saved import save_model
from gatedpose.models.weights import load_tensors
from gatedpose.models.zoo import create_model
from gatedpose.predict.finder import PersonFinder
from gatedpose.training.devices import make_accelerator
from gatedpose.training.folder import check_folder
from gatedpose.training.loop import Loop
from gatedpose.training.losses import finder_loss
from gatedpose.training.recipes import FinderRecipe
from gatedpose.training.start import check_variant

WATCHED = 300  # pictures of a validation split that watch a training
# Training pictures, how often each is drawn, and a folder's pictures to watch by its name.
Data: TypeAlias = tuple[Pictures, Tensor, dict[str, Pictures]]


def train_finder(
    name: str,
    recipe: FinderRecipe,
    folders: Mapping[str, Sequence[Path]],
    out: Path,
    *,
    watch_every: int = 10_000,
    resume: bool = False,
) -> Path:
    """Trains a finder of the zoo on the "train" splits of folders; their "val" splits watch it.

    Folders are of "complete" pictures, in which all people have a box, of "stretched" ones, which
    are complete but not of the camera's aspect, of "partly" labelled and of "empty" ones; see
    `gatedpose.batches.pictures`. `out` gets packed pictures, checkpoints, log and weights: the
    folder of the trained network, to be used as "local-dir:" model, is returned. There are
    `watch_every` pictures between two looks.
    """
    check_variant(name)
    check_folder(out, resume, itertools.chain(*folders.values()))
    accelerator = make_accelerator(recipe.precision)
    if (processes := accelerator.num_processes) > 1:
        raise InputError(f"a finder is trained in one process, not in {processes}")
    torch.manual_seed(recipe.seed)
    model = _model(name, recipe.init)
    out.mkdir(parents=True, exist_ok=True)
    with held(out / ".lock", f"another program trains into {out}"):
        data = _packed(folders, recipe, out)
        trainer = FinderTrainer(data, accelerator, model, recipe, out, watch_every)
        save_model(trainer.run(), out / "model", None)
    return out / "model"


class FinderTrainer(Loop[ViewBatch]):
    """Trains a finder, see `Loop`, in one process, with what `_packed` returns."""

    recipe: FinderRecipe
    score = "val_found", "validation people found (%)"

    def __init__(self, data: Data, *training: Any) -> None:
        self.pictures, self.draws, self.val = data
        self.data = _told(*data)
        super().__init__(*training)

    def batches(self) -> Iterator[ViewBatch]:
        """Those that are left of the phase."""
        while self.progress.images < self.phase.images:
            yield self._drawn(self.progress.step)

    def _drawn(self, step: int) -> ViewBatch:
        """The views of one step; they follow from the recipe's seed and the step."""
        generator = step_generator(self.recipe.seed, step)
        indices = torch.multinomial(self.draws, self.phase.batch_size, True, generator=generator)
        size, looks = (self.phase.size, self.phase.size), (self.recipe.views, self.preprocessing)
        return draw_views(self.pictures, indices, size, *looks, generator)

    def learn(self, batch: ViewBatch) -> float:
        """Computes the gradients of a batch; returns its loss."""
        device, side = self.accelerator.device, self.phase.size // BOX_STRIDE
        targets = encode_boxes(batch.boxes.to(device), (side, side), batch.known.to(device))
        images = batch.images.to(device, memory_format=torch.channels_last)
        centres, boxes = finder_loss(self.model(images)[:, -1], targets)
        loss = centres + self.recipe.boxes * boxes
        self.accelerator.backward(loss)
        return loss.item()

    def look(self) -> tuple[float, dict[str, float], None]:
        """The mean over `val` of the recall, or of how often the surest box is right."""
        scores, more = [], {}
        device, size = self.accelerator.device, self.phase.size
        finder = PersonFinder(self.ema.module, min_score=LOWEST, size=size, device=device)
        for name, pictures in self.val.items():
            found = [finder.find(picture) for picture in pictures]
            heights = pictures.sizes[:, 1].tolist()
            listed = list(zip(pictures.boxes, heights, strict=True))
            if bool(pictures.complete.all()):
                scores.append(match(found, listed, 1 / 6).recall_at(0.8)[0])
                more[f"{name}_recall"] = round(100 * scores[-1], 2)
            else:
                scores.append(surest_right(found, listed))
                more[f"{name}_surest"] = round(100 * scores[-1], 2)
                more[f"{name}_any"] = round(100 * any_right(found, listed), 2)
        return 100 * statistics.fmean(scores), more, None

    def inputs(self) -> Iterator[Tensor]:
        """Views that no step draws, the same at every look."""
        for i in range(0, self.recipe.calibrate, self.phase.batch_size):
            images = self._drawn(-1 - i // self.phase.batch_size).images
            yield images.to(self.accelerator.device, memory_format=torch.channels_last)


def _model(name: str, init: str | None) -> GatedFinder:
    """The finder to train: fresh, or from a trained finder or its file, or from a pose network."""
    own = init if init and init.endswith(".safetensors") else None
    model = create_model(name, checkpoint_path=own)
    if not isinstance(model, GatedFinder):
        raise InputError(f"{name} is a network of joints, not a finder")
    if init and not own:
        start = create_model(init, pretrained=True)
        if isinstance(start, GatedFinder):
            load_tensors(model, start.state_dict(), init)
        elif isinstance(start, GatedHourglass):
            start_from_pose(model, start)
        else:
            raise InputError(f"a finder starts from a finder or a gated hourglass, not from {init}")
    return model


def _packed(folders: Mapping[str, Sequence[Path]], recipe: FinderRecipe, out: Path) -> Data:
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
    return Pictures.join(parts), with_empty(torch.cat(weights).double(), recipe.empty), watched


def _told(pictures: Pictures, draws: Tensor, val: Mapping[str, Pictures]) -> dict[str, Any]:
    """What a training learns from and is watched by, but for the pixels."""
    tensors = {"draws": draws}
    for name, some in (("", pictures), *val.items()):
        boxes = some.padded(torch.arange(len(some)))
        known = {"sizes": some.sizes, "boxes": boxes, "complete": some.complete}
        tensors |= {f"{name} {key}": tensor for key, tensor in known.items()}
    return {"pictures": len(pictures), "boxes": sha256_of(list(val), tensors)[:8]}


def with_empty(draws: Tensor, share: float) -> Tensor:
    """(N,) draws of which those that are 0, of pictures without people, get a share together."""
    empty = draws == 0
    each = float(draws.sum()) * share / (1 - share) / max(1, int(empty.sum()))
    return torch.where(empty, each, draws)
