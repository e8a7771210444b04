"""Weights in ten bits: hand-worked numbers, the bound of the error, what a broken file gets."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import gatedpose
from gatedpose.errors import WeightsError
from gatedpose.models.weights import read_tensors, unpack


@pytest.fixture(scope="module")
def pack(example: Callable[[str], ModuleType]) -> Callable[..., dict[str, Tensor]]:
    """What the script that packages weights writes."""
    example("chances")  # which it imports
    return example("package_weights").pack


def test_by_hand(pack) -> None:
    weight = torch.tensor([[5.11, -5.11, 0.0], [-2.56, 0.01, 0.004]]).reshape(2, 3, 1, 1)
    packed = pack({"c.weight": weight, "c.bias": torch.ones(2)})
    assert set(packed) == {"c.weight:low", "c.weight:high", "c.weight:scale", "c.bias"}
    # Scales 5.11 / 511 = 0.01 and 2.56 / 511; 511 = 1 * 256 + 255, -511 = -2 * 256 + 1.
    assert packed["c.weight:scale"].tolist() == pytest.approx([0.01, 2.56 / 511])
    assert packed["c.weight:low"].flatten().tolist() == [255, 1, 0, 1, 2, 1]
    assert packed["c.weight:high"].flatten().tolist() == [1, -2, 0, -2, 0, 0]
    back = unpack(packed, "here")
    assert back["c.bias"] is packed["c.bias"]
    want = [5.11, -5.11, 0, -2.56, 2 * 2.56 / 511, 2.56 / 511]
    assert back["c.weight"].flatten().tolist() == pytest.approx(want, rel=1e-6)


@given(st.floats(1e-6, 1e4), st.integers(0, 2**31))
def test_error_is_half_a_step(pack, size: float, seed: int) -> None:
    weight = torch.randn(4, 3, 3, 1, generator=torch.Generator().manual_seed(seed)) * size
    back = unpack(pack({"w": weight}), "here")["w"]
    step = weight.abs().amax((1, 2, 3), keepdim=True) / 511
    assert ((back - weight).abs() <= step * 0.501).all()


def test_a_network_of_packed_weights(pack, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3).eval()
    path = tmp_path / "packed.safetensors"
    packed = pack(model.state_dict())
    assert all(pack(packed)[key] is packed[key] for key in packed)  # once is enough
    save_file(packed, path)
    other = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3, checkpoint_path=path).eval()
    images = torch.randn(2, 3, 64, 128)
    with torch.inference_mode():
        want, found = model(images), other(images)
    assert 0 < (want - found).abs().max() < 0.01 * want.abs().max()


BROKEN = {
    "no high": {"w:high": None},
    "no scale": {"w:scale": None},
    "another type": {"w:high": torch.zeros(2, 3, 1, 1)},
    "another shape": {"w:high": torch.zeros(2, 4, 1, 1, dtype=torch.int8)},
    "a scale too few": {"w:scale": torch.ones(1)},
    "no convolution": {"w:low": torch.zeros(2, dtype=torch.uint8)},
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN.keys())
def test_broken_files(pack, change: dict[str, Tensor | None], tmp_path: Path) -> None:
    parts = pack({"w": torch.randn(2, 3, 1, 1)})
    path = tmp_path / "broken.safetensors"
    save_file({k: part for k, part in {**parts, **change}.items() if part is not None}, path)
    with pytest.raises(WeightsError, match=r"broken\.safetensors: the packed weights w lack"):
        read_tensors(path)


def test_a_scale_that_is_not_finite(pack, tmp_path: Path) -> None:
    parts = pack({"w": torch.randn(2, 3, 1, 1)})
    save_file({**parts, "w:scale": torch.tensor([1.0, float("nan")])}, tmp_path / "x.safetensors")
    with pytest.raises(WeightsError, match="w holds values that are not finite"):
        read_tensors(tmp_path / "x.safetensors")
