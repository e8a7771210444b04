"""The training loop of a finder: packed pictures in, averaged weights out, resumable."""

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from gatedpose.batches.pictures import FILL, Pictures
from gatedpose.batches.views import ViewBatch, draw_views
from gatedpose.boxmaps import BOX_STRIDE, decode_boxes, encode_boxes
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.errors import DivergedError
from gatedpose.evaluation.detection import Found, People, any_right, match, surest_right
from gatedpose.files.journal import JsonLines
from gatedpose.geometry import warp
from gatedpose.models.base import HeatmapNetwork
from gatedpose.training import folder
from gatedpose.training.devices import stopping
from gatedpose.training.finder_recipe import FinderRecipe
from gatedpose.training.groups import FinderPhase
from gatedpose.training.log import share_bar, tell
from gatedpose.training.losses import finder_loss
from gatedpose.training.optimizer import make_optimizer, set_learning_rate
from gatedpose.training.schedule import Progress, learning_rate

CALIBRATION = 16  # batches that the averaged network's batch norm takes its statistics from


class FinderTrainer:
    """Trains a finder by a recipe, on the CPU or CUDA, in one process.

    Writes into `out`: recipe.json; last.pt, from which it goes on if it is there; log.jsonl, a line
    a look at the validation pictures; best.safetensors, the averaged weights of the best look.
    SIGTERM or Ctrl-C saves and stops.

    Args:
        model: A finder, freshly made.
        pictures: To train on.
        draws: (N,) how often each of them is drawn, in relation to the others.
        val: Pictures to watch the training by, by name.
        recipe: See `FinderRecipe`.
        out: Folder, made if it is not there.
        watch_every: Pictures between two looks.
    """

    def __init__(
        self,
        model: HeatmapNetwork,
        pictures: Pictures,
        draws: Tensor,
        val: Mapping[str, Pictures],
        recipe: FinderRecipe,
        out: Path,
        *,
        watch_every: int = 10_000,
    ) -> None:
        from timm.utils import ModelEmaV3

        self.pictures, self.draws, self.val = pictures, draws.double(), val
        self.recipe, self.out, self.watch_every = recipe, out, watch_every
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(recipe, model)
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True)
        self.preprocessing = Preprocessing.of(model)
        self.progress = Progress()
        self.best = 0.0
        self.losses: list[tuple[float, float]] = []  # since the last look at `val`
        out.mkdir(parents=True, exist_ok=True)
        folder.note_recipe(out, recipe)
        if (out / folder.CHECKPOINT).exists():
            self._restore()

    def run(self) -> HeatmapNetwork:
        """Trains to the end of the recipe; returns the network of averaged weights.

        Raises:
            DivergedError: If the loss is not finite; the last checkpoint is kept.
            SystemExit: After SIGTERM or Ctrl-C, once the checkpoint is written.
        """
        log = JsonLines(self.out / "log.jsonl", resume=True)
        with share_bar() as bar, stopping() as stop, log:
            while self.progress.phase < len(self.recipe.phases):
                phase = self.recipe.phases[self.progress.phase]
                while self.progress.images < phase.images:
                    self.step(self._batch(phase, self.progress.step), phase)
                    bar.update(100 * self.progress.share(self.recipe) - bar.n)
                    if self.progress.is_due(phase, self.watch_every):
                        log.add(self._watch(phase))
                    if stop:
                        self._save()
                        step = self.progress.step
                        raise SystemExit(f"stopped at step {step}; --resume goes on")
                self.progress.phase, self.progress.images = self.progress.phase + 1, 0
                self._save()
        averaged: HeatmapNetwork = self.ema.module.cpu().eval()
        return averaged

    def _batch(self, phase: FinderPhase, step: int) -> ViewBatch:
        """The views of one step; they follow from the recipe's seed and the step."""
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step)
        indices = torch.multinomial(self.draws, phase.batch_size, True, generator=generator)
        looks = self.recipe.views, self.preprocessing
        return draw_views(self.pictures, indices, (phase.size, phase.size), *looks, generator)

    def step(self, batch: ViewBatch, phase: FinderPhase) -> None:
        """Learns from one batch."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, self.progress))
        self.model.train()
        images = batch.images.to(self.device, memory_format=torch.channels_last)
        size = (phase.size // BOX_STRIDE, phase.size // BOX_STRIDE)
        targets = encode_boxes(batch.boxes.to(self.device), size, batch.known.to(self.device))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            maps = self.model(images)[:, -1]
        centres, boxes = finder_loss(maps, targets)
        loss = centres + self.recipe.boxes * boxes
        if not math.isfinite(value := loss.item()):
            raise DivergedError(f"the loss became {value} at step {self.progress.step}")
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.model, step=self.progress.step)
        self.losses.append((centres.item(), boxes.item()))
        self.progress.images += phase.batch_size
        self.progress.step += 1

    def _watch(self, phase: FinderPhase) -> dict[str, Any]:
        """Scores the averaged network, keeps it if it is the best, and saves."""
        self._calibrate(phase)
        centres, boxes = torch.tensor(self.losses).mean(dim=0).tolist()
        row: dict[str, Any] = {
            "time": time.strftime("%H:%M:%S"),
            "size": phase.size,
            "images": self.progress.images,
            "share": round(self.progress.share(self.recipe), 4),
            "centres": round(centres, 4),
            "boxes": round(boxes, 4),
        }
        scores = []
        for name, pictures in self.val.items():
            found = find_in(self.ema.module, pictures, phase.size)
            heights = pictures.sizes[:, 1].tolist()
            listed = [People(*both) for both in zip(pictures.boxes, heights, strict=True)]
            if bool(pictures.complete.all()):
                scores.append(match(found, listed, 1 / 6).recall_at(0.8)[0])
                row[f"{name}_recall"] = round(scores[-1], 4)
            else:
                scores.append(surest_right(found, listed))
                row[f"{name}_surest"] = round(scores[-1], 4)
                row[f"{name}_any"] = round(any_right(found, listed), 4)
        tell(row)
        self.losses.clear()
        if (score := self.progress.phase + statistics.fmean(scores)) >= self.best:
            self.best = score
            folder.save_best(self.out, self.ema.module)
        self._save()
        return row

    def _calibrate(self, phase: FinderPhase) -> None:
        batches = (self._batch(phase, -1 - i).images.to(self.device) for i in range(CALIBRATION))
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16),
        ):
            update_bn(batches, self.ema.module)

    def _save(self) -> None:
        state = {
            "model": self.model.state_dict(),
            "ema": self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": (*astuple(self.progress), self.best),
            "losses": self.losses,
        }
        folder.save_checkpoint(self.out, state)

    def _restore(self) -> None:
        with folder.damage_named(self.out):
            state = folder.load_checkpoint(self.out)
            self.model.load_state_dict(state["model"])
            self.ema.module.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            *place, best = state["progress"]
            self.progress = Progress(*place).checked(len(self.recipe.phases))
            self.best = float(best)
            # A checkpoint of an earlier version has none.
            self.losses = [(float(c), float(b)) for c, b in state.get("losses", ())]


@torch.inference_mode()
def find_in(model: HeatmapNetwork, pictures: Pictures, size: int) -> list[Found]:
    """What a finder finds in packed pictures, at an input of `size`; boxes in packed pixels."""
    model.eval()
    device, preprocessing = next(model.parameters()).device, Preprocessing.of(model)
    found: list[Found] = []
    for indices in torch.split(torch.arange(len(pictures)), 16):
        scales = size / pictures.sizes[indices].amax(dim=1)
        matrices = torch.zeros(len(indices), 2, 3)
        matrices[:, 0, 0] = matrices[:, 1, 1] = scales
        packed = pictures.images[indices].float()
        images = preprocessing.normalise((warp(packed - FILL, matrices, (size, size)) + FILL) / 255)
        maps = model(images.to(device, memory_format=torch.channels_last))[:, -1].cpu()
        for (boxes, scores), scale in zip(decode_boxes(maps, 0.05), scales, strict=True):
            found.append((boxes / scale, scores))
    return found
