"""Stand-ins for LSP and LSP-extended, and the real ones where the developer has them."""

import os

# Processes of pytest-xdist share the cores: before torch is imported, and for what they start.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

import importlib.util
import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torch import nn

LSPET_FULL = range(9000, 9450)  # people of the fake LSP-extended with all joints labelled
LSPET_PARTLY = (0, 1, 2, 5, 6, 7, 390)  # with some; im00391 nearly repeats a validation image
LSPET_ONE = 3  # with a single joint


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test that draws numbers draws the same ones every time, its fixtures' included."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def kept_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What programs keep between them lies apart from the developer's."""
    os.environ["GATEDPOSE_CACHE"] = str(tmp_path_factory.getbasetemp() / "kept")


def write_images(folder: Path, names: list[str]) -> None:
    """One small picture under many names."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    first = folder / names[0]
    Image.fromarray(pixels).save(first)
    for name in names[1:]:
        os.link(first, folder / name)


@pytest.fixture(scope="session")
def lsp_joints() -> np.ndarray:
    """As published, (3, 14, 2000): x, y from 1 and whether the joint is occluded."""
    joints = np.random.default_rng(1).uniform(1, 25, (3, 14, 2000))
    joints[2] = joints[2] > 13
    return joints


@pytest.fixture(scope="session")
def lspet_joints() -> np.ndarray:
    """As published, (14, 3, 10000): x, y from 1 and whether the joint is labelled."""
    joints = np.random.default_rng(2).uniform(1, 25, (14, 3, 10000))
    joints[:, 2] = 0
    joints[:, 2, LSPET_FULL] = 1
    joints[::3, 2, LSPET_PARTLY] = 1
    joints[4, 2, LSPET_ONE] = 1
    unlabelled = joints[:, 2] == 0
    joints[:, :2][np.stack((unlabelled, unlabelled), axis=1)] = -77  # placeholders
    return joints


@pytest.fixture(scope="session")
def lsp_folder(tmp_path_factory: pytest.TempPathFactory, lsp_joints: np.ndarray) -> Path:
    """LSP with its training half only."""
    folder = tmp_path_factory.mktemp("lsp")
    write_images(folder / "images", [f"im{i:04d}.jpg" for i in range(1, 1001)])
    savemat(folder / "joints.mat", {"joints": lsp_joints})
    return folder


@pytest.fixture(scope="session")
def lspet_folder(tmp_path_factory: pytest.TempPathFactory, lspet_joints: np.ndarray) -> Path:
    """LSP-extended with the images of those people who have two labelled joints."""
    folder = tmp_path_factory.mktemp("lspet")
    people = sorted({*LSPET_FULL, *LSPET_PARTLY})
    write_images(folder / "images", [f"im{i + 1:05d}.jpg" for i in people])
    savemat(folder / "joints.mat", {"joints": lspet_joints})
    return folder


def shared_folder(name: str) -> Path:
    """In $GATEDPOSE_SHARED or ../shared."""
    return Path(os.environ.get("GATEDPOSE_SHARED") or Path(__file__).parents[2] / "shared", name)


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """Folder of published annotations, predictions and a few photos of MPII and COCO."""
    folder = shared_folder("fixtures")
    if not all((folder / name).is_dir() for name in ("mpii", "mpii_images", "coco_images")):
        pytest.skip(f"{folder} does not hold mpii, mpii_images and coco_images")
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the published datasets lsp and lspet."""
    folder = shared_folder("data")
    if not all((folder / name / "joints.mat").is_file() for name in ("lsp", "lspet")):
        pytest.skip(f"{folder} does not hold the published lsp and lspet")
    return folder


def count_conv_macs(model: nn.Module, size: tuple[int, int]) -> int:
    """Multiply-accumulates of all convolution calls, by a hook; nothing is computed on meta."""
    macs = 0

    def count(conv, inputs, output) -> None:
        nonlocal macs
        macs += output[0].numel() * conv.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
        elif isinstance(module, (nn.BatchNorm2d, nn.ReLU)):
            module.forward = nn.Identity().forward  # slow on meta, and changes no shape
    model(torch.empty(1, model.in_channels, *size, device="meta"))
    return macs


def load_file(file: Path) -> ModuleType:
    """A module from outside the packages."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people in noise."""
    folder = tmp_path_factory.mktemp("data") / "own"
    (folder / "images").mkdir(parents=True)
    table = {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in range(1, 5)],
        "categories": [{"id": 1, "name": "x", "keypoints": ["left knee", "right knee", "nose"]}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 3, 50, 55],
             "keypoints": [5, 6, 2, 45, 16, 2, 10, 48, 2]}
            for n in range(1, 5)
        ],
    }  # fmt: skip
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(table))
    for n in range(1, 5):
        pixels = np.random.default_rng(n).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{n}.png")
    return folder


@pytest.fixture
def full_disk() -> Iterator[Callable[..., None]]:
    """Lets no file become longer than so many bytes; without a number as long as before.

    A test calls it without one in the end: pytest's own output may go to a file.
    """
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(room: int = before) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))

    yield limit
    limit()


@pytest.fixture(scope="session")
def hub_server() -> ModuleType:
    """tests/hub_server.py; tests cannot import each other as pytest imports them here."""
    return load_file(Path(__file__).parent / "hub_server.py")


@pytest.fixture(scope="session")
def example() -> Callable[[str], ModuleType]:
    """Loads one of examples/ by its name."""
    folder = Path(__file__).parents[1] / "examples"
    return lambda name: load_file(folder / f"{name}.py")


@pytest.fixture
def conv_macs() -> Callable[[nn.Module, tuple[int, int]], int]:
    """The counter, apart from fvcore, that networks are measured with."""
    return count_conv_macs
