"""Folded networks give the same heatmaps with less."""

import pytest
import torch
from torch import nn

import gatedpose
from gatedpose.engines.folding import FoldedNetwork
from gatedpose.models.layers import SKIPS


def trained(name: str, **config) -> nn.Module:
    """A network in which no factor is 0 or 1 and batch norm has statistics."""
    torch.manual_seed(0)
    model = gatedpose.create_model(name, num_keypoints=3, **config)
    for key, value in model.state_dict().items():
        if key.endswith(("bn.weight", "running_var", "alpha")):
            nn.init.uniform_(value, 0.5, 1.5)
        elif key.endswith(("bn.bias", "running_mean")):
            nn.init.uniform_(value, -0.5, 0.5)
    return model.eval()


NETWORKS = [
    ("gated_hg_2s_68", {"width": 12}),
    ("gated_hg_2s_68", {"width": 12, "gate": "scalar", "merge": "grouped", "stacks": 3}),
    ("gated_hg_2s_68", {"width": 12, "gate": 0.5, "merge": "sum", "stacks": 1}),
    ("gated_hg_2s_68", {"width": 12, "act_layer": "prelu"}),
    ("hourglass_2s_256", {"width": 16}),
    ("cu_net_2", {"width": 16, "growth": 4}),
]


@pytest.mark.parametrize(("name", "config"), NETWORKS)
def test_the_same_heatmaps(name: str, config) -> None:
    model = trained(name, **config)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    folded = FoldedNetwork(model)
    images = torch.randn(2, 3, 64, 128)
    with torch.no_grad():
        wanted = model(images)[:, -1:]
        assert wanted.std() > 1e-3
        torch.testing.assert_close(folded(images), wanted, atol=1e-5, rtol=1e-4)
    assert all(torch.equal(before[key], t) for key, t in model.state_dict().items())
    assert model(images).requires_grad
    assert not folded(images).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_folding_follows_neither_autocast_nor_the_default_dtype(dtype: torch.dtype) -> None:
    model = trained("gated_hg_2s_68", width=12)
    torch.set_default_dtype(dtype)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            folded = FoldedNetwork(model).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(folded, dict(FoldedNetwork(model).state_dict()), atol=0, rtol=0)


@pytest.mark.parametrize("skip", SKIPS)
def test_what_is_folded(skip) -> None:
    model = trained("gated_hg_2s_68", width=12, depth=2, skip=skip)
    folded = FoldedNetwork(model)
    learnt = [name for name, _ in folded.named_parameters() if name.endswith("alpha")]
    all_gates = [name for name, _ in model.named_parameters() if name.endswith("alpha")]
    # The stem's and, in either stack, both merges' gates are behind a convolution.
    assert len(learnt) == len(all_gates) - 5
    before, after = (
        sum(m.num_features for m in network.modules() if isinstance(m, nn.BatchNorm2d))
        for network in (model, folded)
    )
    assert before - after == 64 + 12 + 12  # behind the stem's convolution and before two heads
    assert len(folded.network.heads) == len(folded.network.remap_heatmaps) == 0


@pytest.mark.parametrize("size", [(2, 3), (1, 1)])
def test_decoders_convolve_before_they_upsample(size) -> None:
    height, width = size
    model = trained("gated_hg_1s_68", width=12)
    merge = model.stacks[0].hourglass.inner.merge
    folded = FoldedNetwork(model).network.stacks[0].hourglass.inner.merge
    convs = [m for m in folded.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    assert sorted(conv.in_channels for conv in convs) == [3, 6, 12, 12, 12, 12]  # and none of 24
    skip, decoded = torch.randn(2, 12, 2 * height, 2 * width), torch.randn(2, 12, height, width)
    torch.testing.assert_close(folded(skip, decoded), merge(skip, decoded), atol=1e-5, rtol=1e-5)


def test_every_norm_of_an_hourglass_behind_a_convolution_is_folded() -> None:
    folded = FoldedNetwork(trained("hourglass_1s_256", width=16))
    kept = [n for n, m in folded.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert kept
    assert all(name.endswith("residual.bn1") for name in kept)
