"""The command line, as a person or a program uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import gatedpose
from gatedpose.cli import main
from gatedpose.cli.options import Fast, fast_option
from gatedpose.evaluation import reports
from gatedpose.skeleton import PEOPLE19


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three small pictures, one that is cut and a text file."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, size in (("a1.jpg", (60, 80)), ("a2.png", (90, 50)), ("a10.jpg", (64, 64))):
        pixels = generator.integers(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    (folder / "cut.jpg").write_bytes((folder / "a1.jpg").read_bytes()[:-999])
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_help_and_version() -> None:
    for command in ("list", "info", "predict", "evaluate", "train"):
        assert command in run("--help").output
        assert "--json" in run(command, "--help").output
    assert gatedpose.__version__ in run("--version").output


@pytest.mark.parametrize(
    ("words", "told"), [(["--fast"], "passive"), (["--engine", "torch"], None), ([], None)]
)
def test_threads_out_of_the_way_of_an_engine(
    monkeypatch: pytest.MonkeyPatch, words: list[str], told: str | None
) -> None:
    seen = []

    @click.command()
    @fast_option
    def show(fast: Fast | None) -> None:
        seen.append(os.environ.get("OMP_WAIT_POLICY"))

    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    assert CliRunner().invoke(show, words).exit_code == 0
    assert seen == [told]


@pytest.mark.parametrize("command", ["train", "finder train", "ablate gates", "compare"])
def test_threads_of_a_training_let_others_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "")
    monkeypatch.delenv("OMP_WAIT_POLICY")
    data = "--partly" if command == "finder train" else "--data"
    words = [*command.split(), data, f"{tmp_path / 'none'}", "--out", str(tmp_path / "run")]
    name = [] if command == "ablate gates" else ["gated_hg_1s_68"]
    assert CliRunner().invoke(main, words + name).exit_code != 0  # there is no data
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_light_commands_import_nothing_heavy() -> None:
    code = """
import sys
from click.testing import CliRunner
from gatedpose.cli import main

def run(*words):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    print(*words)

def helped(command, words):
    run(*words, "--help")
    for name, below in getattr(command, "commands", {}).items():
        helped(below, [*words, name])

helped(main, [])
run("--version")
run("list", "--pretrained")
heavy = {"torch", "timm", "numpy", "PIL", "gradio", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    helps = {"predict", "evaluate", "data clean", "finder train", "research bench"}
    assert {f"{words} --help" for words in helps} <= set(done.stdout.splitlines())
    done = subprocess.run([sys.executable, "-m", "gatedpose", "--version"], capture_output=True)
    assert gatedpose.__version__.encode() in done.stdout


def test_list() -> None:
    rows = json.loads(run("list", "gated_hg_?s_68", "--json").stdout)
    assert [(row["name"], row["params"], row["conv_gmacs"]) for row in rows] == [
        ("gated_hg_1s_68", 506_616, 0.8089),
        ("gated_hg_2s_68", 977_379, 1.3570),
    ]
    assert rows[0]["paper"] == "Table III"
    assert rows[0]["weights"]["gated_hg_1s_68.lsp"]["lsp-val"]["mean"] > 0
    text = run("list", "gated_hg_1s_68", "--pretrained").output
    assert "gated_hg_1s_68.lsp" in text
    assert "506,616" in text
    for words in (("--words", "--json"), ("--words", "--pretrained"), ("--recount", "--words")):
        assert f"{words[1]} does not go with {words[0]}" in run("list", *words, code=2).output


def test_list_draws_scores_over_costs(tmp_path: Path) -> None:
    run("list", "gated_hg_?s_68", "--pretrained", "--plot", str(tmp_path / "pck.png"))
    assert (tmp_path / "pck.png").read_bytes().startswith(b"\x89PNG")
    failed = run("list", "cu_net_16", "--plot", str(tmp_path / "none.png"), code=1)
    assert "none of the models has weights" in failed.output
    assert not (tmp_path / "none.png").exists()


def test_plot_has_panels_for_splits_and_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(name: str, params: int, gmacs: float, **means: float) -> dict[str, Any]:
        scores = {split: {"mean": mean} for split, mean in means.items()}
        return {"name": name, "params": params, "conv_gmacs": gmacs, "weights": {name: scores}}

    drawn: list[Any] = []
    monkeypatch.setattr(reports, "png", lambda figure: drawn.append(figure) or b"")
    reports.plot_models([
        row("gated_hg_2s_128.a", 3_000_000, 4.0, one=85.0, two=61.0),
        row("gated_hg_1s_68.a", 500_000, 0.8, one=82.0, two=59.0),
        row("hourglass_2s_256.b", 6_000_000, 8.0, one=84.0),
        {"name": "cu_net_2", "params": 1_900_000, "conv_gmacs": 2.8, "weights": {}},
    ])  # fmt: skip
    panels = [
        {str(line.get_label()): line.get_xydata().tolist() for line in axes.lines}
        for axes in drawn[0].axes
    ]
    assert panels == [
        {"soft-gated, .a": [[0.5, 82.0], [3.0, 85.0]], "hourglass, .b": [[6.0, 84.0]]},
        {"soft-gated, .a": [[0.8, 82.0], [4.0, 85.0]], "hourglass, .b": [[8.0, 84.0]]},
        {"soft-gated, .a": [[0.5, 59.0], [3.0, 61.0]]},
        {"soft-gated, .a": [[0.8, 59.0], [4.0, 61.0]]},
    ]


def test_info() -> None:
    facts = json.loads(run("info", "gated_hg_1s_68", "--by-module", "--json").stdout)
    assert facts["modules"][""]["params"] == facts["params"] == 506_616
    assert facts["modules"]["stem.conv"] == {"params": 9408, "conv_macs": 9408 * 128 * 128}
    assert facts["weights"]["gated_hg_1s_68.lsp"]["license"].startswith("research use")
    half = json.loads(run("info", "gated_hg_1s_68", "--size", "128x256", "--json").stdout)
    assert half["conv_gmacs"] == pytest.approx(facts["conv_gmacs"] / 2, abs=1e-4)
    text = run("info", "gated_hg_1s_68.lsp").output
    assert "506,616" in text
    assert "gatedpose evaluate gated_hg_1s_68.lsp" in text
    assert run("info", "fast").output == run("info", "gated_hg_1s_68.people").output
    assert "did you mean fast" in run("export", "fst", code=1).output


def test_predict_demo(tmp_path: Path) -> None:
    picture = tmp_path / "demo.png"
    [facts] = lines(run("predict", "--demo", "--out", picture, "--json"))
    with Image.open(picture) as image:
        assert min(image.size) >= 512
    [pose] = facts["poses"]  # type: ignore[misc]
    assert list(pose["keypoints"]) == list(PEOPLE19.joints)
    # The astronaut's head fills the upper middle of the portrait, seen by eye once.
    x, y, score = pose["keypoints"]["head top"]
    assert 130 < x < 320
    assert y < 130
    assert score > 0.1


def test_predict_one_photo_with_boxes(photos: Path, tmp_path: Path) -> None:
    boxes = ("--box", "5,5,40,55", "--box", "10,0,55.5,60")
    out = tmp_path / "out.jpg"
    result = run("predict", photos / "a1.jpg", *boxes, "--out", out, "--flip", "--json")
    [facts] = lines(result)
    assert [pose["box"] for pose in facts["poses"]] == [[5, 5, 40, 55], [10, 0, 55.5, 60]]  # type: ignore[attr-defined]
    assert out.stat().st_size > 0
    text = run("predict", photos / "a1.jpg", "--whole", "--out", tmp_path / "drawn").output
    assert (tmp_path / "drawn" / "a1.jpg").stat().st_size > 0  # no suffix: a folder
    assert "right ankle" in text
    assert "score" in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("predict", "give photos"),
        ("predict x.jpg --demo", "give photos"),
        ("predict absent.jpg", "absent.jpg"),
        ("predict a1.jpg --box 1,2,3", "is not X0,Y0,X1,Y1"),
        ("predict a1.jpg --box 9,9,9,30", "has no area"),
        ("predict notes.txt", "notes.txt"),
        ("predict cut.jpg", "cut.jpg is not a whole image"),
        ("predict a1.jpg --out none/a.png", "cannot write into"),
        ("predict a1.jpg --out a.webm", "webm"),
        ("predict . --out new --model fst", "did you mean fast"),
        ("predict a1.jpg --out notes.txt/a", "cannot write into"),
        ("predict a1.jpg --whole --min-person 0.3", "who are found"),
        ("predict https://localhost/a.mp4", "a.mp4 is a video: download it"),
        ("predict a1.jpg --detector gated_finder_320 --detector-weights absent.pth",
         "has its weights in the package"),
        ("predict . --out notes.txt", "notes.txt"),
        ("predict a1.jpg --model gated_hg_1s_67", "gated_hg_1s_68"),
        ("info gated_hg_1s_68 --size 100x128", "next good size is 128 x 128"),
        ("info gated_hg_1s", "did you mean"),
        ("evaluate gated_hg_1s_68 --data .", "holds no joints.mat"),
        ("evaluate --data .", "give the NAME of a model, or --predictions"),
        ("evaluate fast --data . --dataset lps", "did you mean lsp"),
        ("evaluate x --data . --shift 1", "--shift does not go with the N"),
        ("evaluate --predictions {test} --data . --fast", "--fast does not go"),
        ("evaluate --predictions {test} --data . --save a.npz", "--save does not go"),
        ("list --plot none/a.png", "cannot write into"),
        ("evaluate gated_hg_1s_68 --data . --save none/a.npz", "cannot write into"),
        ("train gated_hg_1s_68 --data lsp=x --data lspet=x --out notes.txt", "train into a folder"),
        ("train gated_hg_1s_68 --data lsp=. --data lspet=. --out run", "holds no joints.mat"),
        ("train gated_hg_1s_68 --data lsp=x --out run", "recipe lsp needs --data lspet=FOLDER"),
        ("train gated_hg_1s_68 --data x --out run", "is not DATASET=FOLDER"),
        ("train gated_hg_1s_68 --data lsp=x --out run --phase 100,1,1,1", "64 divides"),
        ("train gated_hg_1s_68 --data lsp=x --out run --phase 128,1,1", "is not SIZE,IMAGES,"),
        ("train gated_hg_1s_68 --data lsp=x --out run --recipe fintune", "did you mean finetune"),
        ("evaluate gated_hg_1s_86 --data none", "unknown model 'gated_hg_1s_86'"),
        ("evaluate fastt --data none", "unknown model 'fastt'; did you mean fast?"),
        ("evaluate fast --weights no.safetensors --data none", "'no.safetensors' does not exist"),
        ("evaluate --predictions no.npz --data none", "'no.npz' does not exist"),
        ("train gated_hg_1s_86 --data lsp=none --out run", "unknown model 'gated_hg_1s_86'"),
        ("train gated_hg_1s_68 --init nobody --data lsp=none --out run", "unknown tag 'nobody'"),
        ("train gated_hg_1s_68 --init a.safetensors --data lsp=none --out run", "a.safetensors"),
        ("train gated_hg_1s_68 --init grow:x --data lsp=none --out run", "unknown model 'x'"),
        ("train gated_hg_1s_68 --set teacher=x --data lsp=none --out run", "unknown model 'x'"),
        ("train gated_hg_1s_68 --set optimizer=x --data lsp=none --out run", "optimizer 'x'"),
        ("train gated_hg_1s_68 --corrections no.json --data lsp=none --out run", "no.json"),
        ("ablate gates --model gated_hg_1s_86 --data lsp=none --out run", "unknown model"),
        ("data check --dataset lsp --data none --out notes.txt", "cannot write into notes.txt"),
        ("data pack --dataset lsp --data none --out notes.txt", "cannot write into notes.txt"),
        ("data clean --dataset lsp --data none --predictions notes.txt --out no/c.json",
         "--out: cannot write into no"),
        ("data clean --dataset lsp --data none --predictions no.npz --out c.json", "'no.npz' does"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_before_any_work(
    call: str, message: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    before = sorted(photos.iterdir())
    result = CliRunner().invoke(main, call.format(test=__file__).split())
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert sorted(photos.iterdir()) == before


def own_folder(folder: Path, pictures: list[Path]) -> Path:
    """One person with two joints on each picture."""
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for number, picture in enumerate(pictures):
        (folder / "images" / picture.name).write_bytes(picture.read_bytes())
        images.append({"id": number, "file_name": picture.name})
        keypoints = [5, 5, 2, 30, 40, 1 if number else 2, 0, 0, 0]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints}
        )
    kind = {"id": 1, "name": "cat", "keypoints": ["nose", "tail", "ear"]}
    table = {"images": images, "annotations": annotations, "categories": [kind]}
    (folder / "train.json").write_text(json.dumps(table))
    return folder


def test_data_check(photos: Path, tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "cats", [photos / "a1.jpg", photos / "a2.png"])
    where = ("--dataset", "own", "--data", folder, "--split", "train")
    (facts,) = lines(run("data", "check", *where, "--out", tmp_path / "drawn", "--json"))
    assert (facts["people"], facts["images"]) == (2, 2)
    assert facts["labelled"] == {"nose": 2, "tail": 2, "ear": 0}
    with Image.open(str(facts["picture"])) as sheet:
        assert sheet.size == (2 * 228 + 4, 228 + 4)
    assert "tail                 2 labelled (100.0 %)" in run("data", "check", *where).output
    assert "has no val.json: 1 of the 2 pictures" in run("data", "check", *where[:4]).output

    (folder / "images" / "a2.png").write_bytes(b"no picture")
    assert "a2.png" in run("data", "check", *where, code=1).output
    table = json.loads((folder / "train.json").read_text())
    table["annotations"][0]["bbox"] = [900, 900, 10, 10]
    (folder / "train.json").write_text(json.dumps(table))
    output = run("data", "check", *where, "--out", tmp_path / "none", code=1).output
    assert "own/0/0: box 0 (900, 900, 910, 910) lies outside the image" in output
    assert not (tmp_path / "none").exists()
