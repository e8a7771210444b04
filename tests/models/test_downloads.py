"""Downloads from a Hub that fails in all ways, by the real huggingface_hub client."""

import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gatedpose
from gatedpose.models.saved import save_model
from gatedpose.skeleton import LSP14

LOAD = """
import sys
import gatedpose, torch
from safetensors.torch import load_file
try:
    state = gatedpose.create_model("hf-hub:org/net", pretrained=True).state_dict()
except gatedpose.WeightsError as error:
    raise SystemExit(f"WeightsError: {error}")
want = load_file(sys.argv[1])
assert all(torch.equal(state[key], want[key]) for key in want)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("downloads") / "net"
    save_model(gatedpose.create_model("gated_hg_1s_68", num_keypoints=14), folder, LSP14)
    return folder


@pytest.fixture
def hub(hub_server: ModuleType, saved: Path) -> Iterator[Any]:
    with hub_server.serve({"org/net": {f.name: f.read_bytes() for f in saved.iterdir()}}) as hub:
        yield hub


def client(hub: Any, home: Path, saved: Path, **more: str) -> subprocess.Popen[str]:
    """A process of its own that loads org/net."""
    return subprocess.Popen(
        [sys.executable, "-c", LOAD, str(saved / "model.safetensors")],
        env={**hub.environment(home), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def snapshot_files(home: Path) -> list[str]:
    return sorted(path.name for path in home.glob("hub/models--org--net/snapshots/*/*"))


def test_a_cut_download_is_resumed(hub: Any, tmp_path: Path) -> None:
    large = tmp_path / "large"  # the client keeps parts of 10 MB
    save_model(gatedpose.create_model("gated_hg_4s_144", num_keypoints=14), large, LSP14)
    hub.repositories["org/net"] = {file.name: file.read_bytes() for file in large.iterdir()}
    hub.cuts = 1
    code, errors = outcome(client(hub, tmp_path, large))
    assert code == 0, errors
    assert hub.ranges == ["bytes=10485760-"]


def test_a_download_that_never_ends_well(hub: Any, saved: Path, tmp_path: Path) -> None:
    hub.cuts = 1000
    code, errors = outcome(client(hub, tmp_path, saved))
    assert code == 1
    assert "WeightsError: cannot get model.safetensors of org/net from the Hub" in errors
    assert snapshot_files(tmp_path) == ["config.json"]
    hub.cuts = 0
    code, errors = outcome(client(hub, tmp_path, saved))
    assert code == 0, errors


def test_a_private_repository_needs_the_token(hub: Any, saved: Path, tmp_path: Path) -> None:
    hub.private, hub.token = {"org/net"}, "hf_right"
    code, errors = outcome(client(hub, tmp_path, saved))
    assert code == 1
    assert "WeightsError: cannot get config.json of org/net from the Hub" in errors
    assert "401" in errors
    assert snapshot_files(tmp_path) == []
    code, errors = outcome(client(hub, tmp_path, saved, HF_TOKEN="hf_right"))
    assert code == 0, errors


def test_two_processes_at_once(hub: Any, saved: Path, tmp_path: Path) -> None:
    both = [client(hub, tmp_path, saved) for _ in range(2)]
    for code, errors in map(outcome, both):
        assert code == 0, errors
    assert snapshot_files(tmp_path) == ["config.json", "model.safetensors"]


def test_a_truncated_file_in_the_cache_is_named(hub: Any, saved: Path, tmp_path: Path) -> None:
    assert outcome(client(hub, tmp_path, saved))[0] == 0
    (blob,) = (
        path.resolve()
        for path in tmp_path.glob("hub/models--org--net/snapshots/*/model.safetensors")
    )
    blob.write_bytes(blob.read_bytes()[:-100])
    code, errors = outcome(client(hub, tmp_path, saved))
    assert code == 1
    assert "WeightsError: " in errors
    assert "cannot be read" in errors
    assert "model.safetensors" in errors


def test_a_cache_that_cannot_be_written(hub: Any, saved: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert outcome(client(hub, home, saved))[0] == 0
    for path in (home, *home.rglob("*")):
        if path.is_dir():
            path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        code, errors = outcome(client(hub, home, saved))
        assert code == 0, errors
    finally:
        for path in (home, *home.rglob("*")):
            if path.is_dir():
                path.chmod(stat.S_IRWXU)
    shutil.rmtree(home / "hub")
    (home / "hub").touch()  # not even root can make folders in a file
    code, errors = outcome(client(hub, home, saved))
    assert code == 1
    assert "WeightsError: cannot get config.json of org/net from the Hub" in errors
