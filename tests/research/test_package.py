"""The script that packages weights: nothing is written before all is scored."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatedpose.catalogue import WEIGHTS_DIR
from gatedpose.errors import DatasetError


def test_weights_stay_as_they_are_until_all_is_scored(
    monkeypatch: pytest.MonkeyPatch, example, tmp_path: Path
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
