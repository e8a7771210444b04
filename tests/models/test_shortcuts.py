"""Gates on the shortcuts of other people's networks change nothing until they learn."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from timm.layers import BatchNormAct2d, create_conv2d
from torch import nn
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torchvision.models.feature_extraction import create_feature_extractor

from gatedpose.models.shortcuts import (
    GatedBlock,
    fold_gates,
    gate_shortcuts,
    list_gates,
    ungate_shortcuts,
)

# Model, its gates, their factors: counted from the published layouts.
NETWORKS = {
    "resnet18": (8, 2 * (64 + 128 + 256 + 512)),
    "resnet26d": (8, 2 * (256 + 512 + 1024 + 2048)),
    "resnetv2_50": (5, 2 * 256 + 512 + 1024 + 2048),  # of fewer blocks
    "convnext_atto": (12, 2 * 40 + 2 * 80 + 6 * 160 + 2 * 320),
    "regnetx_002": (13, 24 + 56 + 4 * 152 + 7 * 368),
    "efficientnet_b0": (9, 24 + 40 + 2 * 80 + 2 * 112 + 3 * 192),
    "mobilenetv3_small_100": (6, 24 + 2 * 40 + 48 + 2 * 96),
    "vit_tiny_patch16_224": (24, 24 * 192),
}


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    size = {"img_size": 64} if name.startswith("vit") else {}
    if name == "resnetv2_50":
        layers = {"conv_layer": create_conv2d, "norm_layer": BatchNormAct2d}
        model = timm.models.ResNetV2((2, 1, 1, 1), num_classes=3, **layers).eval()
    else:
        model = timm.create_model(name, num_classes=3, **size).eval()
    for norm in model.modules():  # as if trained: nothing is 0 or 1 by chance
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return model, torch.randn(2, 3, 64, 64)


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_nothing_changes_until_gates_learn(name: str) -> None:
    model, images = network(name)
    half = torch.autocast("cpu", torch.bfloat16)
    before, halved, keys = model(images), half(model)(images), list(model.state_dict())
    assert gate_shortcuts(model) is model
    assert torch.equal(model(images), before)
    assert torch.equal(half(model)(images), halved)
    gates = list_gates(model)
    assert (len(gates), sum(gate.alpha.numel() for gate in gates.values())) == NETWORKS[name]
    assert [key for key in model.state_dict() if "gate" not in key] == keys
    assert torch.equal(copy.deepcopy(model)(images), before)

    for gate in gates.values():
        gate.alpha.fill_(0.5)
    assert not torch.allclose(model(images), before)
    ungate_shortcuts(model)
    assert list(model.state_dict()) == keys
    assert not list_gates(model)
    assert torch.equal(model(images), before)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_reach_every_gate(name: str) -> None:
    model, images = network(name)
    model = gate_shortcuts(model).train()
    model(images).square().sum().backward()
    for place, gate in list_gates(model).items():
        assert gate.alpha.grad is not None, place
        assert gate.alpha.grad.abs().sum() > 0, place


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_weights_without_gates_load_and_mean_ones(name: str) -> None:
    model, images = network(name)
    weights, before = copy.deepcopy(model.state_dict()), model(images)
    gated = gate_shortcuts(network(name)[0], init=0.0)
    assert not torch.allclose(gated(images), before)
    gated.load_state_dict(weights)
    assert torch.equal(gated(images), before)
    own = {key: tensor.clone() for key, tensor in gated.state_dict().items()}
    for gate in list_gates(gated).values():
        gate.alpha.fill_(0.3)
    gated.load_state_dict(own)
    assert torch.equal(gated(images), before)


@torch.no_grad()
def test_weights_without_gates_are_assigned_to_a_network_on_meta() -> None:
    model, images = network("efficientnet_b0")
    with torch.device("meta"):
        gated = gate_shortcuts(network("efficientnet_b0")[0])
    weights = model.bfloat16().state_dict()
    gated.load_state_dict(weights, assign=True)
    assert {p.dtype for p in gated.parameters()} == {torch.bfloat16}
    assert torch.equal(gated(images.bfloat16()), model(images.bfloat16()))


def test_weights_of_other_layers_leave_gates_alone() -> None:
    model = gate_shortcuts(timm.create_model("resnet18"), init=0.25)
    head = {key: tensor for key, tensor in model.state_dict().items() if key.startswith("fc.")}
    missing = model.load_state_dict(head, strict=False).missing_keys
    gates = list_gates(model)
    assert all(gate.alpha.eq(0.25).all() for gate in gates.values())
    assert {f"{name}.alpha" for name in gates} <= set(missing)


@torch.no_grad()
def test_a_convolution_that_standardises_takes_no_gate_up() -> None:
    model = gate_shortcuts(timm.create_model("resnetv2_50x1_bit").eval(), init=0.5)
    images = torch.randn(2, 3, 64, 96)
    before = model(images)
    assert fold_gates(model) == 0
    assert torch.equal(model(images), before)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize(
    "normed", [weight_norm, spectral_norm, parametrizations.weight_norm], ids=["old", "old", "new"]
)
@torch.no_grad()
def test_weights_that_are_made_at_each_call_take_no_gate_up(normed: Any) -> None:
    model, images = network("resnetv2_50")
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d):
            normed(module)
    for gate in list_gates(gate_shortcuts(model)).values():
        nn.init.uniform_(gate.alpha, -1, 1)
    before = model(images)
    assert fold_gates(model) == 0
    assert torch.equal(model(images), before)


@pytest.mark.parametrize("name", ["mixnet_s", "tf_efficientnet_cc_b0_4e"])
@torch.no_grad()
def test_split_and_conditional_convolutions(name: str) -> None:
    model, images = timm.create_model(name).eval(), torch.randn(2, 3, 64, 96)
    before = model(images)
    assert torch.equal(gate_shortcuts(model)(images), before)


@torch.no_grad()
def test_gated_networks_are_traced_by_fx() -> None:
    images = torch.randn(2, 3, 64, 96)
    model = gate_shortcuts(torchvision.models.resnet18().eval(), init=0.5)
    wanted = nn.Sequential(*list(model.children())[:5])(images)
    features = create_feature_extractor(model, ["layer1"])(images)["layer1"]
    assert torch.equal(features, wanted)


@pytest.mark.parametrize(
    ("name", "foldable"),
    [("resnet18", 3), ("resnet26d", 4), ("resnetv2_50", 4), ("regnetx_002", 4)],
)
@torch.no_grad()
def test_gates_behind_convolutions_fold(name: str, foldable: int) -> None:
    model, images = network(name)
    model = gate_shortcuts(model).double()
    for gate in list_gates(model).values():
        nn.init.uniform_(gate.alpha, -1, 1)
    before, count = model(images.double()), len(list_gates(model))
    assert fold_gates(model) == foldable
    assert len(list_gates(model)) == count - foldable
    torch.testing.assert_close(model(images.double()), before)
    assert fold_gates(model) == 0


@torch.no_grad()
def test_a_gate_scales_the_shortcut_alone() -> None:
    block = timm.models.resnetv2.PreActBasic(64, 64).eval()
    x = torch.randn(2, 64, 6, 8)
    learnt = block(x) - x
    gate_shortcuts(block, init=0.25)
    torch.testing.assert_close(block(x), learnt + 0.25 * x)
    vit = timm.models.vision_transformer.Block(8, 2).eval()
    tokens = torch.randn(2, 5, 8)
    gate_shortcuts(vit, init=0.0)
    attended = vit.attn(vit.norm1(tokens))
    torch.testing.assert_close(vit(tokens), vit.mlp(vit.norm2(attended)))


@torch.no_grad()
def test_a_shortcut_that_blocks_share_is_gated_once() -> None:
    first, second = (timm.models.regnet.Bottleneck(8, 8).eval() for _ in range(2))
    second.downsample = first.downsample
    gate_shortcuts(nn.Sequential(first, second), init=0.5)
    x = torch.randn(2, 8, 6, 4)
    assert torch.equal(second.downsample(x), 0.5 * x)


@pytest.mark.parametrize(("gate", "numbers"), [("scalar", 8), (0.5, 0)])
def test_kinds_of_gates(gate: str | float, numbers: int) -> None:
    model, images = network("resnet18")
    plain = sum(p.numel() for p in model.parameters())
    gate_shortcuts(model, gate=gate)
    assert sum(p.numel() for p in model.parameters()) == plain + numbers
    assert model(images).isfinite().all()
    assert fold_gates(model) == 3


def test_dtype_device_and_mode_are_the_blocks() -> None:
    model = gate_shortcuts(network("resnet18")[0].to(torch.bfloat16))
    assert {gate.alpha.dtype for gate in list_gates(model).values()} == {torch.bfloat16}
    assert not any(gate.training for gate in list_gates(model).values())


def test_torchvisions_resnet_too() -> None:
    model = torchvision.models.resnet50(num_classes=3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        assert torch.equal(gate_shortcuts(model)(images), before)
    assert len(list_gates(model)) == 16


def test_networks_without_known_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="Linear has no residual block that is known; known are"):
        gate_shortcuts(nn.Linear(2, 2))
    with pytest.raises(TypeError, match=r"takes a network, .* got 'resnet18'"):
        gate_shortcuts("resnet18")  # type: ignore[arg-type]
    model = gate_shortcuts(network("resnet18")[0])
    with pytest.raises(ValueError, match="has gates already; see ungate_shortcuts"):
        gate_shortcuts(model)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=(32, 64), depth=1)
    with pytest.raises(ValueError, match=r"init must be a number from .*got 'zero'"):
        gate_shortcuts(vit, init="zero")
    assert not any(isinstance(module, GatedBlock) for module in vit.modules())
    with pytest.raises(ValueError, match="gate must be"):
        gate_shortcuts(ungate_shortcuts(model), gate="soft")
    assert not list_gates(model)


def test_a_network_of_several_processes_is_gated_before_it_is_wrapped(tmp_path: Path) -> None:
    """Its gates' gradients would be those of one process's share, in silence."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(timm.models.resnet.BasicBlock(8, 8))
        with pytest.raises(ValueError, match="gate the network first, then wrap it"):
            gate_shortcuts(model)
        assert not list_gates(model)
    finally:
        torch.distributed.destroy_process_group()


EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_the_table_of_networks_in_the_docs_is_the_examples() -> None:
    page = (EXAMPLES.parent / "docs" / "blocks.md").read_text("utf-8")
    assert example("gate_timm_networks.py") in page


@pytest.mark.slow
def test_gated_resnets_learn_digits() -> None:
    rows = example("gated_resnet_digits.py", "--seeds", "1", "--epochs", "2").splitlines()[2:]
    assert len(rows) == 3
    assert all(float(row.split("|")[-2]) > 60 for row in rows), rows


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet18", "convnext_atto"])
def test_an_hourglass_on_a_backbone_learns(backbone: str) -> None:
    told = example("hourglass_on_backbone.py", "--backbone", backbone).splitlines()[-1]
    assert float(told.split(" joints, ")[1].split()[0]) < 30, told  # pixels of a photo of 512
