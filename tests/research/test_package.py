"""The scripts that make weights: scored before they are written; the mean of two trainings."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from gatedpose.catalogue import WEIGHTS_DIR
from gatedpose.errors import DatasetError


def test_weights_stay_as_they_are_until_all_is_scored(
    monkeypatch: pytest.MonkeyPatch, example: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "examples")  # scripts import another
    script = example("package_weights")
    monkeypatch.setattr(script, "WEIGHTS_DIR", tmp_path)
    for end in ("weights.json", "gated_hg_1s_68.people.safetensors"):
        shutil.copy(WEIGHTS_DIR / end, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["gated_hg_1s_68", "again", "--packed", "--val", f"own-val=own:{tmp_path / 'none'}"]
    with pytest.raises(DatasetError, match="none is not there"):
        CliRunner().invoke(script.main, words, catch_exceptions=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_mean_of_two_trainings(example: Callable[[str], ModuleType], tmp_path: Path) -> None:
    script, names = example("average_weights"), [str(tmp_path / name) for name in "abc"]
    for name, value in zip(names, (1.0, 3.0), strict=False):
        (Path(name) / "model").mkdir(parents=True)
        (Path(name) / "recipe.json").write_text(f'{{"lr": {value}}}')
        tensors = {"weight": torch.full((2, 3), value), "num_batches_tracked": torch.tensor(7)}
        save_file(tensors, Path(name) / script.FILE)
    CliRunner().invoke(script.main, names, catch_exceptions=False)
    mean = load_file(Path(names[2]) / script.FILE)
    assert mean["weight"].tolist() == [[2.0] * 3] * 2
    assert int(mean["num_batches_tracked"]) == 7
    assert (Path(names[2]) / "recipe.json").read_text() == '{"lr": 3.0}'
    save_file({"weight": torch.zeros(2, 4)}, Path(names[0]) / script.FILE)
    result = CliRunner().invoke(script.main, [*names[:2], str(tmp_path / "d")])
    assert "hold different networks" in result.output
    assert not (tmp_path / "d").exists()
