"""The training loop: crops in, averaged weights out, resumable at every checkpoint."""

import csv
import io
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn
from tqdm import tqdm

from gatedpose.data.augment import NONE, Batch, augment
from gatedpose.data.crops import Crops, batches, packed
from gatedpose.data.lsp import read_dataset
from gatedpose.heatmaps import decode
from gatedpose.losses import heatmap_loss
from gatedpose.media import contact_sheet, draw_poses, write_image, write_whole
from gatedpose.metrics import Score, lsp_pck
from gatedpose.recipes import Phase, Recipe
from gatedpose.skeleton import LSP14, Skeleton
from gatedpose.zoo import create_model

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
    """Linear warm-up over steps, then a linear fall to 0 over the share of work done."""
    warm = min(1.0, (progress.step + 1) / max(1, recipe.warmup))
    return recipe.lr * warm * (1 - progress.share(recipe))


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
        model: nn.Module,
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
        self._check_processes()
        out.mkdir(parents=True, exist_ok=True)
        if (out / CHECKPOINT).exists():
            self._restore()
        if self.main:
            self._note_recipe()

    def run(self) -> nn.Module:
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
                for batch in self._batches(phase):
                    losses.append(self._step(batch, phase))
                    bar.update(100 * self.progress.share(self.recipe) - bar.n)
                    seen, every = self.progress.images, self.watch_every
                    if seen >= phase.images or seen // every > (seen - phase.batch_size) // every:
                        self._watch(phase, losses)
                    if stop:
                        self._save()
                        raise SystemExit(f"stopped at {self.progress}; run again to resume")
                self.progress.phase, self.progress.images = self.progress.phase + 1, 0
                self._save()
        averaged: nn.Module = self.ema.module.cpu().eval()
        return averaged

    def _batches(self, phase: Phase) -> Iterator[Batch]:
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

    def _step(self, batch: Batch, phase: Phase) -> float:
        rate = learning_rate(self.recipe, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)
        self.model.train()
        heatmaps = self.model(batch.images.contiguous(memory_format=torch.channels_last))
        loss = heatmap_loss(
            heatmaps, batch.keypoints, batch.labelled, phase.sigma, self.recipe.loss
        )
        value = float(loss.detach())
        if value != value or value == float("inf"):
            raise FloatingPointError(f"the loss became {value} at {self.progress}")
        self.accelerator.backward(loss)
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

    def _check_processes(self) -> None:
        count = self.accelerator.num_processes
        if int(os.environ.get("WORLD_SIZE", "1")) != count:
            raise RuntimeError(
                "these processes do not know each other and would train apart; on a CPU set "
                "ACCELERATE_USE_CPU=1"
            )
        if odd := [p.batch_size for p in self.recipe.phases if p.batch_size % count]:
            raise ValueError(f"{count} processes cannot share batches of {odd[0]} images alike")

    def _note_recipe(self) -> None:
        path, text = self.out / "recipe.json", json.dumps(asdict(self.recipe), indent=1)
        if path.exists() and path.read_text("utf-8") != text:
            tqdm.write(f"the recipe is not that of {path}: going on with the new one")
        write_whole(path, text)

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


@torch.no_grad()
def watch(
    model: nn.Module, val: Crops, skeleton: Skeleton, size: int, batch_size: int = 16
) -> tuple[Score, Tensor]:
    """A quick look at a network in training: PCK@0.2 on crops, without flip test, and a picture.

    The figure of record comes from `gatedpose evaluate`, on whole images.
    """
    model.eval()
    parameter = next(model.parameters())
    mean = torch.tensor(IMAGENET_DEFAULT_MEAN, device=parameter.device)
    std = torch.tensor(IMAGENET_DEFAULT_STD, device=parameter.device)
    val = val.shrunk(size)
    pred: list[Tensor] = []
    target: list[Tensor] = []
    pictures: list[Tensor] = []
    for start in range(0, len(val), batch_size):
        crops = val.take(torch.arange(start, min(start + batch_size, len(val))))
        batch = augment(
            crops.to(parameter.device), (size, size), skeleton, NONE, mean, std, torch.Generator()
        )
        points, scores = decode(model(batch.images)[:, -1])
        pred.append(points.cpu())
        target.append(batch.keypoints.cpu())
        if len(pictures) < 16:
            colours = batch.images * std.view(3, 1, 1) + mean.view(3, 1, 1)
            for image, keypoints, score in zip(colours, points, scores, strict=True):
                picture = (image.clamp(0, 1) * 255).to(torch.uint8).cpu()
                pictures.append(
                    draw_poses(picture, keypoints[None].cpu(), score[None].cpu(), skeleton, scale=1)
                )
    score = lsp_pck(torch.cat(pred).numpy(), torch.cat(target).numpy(), val.labelled.numpy())
    return score, contact_sheet(pictures[:16], 4)


def train_lsp(
    name: str,
    recipe: Recipe,
    folders: Mapping[str, Path],
    out: Path,
    watch_every: int = 20_000,
    init: Path | None = None,
) -> Path | None:
    """Trains a variant from scratch on LSP and LSP-extended, both "train", watched by "lsp val".

    Args:
        name: A variant of the zoo.
        recipe: See `gatedpose.recipes`.
        folders: Folder of each of the recipe's datasets.
        out: Folder for the packed crops, checkpoints, log and weights.
        watch_every: Images between two checkpoints.
        init: A .safetensors file to start from; fresh weights if None.

    Returns:
        Path of the averaged weights (safetensors), None on other processes than the first.

    Raises:
        DatasetError: For a folder that is not what it should be.
        UnknownModelError: For an unknown variant.
        WeightsError: For an `init` that does not fit.
    """
    from accelerate import Accelerator
    from safetensors.torch import save

    parts = {d: read_dataset(d, folders[d], "train") for d in recipe.datasets}
    watched = read_dataset("lsp", folders["lsp"], "val")
    torch.manual_seed(recipe.seed)
    model = create_model(name, num_keypoints=LSP14.num_keypoints, checkpoint_path=init)
    people = [sample for samples in parts.values() for sample in samples]
    draws = torch.cat([torch.full((len(parts[d]),), float(w)) for d, w in recipe.datasets.items()])
    out.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision=recipe.precision)
    with accelerator.main_process_first():  # the others read what the first has packed
        crops = packed(people, out / "train.safetensors")
        val = packed(watched, out / "val.safetensors")
    trainer = Trainer(model, crops, draws, val, LSP14, recipe, out, watch_every=watch_every)
    averaged = trainer.run()
    path = out / f"{name}.lsp.safetensors"
    if trainer.main:
        tensors = {key: tensor.contiguous() for key, tensor in averaged.state_dict().items()}
        write_whole(path, save(tensors))
    return path if trainer.main else None
