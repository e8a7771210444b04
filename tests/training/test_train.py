"""A training that learns, stops, resumes and fails as it should.

The people of these tests are 14 coloured dots in the shape of a body, somewhere on grey.
"""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

import gatedpose
from gatedpose.batches import crops as crops_module
from gatedpose.batches.augment import NONE, Augmentation, Batch
from gatedpose.batches.crops import Crops, batches, pack
from gatedpose.batches.shards import pack_shards
from gatedpose.cli import main
from gatedpose.data.joints import unlike
from gatedpose.data.lsp import lsp, lspet
from gatedpose.errors import DivergedError, InputError
from gatedpose.evaluation.metrics import Score
from gatedpose.heatmaps import encode
from gatedpose.media.images import read_image
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.models.saved import save_model
from gatedpose.skeleton import LSP14, MPII16
from gatedpose.training import run as training
from gatedpose.training import trainer as trainer_module
from gatedpose.training.devices import make_accelerator
from gatedpose.training.groups import Phase
from gatedpose.training.log import Journal
from gatedpose.training.losses import Loss, heatmap_loss
from gatedpose.training.recipes import RECIPES, Recipe
from gatedpose.training.run import train
from gatedpose.training.schedule import Progress
from gatedpose.training.trainer import Trainer, watch

SIDE = 104  # of the packed crops: 65 pixels become an input of 64
UPPER = ((-18, 0), (-14, -7), (-7, -13), (7, -13), (14, -7), (18, 0), (0, -14), (0, -22))
LOWER = ((-11, 22), (-8, 11), (-6, 0), (6, 0), (8, 11), (11, 22))
BODY = torch.tensor((*LOWER, *UPPER)).float()
COLOURS = torch.tensor([[j % 2, j // 2 % 2, j // 4 % 2] for j in range(1, 15)]) * 255.0


def dotted_people(count: int, seed: int) -> Crops:
    moved = (torch.rand(count, 1, 2, generator=torch.Generator().manual_seed(seed)) - 0.5) * 24
    joints = SIDE / 2 + BODY + moved
    centres = torch.arange(SIDE) + 0.5
    across = torch.exp(-((centres - joints[..., :1]) ** 2) / 8)
    down = torch.exp(-((centres - joints[..., 1:]) ** 2) / 8)
    dots = (down.unsqueeze(-1) * across.unsqueeze(-2)).unsqueeze(2)  # (N, 14, 1, P, P)
    images = 60 + (dots * (COLOURS[:, :, None, None] - 60)).sum(dim=1)
    labelled = torch.ones(count, 14, dtype=torch.bool)
    return Crops(images.clamp(0, 255).to(torch.uint8), joints, labelled)


def tiny_network() -> GatedHourglass:
    torch.manual_seed(0)
    return GatedHourglass(GatedHourglassConfig(width=8, stacks=1, num_keypoints=14))


def new_trainer(*args: Any, **options: Any) -> Trainer:
    """A trainer with an accelerator of its recipe's precision."""
    [recipe] = [value for value in args if isinstance(value, Recipe)]
    return Trainer(make_accelerator(recipe.precision), *args, **options)


def toy_trainer(recipe: Recipe, out: Path, count: int = 12, **options: Any) -> Trainer:
    """Of people who also watch the training."""
    people = dotted_people(count, seed=0)
    network = options.pop("network", None) or tiny_network()
    return new_trainer(network, people, torch.ones(count), people, LSP14, recipe, out, **options)


@pytest.fixture(autouse=True)
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the tests again after each of them."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


# Learning


def test_without_averaging_the_result_is_the_last_weights(tmp_path: Path) -> None:
    recipe = replace(SHORT, phases=SHORT.phases[:1], ema=0.0, clip=None, calibrate=0)
    trainer = toy_trainer(recipe, tmp_path)
    averaged, last = trainer.run().state_dict(), trainer.model.state_dict()
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor, last[name])


@pytest.mark.parametrize(
    ("loss", "sigma"), [pytest.param("mse", 3.0, marks=pytest.mark.slow), ("softmax", 1.0)]
)
def test_learns(loss: Loss, sigma: float, tmp_path: Path) -> None:
    phase = Phase(size=64, images=1200, batch_size=8, sigma=sigma)
    recipe = Recipe("toy", {}, (phase,), loss, lr=0.02, warmup=5, ema=0.9, augmentation=NONE)
    recipe = replace(recipe, calibrate=128)
    people, val = dotted_people(64, seed=0), dotted_people(8, seed=1)
    args = people, torch.ones(64), val, LSP14, recipe, tmp_path
    averaged = new_trainer(tiny_network(), *args, watch_every=600).run()
    assert not averaged.training
    rows = read_log(tmp_path)
    assert [row["step"] for row in rows] == ["75", "150"]
    blank = torch.zeros(8, 1, 14, 16, 16)  # what a network says that has learnt nothing
    nothing = heatmap_loss(blank, val.keypoints - 20, val.labelled, sigma, loss)
    assert float(rows[1]["loss"]) < 0.7 * float(nothing)
    assert float(rows[1]["loss"]) < 0.7 * float(rows[0]["loss"])
    # Over five seeds 50 to 80; far below, since processors round differently.
    assert float(rows[1]["val_pck_no_flip"]) > 30
    assert watch(averaged, val, LSP14, 64)[0].mean == pytest.approx(
        float(rows[1]["val_pck_no_flip"]), abs=0.01
    )


def read_log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class Oracle(nn.Module):
    """Predicts given points, batch after batch."""

    def __init__(self, points: Tensor) -> None:
        super().__init__()
        self.points, self.weight = points, nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        mine, self.points = self.points.split([len(images), len(self.points) - len(images)])
        return encode(mine, (16, 16), 1.0).unsqueeze(1)


def test_watch_scores_in_the_order_of_the_people() -> None:
    val = dotted_people(5, seed=0)
    labelled = val.labelled.clone()
    labelled[1, 0] = False
    points = (val.keypoints - SIDE / 2) * 64 / 65 + 32
    points[1, 0] = 1.0  # wrong, but without label
    score, sheet = watch(Oracle(points), replace(val, labelled=labelled), LSP14, 64)
    assert score.mean == 100
    assert score.counted == 5 * 14 - 1
    assert sheet.shape == (3, 2 * 68 + 4, 4 * 68 + 4)  # five pictures in rows of four
    hips = labelled.clone()
    hips[:, 2:4] = False  # nobody has the torso that LSP's score measures by
    score, _ = watch(Oracle(points), replace(val, labelled=hips), LSP14, 64)
    assert (score.mean, score.counted) == (100, 5 * 12 - 1)
    points[2:, 13] += 15
    score, _ = watch(Oracle(points), replace(val, labelled=labelled), LSP14, 64)
    assert score.per_joint[13] == 40
    assert score.mean == pytest.approx(100 * 66 / 69)


# Stopping and going on

SHORT = Recipe(
    name="short",
    datasets={},
    phases=(
        Phase(size=64, images=16, batch_size=4, sigma=1.5),
        Phase(size=128, images=6, batch_size=4, sigma=1.0),
    ),
    optimizer="nmuon",  # that of the published recipe
    lr=2e-3,
    warmup=2,
    ema=0.8,
    calibrate=24,  # people twice, where it takes them over and over by default
    augmentation=Augmentation(shift=0.05, half_body=0.3, occlude=0.5),
    seed=5,
)
FILES = [
    "best.safetensors", "curves.png", "last.pt", "log.csv", "recipe.json", "samples.png",
    "tensorboard",
]  # fmt: skip
PACKS = ["lsp-train.safetensors", "lsp-val.safetensors", "lspet-train.safetensors"]


class Interrupted(Trainer):
    """Calls `hook` before or after the step of that number (from 1)."""

    before: int | None = None
    after: int | None = None
    hook: Callable[["Interrupted"], object]

    def step(self, batch: Batch) -> float:
        if self.progress.step + 1 == self.before:
            self.hook(self)
        value = super().step(batch)
        if self.progress.step == self.after:
            self.hook(self)
        return value


def terminate(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def trainer_of(out: Path, recipe: Recipe = SHORT, **interruption: object) -> Interrupted:
    people, val = dotted_people(12, seed=0), dotted_people(3, seed=1)
    args = people, torch.arange(12) + 1.0, val, LSP14, recipe, out
    trainer = Interrupted(make_accelerator(recipe.precision), tiny_network(), *args, watch_every=8)
    for name, value in {"hook": terminate, **interruption}.items():
        setattr(trainer, name, value)
    return trainer


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    out = tmp_path_factory.mktemp("uninterrupted") / "made" / "here"
    return out, trainer_of(out).run().state_dict()


def test_files(uninterrupted: tuple[Path, dict[str, Tensor]]) -> None:
    out, weights = uninterrupted
    assert sorted(path.name for path in out.iterdir()) == FILES  # and no temporary one
    assert json.loads((out / "recipe.json").read_text()) == json.loads(json.dumps(asdict(SHORT)))
    rows = read_log(out)
    assert [(r["size"], r["images"], r["step"]) for r in rows] == [
        ("64", "8", "2"), ("64", "16", "4"), ("128", "8", "6"),
    ]  # fmt: skip
    assert [float(row["share"]) for row in rows] == [0.2, 0.4, 1.0]  # of costs 1 and 1.5
    assert [float(row["lr"]) for row in rows] == [0.0016, 0.0012, 0]
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert read_image(out / "samples.png").shape[1] == 128 + 8  # of the last phase
    state = torch.load(out / "last.pt", weights_only=True)
    assert state["progress"] == {"phase": 2, "images": 0, "step": 6}
    fresh = tiny_network().state_dict()
    for name, tensor in weights.items():
        assert torch.equal(tensor, state["ema"][name])
        assert tensor.device.type == "cpu"
    assert not torch.equal(weights["heads.0.weight"], fresh["heads.0.weight"])
    assert not torch.equal(weights["heads.0.weight"], state["model"]["heads.0.weight"])


@pytest.mark.parametrize(
    ("when", "steps"),
    [
        ({"after": 3}, 3), ({"after": 4}, 4), ({"before": 6}, 6),
        ({"after": 3, "hook": interrupt}, 3),
    ],
    ids=["midway", "between phases", "in a step", "Ctrl-C"],
)  # fmt: skip
def test_a_signal_saves_stops_and_resumes(
    when: dict[str, object],
    steps: int,
    uninterrupted: tuple[Path, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit, match="resume it with --resume"):
        trainer_of(tmp_path, **when).run()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["step"] == steps
    assert_same_end(tmp_path, uninterrupted)


def test_a_share_of_the_start_is_kept(
    uninterrupted: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    recipe = replace(SHORT, init="lsp", keep=0.25)
    whole = trainer_of(tmp_path / "whole", recipe).run()
    start, end = tiny_network().state_dict(), uninterrupted[1]
    for name, weight in whole.named_parameters():
        assert torch.allclose(weight, 0.25 * start[name] + 0.75 * end[name], atol=1e-6)
    with pytest.raises(SystemExit):
        trainer_of(tmp_path / "cut", recipe, after=3).run()
    for folder in ("cut", "whole"):  # taken up midway, and after its end: not mixed twice
        again = trainer_of(tmp_path / folder, recipe).run().state_dict()
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, again[name])


def crash(trainer: Trainer) -> None:
    raise OSError("the disk is gone")


def test_crash_resumes_from_the_last_checkpoint(
    uninterrupted: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(OSError, match="the disk is gone"):
        trainer_of(tmp_path, before=4, hook=crash).run()
    assert signal.getsignal(signal.SIGTERM) is handler
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["step"] == 2
    assert_same_end(tmp_path, uninterrupted)


def explode(trainer: Trainer) -> None:
    next(trainer.model.parameters()).data.fill_(torch.inf)


def test_weights_that_diverged_replace_no_checkpoint(
    uninterrupted: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    """They explode in the last step before a look: no loss has shown it yet."""
    with pytest.raises(DivergedError, match=r"the weights diverged at .*step=4.* \(model: "):
        trainer_of(tmp_path, after=4, hook=explode).run()
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["step"] == 2
    assert_same_end(tmp_path, uninterrupted)


def kill(trainer: Trainer) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_kill_9_resumes_from_the_last_checkpoint(
    uninterrupted: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    code = (
        f"import pathlib, runpy; tests = runpy.run_path({__file__!r});"
        f"tests['trainer_of'](pathlib.Path({str(tmp_path)!r}), before=4, hook=tests['kill']).run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["step"] == 2
    assert_same_end(tmp_path, uninterrupted)


def test_full_disk_keeps_the_last_checkpoint(
    uninterrupted: tuple[Path, dict[str, Tensor]], tmp_path: Path, full_disk: Callable[..., None]
) -> None:
    def fill(trainer: Trainer) -> None:
        full_disk((trainer.out / "last.pt").stat().st_size // 2)  # enough for best.safetensors

    with pytest.raises(OSError, match=r"cannot write .*last\.pt: "):
        trainer_of(tmp_path, after=3, hook=fill).run()
    full_disk()
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    assert torch.load(tmp_path / "last.pt", weights_only=True)["progress"]["step"] == 2
    assert_same_end(tmp_path, uninterrupted)


def test_one_picture_of_128_pixels_can_be_learnt_from(tmp_path: Path) -> None:
    recipe = replace(SHORT, phases=(Phase(128, 2, 1, 1.5),))
    toy_trainer(recipe, tmp_path / "out", 1).run()
    with pytest.raises(InputError, match="watch_every must be a whole number from 1 to"):
        toy_trainer(recipe, tmp_path / "out", 1, watch_every=0)


def assert_same_end(out: Path, uninterrupted: tuple[Path, dict[str, Tensor]]) -> None:
    """Resumes, and compares the averaged weights bit for bit."""
    whole, weights = uninterrupted
    resumed = trainer_of(out).run().state_dict()
    assert list(resumed) == list(weights)
    for name, tensor in weights.items():
        assert torch.equal(resumed[name], tensor), name
    assert [row["step"] for row in read_log(out)] == [row["step"] for row in read_log(whole)]
    assert sorted(path.name for path in out.iterdir()) == FILES


def test_another_recipe_or_network_does_not_resume(
    uninterrupted: tuple[Path, dict[str, Tensor]],
) -> None:
    out, _ = uninterrupted
    with pytest.raises(InputError, match=r"another recipe \(lr 0.002 -> 0.001, seed 5 -> 6\)"):
        trainer_of(out, replace(SHORT, lr=1e-3, seed=6))
    assert json.loads((out / "recipe.json").read_text())["seed"] == 5
    wider = GatedHourglass(GatedHourglassConfig(width=12, stacks=1, num_keypoints=14))
    with pytest.raises(InputError, match=r"of another network \(width 8 -> 12\): resume it with"):
        toy_trainer(SHORT, out, network=wider)


def test_other_people_labels_or_draws_do_not_resume(
    uninterrupted: tuple[Path, dict[str, Tensor]],
) -> None:
    """A set more in the same folder, corrected labels, or another set's people to watch by."""
    out, _ = uninterrupted
    people, val, draws = dotted_people(12, seed=0), dotted_people(3, seed=1), torch.arange(12) + 1.0
    fewer = replace(people, labelled=people.labelled & (torch.arange(14) != 3))
    for others, count in (
        ((dotted_people(13, seed=0), torch.ones(13), val, LSP14), "people 12 -> 13"),
        ((people, draws, people, LSP14), "people of val 3 -> 12"),
        ((fewer, draws, val, LSP14), "labels '[0-9a-f]{8}' -> "),
        ((people, torch.ones(12), val, LSP14), "labels "),
        ((people, draws, val, replace(LSP14, flip_pairs=())), "labels "),
    ):
        with pytest.raises(InputError, match=f"holds a training on other data .*{count}"):
            new_trainer(tiny_network(), *others, SHORT, out)
    trainer_of(out)


def test_a_recipe_that_leaves_standard_fields_out_resumes(
    uninterrupted: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    out = tmp_path / "old"
    shutil.copytree(uninterrupted[0], out)
    recipe = json.loads((out / "recipe.json").read_text())
    del recipe["whole"], recipe["joints"]
    (out / "recipe.json").write_text(json.dumps(recipe))
    assert trainer_of(out).progress == Progress(2, 0, 6)


def test_finished_training_returns_its_weights(
    uninterrupted: tuple[Path, dict[str, Tensor]],
) -> None:
    out, weights = uninterrupted
    again = trainer_of(out, before=7, hook=lambda trainer: pytest.fail("a further step"))
    for name, tensor in again.run().state_dict().items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_not_finite_stops(value: float, tmp_path: Path) -> None:
    def poison(trainer: Trainer) -> None:
        with torch.no_grad():
            trainer.model.heads[0].bias.fill_(value)

    trainer = trainer_of(tmp_path, before=4, hook=poison)
    trainer.crops = replace(trainer.crops, ids=tuple(f"toy/{i}" for i in range(12)))
    with pytest.raises(FloatingPointError, match=r"the loss became (nan|inf) at .*step=3") as error:
        trainer.run()
    drawn = next(batches(trainer.draws, 4, SHORT.seed, 3)).tolist()
    assert f"with the batch of {', '.join(f'toy/{i}' for i in drawn)}; " in str(error.value)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["progress"]["step"] == 2
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


# What is kept and told


def test_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores rise and fall; in the last phase, which counts, the first look is the best."""
    scores = iter((80.0, 30.0, 20.0, math.nan))
    seen: list[dict[str, Tensor]] = []

    def fake(model: nn.Module, *args: object) -> tuple[Score, Tensor]:
        seen.append({name: t.clone() for name, t in model.state_dict().items()})
        score, sheet = watch(model, *args)
        return replace(score, mean=next(scores)), sheet

    monkeypatch.setattr(trainer_module, "watch", fake)
    recipe = replace(SHORT, phases=(Phase(64, 4, 4, 1.0), Phase(128, 12, 4, 1.0)))
    toy_trainer(recipe, tmp_path, watch_every=4).run()
    assert len(seen) == 4
    with safe_open(tmp_path / "best.safetensors", framework="pt") as file:
        told = file.metadata()
        assert told.pop("joints").split("\n") == list(LSP14.joints)
        assert told == {"val_pck_no_flip": "30.00", "step": "2", "size": "128"}
        assert {*file.keys()} == {*seen[1]}
        for name, tensor in seen[1].items():
            assert torch.equal(file.get_tensor(name), tensor)


def test_best_weights_survive_a_resume(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        trainer_of(tmp_path, after=2).run()
    trainer = trainer_of(tmp_path)
    assert trainer.best[0] == 0
    trainer.best = (1, 100.0)
    before = (tmp_path / "best.safetensors").read_bytes()
    trainer.run()
    assert (tmp_path / "best.safetensors").read_bytes() == before


def test_curves_for_tensorboard(uninterrupted: tuple[Path, dict[str, Tensor]]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(uninterrupted[0] / "tensorboard"))
    events.Reload()
    loss, score = events.Scalars("loss"), events.Scalars("val_pck_no_flip")
    assert [event.step for event in loss] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in score] == [2, 4, 6]
    rows = read_log(uninterrupted[0])
    means = [sum(e.value for e in loss[i : i + 2]) / 2 for i in (0, 2, 4)]
    assert means == pytest.approx([float(row["loss"]) for row in rows], abs=1e-4)
    assert read_image(uninterrupted[0] / "curves.png").shape[0] == 3


def test_journal_forgets_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    sheet = torch.zeros(3, 8, 8, dtype=torch.uint8)
    row = {"step": 2, "size": 64, "images": 8, "loss": 3.5, "val_pck_no_flip": 1.5}
    with Journal(tmp_path, 0, Trainer.score) as journal:
        journal.look(row, sheet)
        journal.look({**row, "step": 4, "size": 128}, sheet)
    with Journal(tmp_path, 3, Trainer.score) as journal:
        journal.look({**row, "step": 5, "loss": 2}, sheet)
    assert [(r["step"], r["loss"]) for r in read_log(tmp_path)] == [("2", "3.5"), ("5", "2")]


# Ways of execution


class Plain(nn.Identity):
    """Stands in for a batch norm: what follows is then exactly a sum over people."""


def without_batch_norm() -> GatedHourglass:
    network = tiny_network()
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, Plain())
    return network


def trained(out: Path, network: GatedHourglass, **changes: object) -> list[float]:
    """Losses of six steps, and `out`/weights.pt."""
    people = dotted_people(12, seed=0)
    people.labelled[:5, :9] = False  # unlike shares of labelled joints
    recipe = replace(SHORT, **{"optimizer": "sgd", "lr": 1e-3, "clip": None, **changes})
    trainer = new_trainer(network, people, torch.ones(12), people, LSP14, recipe, out)
    losses: list[float] = []
    step = trainer.step
    trainer.step = lambda *batch: losses.append(step(*batch)) or losses[-1]
    averaged = trainer.run()
    if trainer.main:
        torch.save({"losses": losses, "weights": averaged.state_dict()}, out / "weights.pt")
    return losses


def assert_same_training(one: Path, other: Path, tolerance: float = 1e-5) -> None:
    first, second = (torch.load(out / "weights.pt") for out in (one, other))
    assert first["losses"] == pytest.approx(second["losses"], rel=tolerance)
    for name, tensor in first["weights"].items():
        assert torch.allclose(tensor, second["weights"][name], rtol=tolerance, atol=1e-6), name


@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"accumulate": 4}, {"checkpointing": True}])
def test_ways_to_save_memory_learn_the_same(changes: dict[str, object], tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", without_batch_norm())
    saving = trained(tmp_path / "saving", without_batch_norm(), **changes)
    assert len(plain) == len(saving) == 6
    assert plain[-1] != plain[0]
    assert_same_training(tmp_path / "plain", tmp_path / "saving")


def test_a_teacher_is_learnt_from_and_stays_as_it_is(tmp_path: Path) -> None:
    teacher = tiny_network()
    torch.manual_seed(1)
    student = GatedHourglass(teacher.config)
    with torch.no_grad():  # one value everywhere; Gaussians have a mean of 0.03
        teacher.heads[0].weight.zero_()
        teacher.heads[0].bias.fill_(0.3)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    recipe = replace(
        SHORT, loss="mse", teacher="local-dir:x", teaching=1.0, ema=0.0, lr=1e-2,
        phases=(Phase(64, 240, 8, 1.0),),
    )  # fmt: skip
    trainer = toy_trainer(recipe, tmp_path / "out", 8, network=student, teacher=teacher)
    averaged = trainer.run()
    assert averaged(torch.zeros(1, 3, 64, 64)).mean().item() == pytest.approx(0.3, abs=0.12)
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_teacher_of_other_joints_is_refused(tmp_path: Path, lsp_folder: Path) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=16)
    save_model(model, tmp_path / "teacher", MPII16)
    name = f"local-dir:{tmp_path / 'teacher'}"
    recipe = replace(RECIPES["lsp"], datasets={}, teacher=name)
    message = (
        f"the teacher {name} predicts other joints than those of lsp14: it has pelvis, thorax, "
        "upper neck, and it has no neck"
    )
    with pytest.raises(ValueError, match=message):
        train("gated_hg_1s_68", recipe, {"lsp": lsp_folder}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_makes_a_teachers_joints_others() -> None:
    """Its heatmaps count: not what the skeleton is called or which limbs are drawn."""
    assert unlike(replace(LSP14, name="person", limbs=()), LSP14) == ""
    assert unlike(replace(LSP14, flip_pairs=LSP14.flip_pairs[::-1]), LSP14) == ""
    assert unlike(replace(LSP14, flip_pairs=()), LSP14) == "its flip pairs differ"
    turned = replace(LSP14, joints=LSP14.joints[::-1])
    assert unlike(turned, LSP14) == "they have another order"


def test_compiled_training_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without what torch makes of the backward pass, and its code: minutes more, and it passes, too.
    backend = CompileCounterWithBackend("eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    # A small rate: with batch norm over four people, rounding would soon grow.
    plain = trained(tmp_path / "plain", tiny_network(), lr=1e-6)
    compiled = trained(tmp_path / "compiled", tiny_network(), lr=1e-6, compile=True)
    assert compiled == pytest.approx(plain, rel=1e-3)
    assert backend.frame_count > 0


def test_bfloat16_learns_nearly_the_same(tmp_path: Path) -> None:
    plain = trained(tmp_path / "plain", tiny_network(), lr=1e-6)  # as above
    half = trained(tmp_path / "half", tiny_network(), lr=1e-6, precision="bf16")
    assert half != plain
    assert half == pytest.approx(plain, rel=0.03)


TWO = """
import pathlib, runpy, sys
tests, out = runpy.run_path(sys.argv[1]), pathlib.Path(sys.argv[2])
tests["trained"](out / "exact", tests["without_batch_norm"]())
tests["trained"](out / "exact-parts", tests["without_batch_norm"](), accumulate=2)
full = (tests["Phase"](128, 72, 12, 1.0),)
tests["trained"](out / "real", tests["tiny_network"](), phases=full, lr=1e-4)
"""


@pytest.mark.slow
def test_two_processes_learn_as_one_with_their_batches_together(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    launch(2, tmp_path / "two.py", __file__, tmp_path / "two")
    launch(1, tmp_path / "two.py", __file__, tmp_path / "one")
    for kind in ("exact", "exact-parts"):
        assert_same_training(tmp_path / "one" / kind, tmp_path / "two" / kind)
    assert_same_training(tmp_path / "one" / "exact", tmp_path / "two" / "exact-parts")
    # Batch norm sees six people instead of twelve.
    one, two = (torch.load(tmp_path / n / "real" / "weights.pt")["losses"] for n in ("one", "two"))
    assert one != two
    assert two == pytest.approx(one, rel=0.1)


# The whole way


@pytest.mark.slow
def test_train(
    lsp_folder: Path, lspet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Tensor] = []

    class Watched(Trainer):
        def __init__(self, accelerator: Any, model: nn.Module, *args: Any, **kwargs: Any) -> None:
            crops, draws, *_ = args
            assert len(crops) == len(draws)
            drawn.append(draws)
            super().__init__(accelerator, model, *args, **kwargs)

    monkeypatch.setattr(training, "Trainer", Watched)
    monkeypatch.setattr(crops_module, "pack", partial(pack, size=64))
    recipe = replace(SHORT, datasets={"lsp": 4, "lspet": 1}, phases=SHORT.phases[:1])
    folders = {"lsp": lsp_folder, "lspet": lspet_folder}
    folder = train("gated_hg_1s_68", recipe, folders, tmp_path / "out")
    assert folder == tmp_path / "out" / "model"
    files = sorted([*FILES, *PACKS, "model"])
    assert sorted(file.name for file in folder.parent.iterdir()) == files
    few = len(lspet(lspet_folder, "train"))
    assert drawn[0].tolist() == [4.0] * 791 + [1.0] * few

    model = gatedpose.create_model(f"local-dir:{folder}", pretrained=True)
    predictor = gatedpose.Predictor(model)
    assert (predictor.skeleton, predictor.size) == (LSP14, (64, 64))  # the last phase's size
    averaged = torch.load(folder.parent / "last.pt", weights_only=True)["ema"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, averaged[name]), name

    written = (folder / "model.safetensors").read_bytes()
    monkeypatch.setattr(crops_module, "pack", lambda samples: pytest.fail("packed anew"))
    with pytest.raises(FileExistsError, match="holds a training: go on with it by --resume, or"):
        train("gated_hg_1s_68", recipe, folders, tmp_path / "out")
    assert train("gated_hg_1s_68", recipe, folders, tmp_path / "out", resume=True) == folder
    assert (folder / "model.safetensors").read_bytes() == written
    (folder / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"thesis.txt for example, which would be lost"):
        train("gated_hg_1s_68", recipe, folders, tmp_path / "out", resume=True)
    assert (folder / "thesis.txt").exists()


def test_train_from_shards(
    lsp_folder: Path, lspet_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in ("train", "val"):
        pack_shards(lsp(lsp_folder, split)[:40], "lsp", split, tmp_path / "shards", size=64)
    monkeypatch.setattr(crops_module, "pack", partial(pack, size=64))
    common = ["train", "gated_hg_1s_68", "--phase", "64,16,8,1", "--phase", "64,48,8,1"]
    common += ["--data", f"lsp={tmp_path / 'shards'}", "--data", f"lspet={lspet_folder}"]
    changes = ["--epochs", "1", "--limit", "32", "--set", "augmentation.rotation=5"]
    changes += ["--set", "teacher=gated_hg_1s_68.lsp", "--set", "teaching=0.4"]
    out = tmp_path / "out"
    arguments = [*common, *changes, "--out", str(out)]
    told = CliRunner().invoke(main, [*arguments, "--resume", "--json"])
    assert told.exit_code == 0, told.output
    assert f"{out} holds no training yet: this one starts afresh" in told.stderr
    recipe = json.loads(told.stdout.splitlines()[-1])["recipe"]
    assert [phase["images"] for phase in recipe["phases"]] == [8, 24]  # 32 people once
    assert (recipe["limit"], recipe["augmentation"]["rotation"]) == (32, 5.0)
    assert [path.name for path in out.glob("ls*")] == ["lspet-train.safetensors"]

    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 1
    assert "holds a training: go on with it by --resume, or train into another" in again.output
    resumed = CliRunner().invoke(main, [*arguments, "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert "--dataset lsp --data FOLDER\n" in resumed.stdout  # shards are not evaluated on
    other = CliRunner().invoke(main, [*arguments, "--resume", "--epochs", "2"])
    assert other.exit_code == 1
    assert "holds a training by another recipe (epochs 1.0 -> 2.0, phases" in other.output

    renamed = ["train", "gated_hg_1s_68", "--recipe", "finetune", "--out", str(tmp_path / "no")]
    wrong = CliRunner().invoke(main, [*renamed, "--data", f"lspet={tmp_path / 'shards'}"])
    assert wrong.exit_code == 1
    assert "train-00000.safetensors was packed as 'lsp', not 'lspet'" in wrong.output


SCRIPT = """
import sys
from functools import partial
from pathlib import Path

from gatedpose.batches import crops
from gatedpose.training import run as training
from gatedpose.training import start
from gatedpose.training.groups import Phase
from gatedpose.training.recipes import Recipe

lsp, lspet, out = map(Path, sys.argv[1:])
crops.pack = partial(crops.pack, size=64)
create = start.create_model
start.create_model = lambda name, num_keypoints, **_: create(
    name, num_keypoints=num_keypoints, width=8
)
recipe = Recipe("two", {"lspet": 1.0}, (Phase(64, 24, 8, 1.0),), calibrate=16)
path = training.train("gated_hg_1s_68", recipe, {"lsp": lsp, "lspet": lspet}, out)
(out.parent / f"wrote {path and path.name}").touch()
"""


def launch(processes: int, *command: object) -> None:
    """Runs a script in several processes, as torchrun does."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*run, f"--nproc-per-node={processes}", *map(str, command)],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(gatedpose.__file__).parents[1]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes(lsp_folder: Path, lspet_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(SCRIPT)
    launch(2, script, lsp_folder, lspet_folder, tmp_path / "out")
    files = sorted([*FILES, *PACKS, "model"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == files
    assert {p.name for p in tmp_path.glob("wrote*")} == {"wrote model", "wrote None"}
    assert [(row["step"], row["images"]) for row in read_log(tmp_path / "out")] == [("3", "24")]
    model = gatedpose.create_model(f"local-dir:{tmp_path / 'out' / 'model'}", pretrained=True)
    assert model.config.width == 8


@pytest.mark.slow
def test_processes_stop_together(tmp_path: Path) -> None:
    """The second alone is told to stop; the first has not yet looked, and saves all the same."""
    script, out = tmp_path / "stop.py", tmp_path / "out"
    script.write_text(
        "import os, pathlib, runpy, sys\n"
        f"tests = runpy.run_path({__file__!r})\n"
        "hook = tests['terminate'] if os.environ['RANK'] == '1' else print\n"
        f"trainer = tests['trainer_of'](pathlib.Path({str(out)!r}), after=3, hook=hook)\n"
        "try:\n    trainer.run()\nexcept SystemExit:\n    sys.exit()\nraise AssertionError"
    )
    launch(2, script)
    assert torch.load(out / "last.pt", weights_only=True)["progress"]["step"] == 3


@pytest.mark.slow
def test_the_papers_recipe_for_lsp(lsp_folder: Path, lspet_folder: Path, tmp_path: Path) -> None:
    start = gatedpose.create_model("gated_hg_1s_68", num_keypoints=16)
    save_model(start, tmp_path / "mpii", MPII16)
    common = ["train", "gated_hg_1s_68", "--recipe", "lsp-finetune", "--limit", "24"]
    common += ["--data", f"lsp={lsp_folder}", "--data", f"lspet={lspet_folder}"]
    absent = CliRunner().invoke(main, [*common, "--out", str(tmp_path / "absent")])
    assert absent.exit_code == 1
    assert "unknown tag 'mpii' of gated_hg_1s_68" in absent.output
    assert "--init can also be a .safetensors file to start from" in absent.output
    assert not (tmp_path / "absent").exists()
    out = tmp_path / "out"
    changes = ["--init", str(tmp_path / "mpii" / "model.safetensors"), "--epochs", "1"]
    changes += ["--phase", "64,24,12,1"]
    told = CliRunner().invoke(main, [*common, *changes, "--out", str(out)])
    assert told.exit_code == 0, told.output
    model = gatedpose.create_model(f"local-dir:{out / 'model'}", pretrained=True)
    assert gatedpose.Predictor(model).skeleton == MPII16
    scored = ["evaluate", f"local-dir:{out / 'model'}", "--dataset", "lsp"]
    told = CliRunner().invoke(main, [*scored, "--data", str(lsp_folder), "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["size"] == [64, 64]
    assert list(json.loads(told.stdout)["per_joint"]) == list(LSP14.joints)


def test_batch_norm_is_calibrated_on_training_people(tmp_path: Path) -> None:
    recipe = replace(SHORT, phases=SHORT.phases[:1], calibrate=128)
    trainer = toy_trainer(recipe, tmp_path, 70)
    seen: list[Tensor] = []
    stem = trainer.ema.module.stem.conv
    hook = stem.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    averaged = trainer.run()
    hook.remove()
    large = [features for features in seen if len(features) == 64][-2:]  # before the last look
    assert len(large) == 2
    means = torch.stack([features.mean(dim=(0, 2, 3)) for features in large])
    torch.testing.assert_close(averaged.stem.bn.running_mean, means.mean(0), atol=1e-4, rtol=1e-4)
    variances = torch.stack([features.var(dim=(0, 2, 3)) for features in large])
    torch.testing.assert_close(
        averaged.stem.bn.running_var, variances.mean(0), atol=1e-4, rtol=1e-4
    )
    assert not averaged.training


def test_calibration_in_bfloat16_sees_the_same_people(tmp_path: Path) -> None:
    seen = []
    for precision in ("no", "bf16"):
        recipe = replace(SHORT, calibrate=128, precision=precision)
        trainer = toy_trainer(recipe, tmp_path / precision, 70)
        images, features = [], []
        stem = trainer.ema.module.stem.conv
        stem.register_forward_pre_hook(lambda module, inputs, to=images: to.append(inputs[0]))
        stem.register_forward_hook(lambda module, inputs, out, to=features: to.append(out))
        trainer._calibrate()
        seen.append((torch.cat(images), torch.cat(features), trainer.ema.module.stem.bn))
    (images, exact, norm), (same, rounded, close) = seen
    assert (exact.dtype, rounded.dtype) == (torch.float32, torch.bfloat16)
    assert torch.equal(images, same)
    torch.testing.assert_close(close.running_mean, norm.running_mean, atol=1e-2, rtol=1e-2)
    torch.testing.assert_close(close.running_var, norm.running_var, atol=1e-2, rtol=1e-2)
