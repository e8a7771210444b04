"""The paper's network: its formula, its choices and its errors."""

import dataclasses
import sys
import weakref
from pathlib import Path

import pytest
import torch
from timm.layers import get_norm_layer
from torch import nn

import gatedpose
from gatedpose.engines.folding import FoldedNetwork
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig, HybridHourglass
from gatedpose.models.layers import MERGES, SKIPS
from gatedpose.models.saved import save_model
from gatedpose.skeleton import LSP14


def tiny(**changes) -> GatedHourglass:
    torch.manual_seed(0)
    config = GatedHourglassConfig(width=8, stacks=2, num_keypoints=3, depth=2)
    model = GatedHourglass(dataclasses.replace(config, **changes)).eval()
    for name, value in model.named_parameters():
        if name.endswith("alpha"):
            nn.init.uniform_(value, 0.5, 1.0)  # opened, so that every path counts
    return model


def test_hybrid_hourglass_is_figure_2b() -> None:
    hourglass = HybridHourglass(8, 2, gate=0.5).eval()
    x = torch.randn(2, 8, 4, 12)

    def level(h, x):
        low = h.low(x.unfold(2, 2, 2).unfold(3, 2, 2).amax((-2, -1)))
        inner = level(h.inner, low) if h.depth > 1 else h.inner[1](h.inner[0](low))
        decoded = inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return h.merge.block(torch.cat((h.skip(x), decoded), dim=1))

    y = hourglass(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y, level(hourglass, x))


def test_stacks_follow_the_formula() -> None:
    model, images = tiny(), torch.randn(2, 3, 32, 48)
    x1 = model.stem(images)
    f1 = model.stacks[0](x1)
    h1 = model.heads[0](f1)
    x2 = x1 + model.remap_features[0](f1) + model.remap_heatmaps[0](h1)
    h2 = model.heads[1](model.stacks[1](x2))
    torch.testing.assert_close(model(images), torch.stack((h1, h2), dim=1))
    assert f1.shape == x2.shape == (2, 8, 8, 12)
    assert f1.min() == 0.0  # behind a ReLU


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("skip", SKIPS)
@pytest.mark.parametrize("gate", ["channel", "scalar", 1.0])
def test_choices_run(merge, skip, gate) -> None:
    model = tiny(merge=merge, skip=skip, gate=gate)
    maps = model(torch.randn(2, 3, 32, 48))
    assert maps.shape == (2, 2, 3, 8, 12)
    assert maps.isfinite().all()
    shapes = {tuple(p.shape) for n, p in model.named_parameters() if n.endswith("alpha")}
    assert shapes == {"channel": {(8,)}, "scalar": {(1,)}, 1.0: set()}[gate]


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
def test_depths(depth) -> None:
    model = tiny(depth=depth)
    multiple = 4 * 2**depth
    assert model.size_multiple == multiple
    maps = model(torch.randn(2, 3, multiple, 2 * multiple))
    assert maps.shape == (2, 2, 3, multiple // 4, multiple // 2)
    with pytest.raises(ValueError, match=f"multiples of {multiple}, got {multiple // 2} x"):
        model(torch.randn(2, 3, multiple // 2, multiple))


@pytest.mark.parametrize("width", [4, 6, 10, 12])
def test_any_even_width(width) -> None:
    assert tiny(width=width)(torch.randn(2, 3, 16, 32)).shape == (2, 2, 3, 4, 8)


def test_start_values() -> None:
    model = GatedHourglass(GatedHourglassConfig(width=64, stacks=1))
    for name, value in model.named_parameters():
        if name.endswith("alpha"):
            assert not value.any(), name
        elif name.endswith("conv.weight"):  # uniform: all within the bound, and close to it
            bound = value[0].numel() ** -0.5
            assert 0.95 * bound < value.abs().max() <= bound, name
            assert value.std().item() == pytest.approx(bound / 3**0.5, rel=0.1), name


def test_config_is_frozen_and_normalised() -> None:
    config = GatedHourglassConfig(gate=1)
    assert config.gate == 1.0
    assert isinstance(config.gate, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.width = 8
    with torch.device("meta"):
        assert GatedHourglass().config == GatedHourglassConfig()


@pytest.mark.parametrize("size", [(6, 8), (8, 5)])
def test_hybrid_hourglass_errors(size) -> None:
    with pytest.raises(ValueError, match=f"multiples of 4 to be halved 2 times, got {size[0]} x"):
        HybridHourglass(8, 2)(torch.randn(2, 8, *size))
    with pytest.raises(ValueError, match="depth must be a whole number from 1 to 16, got 0"):
        HybridHourglass(8, 0)


def test_no_weight_decay_names_the_gates() -> None:
    model = tiny(stacks=1)
    names = model.no_weight_decay()
    assert names == {n for n, _ in model.named_parameters() if "alpha" in n}
    assert len(names) == 8  # stem 1, low and merge of two levels 4, bottom 2, behind 1


def test_forward_features_keeps_no_earlier_stack() -> None:
    model = GatedHourglass(GatedHourglassConfig(width=8, stacks=3, num_keypoints=3, depth=2)).eval()
    outputs: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def watch(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        outputs.append(weakref.ref(output))
        alive.append(sum(output() is not None for output in outputs))

    for stack in model.stacks:
        stack.register_forward_hook(watch)
    with torch.no_grad():
        model.forward_features(torch.zeros(2, 3, 16, 32))
    assert alive == [1, 2, 2]  # at most the one before, which the loop still holds


def test_norms_and_activations_of_the_whole_network_are_timms(tmp_path: Path) -> None:
    layers = {"norm_layer": "groupnorm1", "act_layer": "silu"}
    model = gatedpose.create_model("gated_hg_2s_68", num_keypoints=14, width=8, **layers).eval()
    kinds = {type(module) for module in model.modules()}
    assert not kinds & {nn.BatchNorm2d, nn.ReLU}
    assert {get_norm_layer("groupnorm1"), nn.SiLU} <= kinds
    plain = gatedpose.create_model("gated_hg_2s_68", num_keypoints=14, width=8)
    assert type(model.stacks[1].relu) is nn.SiLU
    assert len(list(model.modules())) == len(list(plain.modules()))
    images = torch.randn(2, 3, 64, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(images)
        torch.testing.assert_close(FoldedNetwork(model)(images), wanted[:, -1:])
    save_model(model, tmp_path / "model", LSP14)
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(again(images), wanted)
    with pytest.raises(ValueError, match="timm knows no act_layer 'relo'"):
        gatedpose.create_model("gated_hg_2s_68", act_layer="relo")
    with pytest.raises(ValueError, match="norm_layer must be timm's name, got <class"):
        gatedpose.create_model("gated_hg_2s_68", norm_layer=nn.BatchNorm2d)


def test_copies_of_data_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own replicas, whose weights are no parameters; only the copying between GPUs is not.

    Every variant's check of its input must find their dtype.
    """
    from torch.nn.parallel import replicate

    module = sys.modules[replicate.__module__]
    monkeypatch.setattr(
        module,
        "_broadcast_coalesced_reshape",
        lambda tensors, devices, detach=False: [[t.clone() for t in tensors] for _ in devices],
    )
    images = torch.randn(2, 3, 64, 128)
    for name in ("gated_hg_1s_68", "cu_net_2", "hourglass_1s_256"):
        model = gatedpose.create_model(name, num_keypoints=3).eval()
        with torch.no_grad():
            copies = replicate(model, [0, 1])
            assert not list(copies[1].parameters())
            for copy in copies:
                torch.testing.assert_close(copy(images), model(images))
        with pytest.raises(TypeError, match=r"images are torch.float64 but the weights are"):
            copies[1](images.double())
