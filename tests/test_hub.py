"""Model cards and uploads: the real huggingface_hub client against a local server."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard
from PIL import Image

import gatedpose
from gatedpose.catalogue import weights_table
from gatedpose.cli import main
from gatedpose.errors import InputError, WeightsError
from gatedpose.hub.cards import check_card, model_card, own_card
from gatedpose.hub.repositories import check_repository, push, write_repository

NAME = "gated_hg_1s_68.lsp"
FILES = ["README.md", "config.json", "int8.json", "model.safetensors", "poses.png"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cards") / "repository"
    return write_repository(NAME, place, "gatedpose/test")


def test_the_card_has_the_tables_numbers() -> None:
    weights = weights_table()[NAME]
    card = ModelCard(model_card(weights, "gatedpose/test"))
    found = {r.dataset_type: r.metric_value for r in card.data.eval_results}
    assert found == {
        split.removesuffix("-val"): round(score["mean"], 2)
        for split, score in weights.scores.items()
    }
    assert (card.data.license, card.data.library_name) == ("other", "timm")
    for score in weights.scores.values():
        assert score["command"] in card.text
        for value in score["columns"].values():
            assert f"{value:.2f}" in card.text
    assert "hf-hub:gatedpose/test" in card.text
    assert weights.license in card.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("value: 8", "value: 9"), r"the card says 9\d\.\d+ for lsp, .* the table of .* says 8"),
        (("type: lspet", "type: coco"), "for coco, .* says nothing"),
        (("model-index:", "other:"), "has no results"),
        (("tags:", "tags: ["), "front matter cannot be read"),
    ],
)
def test_cards_with_other_numbers_are_refused(change: tuple[str, str], message: str) -> None:
    weights = weights_table()[NAME]
    card = model_card(weights)
    check_card(card, weights)
    assert change[0] in card
    with pytest.raises(ValueError, match=message):
        check_card(card.replace(*change, 1), weights)


def test_a_written_folder_loads_bit_for_bit(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == FILES
    packaged = gatedpose.create_model(NAME, pretrained=True).state_dict()
    for create in (gatedpose.create_model, timm.create_model):
        state = create(f"local-dir:{folder}", pretrained=True).state_dict()
        assert all(torch.equal(state[key], packaged[key]) for key in packaged)
    weights = weights_table()[NAME]
    assert (folder / "model.safetensors").read_bytes() == weights.path.read_bytes()
    Image.open(folder / "poses.png").verify()
    assert not list(folder.parent.glob(".*"))


@pytest.mark.parametrize("name", ["gatedpose", "a/b/c", "a/", "/b", "a b/c", "a/b..c", "a/../b"])
def test_repository_names(name: str) -> None:
    with pytest.raises(ValueError, match="a repository is ORG/NAME, got"):
        check_repository(name)
    told = CliRunner().invoke(main, ["push", NAME, "--repo", name])
    assert told.exit_code == 1
    assert "ORG/NAME" in told.output


def test_without_a_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(WeightsError, match=r"needs a token of the Hub: run `hf auth login` or set"):
        push(folder, "gatedpose/test")


def test_dry_run(tmp_path: Path) -> None:
    out = tmp_path / "dry"
    told = CliRunner().invoke(main, ["push", NAME, "--dry-run", str(out), "--json"])
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert sorted(facts["files"]) == FILES
    assert facts["commit"] is None
    card = tmp_path / "card.md"
    card.write_text((out / "README.md").read_text("utf-8").replace("value: 8", "value: 9", 1))
    other = ["push", NAME, "--dry-run", str(tmp_path / "no"), "--card", str(card)]
    told = CliRunner().invoke(main, other)
    assert told.exit_code == 1
    assert "cards hold its numbers only" in told.output
    assert not (tmp_path / "no").exists()
    assert CliRunner().invoke(main, ["push", NAME]).exit_code == 2


def test_a_folder_with_other_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"holds other files than README.md, config.json, "):
        write_repository(NAME, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def client(hub: Any, home: Path, *arguments: str, **more: str) -> Any:
    """Runs Python with the Hub at `hub`."""
    return subprocess.run(
        [sys.executable, *arguments],
        env={**hub.environment(home), **more},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LOAD = """
import sys
import gatedpose, timm, torch
want = gatedpose.create_model(sys.argv[1], pretrained=True).state_dict()
for create in (gatedpose.create_model, timm.create_model):
    have = create("hf-hub:gatedpose/test", pretrained=True).state_dict()
    assert all(torch.equal(have[key], want[key]) for key in want)
"""


def test_pushed_and_loaded_back(hub_server: ModuleType, folder: Path, tmp_path: Path) -> None:
    command = ["-m", "gatedpose.cli", "push", NAME, "--repo", "gatedpose/test", "--json"]
    with hub_server.serve({}) as hub:
        hub.token = "hf_right"
        wrong = client(hub, tmp_path / "home", *command, HF_TOKEN="hf_wrong")
        assert wrong.returncode == 1
        assert "cannot push to gatedpose/test" in wrong.stderr
        assert "401" in wrong.stderr
        assert hub.repositories == {}
        done = client(hub, tmp_path / "home", *command, HF_TOKEN="hf_right")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["commit"].startswith(f"{hub.url}/gatedpose/test/commit/")
        pushed = dict(hub.repositories["gatedpose/test"])
        pushed.pop(".gitattributes", None)
        assert sorted(pushed) == FILES
        for name in FILES:
            assert pushed[name] == (folder / name).read_bytes(), name
        loaded = client(hub, tmp_path / "other", "-c", LOAD, NAME)
        assert loaded.returncode == 0, loaded.stderr


def test_cards_of_folders_that_lack_something(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config), "utf-8")
    assert "Not told: no recipe.json lies beside it." in own_card(model)
    for recipe in ("{}", "[]", '{"phases": 3}'):
        (tmp_path / "recipe.json").write_text(recipe, "utf-8")
        with pytest.raises(InputError, match=r"recipe\.json is not what a training writes"):
            own_card(model)
    (model / "config.json").write_text(json.dumps({**config, "skeleton": None}), "utf-8")
    with pytest.raises(InputError, match=r"config\.json names no joints; give a --card"):
        own_card(model)
