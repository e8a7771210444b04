"""The training of pose networks: crops of people in, heatmaps learnt."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatedpose.batches.augment import NONE, Batch, augment
from gatedpose.batches.crops import Crops, batches
from gatedpose.batches.looks import step_generator
from gatedpose.batches.packs import sha256_of
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.evaluation.metrics import Score, has_lsp_torso, lsp_pck, pck
from gatedpose.geometry import CROP_MARGIN
from gatedpose.heatmaps import decode
from gatedpose.media.drawing import contact_sheet, draw_people
from gatedpose.models.base import HeatmapNetwork
from gatedpose.pose import Pose
from gatedpose.skeleton import Skeleton
from gatedpose.training.loop import Loop
from gatedpose.training.losses import heatmap_loss
from gatedpose.training.recipes import Recipe

CALIBRATION_BATCH, WATCH_BATCH = 64, 16


class Trainer(Loop[Batch]):
    """Trains one network of joints, see `Loop`; writes samples.png, too: predictions.

    `draws` (N,) say how often each person of `crops` is drawn, in relation to the others; `val` are
    people to watch the training by, `teacher` is a trained network of the same joints.
    """

    recipe: Recipe
    score = "val_pck_no_flip", "validation PCK@0.2 (%)"

    def __init__(
        self,
        accelerator: Any,
        model: HeatmapNetwork,
        crops: Crops,
        draws: Tensor,
        val: Crops,
        skeleton: Skeleton,
        recipe: Recipe,
        out: Path,
        *,
        teacher: HeatmapNetwork | None = None,
        watch_every: int = 20_000,
    ) -> None:
        self.crops, self.draws, self.val, self.skeleton = crops, draws, val, skeleton
        self.joints = skeleton.joints
        self.data = _told(crops, draws, val, skeleton)
        super().__init__(accelerator, model, recipe, out, watch_every)
        device = accelerator.device
        self.teacher = teacher.to(device).to(memory_format=torch.channels_last) if teacher else None

    def batches(self) -> Iterator[Batch]:
        """This process's share of the batches that are left of the phase, made on the device."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        phase, seed = self.phase, self.recipe.seed
        crops = self.crops.shrunk(phase.size)
        share = phase.batch_size // world
        for indices in batches(self.draws, share, seed, self.progress.step, rank, world):
            if self.progress.images >= phase.images:
                return
            generator = step_generator(seed, self.progress.step)
            yield self._augmented(crops.take(indices), generator, rank, world)

    def _augmented(
        self, crops: Crops, generator: torch.Generator, rank: int = 0, world: int = 1
    ) -> Batch:
        crops, size = crops.to(self.accelerator.device), (self.phase.size, self.phase.size)
        change = self.recipe.augmentation, self.preprocessing
        with torch.autocast(self.accelerator.device.type, enabled=False):  # a network runs
            return augment(crops, size, self.skeleton, *change, generator, rank, world)

    def learn(self, batch: Batch) -> float:
        """Gradients of a batch, part by part; returns its loss.

        Parts and processes have unlike numbers of labelled joints, and all divide by the same one.
        """
        joints = self.average(batch.labelled.sum().float())
        sigma = self.recipe.phases[self.progress.phase].sigma
        parts = batch.split(len(batch.images) // self.recipe.accumulate)
        total = torch.zeros((), device=joints.device)
        for part in parts:
            alone = self.accelerator.no_sync(self.model) if part is not parts[-1] else nullcontext()
            with alone:
                images = part.images.contiguous(memory_format=torch.channels_last)
                truth = part.keypoints, part.labelled, sigma, self.recipe.loss, joints
                loss = heatmap_loss(self.model(images), *truth, *self._taught(images))
                self.accelerator.backward(loss)
            total += loss.detach()
        return float(self.average(total))

    @torch.no_grad()
    def _taught(self, images: Tensor) -> tuple[Tensor, float] | tuple[()]:
        if self.teacher is None:
            return ()
        if (wanted := Preprocessing.of(self.teacher)) != self.preprocessing:
            images = wanted.normalise(self.preprocessing.colours(images))
        with self.accelerator.autocast():
            return self.teacher.eval()(images)[:, -1].float(), self.recipe.teaching

    def look(self) -> tuple[float, dict[str, float], Tensor]:
        """PCK on crops, see `watch`, and the predictions."""
        score, sheet = watch(self.ema.module, self.val, self.skeleton, self.phase.size)
        return score.mean, {}, sheet

    def inputs(self) -> Iterator[Tensor]:
        """Large batches of training people, the same at every look."""
        seed, size = self.recipe.seed, min(CALIBRATION_BATCH, len(self.crops))
        drawn, generator = batches(self.draws, size, seed, 0), torch.Generator()
        generator.manual_seed(seed)
        for _ in range(0, self.recipe.calibrate, size):
            crops = self.crops.take(next(drawn)).shrunk(self.phase.size)
            images = self._augmented(crops, generator).images
            yield images.contiguous(memory_format=torch.channels_last)


def _told(crops: Crops, draws: Tensor, val: Crops, skeleton: Skeleton) -> dict[str, Any]:
    """What a training learns from and is watched by, but for the pixels, of gigabytes."""
    tensors = {"draws": draws}
    for split, some in (("train", crops), ("val", val)):
        known = {"keypoints": some.keypoints, "labelled": some.labelled, "absent": some.absent}
        tensors |= {f"{split} {name}": tensor for name, tensor in known.items()}
    names = skeleton.joints, skeleton.flip_pairs, crops.ids, val.ids
    labels = sha256_of(names, tensors)[:8]
    return {"people": len(crops), "people of val": len(val), "labels": labels}


@torch.no_grad()
def watch(model: nn.Module, val: Crops, skeleton: Skeleton, size: int) -> tuple[Score, Tensor]:
    """A quick look at a network in training: PCK@0.2 on crops, without flip test, and a picture.

    Joints other than LSP's, or LSP's without anybody's torso, are scored with the longer side of
    the box as normaliser. The figure of record comes from `gatedpose evaluate`, on whole images.
    """
    model.eval()
    device, preprocessing = next(model.parameters()).device, Preprocessing.of(model)
    val = val.shrunk(size)
    pred: list[Tensor] = []
    target: list[Tensor] = []
    pictures: list[Tensor] = []
    for indices in torch.split(torch.arange(len(val)), WATCH_BATCH):
        crops, generator = val.take(indices).to(device), torch.Generator()
        batch = augment(crops, (size, size), skeleton, NONE, preprocessing, generator)
        points, scores = decode(model(batch.images)[:, -1])
        pred.append(points.cpu())
        target.append(batch.keypoints.cpu())
        if len(pictures) < 16:
            colours = preprocessing.colours(batch.images)
            for image, keypoints, score in zip(colours, points, scores, strict=True):
                picture = (image.clamp(0, 1) * 255).to(torch.uint8).cpu()
                whole = np.array([0, 0, size, size])
                pose = Pose(keypoints.cpu().numpy(), score.cpu().numpy(), whole, skeleton)
                pictures.append(draw_people(picture, [pose], scale=1))
    points_and_truth = torch.cat(pred).numpy(), torch.cat(target).numpy()
    labelled, sides = val.labelled.numpy(), np.full(len(val), size / CROP_MARGIN)
    if has_lsp_torso(labelled, skeleton):
        found = lsp_pck(*points_and_truth, labelled, skeleton=skeleton)
    else:
        found = pck(*points_and_truth, sides, labelled)
    return found, contact_sheet(pictures[:16], 4)
