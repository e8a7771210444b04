"""Trainings whose files were damaged, whose disk is full, or that are not alone."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from gatedpose.cli import main
from gatedpose.errors import GatedPoseError, InputError, WeightsError
from gatedpose.files.whole import held
from gatedpose.training import run
from gatedpose.training.groups import Phase
from gatedpose.training.recipes import FINETUNE, Recipe
from gatedpose.training.run import train

TINY = replace(FINETUNE, phases=(Phase(64, 8, 4, 1.0),), init=None, calibrate=0, warmup=1)
SMALL: dict[str, Any] = {"width": 8, "depth": 2}


def trained(people: Path, out: Path, resume: bool = False, recipe: Recipe = TINY) -> Path | None:
    return train("gated_hg_1s_68", recipe, {"own": people}, out, config=SMALL, resume=resume)


@pytest.fixture(scope="module")
def done(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("done") / "run"
    trained(people, out)
    return out


@pytest.fixture
def copy(done: Path, tmp_path: Path) -> Path:
    out = tmp_path / "run"
    out.mkdir()
    for file in done.iterdir():
        if file.is_file():
            (out / file.name).write_bytes(file.read_bytes())
    return out


def changed(state: dict[str, Any], part: str, value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save({**state, part: value}, buffer)
    return buffer.getvalue()


def test_damaged_checkpoints_are_named(copy: Path, people: Path) -> None:
    path = copy / "last.pt"
    good = path.read_bytes()
    state = torch.load(path, weights_only=True)
    without = {name: value for name, value in state.items() if name != "progress"}
    middle = bytearray(good)
    middle[len(middle) // 2] ^= 255
    damages = [
        b"", b"x" * 999, good[:-1], good[: len(good) // 2], good[100:], bytes(middle), b"PK" + good,
        changed({}, "a", 1), changed(without, "x", 1), changed(state, "model", []),
        changed(state, "optimizer", {"state": {}}),
    ]  # fmt: skip
    for data in damages:
        path.write_bytes(data)
        with pytest.raises(WeightsError, match=r"last\.pt is damaged \(.*put a copy"):
            trained(people, copy, resume=True)
    path.write_bytes(good)
    assert trained(people, copy, resume=True) == copy / "model"
    path.write_bytes(b"")
    words = ["train", "gated_hg_1s_68", "--data", f"own={people}", "--out", str(copy), "--resume"]
    told = CliRunner().invoke(main, [*words, "--recipe", str(copy / "recipe.json")])
    assert told.exit_code == 1
    assert "last.pt is damaged (" in told.output


def half_done(folder: Path) -> None:
    """Takes a training back to its first step, so that it looks at its people once more."""
    state = torch.load(folder / "last.pt", weights_only=True)
    progress = {"phase": 0, "images": 4, "step": 1}
    (folder / "last.pt").write_bytes(changed(state, "progress", progress))


@pytest.mark.parametrize(
    "text",
    ["step\n1", "time,size\n1,2\n", "step,size,images,loss,val_pck_no_flip\n1,a,b,c,d"],
)
def test_damaged_logs_are_named(text: str, copy: Path, people: Path) -> None:
    half_done(copy)
    (copy / "log.csv").write_text(text)
    with pytest.raises(InputError, match=r"log\.csv is no table of a training"):
        trained(people, copy, resume=True)


@pytest.mark.parametrize("text", ["", "x", "sha,size,images,step,loss,val_pck_no_flip\n"])
def test_a_log_of_no_rows_or_other_columns_goes_on(text: str, copy: Path, people: Path) -> None:
    half_done(copy)
    path = copy / "log.csv"
    path.write_text(text)
    trained(people, copy, resume=True)
    assert path.read_text().count("share") == 1


def test_damaged_recipes_are_named(copy: Path, people: Path) -> None:
    for text in ("", "[]", "{", '{"phases": []}', '{"lr": NaN}'):
        (copy / "recipe.json").write_text(text)
        with pytest.raises(GatedPoseError, match=r"recipe\.json"):
            trained(people, copy, resume=True)


def test_a_folder_is_for_one_training(people: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with (
        held(out / ".lock", "in use"),
        pytest.raises(InputError, match="another program trains into"),
    ):
        trained(people, out)
    assert not list(out.iterdir())
    with pytest.raises(InputError, match="is a folder of pictures"):
        trained(people, people)


def test_networks_of_grey_pictures_are_refused_at_once(people: Path, tmp_path: Path) -> None:
    grey = {**SMALL, "in_channels": 1}
    with pytest.raises(InputError, match="crops have 3 colours, and gated_hg_1s_68 takes 1"):
        train("gated_hg_1s_68", TINY, {"own": people}, tmp_path / "run", config=grey)
    assert not (tmp_path / "run").exists()


def test_batches_are_looked_at_before_people_are_packed(people: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a batch of 5 is more than the 4 people"):
        trained(people, tmp_path / "run", recipe=replace(TINY, phases=(Phase(64, 8, 5, 1.0),)))
    assert not (tmp_path / "run").exists()


def test_a_full_disk_at_the_end(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    full_disk: Callable[..., None],
) -> None:
    out, save = tmp_path / "run", run.save_model

    def full(*arguments: Any) -> None:
        full_disk(10_000)
        save(*arguments)

    monkeypatch.setattr(run, "save_model", full)
    with pytest.raises(OSError, match=r"cannot write .*model"):
        trained(people, out)
    assert not [path.name for path in out.iterdir() if path.name.startswith((".", "model"))]
    full_disk()
    monkeypatch.undo()
    assert trained(people, out, resume=True) == out / "model"


def test_a_full_disk_in_push(tmp_path: Path, full_disk: Callable[..., None]) -> None:
    words = ["push", "gated_hg_1s_68.lsp", "--dry-run", str(tmp_path / "repository")]
    full_disk(100_000)
    told = CliRunner().invoke(main, words)
    full_disk()
    assert told.exit_code == 1
    assert "cannot write" in told.output
    assert "That is a bug" not in told.output
    assert not list(tmp_path.iterdir())
