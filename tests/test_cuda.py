"""The same answers on a GPU as on the CPU; skipped where there is none."""

import numpy as np
import pytest
import torch

import gatedpose
from gatedpose.batches.augment import Augmentation, augment
from gatedpose.batches.crops import Crops
from gatedpose.data.preprocessing import Preprocessing
from gatedpose.skeleton import LSP14
from gatedpose.training.losses import heatmap_loss

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_cuda_predictor_agrees_with_the_cpu() -> None:
    image = np.random.default_rng(0).integers(0, 255, (400, 700, 3), dtype=np.uint8)
    boxes = [[10.0, 20.0, 380.0, 390.0], [300.0, 0.0, 340.0, 60.0]]
    model = gatedpose.create_model("gated_hg_1s_68", pretrained=True)
    expected = gatedpose.Predictor(model, flip_test=True)(image, boxes)
    for pose, other in zip(
        expected,
        gatedpose.Predictor(model, flip_test=True, device="cuda")(image, boxes),
        strict=True,
    ):
        np.testing.assert_allclose(pose.scores, other.scores, atol=2e-2)
        assert np.median(np.abs(pose.keypoints - other.keypoints)) < 0.5


def test_cuda_training_step() -> None:
    crops = Crops(
        torch.randint(0, 255, (2, 3, 160, 160), dtype=torch.uint8, device="cuda"),
        torch.rand(2, 14, 2, device="cuda") * 80 + 40,
        torch.ones(2, 14, dtype=torch.bool, device="cuda"),
    )
    norm = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)
    changes = Augmentation(half_body=0.5, occlude=0.5, shift=0.1)
    batch = augment(crops, (64, 128), LSP14, changes, norm, torch.Generator().manual_seed(0))
    model = gatedpose.create_model("gated_hg_2s_68", num_keypoints=14, width=8, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        heatmaps = model(batch.images)
    heatmap_loss(heatmaps, batch.keypoints, batch.labelled, 1.0, "softmax").backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.05), (torch.float16, 0.05)]
)
@pytest.mark.parametrize("compile", [False, True])
def test_cuda_optimised(dtype: torch.dtype, tolerance: float, compile: bool) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", pretrained=True).eval()
    fast = gatedpose.optimize(model, "cuda", dtype, compile, (4, 3, 64, 128))
    images = torch.randn(9, 3, 64, 128)
    with torch.no_grad():
        wanted = model(images)[:, -1:]
    for many in (1, 4, 9):  # with CUDA graphs, whose outputs must not be overwritten
        found = fast(images[:many].cuda()).cpu()
        torch.testing.assert_close(found, wanted[:many], atol=tolerance, rtol=0)
    strided = images.cuda().transpose(2, 3).contiguous().transpose(2, 3)[::2]
    torch.testing.assert_close(fast(strided).cpu(), wanted[::2], atol=tolerance, rtol=0)


def test_cuda_large_batch() -> None:
    fast = gatedpose.optimize(
        gatedpose.create_model("gated_hg_1s_68", pretrained=True), "cuda", compile=False
    )
    images = torch.randn(2, 3, 256, 256, device="cuda")
    many = fast(images.repeat(128, 1, 1, 1))
    torch.testing.assert_close(many[-2:], fast(images), atol=0.05, rtol=0)
