"""The paper's comparisons: equal parameters, alike trainings, a table that says its scale."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from gatedpose.batches import crops
from gatedpose.batches.crops import pack
from gatedpose.cli import main
from gatedpose.media.images import read_image
from gatedpose.models.variants import BY_NAME
from gatedpose.research.ablation import TABLES, choices, equal_width, variant_parameters


@pytest.mark.parametrize("merge", ["sum", "concat", "grouped"])
def test_equal_width_is_the_closest(merge: str) -> None:
    variant = BY_NAME["gated_hg_2s_68"]
    params = variant_parameters(variant)
    assert params == 977_379
    width = equal_width(variant, params, merge=merge)
    near = {
        w: abs(variant_parameters(variant, merge=merge, width=w) - params)
        for w in (width - 4, width, width + 4)
    }
    assert near[width] == min(near.values())
    assert near[width] < 0.06 * params
    assert (width == 68) == (merge == "concat")


def test_what_is_compared() -> None:
    gates = choices("gates", "gated_hg_1s_68")
    assert [config["gate"] for config in gates.values()] == [1.0, 0.5, "scalar", "channel"]
    merges = choices("merges", "gated_hg_1s_68")
    assert list(merges) == ["sum", "concat", "grouped"]
    assert merges["sum"]["width"] > merges["grouped"]["width"] > merges["concat"]["width"] == 68


@pytest.fixture
def small_training(
    lsp_folder: Path, lspet_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Options of a training of 16 images."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    monkeypatch.setattr(crops, "pack", partial(pack, size=64))
    data = ["--data", f"lsp={lsp_folder}", "--data", f"lspet={lspet_folder}"]
    return ["--phase", "64,16,8,1", "--set", "calibrate=16", *data]


@pytest.mark.slow
@pytest.mark.parametrize("table", list(TABLES))
def test_ablation(table: str, small_training: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["ablate", table, "--model", "gated_hg_1s_68", "--out", str(out), *small_training]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    rows = json.loads((out / f"{table}.json").read_text())
    assert [row["choice"] for row in rows] == list(TABLES[table])
    assert all(0 <= row["mean"] <= 100 for row in rows)
    params = [row["params"] for row in rows]
    if table == "gates":
        assert params[0] == params[1] < params[2] < params[3]  # fixed ones have no parameters
    else:
        assert max(params) < 1.15 * min(params)
    assert "16 images of 64 px, seed 0. The paper's Table" in told.output
    for row in rows:
        assert f"| {row['choice']} | {row['params']:,} | {row['mean']:.2f} |" in told.output
    assert read_image(out / f"{table}.png").shape[2] == 780
    assert len(list(out.glob("*.safetensors"))) == 3  # packed once for all

    again = CliRunner().invoke(main, [*arguments, "--json"])
    assert json.loads(again.stdout.splitlines()[-1]) == rows


@pytest.mark.slow
def test_variants_are_trained_alike(small_training: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = ["gated_hg_1s_68", "cu_net_2"]
    told = CliRunner().invoke(main, ["compare", *names, "--out", str(out), *small_training])
    assert told.exit_code == 0, told.output
    assert "Trained alike: recipe lsp, 16 images of 64 px, seed 0." in told.output
    rows = json.loads((out / "networks.json").read_text())
    assert [(row["name"], row["params"]) for row in rows] == [
        ("gated_hg_1s_68", 506_616),  # of 16 joints, as in every table of the documentation
        ("cu_net_2", 1_923_200),
    ]
    for row in rows:
        line = (
            f"| {row['name']} | {row['params']:,} | {row['conv_gmacs']:.4f} | {row['mean']:.2f} |"
        )
        assert line in told.output
    assert read_image(out / "networks.png").shape[2] == 1430

    again = ["compare", *reversed(names), "--out", str(out), "--json", *small_training]
    told = CliRunner().invoke(main, again)
    assert json.loads(told.stdout.splitlines()[-1]) == rows[::-1]


def test_other_networks_are_refused_before_any_training(tmp_path: Path) -> None:
    data = ["--data", "lsp=nowhere", "--data", "lspet=nowhere", "--out", str(tmp_path / "out")]
    for arguments, hint in (
        (["compare", "gated_hg_1s_68", "cu_net_3"], "unknown model .* did you mean cu_net_"),
        (["compare", "gated_hg_1s_68", "cu_net_2", "--set", "init=lsp"], "tag 'lsp' of cu_net_2"),
        (["compare", "gated_hg_1s_68.lsp"], "unknown model .* did you mean gated_hg_1s_68 or"),
        (
            ["ablate", "merges", "--model", "gated_hg_1s_6"],
            "unknown model .* did you mean gated_hg",
        ),
        (["ablate", "gates", "--model", "cu_net_2"], "cu_net_2: unknown option gate; valid are"),
        (["ablate", "merges", "--model", "cu_net_2"], "cu_net_2: unknown option merge; valid are"),
    ):
        told = CliRunner().invoke(main, [*arguments, *data])
        assert told.exit_code == 1
        assert re.search(hint, told.output)
    assert not (tmp_path / "out").exists()
