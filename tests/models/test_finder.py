"""The finder as a network of the zoo."""

import math

import pytest
import timm
import torch

import gatedpose
from gatedpose.engines.runtimes import onnxruntime_session
from gatedpose.errors import InputError
from gatedpose.export import export
from gatedpose.models.finder import FinderConfig, GatedFinder, start_from_pose
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig
from gatedpose.models.saved import save_model, skeleton_of

NAME = "gated_finder_320"
TINY = {"width": 8, "depth": 2}


def test_maps_are_an_eighth_of_the_picture() -> None:
    model = gatedpose.create_model(NAME, **TINY).eval()
    assert model.size_multiple == 32
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 64, 96)).shape == (2, 1, 5, 8, 12)
    with pytest.raises(ValueError, match="multiples of 32, got 48 x 96"):
        model(torch.zeros(2, 3, 48, 96))


def test_the_finder_is_known_to_timm() -> None:
    model = timm.create_model(NAME)
    assert isinstance(model, GatedFinder)
    assert model.pretrained_cfg["input_size"] == (3, 320, 320)
    assert NAME in gatedpose.list_models()
    assert skeleton_of(model) is None


def test_a_fresh_finder_finds_nobody_and_middling_boxes() -> None:
    bias = GatedFinder(FinderConfig()).heads[0].bias
    assert bias[0].sigmoid().item() == pytest.approx(0.01)
    assert bias[1:].exp().tolist() == pytest.approx([6.0] * 4)


def test_a_finder_of_other_maps_or_stacks_is_refused() -> None:
    with pytest.raises(InputError, match="1 stack and 5 maps"):
        gatedpose.create_model(NAME, num_keypoints=16)
    with pytest.raises(InputError, match="stacks=2"):
        gatedpose.create_model(NAME, stacks=2)
    with pytest.raises(ValueError, match="width"):
        FinderConfig(width=7)


@pytest.mark.parametrize("depth", [2, 4])
def test_a_finder_starts_from_a_pose_network(depth: int) -> None:
    torch.manual_seed(0)
    finder = GatedFinder(FinderConfig(width=8, depth=2))
    pose = GatedHourglass(GatedHourglassConfig(8, 1, depth=depth))
    head = finder.heads[0].weight.clone()
    start_from_pose(finder, pose)
    state, theirs = finder.state_dict(), pose.state_dict()
    assert torch.equal(state["stem.conv.weight"], theirs["stem.conv.weight"])
    assert torch.equal(finder.heads[0].weight, head)
    deepest = "stacks.0.hourglass." + "inner." * depth + "1.conv1.conv.weight"
    mine = "stacks.0.hourglass.inner.inner.1.conv1.conv.weight"
    assert torch.equal(state[mine], theirs[deepest])
    level = "stacks.0.hourglass.inner.merge.block.conv1.conv.weight"
    assert torch.equal(state[level], theirs[level])


def test_a_pose_network_of_another_size_is_refused() -> None:
    finder = GatedFinder(FinderConfig(width=8, depth=3))
    for config in (GatedHourglassConfig(12, 1, depth=3), GatedHourglassConfig(8, 1, depth=2)):
        with pytest.raises(InputError, match="cannot start"):
            start_from_pose(finder, GatedHourglass(config))


def test_a_saved_finder_comes_back(tmp_path) -> None:
    torch.manual_seed(0)
    model = gatedpose.create_model(NAME, **TINY).eval()
    save_model(model, tmp_path / "model", None)
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(model(images), again(images))
    assert skeleton_of(again) is None


@pytest.mark.slow
def test_an_exported_finder_gives_boxes(tmp_path) -> None:
    torch.manual_seed(0)
    model = gatedpose.create_model(NAME, **TINY).eval()
    done = export(
        model, tmp_path / "finder.onnx", size=(64, 96), dynamic_batch=True, with_decode=True
    )
    assert done.outputs == ("heatmaps", "boxes", "scores")
    assert done.heatmap_difference < 1e-4
    assert done.keypoint_difference < 1e-2
    session = onnxruntime_session(done.path)
    images = torch.zeros(2, 3, 64, 96).numpy()
    maps, boxes, scores = map(torch.from_numpy, session.run(None, {"images": images}))
    assert maps.shape == (2, 5, 8, 12)
    assert boxes.shape == (2, 96, 4)
    assert scores.shape == (2, 96)
    assert math.isclose(float(scores.max()), float(maps[:, 0].sigmoid().max()), rel_tol=1e-4)
