"""What tests of models share: small networks, weights, folders."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from gatedpose.models import zoo
from gatedpose.models.base import HeatmapNetwork

TINY = {"width": 8, "depth": 2}


@pytest.fixture(scope="session")
def tiny() -> Callable[..., HeatmapNetwork]:
    def tiny(**config: object) -> HeatmapNetwork:
        return zoo.create_model("gated_hg_2s_68", **{"num_keypoints": 3, **TINY, **config})

    return tiny


@pytest.fixture(scope="session")
def entry() -> Callable[..., dict[str, object]]:
    def entry(name: str, data: bytes, **changes: object) -> dict[str, object]:
        return {
            "file": f"{name}.safetensors",
            "size": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "num_keypoints": 14,
            "skeleton": "lsp14",
            "hub": f"gatedpose/{name}",
            "revision": None,
            "license": "cc-by-nc-4.0",
            "data": ["lsp"],
            "recipe": {"epochs": 1},
            "scores": {"pck": 0.5},
        } | changes

    return entry


@pytest.fixture(scope="session")
def same() -> Callable[..., bool]:
    def same(have: dict[str, Tensor], want: dict[str, Tensor], but: tuple[str, ...] = ()) -> bool:
        keys = [key for key in want if not key.startswith(but or ("-",))]
        return have.keys() == want.keys() and all(
            torch.equal(have[k].to(want[k]), want[k]) for k in keys
        )

    return same


@pytest.fixture(scope="session")
def folder_of() -> Callable[[HeatmapNetwork, Path], Path]:
    def folder_of(model: HeatmapNetwork, folder: Path) -> Path:
        # Old timm does not record them.
        shape = {"width", "stacks", "depth", "gate", "merge", "skip"}
        options = {key: value for key, value in vars(model.config).items() if key in shape}
        timm.models.save_for_hf(model, folder, safe_serialization=True, model_args=options)
        return folder

    return folder_of
