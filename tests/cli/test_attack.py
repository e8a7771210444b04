"""What the command line makes of bad numbers, bugs, closed streams, and outputs that are inputs."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import gatedpose
from gatedpose.cli import main
from gatedpose.cli.commands import Commands
from gatedpose.export import export
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.models.saved import save_model
from gatedpose.skeleton import PEOPLE19

ROOT = Path(gatedpose.__file__).parents[1]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return folder


def numbers() -> list[tuple[str, click.Option]]:
    """Every option of every command that takes a number."""
    found, groups = [], [("", main)]
    while groups:
        prefix, group = groups.pop()
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            if isinstance(command, click.Group):
                groups.append((f"{prefix}{name} ", command))
            found += [
                (prefix + name, option)
                for option in command.params
                if isinstance(option, click.Option)
                and isinstance(option.type, (click.types.IntParamType, click.types.FloatParamType))
            ]
    return found


def test_every_number_has_a_range() -> None:
    assert {f"{name} {option.opts[0]}" for name, option in numbers()} >= {
        "predict --batch-size", "predict --min-score", "predict --min-person", "predict --camera",
        "train --epochs", "train --lr", "train --limit", "train --seed", "train --watch-every",
        "evaluate --shift", "evaluate --threshold", "evaluate --size", "research bench --seconds",
        "research bench --batch", "data pack --size", "data clean --far", "demo --port",
    }  # fmt: skip
    for name, option in numbers():
        kinds = (click.IntRange, click.FloatRange)
        assert isinstance(option.type, kinds), f"{name} {option.opts[0]}"
        for bad in ("nan", "inf", "-inf", "1e999", "9" * 400, "9" * 5000):
            with pytest.raises(click.BadParameter):
                option.type.convert(bad, option, None)
    failed = run("predict", "--demo", "--batch-size", 0, code=2)
    assert "'--batch-size': 0 is not in the range" in failed.output
    for size in ("-64x64", "64x99999", "64", "axb"):
        assert "--size" in (text := run("info", "gated_hg_1s_68", f"--size={size}", code=2).output)
    assert "'axb' is not HEIGHTxWIDTH" in text
    assert "--device" in (text := run("predict", "--demo", "--device", "nonsense", code=2).output)
    assert "there are cpu" in text
    assert "--device" in run("predict", "--demo", "--device", "meta", code=2).output


def test_a_bug_names_the_call_and_is_a_traceback_with_debug() -> None:
    @click.group(cls=Commands)
    def group() -> None:
        pass

    @click.command()
    @click.argument("name")
    def work(name: str) -> None:
        raise {"key": KeyError("joint"), "end": EOFError(), "disk": OSError(28, "No space left")}[
            name
        ]

    group.add_command(work)
    result = CliRunner().invoke(group, ["work", "key"])
    assert result.exit_code == 1
    assert "KeyError: 'joint'\nThat is a bug of gatedpose in `gatedpose" in result.output
    assert "Please report it" in result.output
    assert "EOFError" in CliRunner().invoke(group, ["work", "end"]).output  # not "Aborted!"
    assert "No space left (gatedpose" in CliRunner().invoke(group, ["work", "disk"]).output
    debug = CliRunner().invoke(group, ["work", "key", "--debug"])
    assert isinstance(debug.exception, KeyError)


def test_outputs_are_not_inputs(photos: Path, tmp_path: Path) -> None:
    failed = run("predict", photos, "--out", photos, code=2)
    assert "is one of the photos themselves" in failed.output
    failed = run("predict", photos / "**" / "*.png", "--out", photos / "drawn", code=2)
    assert "would be taken for photos" in failed.output
    failed = run("predict", photos / ".." / "*" / "*.png", "--out", tmp_path / "drawn", code=2)
    assert "*.png names files in " in failed.output
    assert len(list(photos.glob("**/*.png"))) == 3
    labels = tmp_path / "annotations.xml"  # CVAT's, for example
    labels.write_text('<?xml version="1.0" encoding="utf-8"?>\n<annotations></annotations>')
    table = tmp_path / "train.json"
    table.write_text('{"images": []}')
    failed = run("gates", "gated_hg_1s_68.lsp", "--out", table, code=2)
    assert "does not end in .png" in failed.output
    clean = ("data", "clean", "--dataset", "own", "--data", tmp_path, "--predictions", labels)
    assert "would be lost" in run(*clean, "--out", table, code=2).output
    named = tmp_path / "table.png"
    named.write_text("no picture")
    failed = run("list", "gated_hg_1s_68", "--plot", named, code=2)
    assert "no PNG picture: it would be lost" in failed.output
    failed = run("predict", photos, "--boxes", table, "--coco", table, "--out", tmp_path, code=2)
    assert "it would be written over" in failed.output
    failed = run("predict", photos, "--coco", table, "--out", tmp_path / "new", code=2)
    assert "no file of results: it would be lost" in failed.output
    words = ("export", "gated_hg_1s_68", "--fresh", "--format", "openvino", "--out", labels)
    assert "no network of OpenVINO's: it would be lost" in run(*words, code=2).output
    assert "<annotations>" in labels.read_text()
    assert table.read_text() == '{"images": []}'


def test_results_replace_results(photos: Path, tmp_path: Path) -> None:
    coco = tmp_path / "results.json"
    words = ("predict", photos, "--no-pictures", "--overwrite", "--coco", coco, "--out")
    (tmp_path / "boxes.json").write_text(json.dumps({f"{n}.png": [] for n in range(3)}))
    for option in (("--boxes", tmp_path / "boxes.json"), ("--whole",), ("--whole",)):
        run(*words, tmp_path / "out", *option)
    assert [row["image_id"] for row in json.loads(coco.read_text())] == [0, 1, 2]


def test_a_plot_goes_into_a_device(tmp_path: Path) -> None:
    run("list", "gated_hg_1s_68", "--pretrained", "--plot", "/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "poses.jsonl").read_text().splitlines()]


def test_resume_by_other_options_is_refused(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("predict", photos, "--out", out, "--no-pictures")
    first = rows(out)
    assert first[0]["made_by"]["model"] == "balanced"
    again = ("predict", photos, "--out", out, "--no-pictures", "--resume")
    assert "flip False -> True" in run(*again, "--flip", code=1).output
    failed = run(*again, "--box", "1,2,30,40", code=1)
    assert "boxes None -> [[1.0, 2.0, 30.0, 40.0]]" in failed.output
    assert rows(out) == first
    relative = os.path.relpath(photos)
    run("predict", relative, "--out", out, "--no-pictures", "--resume")  # the same photos
    assert rows(out) == first
    Image.new("RGB", (50, 70)).save(photos / "0.png")  # another photo of the same name
    run(*again)
    found = rows(out)
    assert [Path(row["image"]).name for row in found] == ["1.png", "2.png", "0.png"]
    assert found[2]["bytes"] == (photos / "0.png").stat().st_size
    assert found[0]["made_by"] == first[0]["made_by"]
    text = (out / "poses.jsonl").read_text()
    (out / "poses.jsonl").write_text(text + text.splitlines(keepends=True)[1])
    assert "2.png 2 times" in run(*again, code=1).output
    (out / "poses.jsonl").write_text('{"image": "x.png"}\n')
    assert "line 1: no such line but" in run(*again, code=1).output


@pytest.mark.parametrize("fast", [False, True])
def test_resume_by_weights_of_the_same_name_is_refused(
    photos: Path, tmp_path: Path, fast: bool
) -> None:
    def trained(seed: int) -> str:
        torch.manual_seed(seed)
        model = GatedHourglass(GatedHourglassConfig(width=8, stacks=1, num_keypoints=19)).eval()
        if fast:
            save_model(model, tmp_path / "model", PEOPLE19)
            return f"local-dir:{tmp_path / 'model'}"
        export(model, tmp_path / "a.xml", "openvino", skeleton=PEOPLE19, size=(64, 64))
        return str(tmp_path / "a.xml")

    options = ["--fast", "--engine", "openvino"] if fast else []
    command = "predict", photos, "--whole", "--out", tmp_path / "out", "--no-pictures", *options
    run(*command, "--model", trained(0))
    failed = run(*command, "--resume", "--model", trained(1), code=1)
    assert "weights" in failed.output
    assert "->" in failed.output


def shell(command: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "PY": sys.executable, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_a_reader_that_goes_ends_it_quietly(photos: Path) -> None:
    command = '"$PY" -m gatedpose.cli list --json | true; echo ${PIPESTATUS[0]}'
    done = shell(command, photos)
    assert done.stdout.splitlines() == ["1"]
    assert done.stderr == ""


def test_closed_stderr_and_no_asserts(photos: Path) -> None:
    command = '"$PY" -O -m gatedpose.cli predict . --out ../out --no-pictures --json 2>&-'
    done = shell(command, photos)
    assert done.returncode == 0
    assert [Path(json.loads(line)["image"]).name for line in done.stdout.splitlines()] == [
        "0.png", "1.png", "2.png"
    ]  # fmt: skip
    assert len(rows(photos.parent / "out")) == 3
