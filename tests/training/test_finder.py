"""A finder learns small pictures, stops and goes on, and is scored from the command line."""

import csv
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import gatedpose
from gatedpose.batches.views import ViewBatch
from gatedpose.cli import main
from gatedpose.errors import DatasetError, InputError
from gatedpose.files.whole import held
from gatedpose.training.finder import FinderTrainer, train_finder, with_empty
from gatedpose.training.groups import FinderPhase
from gatedpose.training.recipes import FinderRecipe

TINY = FinderRecipe(
    phases=(FinderPhase(64, 8, 2),), init=None, precision="no", warmup=1, calibrate=32
)


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, list[Path]]:
    """Red people on blue, all with boxes; some of them; and a picture of nobody."""
    all_of_them, some, nobody = tmp_path / "all", tmp_path / "some", tmp_path / "nobody"
    for split in ("train", "valid"):
        for kind in ("images", "labels"):
            (all_of_them / split / kind).mkdir(parents=True)
        for i in range(3):
            image = Image.new("RGB", (96, 64), (0, 0, 255))
            image.paste((255, 0, 0), (20 * i, 10, 20 * i + 24, 58))
            image.save(all_of_them / split / "images" / f"{i}.png")
            text = f"0 {(20 * i + 12) / 96} {34 / 64} {24 / 96} {48 / 64}"
            (all_of_them / split / "labels" / f"{i}.txt").write_text(text)
    (some / "images").mkdir(parents=True)
    image.save(some / "images" / "1.png")
    people = {
        "images": [{"id": 1, "file_name": "1.png", "width": 96, "height": 64}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [40, 10, 24, 48]}],
    }
    for split in ("train", "val"):
        (some / f"{split}.json").write_text(json.dumps(people))
    nobody.mkdir()
    Image.new("RGB", (96, 64), (0, 0, 255)).save(nobody / "0.png")
    return {"stretched": [all_of_them], "partly": [some], "empty": [nobody]}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of 8 channels instead of 68."""

    def create(name: str, **options: object) -> torch.nn.Module:
        return gatedpose.create_model(name, width=8, depth=2, **options)

    monkeypatch.setattr("gatedpose.training.finder.create_model", create)


def test_a_finder_is_trained_and_scored(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "run"
    model = train_finder("gated_finder_320", TINY, folders, out, watch_every=4)
    assert model == out / "model"
    rows = read_log(out)
    assert [row["images"] for row in rows] == ["4", "8"]
    assert list(rows[0])[-4:] == ["val_found", "all_recall", "some_surest", "some_any"]
    mean = (float(rows[1]["all_recall"]) + float(rows[1]["some_surest"])) / 2
    assert float(rows[1]["val_found"]) == pytest.approx(mean, abs=0.011)
    assert {"best.safetensors", "curves.png", "tensorboard"} <= {p.name for p in out.iterdir()}
    assert json.loads((out / "recipe.json").read_text("utf-8"))["lr"] == TINY.lr
    with pytest.raises(FileExistsError, match="holds a training"):
        train_finder("gated_finder_320", TINY, folders, out)
    arguments = ["finder", "evaluate", f"local-dir:{model}", "--data", str(folders["partly"][0])]
    result = CliRunner().invoke(main, [*arguments, "--json", "--least", "0.5"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output[result.output.index("{") :])
    assert (facts["pictures"], facts["people"]) == (1, 1)
    text = CliRunner().invoke(main, arguments)
    assert "surest box of a picture" in text.output


def test_pictures_of_nobody_get_a_share() -> None:
    draws = with_empty(torch.tensor([1.0, 0.5, 0.0, 1.5, 0.0]), 0.25)
    assert draws.tolist() == [1.0, 0.5, 0.5, 1.5, 0.5]  # 1 of 4
    assert with_empty(torch.tensor([1.0, 0.5]), 0.25).tolist() == [1.0, 0.5]


def test_a_training_that_was_stopped_ends_alike(
    folders: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped between two looks."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_finder("gated_finder_320", TINY, folders, whole, watch_every=4)
    step = FinderTrainer.step

    def stopped(self: FinderTrainer, batch: ViewBatch) -> float:
        if self.progress.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(FinderTrainer, "step", stopped)
    with pytest.raises(SystemExit, match="step=3"):
        train_finder("gated_finder_320", TINY, folders, parts, watch_every=4)
    monkeypatch.setattr(FinderTrainer, "step", step)
    with pytest.raises(InputError, match="another recipe"):
        train_finder("gated_finder_320", replace(TINY, lr=1e-4), folders, parts, resume=True)
    fewer = {kind: some for kind, some in folders.items() if kind != "empty"}
    with pytest.raises(InputError, match=r"on other data \(boxes .*, pictures \d+ -> \d+\)"):
        train_finder("gated_finder_320", TINY, fewer, parts, resume=True)
    train_finder("gated_finder_320", TINY, folders, parts, watch_every=4, resume=True)
    first, second = (torch.load(out / "last.pt", weights_only=True) for out in (whole, parts))
    for part in ("model", "ema"):
        assert all(torch.equal(first[part][k], second[part][k]) for k in first[part])
    assert [row["loss"] for row in read_log(parts)] == [row["loss"] for row in read_log(whole)]
    before = {**json.loads((parts / "recipe.json").read_text("utf-8")), "bf16": True}
    (parts / "recipe.json").write_text(json.dumps(before))  # as of an earlier version
    with pytest.raises(InputError, match=r"cannot go on: train into another folder .*'bf16'"):
        train_finder("gated_finder_320", TINY, folders, parts, resume=True)


def read_log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_packed_is_of_the_labels(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_finder("gated_finder_320", TINY, folders, out)
    (out / "last.pt").unlink()
    label = folders["stretched"][0] / "train" / "labels" / "0.txt"
    before = label.read_text()
    label.write_text("0 0.5 0.5 0.5 0.5")
    with pytest.raises(DatasetError, match=r"all\.train\..* packed from other pictures or boxes"):
        train_finder("gated_finder_320", TINY, folders, out)
    label.write_text(before)
    picture = folders["stretched"][0] / "train" / "images" / "0.png"
    pixels = picture.read_bytes()
    Image.effect_noise((96, 64), 50).save(picture)  # replaced, and labelled as before
    with pytest.raises(DatasetError, match=r"all\.train\..* packed from other pictures or boxes"):
        train_finder("gated_finder_320", TINY, folders, out)
    picture.write_bytes(pixels)
    pack = out / "all.train.safetensors"
    pack.write_bytes(pack.read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"all\.train\.safetensors is damaged"):
        train_finder("gated_finder_320", TINY, folders, out)


def test_a_folder_is_for_one_training(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with (
        held(out / ".lock", "in use"),
        pytest.raises(InputError, match="another program trains into"),
    ):
        train_finder("gated_finder_320", TINY, folders, out)
    with pytest.raises(InputError, match="is a folder of pictures"):
        train_finder("gated_finder_320", TINY, folders, folders["partly"][0])


def test_a_finder_goes_on_from_a_finder(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    first = train_finder("gated_finder_320", TINY, folders, tmp_path / "run")
    still = replace(TINY, init=f"local-dir:{first}", lr=1e-12)
    second = train_finder("gated_finder_320", still, folders, tmp_path / "on")
    names = (f"local-dir:{first}", f"local-dir:{second}")
    before, after = (
        dict(gatedpose.create_model(n, pretrained=True).named_parameters()) for n in names
    )
    assert all(torch.allclose(after[key], before[key], atol=1e-6) for key in before)


@pytest.mark.slow
def test_a_finder_learns_where_people_are(folders: dict[str, list[Path]], tmp_path: Path) -> None:
    recipe = replace(TINY, phases=(FinderPhase(64, 1600, 8),), warmup=5, lr=1e-2, ema=0.9)
    train_finder("gated_finder_320", recipe, folders, tmp_path / "run", watch_every=800)
    last = read_log(tmp_path / "run")[-1]
    assert float(last["all_recall"]) > 60
    assert float(last["some_any"]) == 100


def test_what_cannot_be_trained_is_refused(
    folders: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # whole networks, whose weights are packaged
    with pytest.raises(InputError, match="not a finder"):
        train_finder("gated_hg_1s_68", TINY, folders, tmp_path / "a")
    with pytest.raises(InputError, match="train gated_finder_320 --init people"):
        train_finder("gated_finder_320.people", TINY, folders, tmp_path / "a")
    with pytest.raises(DatasetError, match="at least one folder"):
        train_finder("gated_finder_320", TINY, {"empty": folders["empty"]}, tmp_path / "b")
    twice = {"stretched": folders["stretched"] * 2}
    with pytest.raises(DatasetError, match="two folders are called all"):
        train_finder("gated_finder_320", TINY, twice, tmp_path / "c")
    start = replace(TINY, init="gated_hg_2s_80")
    with pytest.raises(InputError, match="cannot start from a pose network"):
        train_finder("gated_finder_320", start, folders, tmp_path / "d")


def test_a_wrong_phase_is_named(tmp_path: Path) -> None:
    arguments = ["finder", "train", "--out", str(tmp_path), "--phase", "64,8"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "is not SIZE,PICTURES,BATCH" in result.output
