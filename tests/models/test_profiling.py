"""profile: published counts to the digit, and a model that is left as it was."""

import copy

import pytest
import timm
import torch
from torch import nn

from gatedpose.models import zoo
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.profiling import profile


def small(**config: object) -> HeatmapNetwork:
    return zoo.create_model("gated_hg_2s_68", num_keypoints=3, width=8, depth=2, **config)


@pytest.mark.parametrize("name", ["gated_hg_1s_68", "hourglass_1s_256", "cu_net_2"])
def test_macs_are_those_that_are_counted_without_fvcore(name: str, conv_macs) -> None:
    """tests/models/test_zoo.py counts so what is published of every variant."""
    counted = profile(zoo.create_model(name), (64, 64)).conv_macs
    assert counted == conv_macs(zoo.create_model(name, device="meta"), (64, 64))


def test_the_papers_size_is_the_default() -> None:
    counts = profile(zoo.create_model("gated_hg_1s_68"))
    assert (counts.size, counts.params) == ((256, 256), 506_616)
    assert round(counts.conv_macs / 1e9, 4) == 0.8089


def test_counts_worked_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1),  # 3 * 4 * 9 weights and 4 biases; 108 MACs at each of 4 x 8 cells
        nn.BatchNorm2d(4),  # 4 + 4; 2 operations at each of 4 * 4 * 8 elements
        nn.ReLU(),
        nn.Conv2d(4, 2, 1, bias=False),  # 8; 8 MACs at each of 4 x 8 cells
        nn.MaxPool2d(2),
    )
    counts = profile(model, (8, 16), by_module=True)
    assert counts.params == 112 + 8 + 8
    assert counts.conv_macs == (108 + 8) * 32
    assert counts.total_flops_fvcore == (108 + 8) * 32 + 2 * 128
    assert counts.uncounted == {"aten::max_pool2d": 1}
    assert counts.by_module["0"] == (112, 108 * 32)
    assert counts.by_module["1"] == (8, 0)
    assert counts.by_module[""] == (counts.params, counts.conv_macs)


def test_modules_of_a_level_sum_to_the_whole() -> None:
    counts = profile(small(), (64, 32), by_module=True)
    level = [cost for name, cost in counts.by_module.items() if name and "." not in name]
    assert (counts.params, counts.conv_macs) == tuple(map(sum, zip(*level, strict=True)))
    assert profile(small(), (64, 32)).by_module == {}


def test_what_fvcore_leaves_out_is_told() -> None:
    told = profile(small(), (64, 32)).uncounted
    assert set(told) == {"aten::add", "aten::mul", "aten::max_pool2d"}


def test_a_shared_parameter_counts_once_and_is_used_twice() -> None:
    conv = nn.Conv2d(3, 3, 1, bias=False)
    counts = profile(nn.Sequential(conv, nn.ReLU(), conv), (2, 4))
    assert (counts.params, counts.conv_macs) == (9, 2 * 9 * 8)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(64, 32), (60, 32)])
def test_the_model_is_left_as_it_was(training: bool, size: tuple[int, int]) -> None:
    model = small().train(training)
    model.stem.eval()  # a frozen stem: modes differ
    calls: list[nn.Module] = []
    model.heads[0].register_forward_hook(lambda module, *_: calls.append(module))
    before = copy.deepcopy(model.state_dict())
    pointers = [tensor.data_ptr() for tensor in model.state_dict().values()]
    modes = [module.training for module in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    torch.manual_seed(0)
    if size == (60, 32):  # fvcore itself leaves its hooks behind when tracing fails
        with pytest.raises(ValueError, match="the next good size is 64 x 32"):
            profile(model, size)
    else:
        profile(model, size)
    assert torch.rand(1) == torch.rand(1, generator=torch.Generator().manual_seed(0))
    assert [module.training for module in model.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert [tensor.data_ptr() for tensor in model.state_dict().values()] == pointers
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not calls
    assert torch.is_grad_enabled()


def test_dtype_channels_and_silence(caplog: pytest.LogCaptureFixture) -> None:
    model = small(in_channels=1).double()
    counts = profile(model, (64, 32))
    assert counts.conv_macs == profile(small(in_channels=1), (64, 32)).conv_macs
    assert counts.conv_macs < profile(small(), (64, 32)).conv_macs
    assert not caplog.records


@pytest.mark.parametrize(
    "size", [256, (256,), (256, 256, 3), "ab", (256.0, 256), (True, 64), None, (0, 64)]
)
def test_a_size_that_is_no_pair(size: object) -> None:
    with pytest.raises(ValueError, match=r"size \(height, width\) must be 2 whole numbers from 1"):
        profile(small(), size)  # type: ignore[arg-type]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu() -> None:
    model = small().cuda()
    assert profile(model, (64, 32)).conv_macs == profile(small(), (64, 32)).conv_macs


def test_networks_of_others_get_as_many_channels_as_they_take() -> None:
    grey = timm.create_model("resnet18", in_chans=1)
    colour = timm.create_model("resnet18")
    stem = 64 * 7 * 7 * 16 * 32  # a channel's products in the first convolution, at half size
    assert profile(colour, (32, 64)).conv_macs - profile(grey, (32, 64)).conv_macs == 2 * stem
