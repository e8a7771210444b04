"""What the documentation prints is what the package says."""

import ast
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import gatedpose
import gatedpose.cli
from gatedpose.catalogue import (
    MILLISECONDS,
    WEIGHTS_DIR,
    model_table,
    stored_rows,
    weights_table,
    word_table,
)
from gatedpose.data.readers import read_dataset
from gatedpose.evaluation.metrics import lsp_pck
from gatedpose.media.demo import demo_image
from gatedpose.media.video import VideoWriter

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("GATEDPOSE_SHARED") or ROOT.parent / "shared", "data")
DOCS = (p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "api")
PAGES = ("README.md", *sorted(p.relative_to(ROOT).as_posix() for p in DOCS))


def test_the_model_tables_are_those_of_the_weights(example: Callable[[str], ModuleType]) -> None:
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert example("refresh_models_page").refreshed_page(page) == page
    assert model_table(stored_rows()) in page
    assert word_table() in (ROOT / "README.md").read_text("utf-8")


def test_times_of_the_words_are_those_measured() -> None:
    """Milliseconds of a batch of 8, float32."""
    page = (ROOT / "docs" / "research" / "speed.md").read_text("utf-8")
    for name, milliseconds in MILLISECONDS.items():
        row = re.search(rf"\| {name} \| eager \(float32\) \| 8 .*", page)
        assert row, name
        assert milliseconds == round(float(row[0].split(" | ")[6]) / 8)


def test_scores_of_all_joints_are_those_of_the_table() -> None:
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    for name, weights in weights_table().items():
        for split, score in weights.scores.items():
            assert re.search(rf"{name}.*{split}.*{score['mean']:.2f}", page), (name, split)


@pytest.mark.parametrize("name", list(weights_table()))
def test_weights_come_with_recipe_data_licence_and_scores(name: str) -> None:
    weights = weights_table()[name]
    assert weights.license
    assert weights.data
    assert {"seed", "phases", "optimizer", "lr"} <= set(weights.recipe)
    assert re.fullmatch("[0-9a-f]{40}", weights.recipe["commit"])
    for score in weights.scores.values():
        assert weights.skeleton is None or set(score["columns"]) >= {"Head", "Shoulder", "Total"}
        assert name in score["command"]
        assert score["people"] > 0
    json.dumps(dict(weights.scores))


@pytest.mark.skipif(not DATA.is_dir(), reason="the datasets are not here")
@pytest.mark.parametrize("name", [n for n, w in weights_table().items() if w.skeleton])
def test_raw_predictions_give_the_scores(name: str) -> None:
    raw = np.load(WEIGHTS_DIR / f"{name}.predictions.npz")
    for dataset in [name for name in ("lsp", "lspet") if f"{name}_ids" in raw]:
        samples = read_dataset(dataset, DATA / dataset, "val")
        assert raw[f"{dataset}_ids"].tolist() == [sample.id for sample in samples]
        target = np.stack([sample.keypoints for sample in samples])
        labelled = np.stack([sample.labelled for sample in samples])
        assert f"{dataset}-val" in weights_table()[name].scores
        score = lsp_pck(raw[f"{dataset}_keypoints"], target, labelled)
        published = weights_table()[name].scores[f"{dataset}-val"]
        assert score.mean == pytest.approx(published["mean"], abs=0.05)


@pytest.mark.skipif(not DATA.is_dir(), reason="the datasets are not here")
def test_the_tables_of_misses_are_what_the_example_prints(
    example: Callable[[str], ModuleType],
) -> None:
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    script = example("misses_by_lean")
    commands = re.findall("^python examples/misses_by_lean.py (.*)$", page, re.MULTILINE)
    assert len(commands) == 2
    for line in commands:
        folder = str(DATA / re.search("--dataset (\\w+)", line).group(1))
        arguments = [folder if word in ("LSP", "LSPET") else word for word in line.split()]
        result = CliRunner().invoke(script.main, arguments)
        assert result.exit_code == 0, result.output
        assert result.output in page


def test_a_body_leans_by_the_angle_of_its_spine(
    example: Callable[[str], ModuleType],
) -> None:
    person = np.zeros((5, 14, 2))
    person[:, 2], person[:, 3] = (9, 20), (11, 20)  # hips; the middle is (10, 20)
    person[:, 12] = [(10, 5), (20, 10), (0, 20), (0, 30), (10, 35)]  # neck
    assert example("misses_by_lean").lean(person) == pytest.approx([0, 45, 90, 135, 180])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target


# What stands in fences and in `...` of README.md and docs/ is tried out by these rules:
#
# - Python: each page in order, in one namespace and in a folder with a few files. A comment that
#   begins with a tuple or "NUMBER:", or is a list or a truth value, is what the line gives; of
#   arrays and tensors a tuple is the shape.
# - JSON must parse.
# - A line of a fence without language, or of `sh`, is a command if its first word is a program of
#   PROGRAMS. Every `gatedpose` (and `-m gatedpose.cli`) is parsed by the real command; the `...` of
#   running text may leave parameters out.
# - A `gatedpose` command of RUNS that stands in a fence or in a table is run, too, unless a word is
#   for something that is not here: a NAME in capitals, a model of one's own, a camera, a detector.
PROGRAMS = ("gatedpose", "python", "pip", "pytest", "accelerate", "torchrun", "ray")
RUNS = ("predict", "list", "info", "recipe", "export", "gates")
NOT_HERE = re.compile(r"[A-Z]{2,}|(local-dir|hf-hub):|--(camera|detect)$|pose\.xml$")
VALUE = re.compile(r"#\s*(\([\d, ]+\)|\[.*\]$|(?:True|False)$|\d+(?=:|$))")


def fences(page: str, *languages: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [block for language, block in found if language in languages]


def shell_commands(page: str) -> list[list[str]]:
    """Words of each command of the page's shell fences, without NAME=VALUE before them."""
    lines = "\n".join(fences(page, "", "sh")).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        words = shlex.split(re.sub(r"^(\w+=\S+ )*", "", line), comments=True)
        for both, command in itertools.groupby(words, lambda word: word in ("&&", "|")):
            command = list(command)
            if not both and command[0] in PROGRAMS:
                found.append(command)
    return found


def gatedpose_commands(page: str) -> dict[tuple[str, ...], bool]:
    """Arguments of `gatedpose`, and whether they are complete: not in running text."""
    found = {}
    text = re.sub(
        r"^```.*?^```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    table = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    for part, complete in ((text, False), (table, True)):
        for inline in re.findall(r"`gatedpose ([a-z][^`]*)`", part):
            found[tuple(shlex.split(inline))] = complete
    for words in shell_commands(page):
        if words[0] == "gatedpose":
            found[tuple(words[1:])] = True
        elif "gatedpose.cli" in words:
            found[tuple(words[words.index("gatedpose.cli") + 1 :])] = True
    return found


def parse(arguments: Sequence[str]) -> bool:
    """Whether all parameters are there; raises a `click.UsageError` for what is not taken."""
    command: click.Command = gatedpose.cli.main
    left = ["cpu" if word == "cuda" else word for word in arguments]  # there may be no GPU
    while isinstance(command, click.Group):
        name = left.pop(0)
        found = command.get_command(click.Context(command), name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        command = found
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gatedpose.cli.options.FILE, "exists", False)  # files are not here
            command.make_context(command.name, left)
    except (click.MissingParameter, click.BadOptionUsage):
        return False
    return True


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of torchvision's detector, untrained: it finds nobody."""
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    file = tmp_path_factory.mktemp("detector") / "detector.pth"
    torch.save(model.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, detector: Path) -> Path:
    """What a reader has: photos of one person, a film, boxes, a detector."""
    folder = tmp_path_factory.mktemp("files")
    photo = Image.open(demo_image()).convert("RGB")
    (folder / "photos").mkdir()
    for name in ("photo.jpg", "a.jpg", "b.jpg", "photos/a.jpg", "photos/b.jpg"):
        photo.save(folder / name)
    with VideoWriter(folder / "walk.mp4", rate=25) as film:
        for left in range(0, 6, 2):
            film.write(photo.crop((left, 0, 320 + left, 320)))
    people = {"a.jpg": [[90, 0, 400, 512]], "b.jpg": [[90, 0, 400, 512], [20, 0, 300, 400]]}
    (folder / "boxes.json").write_text(json.dumps(people))
    os.link(detector, folder / detector.name)
    return folder


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Path) -> Path:
    """A folder with these files; it is the current one."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True, copy_function=os.link)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:OpenCV .* is not installed:UserWarning")  # supervision's
@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "python")])
def test_python_of_a_page_runs(page: str, reader: Path) -> None:
    names: dict[str, Any] = {}
    for block in fences(page, "python"):
        for statement in ast.parse(block).body:
            value = None
            if isinstance(statement, ast.Expr):
                value = eval(compile(ast.Expression(statement.value), page, "eval"), names)
            else:
                exec(compile(ast.Module([statement], []), page, "exec"), names)
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                    value = names[statement.targets[0].id]
            if said := VALUE.search(block.splitlines()[statement.end_lineno - 1]):
                wanted = ast.literal_eval(said[1])
                got = tuple(getattr(value, "shape", value)) if isinstance(wanted, tuple) else value
                assert got == wanted, said.string


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "json")])
def test_json_of_a_page_parses(page: str) -> None:
    for block in fences(page, "json"):
        assert json.loads(block)


@pytest.mark.parametrize("page", [page for page in PAGES if gatedpose_commands(page)])
def test_commands_of_a_page_exist(page: str) -> None:
    for arguments, complete in gatedpose_commands(page).items():
        assert parse(arguments) >= complete, arguments


def test_commands_that_do_not_exist_are_noticed() -> None:
    for wrong in (["predic", "a.jpg"], ["predict", "a.jpg", "--boxs", "b"], ["data", "chek"]):
        with pytest.raises(click.UsageError):
            parse(wrong)
    with pytest.raises(click.BadParameter):
        parse(["export", "NAME", "--format", "caffe"])


def commands_to_run() -> dict[str, list[tuple[str, ...]]]:
    """By page; each is run on the first page that has it."""
    seen: set[tuple[str, ...]] = set()
    pages = {}
    for page in PAGES:
        new = [
            arguments
            for arguments, complete in gatedpose_commands(page).items()
            if complete
            and arguments[0] in RUNS
            and not any(NOT_HERE.match(word) for word in arguments)
            and arguments not in seen
        ]
        seen.update(new)
        pages[page] = new
    return {page: commands for page, commands in pages.items() if commands}


@pytest.mark.slow
@pytest.mark.parametrize("page", list(commands_to_run()))
def test_commands_of_a_page_run(page: str, reader: Path) -> None:
    own = set(reader.iterdir())
    for arguments in commands_to_run()[page]:
        for result_of_another in set(reader.iterdir()) - own:  # they are alternatives
            (shutil.rmtree if result_of_another.is_dir() else os.remove)(result_of_another)
        photo = (reader / "photo.jpg").read_bytes()  # for "-"
        result = CliRunner().invoke(gatedpose.cli.main, arguments, input=photo)
        assert result.exit_code == 0, (arguments, result.output, result.exception)


def test_other_programs_of_the_pages_exist() -> None:
    from accelerate.commands.launch import launch_command_parser
    from torch.distributed.run import get_args_parser

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    seen = set()
    for program, *arguments in (command for page in PAGES for command in shell_commands(page)):
        seen.add(program)
        line = " ".join(arguments)
        if program == "pip":
            named = re.findall(r"\[(.*?)\]", line)
            assert {e for n in named for e in n.split(",")} <= set(extras["optional-dependencies"])
        elif program == "python" and arguments[0].startswith("examples/"):
            script = (ROOT / arguments[0]).read_text("utf-8")
            assert all(f'"{word}"' in script for word in arguments if word.startswith("--")), line
        elif program == "accelerate":
            assert launch_command_parser().parse_args(arguments[1:]).training_script_args
        elif program == "torchrun":
            assert get_args_parser().parse_args(arguments).training_script == "gatedpose.cli"
    assert seen >= {"pip", "python", "accelerate", "torchrun"}


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    for needed in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(needed)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    config = ROOT / "docs" / "mkdocs" / "mkdocs.yml"
    done = subprocess.run([*command, "-f", str(config)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {page.stem: page.read_text("utf-8") for page in tmp_path.rglob("*.html")}
    assert {"index", "quickstart", "faq", "networks"} <= pages.keys()
    loads = (
        r"<(?:script|img|iframe)[^>]*src=[\"']?(?:https?:)?//|<link[^>]*href=[\"']?(?:https?:)?//"
    )
    for name, page in pages.items():
        assert not re.search(loads, page), name
    everything = "".join(pages.values())
    for name in {*gatedpose.__all__} - {"predict"} | {"predict.oneline.predict"}:
        assert f'id="gatedpose.{name}"' in everything, name
