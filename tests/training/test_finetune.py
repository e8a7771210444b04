"""A user's own joints: from drawings to a network that finds them, by the commands of the docs."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import load_file

import gatedpose
from gatedpose.cli import main
from gatedpose.data.own import own
from gatedpose.errors import DatasetError
from gatedpose.evaluation.metrics import Score
from gatedpose.training.recipes import RECIPES
from gatedpose.training.run import _open
from gatedpose.training.trainer import watch

JOINTS = ["left tip", "right tip", "head"]
COLOURS = ["royalblue", "darkorange", "seagreen"]


def draw_kite(path: Path, rng: np.random.Generator) -> list[list[float]]:
    """A triangle with a dot of its own colour at each corner, somewhere on a noisy picture."""
    width, height = (int(side) for side in rng.integers(120, 200, 2))
    picture = Image.fromarray(rng.integers(90, 165, (height, width, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(picture)
    centre = rng.uniform(0.4, 0.6, 2) * (width, height)
    angle, reach = rng.uniform(-0.5, 0.5), rng.uniform(30, 45)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    corners = centre + reach * np.array([[0.9, 0.5], [-0.9, 0.5], [0, -1]]) @ turn.T
    draw.polygon([tuple(corner) for corner in corners], outline="white", width=3)
    for (x, y), colour in zip(corners, COLOURS, strict=True):
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
    picture.save(path)
    return corners.tolist()  # Pillow and COCO both count from the first pixel's centre


def write_split(folder: Path, split: str, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        name = f"{split}{number}.png"
        corners = draw_kite(folder / "images" / name, rng)
        images.append({"id": number, "file_name": name})
        keypoints = [value for corner in corners for value in (*corner, 2)]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints}
        )
    kite = {"id": 1, "name": "kite", "keypoints": JOINTS, "skeleton": [[1, 2], [2, 3], [3, 1]]}
    table = {"images": images, "annotations": annotations, "categories": [kite]}
    (folder / f"{split}.json").write_text(json.dumps(table))


def run(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def trained(*arguments: object) -> str:
    """What a training on the user's own joints logs."""
    words = ["train", "gated_hg_1s_68", "--recipe", "finetune", *map(str, arguments)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    return result.stderr


def test_a_misspelt_joint_is_named_before_training(tmp_path: Path) -> None:
    """The recipe has nineteen joints; labels of any other name would be lost."""
    write_split(tmp_path, "train", 2, seed=0)
    write_split(tmp_path, "val", 2, seed=1)
    for split in ("train", "val"):
        table = (tmp_path / f"{split}.json").read_text()
        for name, joint in zip(JOINTS, ("left ankle", "right ankel", "nose"), strict=True):
            table = table.replace(f'"{name}"', f'"{joint}"')
        (tmp_path / f"{split}.json").write_text(table)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"base": "finetune", "joints": "people19"}')
    arguments = ["train", "gated_hg_1s_68", "--recipe", str(recipe), "--data", f"own={tmp_path}"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(tmp_path / "run")])
    assert result.exit_code == 1
    text = "kite has a joint 'right ankel', which people19 lacks; did you mean right ankle"
    assert text in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_own_joints_are_learnt_scored_and_found(tmp_path: Path) -> None:
    data, out = tmp_path / "kites", tmp_path / "run"
    write_split(data, "train", 100, seed=0)
    write_split(data, "val", 20, seed=1)
    trained = json.loads(
        run("train", "gated_hg_1s_68", "--recipe", "finetune", "--data", f"own={data}",
            "--out", out, "--json").splitlines()[-1]
    )  # fmt: skip
    name = trained["model"]
    assert name == f"local-dir:{out / 'model'}"

    scored = json.loads(run("evaluate", name, "--dataset", "own", "--data", data, "--json"))
    assert scored["metric"] == "PCK@0.2 (normaliser: longer side of the box)"
    assert list(scored["per_joint"]) == JOINTS
    assert scored["people"] == 20
    assert scored["mean"] > 90

    photo = data / "images" / "val0.png"
    told = json.loads(run("predict", photo, "--model", name, "--out", tmp_path / "p.png", "--json"))
    assert list(told["poses"][0]["keypoints"]) == JOINTS
    model = gatedpose.create_model(name, pretrained=True)
    assert gatedpose.Predictor(model).skeleton.flip_pairs == ((1, 0),)
    assert gatedpose.Predictor(model).skeleton.limbs == ((0, 1), (1, 2), (2, 0))


def test_pictures_are_kept_for_validation_where_there_is_no_val(tmp_path: Path) -> None:
    """Of twelve pictures two: nobody is learnt from who validates, and evaluate takes the same."""
    data, out = tmp_path / "kites", tmp_path / "run"
    write_split(data, "train", 12, seed=0)
    told = trained("--data", f"own={data}", "--phase", "64,4,2,1", "--out", out)
    assert "has no val.json: 2 of the 12 pictures of train.json are kept" in told
    assert "kite: flip pairs: right tip - left tip\n" in told
    assumed = "people read: 12; assumed: 12 without a box have the tight one of their joints"
    assert f"{data / 'train.json'}: {assumed}\n" in told
    learnt, watched = (load_crops(out / f"own-{split}.safetensors") for split in ("train", "val"))
    assert (learnt, watched) == (10, 2)
    held = {person.image.name for person in own(data, "val")}
    assert len(held) == 2
    assert held == {person.image.name for person in own(data, "validation")}
    assert len(own(data, "train")) == 12
    name = f"local-dir:{out / 'model'}"
    scored = json.loads(run("evaluate", name, "--dataset", "own", "--data", data, "--json"))
    assert scored["people"] == 2

    (data / "train.json").rename(data / "result.json")  # as Label Studio calls it
    assert {person.image.name for person in own(data, "val")} == held
    assert len(own(data, "train")) == 12
    write_split(tmp_path / "one", "train", 1, seed=0)
    with pytest.raises(DatasetError, match="in one picture only, and nothing is left"):
        own(tmp_path / "one", "val")


def test_each_set_keeps_pictures_for_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of twelve pictures each ten are learnt from, though the first set alone is watched."""
    arguments: list[object] = ["--phase", "64,4,2,1", "--out", tmp_path / "run"]
    for name in ("a", "b"):
        write_split(tmp_path / name, "train", 12, seed=0)
        arguments += ["--data", f"own:{name}={tmp_path / name}"]
    told = trained(*arguments)
    for name in ("a", "b"):
        assert f"{tmp_path / name} has no val.json: 2 of the 12 pictures" in told
        assert load_crops(tmp_path / "run" / f"own-{name}-train.safetensors") == 10
    assert not (tmp_path / "run" / "own-b-val.safetensors").exists()
    assert "scores on val are too high" not in told  # the copies in b are left out, too

    shutil.copytree(tmp_path / "b", tmp_path / "c")
    write_split(tmp_path / "c", "val", 1, seed=1)
    folders = {f"own:{name}": tmp_path / name for name in ("a", "c")}
    _open(RECIPES["finetune"], folders)
    told = f"{tmp_path / 'c'}: 2 of the 12 people of train are in pictures of val: scores on val"
    assert told in caplog.text


def test_what_spoils_a_training_is_said(tmp_path: Path) -> None:
    """Two of three pictures validate, too; nobody has a label of the head."""
    data, out = tmp_path / "kites", tmp_path / "run"
    write_split(data, "train", 3, seed=0)
    table = json.loads((data / "train.json").read_text())
    table["annotations"] = table["annotations"][1:]
    (data / "val.json").write_text(json.dumps(table))
    unlabelled = [{**a, "keypoints": [*a["keypoints"][:6], 0, 0, 0]} for a in table["annotations"]]
    (data / "train.json").write_text(json.dumps({**table, "annotations": unlabelled}))
    arguments = ("--data", f"own={data}", "--phase", "64,4,2,1", "--out", out)
    words = ["train", "gated_hg_1s_68", *map(str, arguments), *arguments[:2]]
    twice = CliRunner().invoke(main, words)
    assert twice.exit_code == 2
    assert "--data: own comes twice; call them own:a and own:b, for example" in twice.output
    told = trained(*arguments)
    shared = f"{data}: 2 of the 2 people of train are in pictures of val: scores on val are too"
    assert shared in told
    assert "not learnt, since nobody to train on has a label of it: head\n" in told
    assert shared in run("data", "check", "--dataset", "own", "--data", data)

    text = (data / "val.json").read_text().replace('"head"', '"tail"')
    (data / "val.json").write_text(text)
    name = f"local-dir:{out / 'model'}"
    where = ("--dataset", "own", "--data", str(data))
    result = CliRunner().invoke(main, ["evaluate", name, *where])
    assert "not scored, since the network does not predict it: tail\n" in result.stderr
    saved = str(tmp_path / "saved.npz")
    kept = json.loads(run("evaluate", name, *where, "--save", saved, "--json"))
    scored = json.loads(run("evaluate", "--predictions", saved, *where, "--json"))
    assert "not scored, since the network does not predict it: tail" in scored["notes"]
    assert scored["mean"] == kept["mean"]
    best = ["--weights", str(out / "best.safetensors"), "--no-flip"]
    assert "2 people" in run("evaluate", "gated_hg_1s_68", *where, *best)


def load_crops(file: Path) -> int:
    """How many people are packed in a file."""
    with safe_open(file, framework="pt") as packed:
        return len(packed.get_tensor("keypoints"))


def test_the_best_of_all_phases_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at 64 px scores best: the network has its weights and its size, and is pushed."""
    data, out = tmp_path / "kites", tmp_path / "run"
    for split in ("train", "val"):
        write_split(data, split, 3, seed=0)
    scores = iter((40.0, 30.0))

    def fake(*args: Any) -> tuple[Score, Any]:
        score, sheet = watch(*args)
        return replace(score, mean=next(scores)), sheet

    monkeypatch.setattr("gatedpose.training.trainer.watch", fake)
    phases = ("--phase", "64,4,2,1", "--phase", "128,4,2,1")
    told = trained("--data", f"own={data}", *phases, "--out", out)
    assert "kept the weights that scored best: 40.00 at 64 px" in told
    name = f"local-dir:{out / 'model'}"
    model = gatedpose.create_model(name, pretrained=True)
    assert gatedpose.Predictor(model).size == (64, 64)
    best = load_file(out / "best.safetensors")
    assert all(torch.equal(model.state_dict()[key], best[key]) for key in best)

    run("push", name, "--dry-run", tmp_path / "dry")
    assert {file.name for file in (tmp_path / "dry").iterdir()} == {
        "README.md", "config.json", "model.safetensors",
    }  # fmt: skip
    card = (tmp_path / "dry" / "README.md").read_text()
    assert "3 joints (left tip, right tip, head), found by gated_hg_1s_68" in card
    assert "Recipe finetune: 4 images of 64 px, 4 images of 128 px" in card
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'dry'}", pretrained=True).state_dict()
    assert all(torch.equal(again[key], best[key]) for key in best)
