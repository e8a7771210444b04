"""Peaks become chances."""

import copy
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import gatedpose
from gatedpose.errors import InputError
from gatedpose.models.calibration import Calibration
from gatedpose.models.saved import calibration_of, save_model, skeleton_of
from gatedpose.skeleton import LSP14, PEOPLE19


def test_straight_between_knots_and_level_beyond() -> None:
    chances = Calibration((0.2, 0.6), (0.1, 0.9))(np.array([[0.0, 0.2, 0.3], [0.4, 0.6, 2.0]]))
    np.testing.assert_allclose(chances, [[0.1, 0.1, 0.3], [0.5, 0.9, 0.9]], atol=1e-6)
    assert chances.dtype == np.float32


@pytest.mark.parametrize(
    ("peaks", "chances"),
    [((0, 1), (0.5, 0.4)), ((1, 0), (0, 1)), ((0, 0), (0, 1)), ((0, 1), (0, 1.1)),
     ((0,), (1,)), ((0, 1, 2), (0, 1)), ((0, float("nan")), (0, 1))],
)  # fmt: skip
def test_what_is_not_monotone_is_refused(
    peaks: tuple[float, ...], chances: tuple[float, ...]
) -> None:
    with pytest.raises(InputError, match="Calibration: "):
        Calibration(peaks, chances)


def test_saved_with_the_model_and_used_by_the_predictor(tmp_path: Path) -> None:
    model = gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True)
    plain = gatedpose.Predictor(model)
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    [raw] = plain(image, [[0.0, 0.0, 60.0, 40.0]])
    save_model(model, tmp_path / "net", LSP14, Calibration((0.0, 1.0), (0.25, 0.75)))
    again = gatedpose.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    [pose] = gatedpose.Predictor(again)(image, [[0.0, 0.0, 60.0, 40.0]])
    x, y = pose.keypoints.T
    inside = (x >= 0) & (x <= 60) & (y >= 0) & (y <= 40)
    assert inside.any()
    wanted = np.where(inside, 0.25 + 0.5 * raw.scores.clip(0, 1), 0)
    np.testing.assert_allclose(pose.scores, wanted, atol=1e-5)
    assert (raw.trust, pose.trust) == (0.2, 0.46)
    assert pose.found.tolist() == (wanted >= 0.46).tolist()
    np.testing.assert_allclose(pose.keypoints, raw.keypoints, atol=1e-4)


def test_other_joints_and_other_weights_are_not_what_they_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = "gated_hg_1s_68.people"
    dog = gatedpose.Skeleton("dog", tuple(f"joint {i}" for i in range(19)), (), ())
    model = gatedpose.create_model(name, pretrained=True)
    assert gatedpose.Predictor(model).trust == 0.46
    assert gatedpose.Predictor(model, dog).trust == 0.2
    model.load_state_dict(model.state_dict())
    assert gatedpose.Predictor(model).trust == 0.2
    model.reset_classifier(19)
    assert skeleton_of(model) is not None
    assert "does not say which joints they are" in caplog.text


def test_training_on_ends_what_scores_are_worth() -> None:
    """By a loop of one's own, which loads no weights that could tell."""
    model = gatedpose.create_model("gated_hg_1s_68.people", pretrained=True)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 64, 64))
        assert gatedpose.Predictor(model).trust == 0.46
        model.train()(torch.zeros(2, 3, 64, 64))  # moves the norms' statistics
    assert calibration_of(model) is None
    assert gatedpose.Predictor(model).trust == 0.2
    assert skeleton_of(model) == PEOPLE19


def test_other_weights_are_not_calibrated(tmp_path: Path) -> None:
    name = "gated_hg_1s_68.people"
    trained = gatedpose.create_model(name, pretrained=True)
    file = create_file(tmp_path)
    assert calibration_of(trained) == calibration_of(copy.deepcopy(trained)) is not None
    assert calibration_of(timm.create_model(name, pretrained=True)) is not None
    gatedpose.load_weights(trained, file)
    fresh = gatedpose.create_model(name, pretrained=True)
    fresh.reset_classifier(19)
    others = (
        trained,
        fresh,
        gatedpose.create_model(name),
        gatedpose.create_model(name, checkpoint_path=file),
        timm.create_model(name),
    )
    for model in others:
        assert calibration_of(model) is None
        assert skeleton_of(model) == PEOPLE19


def create_file(folder: Path) -> Path:
    """Weights of nobody's."""
    save_model(gatedpose.create_model("gated_hg_1s_68", num_keypoints=19), folder / "m", PEOPLE19)
    return folder / "m" / "model.safetensors"
