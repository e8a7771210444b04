"""The training loop: crops in, averaged weights out, resumable at every checkpoint."""

import logging
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from gatedpose.batches.augment import Batch, augment
from gatedpose.batches.crops import Crops, batches
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.errors import DivergedError, check_range
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.weights import load_weights
from gatedpose.skeleton import Skeleton
from gatedpose.training import folder
from gatedpose.training.devices import make_accelerator, stopping
from gatedpose.training.groups import Phase
from gatedpose.training.log import Journal, share_bar
from gatedpose.training.losses import heatmap_loss
from gatedpose.training.optimizer import make_optimizer, set_learning_rate
from gatedpose.training.recipes import Recipe
from gatedpose.training.schedule import Progress, check_batches, learning_rate
from gatedpose.training.watch import watch

LOG = logging.getLogger(__name__)
CALIBRATION_BATCH = 64


class Trainer:
    """Trains one network by a recipe, on whatever device and processes accelerate finds.

    Writes into `out`: recipe.json; last.pt, from which it goes on if it is there; the averaged
    weights that scored best in the last phase so far (of all phases, if `Averaging.result` is
    "best"), best.safetensors; and what `Journal` does, its samples being predictions of the
    averaged network. SIGTERM or Ctrl-C saves and stops.

    Args:
        model: Network of `skeleton.num_keypoints` heatmaps, freshly made.
        crops: Training people.
        draws: (N,) how often each of them is drawn, in relation to the others.
        val: People to watch the training by.
        skeleton: The joints.
        recipe: See `Recipe`.
        out: Folder, made if it is not there.
        teacher: Trained network of the same joints, see `Recipe.teaching`.
        watch_every: Images between two checkpoints with a look at `val`.
    """

    def __init__(
        self,
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
        from timm.utils import ModelEmaV3

        check_range("Trainer: watch_every", watch_every, (1, 10**12))
        self.crops, self.draws, self.val, self.skeleton = crops, draws, val, skeleton
        self.recipe, self.out, self.watch_every = recipe, out, watch_every
        self.accelerator = make_accelerator(recipe.precision)
        self.main = self.accelerator.is_main_process
        self.progress = Progress()
        self.losses: list[float] = []  # since the last look at `val`
        self.best = (-1, -1.0)  # phase and score
        self.network = {"class": type(model).__name__, **vars(model.config)}
        self.preprocessing = Preprocessing.of(model)
        device = self.accelerator.device
        model = model.to(device).to(memory_format=torch.channels_last)
        self.teacher = teacher.to(device).to(memory_format=torch.channels_last) if teacher else None
        optimizer = make_optimizer(recipe, model)
        self.start = {name: t.clone() for name, t in model.state_dict().items() if recipe.keep}
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True)
        model.set_grad_checkpointing(recipe.checkpointing)
        if recipe.compile:
            model.compile()
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        check_batches(recipe, self.accelerator.num_processes, len(crops), self.ema.module)
        out.mkdir(parents=True, exist_ok=True)
        resumed = (out / folder.CHECKPOINT).exists()
        if self.main or resumed:
            folder.note_recipe(out, recipe)
        if resumed:
            self._restore()

    def run(self) -> HeatmapNetwork:
        """Trains to the end of the recipe.

        Returns:
            The network of averaged weights, the last or the best, on the CPU, in evaluation mode;
            its input is as large as in their phase.

        Raises:
            DivergedError: If the loss is not finite; the last checkpoint is kept.
            SystemExit: After SIGTERM or Ctrl-C, once the checkpoint is written.
        """
        device = self.accelerator.device
        bar, journal = share_bar(self.main), Journal(self.out, self.progress.step)
        with bar, stopping() as stop, journal:
            while self.progress.phase < len(self.recipe.phases):
                phase = self.recipe.phases[self.progress.phase]
                for batch in self.batches(phase):
                    rate = learning_rate(self.recipe, self.progress)
                    self.losses.append(self.step(batch, phase))
                    if self.main:
                        journal.scalars(self.progress.step, {"loss": self.losses[-1], "lr": rate})
                    bar.update(100 * self.progress.share(self.recipe) - bar.n)
                    if self.progress.is_due(phase, self.watch_every):
                        if self.progress.share(self.recipe) >= 1:
                            self._mix_start()
                        self._watch(phase, journal)
                    if self._average(torch.tensor(float(bool(stop)), device=device)) > 0:
                        self._save()
                        raise SystemExit(f"stopped at {self.progress}; resume it with --resume")
                self.progress.phase, self.progress.images = self.progress.phase + 1, 0
                self._save()
        averaged: HeatmapNetwork = self.ema.module.cpu().eval()
        best, score = self.best
        if self.recipe.result == "best" and self.main and best >= 0:
            size = self.recipe.phases[best].size
            load_weights(averaged, self.out / folder.BEST)
            averaged.pretrained_cfg["input_size"] = (averaged.in_channels, size, size)
            LOG.info(f"kept the weights that scored best: {score:.2f} at {size} px")
        return averaged

    def batches(self, phase: Phase) -> Iterator[Batch]:
        """This process's share of the batches that are left of a phase, augmented on the device."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        share, seed = phase.batch_size // world, self.recipe.seed
        crops, generator = self.crops.shrunk(phase.size), torch.Generator()
        for indices in batches(self.draws, share, seed, self.progress.step, rank, world):
            if self.progress.images >= phase.images:
                return
            generator.manual_seed(seed * 1_000_003 + self.progress.step)
            yield self._augmented(crops.take(indices), phase, generator, rank, world)

    def _augmented(
        self, crops: Crops, phase: Phase, generator: torch.Generator, rank: int = 0, world: int = 1
    ) -> Batch:
        crops, size = crops.to(self.accelerator.device), (phase.size, phase.size)
        change = self.recipe.augmentation, self.preprocessing
        with torch.autocast(self.accelerator.device.type, enabled=False):  # a network runs
            return augment(crops, size, self.skeleton, *change, generator, rank, world)

    def step(self, batch: Batch, phase: Phase) -> float:
        """Learns from one batch; returns its loss, over all processes."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, self.progress))
        self.model.train()
        loss = self._learn(batch, phase)
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss became {loss} at {self.progress}, with the batch of "
                f"{', '.join(batch.ids) or 'people without ids'}; {folder.CHECKPOINT}, if there is "
                "one, is of before"
            )
        if self.recipe.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.accelerator.unwrap_model(self.model), step=self.progress.step)
        self.progress.images += phase.batch_size
        self.progress.step += 1
        return loss

    def _learn(self, batch: Batch, phase: Phase) -> float:
        """Gradients of a batch, part by part; returns its loss.

        Parts and processes have unlike numbers of labelled joints. All divide by the same number,
        so that a sum of their gradients is what the whole batch would give at once.
        """
        joints = self._average(batch.labelled.sum().float())
        parts = batch.split(len(batch.images) // self.recipe.accumulate)
        total = torch.zeros((), device=joints.device)
        for part in parts:
            alone = self.accelerator.no_sync(self.model) if part is not parts[-1] else nullcontext()
            with alone:
                images = part.images.contiguous(memory_format=torch.channels_last)
                truth = part.keypoints, part.labelled, phase.sigma, self.recipe.loss, joints
                loss = heatmap_loss(self.model(images), *truth, *self._taught(images))
                self.accelerator.backward(loss)
            total += loss.detach()
        return float(self._average(total))

    @torch.no_grad()
    def _taught(self, images: Tensor) -> tuple[Tensor, float] | tuple[()]:
        if self.teacher is None:
            return ()
        if (wanted := Preprocessing.of(self.teacher)) != self.preprocessing:
            images = wanted.normalise(self.preprocessing.colours(images))
        with self.accelerator.autocast():
            return self.teacher.eval()(images)[:, -1].float(), self.recipe.teaching

    def _average(self, value: Tensor) -> Tensor:
        mean: Tensor = self.accelerator.reduce(value, "mean")  # over processes
        return mean

    def _watch(self, phase: Phase, journal: Journal) -> None:
        """Scores the averaged network, keeps it if it is the best, and saves."""
        if self.main:
            self._calibrate(phase)
            score, sheet = watch(self.ema.module, self.val, self.skeleton, phase.size)
            row = {
                "size": phase.size,
                "images": self.progress.images,
                "step": self.progress.step,
                "share": round(self.progress.share(self.recipe), 4),
                "lr": round(learning_rate(self.recipe, self.progress), 6),
                "loss": round(sum(self.losses) / max(1, len(self.losses)), 4),
                "val_pck_no_flip": round(score.mean, 2),
            }
            journal.look(row, sheet)
            now = self.progress.phase, score.mean
            # Of the last weights finer inputs come before higher scores.
            if now > self.best if self.recipe.result == "last" else now[1] > self.best[1]:
                self.best = now
                about = {"val_pck_no_flip": f"{score.mean:.2f}", "step": str(row["step"])}
                folder.save_best(self.out, self.ema.module, about)
        self.losses.clear()
        self._save()
        self.accelerator.wait_for_everyone()

    def _mix_start(self) -> None:
        weights = self.ema.module.state_dict()
        for name, start in self.start.items():
            if start.is_floating_point():
                weights[name].lerp_(start, self.recipe.keep)

    def _calibrate(self, phase: Phase) -> None:
        """Takes the averaged network's batch norm statistics from large batches of training people.

        Those that training leaves are averages over past networks and small batches. With them the
        narrow pictures of LSP, half of which is padding, showed sure joints in the padding.
        """
        seed, size = self.recipe.seed, min(CALIBRATION_BATCH, len(self.crops))
        drawn, generator = batches(self.draws, size, seed, 0), torch.Generator()
        generator.manual_seed(seed)
        takes = range(0, self.recipe.calibrate, size)
        people = (self.crops.take(next(drawn)).shrunk(phase.size) for _ in takes)
        parts = (self._augmented(crops, phase, generator).images for crops in people)
        inputs = (images.contiguous(memory_format=torch.channels_last) for images in parts)
        if self.recipe.calibrate:
            with self.accelerator.autocast():
                update_bn(inputs, self.ema.module)

    def _save(self) -> None:
        if not self.main:
            return
        scaler = self.accelerator.scaler  # of fp16
        state = {
            "network": self.network,
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
            "progress": asdict(self.progress),
            "losses": self.losses,
            "best": self.best,
        }
        folder.save_checkpoint(self.out, state)

    def _restore(self) -> None:
        # A checkpoint of an earlier version has not yet all fields, which are at their defaults.
        standard = vars(type(self.ema.module.config)())
        with folder.damage_named(self.out):
            state = folder.load_checkpoint(self.out)
            told = {**standard, **state["network"]}
        folder.require_same(f"{self.out} holds a training of another network", told, self.network)
        with folder.damage_named(self.out):
            self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
            self.ema.module.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.accelerator.scaler and state["scaler"]:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.progress = Progress(**state["progress"]).checked(len(self.recipe.phases))
            self.losses = [float(loss) for loss in state["losses"]]
            phase, score = state["best"]
            self.best = int(phase), float(score)
