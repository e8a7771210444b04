"""The training loop: crops in, averaged weights out, resumable at every checkpoint."""

import csv
import io
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from tqdm import tqdm

from gatedpose.data.augment import Batch, augment
from gatedpose.data.crops import Crops, batches
from gatedpose.evaluation import watch
from gatedpose.losses import heatmap_loss
from gatedpose.media import write_image, write_whole
from gatedpose.network import HeatmapNetwork
from gatedpose.recipes import Phase, Recipe
from gatedpose.skeleton import Skeleton

CHECKPOINT = "last.pt"


@dataclass
class Progress:
    """Where a training stands; everything else follows from the recipe."""

    phase: int = 0
    images: int = 0  # seen in this phase
    step: int = 0  # over all phases

    def share(self, recipe: Recipe) -> float:
        """Share of the whole work that is done, 0 to 1."""
        done = sum(phase.cost for phase in recipe.phases[: self.phase])
        if self.phase < len(recipe.phases):
            current = recipe.phases[self.phase]
            done += current.cost * min(1.0, self.images / current.images)
        return done / recipe.cost


def learning_rate(recipe: Recipe, progress: Progress) -> float:
    """Linear warm-up over steps, then the recipe's drops or a linear fall to 0."""
    warm = min(1.0, (progress.step + 1) / max(1, recipe.warmup))
    share = progress.share(recipe)
    if recipe.drops:
        return warm * [recipe.lr, *(rate for start, rate in recipe.drops if share >= start)][-1]
    return recipe.lr * warm * (1 - share)


class Trainer:
    """Trains one network by a recipe, on whatever device and processes accelerate finds.

    Writes into `out`: recipe.json, log.csv, samples.png (predictions of the averaged network on
    validation people) and last.pt, from which it goes on if it is there. SIGTERM saves and stops.

    Args:
        model: Network of `skeleton.num_keypoints` heatmaps, freshly made.
        crops: Training people.
        draws: (N,) how often each of them is drawn, in relation to the others.
        val: People to watch the training by. They choose nothing: the last weights are the result.
        skeleton: The joints.
        recipe: See `Recipe`.
        out: Folder, made if it is not there.
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
        watch_every: int = 20_000,
    ) -> None:
        from accelerate import Accelerator
        from timm.utils import ModelEmaV3

        self.crops, self.draws, self.val, self.skeleton = crops, draws, val, skeleton
        self.recipe, self.out, self.watch_every = recipe, out, watch_every
        self.accelerator = Accelerator(mixed_precision=recipe.precision)
        self.main = self.accelerator.is_main_process
        self.progress = Progress()
        device = self.accelerator.device
        model = model.to(device).to(memory_format=torch.channels_last)
        optimizer = recipe.make_optimizer(model)
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.mean = torch.tensor(IMAGENET_DEFAULT_MEAN, device=device)
        self.std = torch.tensor(IMAGENET_DEFAULT_STD, device=device)
        self._check_batches()
        out.mkdir(parents=True, exist_ok=True)
        self._note_recipe()
        if (out / CHECKPOINT).exists():
            self._restore()

    def run(self) -> HeatmapNetwork:
        """Trains to the end of the recipe.

        Returns:
            The network of averaged weights, on the CPU, in evaluation mode.

        Raises:
            FloatingPointError: If the loss is not finite; the last checkpoint is kept.
            SystemExit: After SIGTERM, once the checkpoint is written.
        """
        bar = tqdm(total=100, unit="%", disable=not self.main, mininterval=15)
        with bar, _sigterm() as stop:
            while self.progress.phase < len(self.recipe.phases):
                phase = self.recipe.phases[self.progress.phase]
                losses: list[float] = []
                for batch in self.batches(phase):
                    losses.append(self.step(batch, phase))
                    bar.update(100 * self.progress.share(self.recipe) - bar.n)
                    seen, every = self.progress.images, self.watch_every
                    if seen >= phase.images or seen // every > (seen - phase.batch_size) // every:
                        self._watch(phase, losses)
                    if stop:
                        self._save()
                        raise SystemExit(f"stopped at {self.progress}; run again to resume")
                self.progress.phase, self.progress.images = self.progress.phase + 1, 0
                self._save()
        averaged: HeatmapNetwork = self.ema.module.cpu().eval()
        return averaged

    def batches(self, phase: Phase) -> Iterator[Batch]:
        """This process's share of the batches that are left of a phase, augmented on the device."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        share, seed = phase.batch_size // world, self.recipe.seed
        crops, generator = self.crops.shrunk(phase.size), torch.Generator()
        for indices in batches(self.draws, share, seed, self.progress.step, rank, world):
            if self.progress.images >= phase.images:
                return
            generator.manual_seed((seed * 1_000_003 + self.progress.step) * world + rank)
            drawn = crops.take(indices).to(self.accelerator.device)
            size = (phase.size, phase.size)
            yield augment(
                drawn, size, self.skeleton, self.recipe.augmentation, self.mean, self.std, generator
            )

    def step(self, batch: Batch, phase: Phase) -> float:
        """Learns from one batch; returns its loss."""
        rate = learning_rate(self.recipe, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.model.train()
        heatmaps = self.model(batch.images.contiguous(memory_format=torch.channels_last))
        loss = heatmap_loss(
            heatmaps, batch.keypoints, batch.labelled, phase.sigma, self.recipe.loss
        )
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss became {value} at {self.progress}")
        self.accelerator.backward(loss)
        if self.recipe.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.accelerator.unwrap_model(self.model), step=self.progress.step)
        self.progress.images += phase.batch_size
        self.progress.step += 1
        return value

    def _watch(self, phase: Phase, losses: list[float]) -> None:
        """Saves, then scores the averaged network and writes a log line and a picture."""
        self._save()
        if self.main:
            score, sheet = watch(self.ema.module, self.val, self.skeleton, phase.size)
            row = {
                "time": time.strftime("%H:%M:%S"),
                "size": phase.size,
                "images": self.progress.images,
                "step": self.progress.step,
                "share": round(self.progress.share(self.recipe), 4),
                "lr": round(learning_rate(self.recipe, self.progress), 6),
                "loss": round(sum(losses) / max(1, len(losses)), 4),
                "val_pck_no_flip": round(score.mean, 2),
            }
            losses.clear()
            tqdm.write("  ".join(f"{name} {value}" for name, value in row.items()))
            with (self.out / "log.csv").open("a", newline="") as file:
                writer = csv.DictWriter(file, list(row))
                if not file.tell():
                    writer.writeheader()
                writer.writerow(row)
            write_image(sheet, self.out / "samples.png")
        self.accelerator.wait_for_everyone()

    def _check_batches(self) -> None:
        count, people = self.accelerator.num_processes, len(self.crops)
        if int(os.environ.get("WORLD_SIZE", "1")) != count:
            raise RuntimeError(
                "these processes do not know each other and would train apart; on a CPU set "
                "ACCELERATE_USE_CPU=1"
            )
        if odd := [p.batch_size for p in self.recipe.phases if p.batch_size % count]:
            raise ValueError(f"{count} processes cannot share batches of {odd[0]} images alike")
        if large := [p.batch_size for p in self.recipe.phases if p.batch_size > people]:
            raise ValueError(
                f"a batch of {large[0]} is more than the {people} people to train on: add people "
                "or make the batches of --phase smaller"
            )

    def _note_recipe(self) -> None:
        """Writes recipe.json, or checks that a training to be resumed has the same recipe."""
        path, now = self.out / "recipe.json", json.loads(json.dumps(asdict(self.recipe)))
        if (self.out / CHECKPOINT).exists():
            before = json.loads(path.read_text("utf-8"))
            fields = sorted(k for k in {*before, *now} if before.get(k) != now.get(k))
            if fields:
                changes = ", ".join(f"{k} {before.get(k)!r} -> {now.get(k)!r}" for k in fields)
                raise ValueError(
                    f"{self.out} holds a training by another recipe ({changes}): resume it with "
                    "that one, or train into another folder"
                )
        elif self.main:
            write_whole(path, json.dumps(now, indent=1))

    def _save(self) -> None:
        if not self.main:
            return
        state = {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": asdict(self.progress),
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_whole(self.out / CHECKPOINT, buffer.getvalue())

    def _restore(self) -> None:
        state = torch.load(self.out / CHECKPOINT, weights_only=True, map_location="cpu")
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])


@contextmanager
def _sigterm() -> Iterator[list[int]]:
    """A list that is empty until SIGTERM comes, which does no more than that."""
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
