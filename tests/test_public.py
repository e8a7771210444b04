"""The public surface, the packaging and the price of the import."""

import copy
import pickle
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

import gatedpose
from gatedpose import errors

ROOT = Path(__file__).parents[1]


def test_all_is_what_the_design_promises() -> None:
    assert set(gatedpose.__all__) == {
        "COCO17", "LSP14", "MPII16", "PEOPLE19", "GatedHourglass", "GatedHourglassConfig",
        "HybridHourglass",
        "Pose", "Predictor", "Profile", "Skeleton", "SoftGate", "SoftGatedResidual",
        "UnknownModelError", "WeightsError", "create_model", "draw", "gate_shortcuts",
        "list_models", "load_weights", "optimize", "predict", "profile",
    }  # fmt: skip
    for name in gatedpose.__all__:
        assert getattr(gatedpose, name).__doc__, name


def test_wings_with_a_door_of_their_own() -> None:
    from gatedpose.evaluation import evaluate
    from gatedpose.training import train

    assert callable(train)
    assert callable(evaluate)


def test_the_tree_of_errors_is_the_one_drawn() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    made = {name for name in vars(errors) if name.endswith("Error")}
    root = errors.GatedPoseError
    assert {kind.__name__ for kind in below(root)} == made
    assert errors.__doc__
    assert made == set(re.findall(r"^ .*?(\w+Error)\b", errors.__doc__, re.MULTILINE))
    usual = (ValueError, RuntimeError, OSError, ImportError, ArithmeticError)
    assert all(issubclass(kind, usual) for kind in below(root) - {root})


def test_predict_can_be_sent_to_other_processes() -> None:
    assert pickle.loads(pickle.dumps(gatedpose.predict)) is gatedpose.predict
    assert copy.deepcopy(gatedpose.predict) is gatedpose.predict


def test_installed_version_is_the_packages() -> None:
    assert version("gatedpose") == gatedpose.__version__


def test_import_brings_nothing_heavy_beside_timm() -> None:
    code = (
        "import sys, timm; before = set(sys.modules); import gatedpose;"
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    new = set(out.stdout.split())
    assert "gatedpose" in new
    heavy = {"fvcore", "scipy", "matplotlib", "skimage", "accelerate", "tqdm", "click", "onnx"}
    assert not new & heavy


def test_prediction_starts_without_what_takes_long(tmp_path: Path) -> None:
    photo, out = tmp_path / "a.png", tmp_path / "b.png"
    gatedpose.media.images.write_image(torch.zeros(3, 64, 64, dtype=torch.uint8), photo)
    code = (
        "import sys; from gatedpose.cli import main; "
        f"main(['predict', {str(photo)!r}, '--out', {str(out)!r}], standalone_mode=False); "
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "gatedpose.predict.predictor" in loaded
    assert not loaded & {"timm", "torchvision", "torch._dynamo", "httpx2", "scipy"}


@pytest.mark.parametrize("module", ["gatedpose.cli", "gatedpose.models.zoo"])
def test_warnings_free_import(module: str) -> None:
    code = f"import {module}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False)
    assert done.returncode == 0


def test_the_wheel_holds_our_weights_and_no_others(tmp_path: Path) -> None:
    tree, out = tmp_path / "tree", tmp_path / "out"
    shutil.copytree(ROOT / "gatedpose", tree / "gatedpose")
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    weights = tree / "gatedpose" / "weights"
    others = ("hourglass_8s_256.lsp", "cu_net_2.lsp")
    for name in others:
        (weights / f"{name}.safetensors").write_bytes(b"")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(out), str(tree)], check=True)
    [wheel] = out.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.endswith(".safetensors")] == [
        f"gatedpose/weights/{path.name}"
        for path in sorted(weights.glob("*.safetensors"))
        if path.stem not in others
    ]
    others = ("weights/weights.json", "data/lspet_corrections.json", "hub/card.md", "py.typed")
    assert {f"gatedpose/{name}" for name in others} <= set(names)
    assert wheel.stat().st_size < 90e6  # an index takes 100


def test_torch_hub_finds_every_variant() -> None:
    entries = runpy.run_path(str(ROOT / "hubconf.py"))
    assert all(callable(entries[name]) for name in gatedpose.list_models())
    options = {"pretrained": True, "num_keypoints": 5}
    model = torch.hub.load(str(ROOT), "gated_hg_1s_68", source="local", **options)
    assert model.num_keypoints == 5


def test_a_source_distribution_has_what_its_tests_need(tmp_path: Path) -> None:
    """Names of files suffice: weights are empty here."""
    folders = ("gatedpose", "tests", "docs", "examples", "scripts")
    skip = shutil.ignore_patterns("__pycache__", "*.safetensors", ".*")
    for folder in folders:
        shutil.copytree(ROOT / folder, tmp_path / "tree" / folder, ignore=skip)
    for name in (
        "pyproject.toml",
        "setup.cfg",
        "README.md",
        "LICENSE",
        "MANIFEST.in",
        "hubconf.py",
    ):
        shutil.copy(ROOT / name, tmp_path / "tree")
    build = "from setuptools import build_meta; build_meta.build_sdist('../out')"
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path / "tree", check=True)
    [made] = (tmp_path / "out").glob("*.tar.gz")
    with tarfile.open(made) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {p.relative_to(tmp_path / "tree").as_posix() for p in (tmp_path / "tree").rglob("*.*")}
    assert {name for name in wanted if "egg-info" not in name} <= held
    assert {"scripts/test", "tests/hub_server.py", "docs/mkdocs/mkdocs.yml"} <= held
