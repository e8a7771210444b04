"""The training loop: batches in, averaged weights out, resumable at every checkpoint."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor
from torch.optim.swa_utils import update_bn

from gatedpose.data.preprocessing import Preprocessing
from gatedpose.errors import DivergedError, WeightsError, check_range
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.weights import load_weights, require_finite
from gatedpose.training import folder
from gatedpose.training.devices import stopping
from gatedpose.training.groups import FinderPhase
from gatedpose.training.log import Journal, share_bar
from gatedpose.training.optimizer import make_optimizer, set_learning_rate
from gatedpose.training.recipes import FinderRecipe, Recipe
from gatedpose.training.schedule import Progress, learning_rate

LOG = logging.getLogger(__name__)
Seen = TypeVar("Seen")  # a batch


class Loop(ABC, Generic[Seen]):
    """Trains one network by a recipe, on whatever device and processes accelerate finds.

    Writes into `out`: recipe.json; last.pt, from which it goes on if it is there; the averaged
    weights that scored best in the last phase so far (of all phases, if `Averaging.result` is
    "best"), best.safetensors; and what `Journal` does. SIGTERM or Ctrl-C saves and stops.

    Args:
        accelerator: See `make_accelerator`.
        model: Freshly made.
        recipe: See `Recipe` and `FinderRecipe`.
        out: Folder, made if it is not there.
        watch_every: Images between two checkpoints with a look at the validation data.
    """

    score: ClassVar[tuple[str, str]]  # its column in the log, and what curves call it
    joints: tuple[str, ...] = ()  # that are learnt, in the order of the heatmaps
    data: Mapping[str, Any] = {}  # what tells what is learnt from apart, for `--resume`

    def __init__(
        self,
        accelerator: Any,
        model: HeatmapNetwork,
        recipe: Recipe | FinderRecipe,
        out: Path,
        watch_every: int,
    ) -> None:
        from timm.utils import ModelEmaV3

        check_range(f"{type(self).__name__}: watch_every", watch_every, (1, 10**12))
        self.accelerator, self.main = accelerator, accelerator.is_main_process
        self.recipe, self.out, self.watch_every = recipe, out, watch_every
        self.progress = Progress()
        self.losses: list[float] = []  # since the last look at the validation data
        self.best = (-1, -1.0)  # phase and score
        size = recipe.phases[-1].size
        model.pretrained_cfg["input_size"] = (model.in_channels, size, size)
        self.network = {"class": type(model).__name__, **vars(model.config)}
        self.preprocessing = Preprocessing.of(model)
        model = model.to(accelerator.device).to(memory_format=torch.channels_last)
        optimizer = make_optimizer(recipe, model)
        self.start = {name: t.clone() for name, t in model.state_dict().items() if recipe.keep}
        self.ema = ModelEmaV3(model, decay=recipe.ema, use_warmup=True)
        model.set_grad_checkpointing(recipe.checkpointing)
        if recipe.compile:
            model.compile()
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        out.mkdir(parents=True, exist_ok=True)
        resumed = (out / folder.CHECKPOINT).exists()
        if self.main or resumed:
            folder.note_recipe(out, recipe)
        if resumed:
            self._restore()

    @property
    def phase(self) -> FinderPhase:
        """That which runs."""
        return self.recipe.phases[self.progress.phase]

    @abstractmethod
    def batches(self) -> Iterator[Seen]:
        """This process's share of the batches that are left of the phase."""

    @abstractmethod
    def learn(self, batch: Seen) -> float:
        """Computes the gradients of a batch; returns its loss, over all processes."""

    @abstractmethod
    def look(self) -> tuple[float, dict[str, float], Tensor | None]:
        """The averaged network's score in per cent, more columns of the log, and a picture."""

    @abstractmethod
    def inputs(self) -> Iterator[Tensor]:
        """`Averaging.calibrate` images to train on, in batches (B, 3, H, W) on the device."""

    def run(self) -> HeatmapNetwork:
        """Trains to the end of the recipe; SIGTERM or Ctrl-C exit once the checkpoint is written.

        The network of averaged weights, the last or the best, is on the CPU, in evaluation mode;
        its input is as large as in their phase. DivergedError if the loss is not finite.
        """
        bar, journal = share_bar(self.main), Journal(self.out, self.progress.step, self.score)
        with bar, stopping() as stop, journal:
            while self.progress.phase < len(self.recipe.phases):
                for batch in self.batches():
                    rate = learning_rate(self.recipe, self.progress)
                    self.losses.append(self.step(batch))
                    if self.main:
                        journal.scalars(self.progress.step, {"loss": self.losses[-1], "lr": rate})
                    bar.update(100 * self.progress.share(self.recipe) - bar.n)
                    if self.progress.is_due(self.phase, self.watch_every):
                        if self.progress.share(self.recipe) >= 1:
                            self._mix_start()
                        self._watch(journal)
                    told = torch.tensor(float(bool(stop)), device=self.accelerator.device)
                    if self.average(told) > 0:
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

    def step(self, batch: Seen) -> float:
        """Learns from one batch; returns its loss, over all processes."""
        set_learning_rate(self.optimizer, learning_rate(self.recipe, self.progress))
        self.model.train()
        loss = self.learn(batch)
        if not math.isfinite(loss):
            ids = ", ".join(getattr(batch, "ids", ()))
            raise DivergedError(
                f"the loss became {loss} at {self.progress}, with the batch of "
                f"{ids or 'people without ids'}; {folder.CHECKPOINT}, if there is one, is of before"
            )
        if self.recipe.clip is not None:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update(self.accelerator.unwrap_model(self.model), step=self.progress.step)
        self.progress.images += self.phase.batch_size
        self.progress.step += 1
        return loss

    def average(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        mean: Tensor = self.accelerator.reduce(value, "mean")
        return mean

    def _watch(self, journal: Journal) -> None:
        """Scores the averaged network, keeps it if it is the best, and saves."""
        if self.main:
            self._calibrate()
            self._require_finite()
            score, more, sheet = self.look()
            row = {
                "size": self.phase.size,
                "images": self.progress.images,
                "step": self.progress.step,
                "share": round(self.progress.share(self.recipe), 4),
                "lr": round(learning_rate(self.recipe, self.progress), 6),
                "loss": round(sum(self.losses) / max(1, len(self.losses)), 4),
                self.score[0]: round(score, 2),
                **more,
            }
            journal.look(row, sheet)
            now = self.progress.phase, score
            # Of the last weights finer inputs come before higher scores.
            if now > self.best if self.recipe.result == "last" else now[1] > self.best[1]:
                self.best = now
                about = {self.score[0]: f"{score:.2f}", "step": row["step"]}
                about |= {"size": self.phase.size, "joints": self.joints}
                folder.save_best(self.out, self.ema.module, about)
        self.losses.clear()
        self._save()
        self.accelerator.wait_for_everyone()

    def _mix_start(self) -> None:
        weights = self.ema.module.state_dict()
        for name, start in self.start.items():
            if start.is_floating_point():
                weights[name].lerp_(start, self.recipe.keep)

    def _calibrate(self) -> None:
        """Takes the averaged network's batch norm statistics from large batches to train on.

        With the averages that training leaves, the padding of LSP's pictures showed sure joints.
        """
        if self.recipe.calibrate:
            with self.accelerator.autocast():
                update_bn(self.inputs(), self.ema.module)

    def _require_finite(self) -> None:
        """Sees that no file is replaced by weights that nothing can go on from."""
        networks = {"model": self.accelerator.unwrap_model(self.model), "ema": self.ema.module}
        try:
            for part, network in networks.items():
                require_finite(network.state_dict(), part)
        except WeightsError as error:
            raise DivergedError(
                f"the weights diverged at {self.progress} ({error}); {folder.CHECKPOINT}, if there "
                "is one, is of before"
            ) from error

    def _save(self) -> None:
        if not self.main:
            return
        self._require_finite()
        scaler = self.accelerator.scaler  # of fp16
        state = {
            "network": self.network,
            "data": self.data,
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
        with folder.damage_named(self.out):
            state = folder.load_checkpoint(self.out)
            network, data = state["network"], state.get("data", self.data)  # earlier had no data
        holds = f"{self.out} holds a training"
        folder.require_same(f"{holds} of another network", network, self.network)
        folder.require_same(f"{holds} on other data", data, self.data)
        with folder.damage_named(self.out):
            self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
            self.ema.module.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.accelerator.scaler and state["scaler"]:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            self.progress = Progress(**state["progress"])
            self.losses, self.best = state["losses"], state["best"]
