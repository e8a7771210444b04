"""What is wrong with a call is said before data is read: here there is none."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from gatedpose.cli import main


@pytest.mark.parametrize(
    ("call", "message"),
    [
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
        ("data check --dataset lsp --data none --out file", "--out: cannot write into file"),
        ("data pack --dataset lsp --data none --out file", "--out: cannot write into file"),
        (
            "data clean --dataset lsp --data none --predictions file --out no/c.json",
            "--out: cannot write into no",
        ),
        ("data clean --dataset lsp --data none --predictions no.npz --out c.json", "'no.npz' does"),
    ],
)
def test_bad_calls(
    call: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    Path("file").touch()
    result = CliRunner().invoke(main, call.split())
    assert result.exit_code in (1, 2), result.output
    assert message in " ".join(result.output.split())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
