"""Recipes from files and options."""

import json
import math
import re
from dataclasses import asdict, fields, is_dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gatedpose.batches.augment import Augmentation
from gatedpose.batches.views import Views
from gatedpose.cli import main
from gatedpose.data.readers import READERS
from gatedpose.errors import DatasetError, InputError
from gatedpose.training.recipes import (
    FINETUNE,
    LSP,
    MPII,
    RECIPES,
    FinderRecipe,
    Phase,
    Recipe,
    find_recipe,
)
from gatedpose.training.run import choose


def written(folder: Path, values: object) -> str:
    path = folder / "mine.json"
    path.write_text(json.dumps(values))
    return str(path)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_printed_recipes_are_read_back(recipe: Recipe, tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["recipe", recipe.name])
    assert told.exit_code == 0
    assert json.loads(told.output) == json.loads(json.dumps(asdict(recipe)))
    (tmp_path / "recipe.json").write_text(told.output)
    assert find_recipe(str(tmp_path / "recipe.json")) == recipe
    assert {dataset.partition(":")[0] for dataset in recipe.datasets} <= set(READERS)


def test_a_file_with_a_base(tmp_path: Path) -> None:
    fields = {"base": "lsp", "lr": 1, "augmentation": {"rotation": 45}, "datasets": {"mpii": 1}}
    changed = replace(LSP.augmentation, rotation=45.0)
    expected = replace(LSP, name="mine", lr=1.0, augmentation=changed, datasets={"mpii": 1.0})
    assert find_recipe(written(tmp_path, fields)) == expected


def test_a_base_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"base": "lsp", "lr": 1}')
    (tmp_path / "mine.json").write_text('{"base": "base.json", "seed": 5}')
    recipe = find_recipe(str(tmp_path / "mine.json"))
    assert (recipe.lr, recipe.seed, recipe.name) == (1, 5, "mine")


def test_a_file_without_a_base(tmp_path: Path) -> None:
    phase = {"size": 128, "images": 60, "batch_size": 4, "sigma": 1}
    fields = {"datasets": {}, "phases": [phase], "drops": [[0.5, 1e-4]], "clip": None}
    expected = Recipe("mine", {}, (Phase(128, 60, 4, 1.0),), drops=((0.5, 1e-4),), clip=None)
    assert find_recipe(written(tmp_path, fields)) == expected


def test_fields_on_the_command_line() -> None:
    texts = (
        "lr=1e-2", "augmentation.rotation=10", "datasets.lsp=2", "precision=bf16", "clip=null",
        "augmentation.scale=[0.5, 1.5]", "compile=true", "options.momentum=0.5",
    )  # fmt: skip
    arguments = [part for text in texts for part in ("--set", text)]
    told = CliRunner().invoke(main, ["recipe", "lsp", *arguments])
    assert told.exit_code == 0, told.output
    found = json.loads(told.output)
    assert (found["lr"], found["precision"], found["clip"]) == (0.01, "bf16", None)
    assert (found["compile"], found["options"]) == (True, {"momentum": 0.5})
    assert found["datasets"] == {"lsp": 2.0, "lspet": 1.0}
    assert found["augmentation"] == {
        **asdict(LSP.augmentation), "rotation": 10.0, "scale": [0.5, 1.5],
        "parts": list(LSP.augmentation.parts),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lerning=1", "recipe lsp has no field 'lerning'; there are name"),
        ("sed=1", "has no field 'sed'; did you mean seed?"),
        ("lr", "'lr' is not FIELD=VALUE"),
        ("lr=fast", "recipe lsp, field 'lr': got 'fast', and not float"),
        ("lr=-1", "recipe lsp: out of range: lr -1.0"),
        ("seed=1.5", "field 'seed': got 1.5, and not int"),
        ("compile=1", "field 'compile': got 1, and not bool"),
        ("precision=fp8", "field 'precision': got 'fp8', and not 'no' or 'bf16' or 'fp16'"),
        ("phases=[]", "out of range: phases ()"),
        ("keep=0.5", "recipe lsp: keep 0.5 needs weights to start from: give init first"),
        ("phases=[{}]", "field 'phases'[0]: Phase.__init__() missing 4"),
        ('phases=[{"size": 100}]', "missing 3"),
        ("drops=[[1]]", "field 'drops'[0] must have 2 values, got [1]"),
        ("augmentation.rotatoin=1", "field 'augmentation' has no field 'rotatoin'; did you mean"),
        ("augmentation=3", "field 'augmentation' must be an object of JSON, got 3"),
        ("datasets.lsp=x", "field 'datasets'['lsp']: got 'x', and not float"),
    ],
)
def test_wrong_fields(text: str, message: str) -> None:
    told = CliRunner().invoke(main, ["recipe", "lsp", "--set", text])
    assert told.exit_code == 1
    assert message in told.output
    assert "Traceback" not in told.output


NUMBERS = {
    field.name
    for kind in (Recipe, FinderRecipe, Phase, Augmentation, Views)
    for field in fields(kind)
    if re.search(r"\b(int|float)\b", str(field.type))
}


def test_every_number_has_a_range() -> None:
    declared = [kind.__mro__ for kind in (Recipe, FinderRecipe, Phase, Augmentation, Views)]
    ranges = {
        field.name
        for kind in chain(*declared)
        if is_dataclass(kind)
        for field in fields(kind)
        if "range" in field.metadata
    }
    assert ranges | {"drops"} == NUMBERS


@pytest.mark.parametrize("name", sorted(NUMBERS - {"drops"}))
def test_numbers_out_of_range(name: str) -> None:
    owners = (LSP, FinderRecipe(), LSP.phases[0], LSP.augmentation, Views())
    owner: Any = next(owner for owner in owners if hasattr(owner, name))
    old = getattr(owner, name)
    negative = -2e9 if name == "options" else -1.0
    for value in (math.nan, math.inf, -math.inf, negative, 10**13, True):
        new: Any = value
        if isinstance(old, dict):
            new = {"lsp": value}
        elif isinstance(old, tuple):
            new = (value, *old[1:])
        with pytest.raises(InputError, match=rf"out of range: {name} "):
            replace(owner, **{name: new})


@pytest.mark.parametrize(
    ("owner", "changes", "message"),
    [
        (LSP, {"drops": ((0.5, -1e-3),)}, "out of range: drops"),
        (LSP, {"drops": ((0.5, float("nan")),)}, "out of range: drops"),
        (LSP, {"drops": ((0.5, 1e-3), (0.2, 1e-4))}, "out of range: drops"),
        (LSP, {"drops": ((1.5, 1e-3),)}, "out of range: drops"),
        (LSP, {"limit": 1.5}, r"out of range: limit 1.5 \(from 1 to"),
        (FinderRecipe(), {"lr": -1.0}, "finder recipe: out of range: lr -1.0"),
        (FinderRecipe(), {"phases": ()}, "finder recipe: out of range: phases"),
        (Views(), {"zoom": (float("nan"), 1.0)}, r"views: out of range: zoom \(nan, 1.0\)"),
        (LSP.phases[0], {"size": 100}, "a size that 64 divides, got 100"),
        (LSP.augmentation, {"scale": (1.2, 0.8)}, r"scale must be \(smallest, largest\)"),
        (LSP.augmentation, {"parts": (0.0, 0.0, 0.0, 0.0)}, "parts must be 4 and not all 0"),
    ],
)
def test_what_ranges_alone_do_not_say(owner: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(owner, **changes)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([1], "must hold an object with the fields of a recipe"),
        ({"lr": 1}, "missing 2 required positional arguments: 'datasets' and 'phases'"),
        ({"base": "lps"}, "unknown recipe 'lps'; did you mean lsp?"),
        ({"base": "lsp", "epoch": 1}, "mine.json has no field 'epoch'; did you mean epochs?"),
    ],
)
def test_wrong_files(fields: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mine\.json|recipe") as raised:
        find_recipe(written(tmp_path, fields))
    assert message in str(raised.value)


def test_files_that_take_their_fields_from_each_other(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    mine = written(tmp_path, {"base": str(other)})
    other.write_text(json.dumps({"base": str(mine)}))
    with pytest.raises(InputError, match=r"mine\.json has itself as its base, by way of .*other"):
        find_recipe(mine)


def test_epochs_scale_all_phases_alike() -> None:
    assert FINETUNE.scaled(100) is FINETUNE
    short = replace(FINETUNE, epochs=2.48)
    assert [phase.images for phase in short.scaled(400).phases] == [661, 331]
    assert short.scaled(400).scaled(400) == short.scaled(400)
    assert replace(MPII, epochs=200.0).scaled(22_246).phases == MPII.phases


def test_a_limit_draws_people_by_the_seed() -> None:
    assert choose([3, 2], LSP) == [[0, 1, 2], [0, 1]]
    few = choose([30, 20], replace(LSP, limit=10))
    assert few == choose([30, 20], replace(LSP, limit=10))
    assert few != choose([30, 20], replace(LSP, limit=10, seed=1))
    assert sum(map(len, few)) == 10
    for part, count in zip(few, (30, 20), strict=True):
        assert part == sorted(set(part))
        assert all(0 <= i < count for i in part)
    assert choose([30, 20], replace(LSP, limit=50)) == [list(range(30)), list(range(20))]
    with pytest.raises(DatasetError, match="--limit 51 is more than the 50 people there"):
        choose([30, 20], replace(LSP, limit=51))
