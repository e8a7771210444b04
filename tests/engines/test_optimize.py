"""Networks made ready for prediction: the same heatmaps, and what happens where something lacks."""

import copy
import pickle

import pytest
import torch
from torch import nn

import gatedpose
from gatedpose.engines.optimize import APART, OptimizedNetwork
from gatedpose.models.calibration import Calibration
from gatedpose.models.saved import calibration_of, skeleton_of


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True).eval()


def heatmaps(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)[:, -1:]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05), ("auto", 0.05)]
)
def test_eager_gives_the_same_heatmaps(model, dtype, tolerance: float) -> None:
    images = torch.randn(2, 3, 128, 64)
    fast = gatedpose.optimize(model, dtype=dtype, compile=False)
    assert isinstance(fast, OptimizedNetwork)
    assert fast.dtype in (torch.float32, torch.bfloat16)
    assert (fast.compiled_for, fast.reason) == (None, "not asked for")
    found = fast(images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, heatmaps(model, images), atol=tolerance, rtol=0)
    assert next(model.parameters()).dtype == torch.float32  # a copy was changed


def test_bfloat16_that_would_be_slow_is_said(
    model, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for emulated in (True, False):
        monkeypatch.setattr(
            "gatedpose.engines.optimize.emulates_bfloat16", lambda answer=emulated: answer
        )
        gatedpose.optimize(model, dtype=torch.float32, compile=False)
        assert caplog.text == ""
        gatedpose.optimize(model, dtype=torch.bfloat16, compile=False)
        said = "this processor has no bfloat16: PyTorch is many times slower with it" in caplog.text
        assert said == emulated
        caplog.clear()


def test_a_cast_network_computes_in_what_it_was_cast_to(model) -> None:
    images = torch.randn(2, 3, 128, 64)
    fast = gatedpose.optimize(model, dtype=torch.float32, compile=False)
    for dtype, tolerance in ((torch.bfloat16, 0.05), (torch.float64, 0.05)):
        found = fast.to(dtype)(images)
        assert fast.dtype == dtype
        torch.testing.assert_close(found, heatmaps(model, images), atol=tolerance, rtol=0)


def test_grey_images() -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=3, in_channels=1).eval()
    images = torch.randn(2, 1, 128, 64)
    fast = gatedpose.optimize(model, dtype=torch.float32, compile=False)
    torch.testing.assert_close(fast(images), heatmaps(model, images), atol=1e-5, rtol=0)


def test_norms_keep_their_precision(model) -> None:
    fast = gatedpose.optimize(model, dtype=torch.bfloat16, compile=False)
    dtypes = {
        type(m).__name__: {value.dtype for value in m.parameters()}
        for m in fast.modules()
        if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d))
    }
    half, full = {torch.bfloat16}, {torch.float32}
    assert dtypes == {"Conv2d": half, "ConvTranspose2d": half, "BatchNorm2d": full}


@pytest.mark.slow
def test_compiled_for_any_number_of_images(model) -> None:
    fast = gatedpose.optimize(model, dtype=torch.float32, example_shape=(2, 3, 64, 128))
    assert fast.compiled_for == (2, 3, 64, 128)
    assert "compiled for (2, 3, 64, 128)" in str(fast)
    images = torch.randn(5, 3, 64, 128)
    wanted = heatmaps(model, images)
    for number in (1, 2, 5):
        torch.testing.assert_close(fast(images[:number]), wanted[:number], atol=1e-4, rtol=0)
    strided = images.transpose(2, 3).contiguous().transpose(2, 3)[::2]
    torch.testing.assert_close(fast(strided), wanted[::2], atol=1e-4, rtol=0)
    other = torch.randn(1, 3, 128, 64)
    torch.testing.assert_close(fast(other), heatmaps(model, other), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="multiples of 64, got 60 x 128"):
        fast(images[:, :, :60])


@pytest.mark.slow
def test_compiled_once_for_all_tensors(model) -> None:
    fast = gatedpose.optimize(model, dtype=torch.float32, example_shape=(2, 3, 64, 64))
    images = torch.randn(4, 3, 64, 64)
    with torch._dynamo.config.patch(error_on_recompile=True):  # that would lose packed weights
        found = [fast(images), fast(images.double().requires_grad_())]
        with torch.inference_mode():
            found.append(fast(images.clone(memory_format=torch.channels_last)))
        half = fast(images[::2])
        assert fast(images[:0]).shape == (0, *half.shape[1:])
    for maps in found:
        torch.testing.assert_close(maps, heatmaps(model, images), atol=1e-4, rtol=0)
    torch.testing.assert_close(half, found[0][::2], atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="oneDNN packs the weights")
def test_weights_are_packed_for_the_cpu() -> None:
    from torch._inductor.utils import run_and_get_code

    small = gatedpose.create_model("gated_hg_1s_68", width=8, depth=2)
    options = {"dtype": torch.float32, "example_shape": (1, 3, 64, 64), "compile": True}
    _, code = run_and_get_code(gatedpose.optimize, small, **options)
    assert "_convolution_pointwise" in "".join(code)  # of packed weights; else "convolution"


@pytest.mark.slow
@pytest.mark.skipif(not APART, reason="this PyTorch cannot keep compiled networks apart")
def test_one_network_takes_no_other_ones_place() -> None:
    shape = (1, 3, 64, 64)
    with torch._dynamo.config.patch(recompile_limit=1):
        for width in (8, 12):
            small = gatedpose.create_model("gated_hg_1s_68", width=width, depth=2)
            fast = gatedpose.optimize(small, dtype=torch.float32, example_shape=shape)
            assert fast.compiled_for == shape


COMPILED = {"dtype": torch.float32, "compile": True, "example_shape": (2, 3, 32, 64)}


@pytest.fixture(scope="module")
def compiled() -> tuple[nn.Module, OptimizedNetwork]:
    """A small network, and itself compiled."""
    small = gatedpose.create_model("gated_hg_1s_68", width=8, depth=2).eval()
    return small, gatedpose.optimize(small, **COMPILED)


@pytest.mark.slow
@pytest.mark.parametrize("how", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_has_weights_of_its_own(how, compiled) -> None:
    small, fast = compiled
    images = torch.randn(2, 3, 32, 64)
    twin = how(fast)
    assert (twin.compiled_for, twin.reason) == (None, "a copy")
    torch.testing.assert_close(twin(images), heatmaps(small, images), atol=1e-4, rtol=0)
    if how is copy.copy:
        return  # its weights are the original's, as of any module
    with torch.no_grad():
        for parameter in twin.network.head.parameters():
            parameter.zero_()
    assert twin(images).abs().max() == 0
    torch.testing.assert_close(fast(images), heatmaps(small, images), atol=1e-4, rtol=0)
    assert fast.compiled_for == (2, 3, 32, 64)
    twin.compile_for((2, 3, 32, 64))
    assert twin(images).abs().max() == 0


@pytest.mark.slow
def test_other_weights_are_not_those_that_were_compiled(compiled) -> None:
    small, _ = compiled
    other = gatedpose.optimize(small, **COMPILED)
    state = {name: torch.zeros_like(value) for name, value in other.state_dict().items()}
    other.load_state_dict(state)
    assert (other.compiled_for, other.reason) == (None, "loaded with other weights")
    images = torch.randn(2, 3, 32, 64)
    assert other(images).abs().max() == 0


@pytest.mark.slow
def test_autocast_and_threads_do_not_compile_it_again_in_silence(compiled) -> None:
    small, fast = compiled
    images, threads = torch.randn(2, 3, 32, 64), torch.get_num_threads()
    wanted = heatmaps(small, images)
    exact = torch._dynamo.config.patch(error_on_recompile=True)
    with exact, torch.autocast("cpu", torch.bfloat16):
        found = fast(images)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    torch.set_num_threads(threads + 1)
    try:
        told = rf"compiled for {threads} threads and is now given {threads + 1}, so that .* again"
        with pytest.warns(UserWarning, match=told):
            found = fast(images)
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
        fast(images)  # told once
    finally:
        torch.set_num_threads(threads)


def test_predictor_takes_it(model) -> None:
    pixels = torch.randint(0, 255, (3, 90, 70), dtype=torch.uint8)
    [pose] = gatedpose.Predictor(model)(pixels, "whole")
    fast = gatedpose.optimize(model, dtype=torch.float32, compile=False)
    [same] = gatedpose.Predictor(fast)(pixels, "whole")
    assert same.skeleton == pose.skeleton
    assert abs(same.keypoints - pose.keypoints).max() < 0.01


def test_it_keeps_joints_and_chances_of_ones_own() -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=14).eval()
    joints = tuple(f"corner {i}" for i in range(14))
    model.skeleton = gatedpose.Skeleton("corners", joints, (), ())
    model.calibration = Calibration((0.1, 0.9), (0.2, 0.7))
    fast = gatedpose.optimize(model, compile=False)
    for made in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert skeleton_of(made) == model.skeleton  # not LSP's 14
        assert calibration_of(made) == model.calibration


def test_without_a_compiler_it_says_why_and_goes_on(model, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")  # no C++ compiler to be found
    options = {"cpp.cxx": ("no-such-compiler",), "fx_graph_cache": False}
    shape = (1, 3, 64, 64)
    with torch._inductor.config.patch(options):
        with pytest.warns(UserWarning, match=r"runs without torch.compile.*ompiler"):
            fast = gatedpose.optimize(model, dtype=torch.float32, example_shape=shape)
        with pytest.raises(RuntimeError, match=r"optimize: torch.compile failed: .*ompiler"):
            gatedpose.optimize(model, dtype=torch.float32, compile=True, example_shape=shape)
    assert fast.compiled_for is None
    assert "ompiler" in fast.reason
    images = torch.randn(shape)
    torch.testing.assert_close(fast(images), heatmaps(model, images), atol=1e-5, rtol=0)


def test_bad_input(model) -> None:
    with pytest.raises(ValueError, match=r"optimize: dtype must be .*got torch.int8"):
        gatedpose.optimize(model, dtype=torch.int8)
    with pytest.raises(ValueError, match="next good size is 128 x 64"):
        gatedpose.optimize(model, example_shape=(1, 3, 100, 64))
    with pytest.raises(ValueError, match="expected 3 channels"):
        gatedpose.optimize(model, example_shape=(1, 1, 64, 64))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="'cuda' cannot be used"):
            gatedpose.optimize(model, device="cuda")
    for options in ({"dtype": torch.bfloat16}, {"ranges": {}}):
        with pytest.raises(ValueError, match="give dtype= or precision=, and ranges= only for"):
            gatedpose.optimize(model, compile=False, precision="float32", **options)
    with pytest.raises(ValueError, match=r"example_shape must be 4 whole numbers .*got 64"):
        gatedpose.optimize(model, example_shape=64)
    for wrapped in (nn.DataParallel(model), "gated_hg_1s_68"):
        with pytest.raises(TypeError, match=r"takes a network of the zoo.*got (DataParallel|str)"):
            gatedpose.optimize(wrapped)
    fast = gatedpose.optimize(model, compile=False)
    for images, message in (
        (torch.zeros(2, 3, 64, 128, dtype=torch.uint8), "uint8 and must be floats: divided by 255"),
        (torch.zeros(3, 64, 128), r"must be \(B, C, H, W\), got shape \(3, 64, 128\)"),
        ([1.0], "must be a torch.Tensor, got list"),
    ):
        with pytest.raises(ValueError, match=message):
            fast(images)
    with pytest.raises(RuntimeError, match="only predicts"):
        fast.train()
    assert not fast.eval().training
