"""Numbers that classes and functions of Python are given, out of their range."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatedpose
from gatedpose.data.boxes import read_boxes
from gatedpose.engines.optimize import optimize
from gatedpose.errors import BoxError, InputError, InputTypeError, VideoError
from gatedpose.evaluation.metrics import pck
from gatedpose.export import export
from gatedpose.heatmaps import encode
from gatedpose.media.images import allow_megapixels
from gatedpose.media.video import VideoWriter
from gatedpose.models.base import HeatmapNetwork
from gatedpose.predict.detector import load_detector
from gatedpose.predict.finder import PersonFinder
from gatedpose.predict.predictor import Predictor
from gatedpose.predict.tracker import Tracker
from gatedpose.skeleton import LSP14

NAN, INF = float("nan"), float("inf")
PICTURE = torch.zeros(3, 60, 80, dtype=torch.uint8)


@pytest.fixture(scope="module")
def model() -> HeatmapNetwork:
    return gatedpose.create_model("gated_hg_1s_68", width=8, depth=2, num_keypoints=14)


@pytest.mark.parametrize(
    "options",
    [
        {"size": (0, 64)}, {"size": (-64, 64)}, {"size": (64.5, 64)}, {"size": 64},
        {"size": (64,)}, {"size": (10**6, 64)}, {"batch_size": 0}, {"batch_size": True},
        {"batch_size": 2.0}, {"batch_size": NAN}, {"workers": -1}, {"workers": 1.5},
        {"workers": True}, {"flip_test": "false"}, {"flip_test": 2},
        {"min_person": NAN}, {"min_person": 2}, {"detector": 5},
    ],
    ids=str,
)  # fmt: skip
def test_options_of_a_predictor(model: HeatmapNetwork, options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^Predictor: (a )?{next(iter(options))}.* got "):
        Predictor(model, LSP14, **options)


@pytest.mark.parametrize("value", ["false", "", 2, None, [True]], ids=repr)
def test_flags_are_true_or_false(value: Any, model: HeatmapNetwork, tmp_path: Path) -> None:
    with pytest.raises(InputTypeError, match="create_model: pretrained must be True or False"):
        gatedpose.create_model("gated_hg_1s_68", pretrained=value)
    with pytest.raises(InputTypeError, match="export: half must be True or False"):
        export(model, tmp_path / "a.onnx", half=value)
    with pytest.raises(InputTypeError, match="optimize: compile must be True or False"):
        optimize(model, compile=value)
    with pytest.raises(InputTypeError, match="load_detector: download must be True or False"):
        load_detector(download=value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sigma", [0, -1.0, NAN, INF, "1", None, 1e-9], ids=repr)
def test_width_of_a_gaussian(sigma: Any) -> None:
    with pytest.raises(InputError, match=r"encode: sigma must be a number from 0\.01 to 100"):
        encode(torch.zeros(2, 3, 2), (4, 6), sigma)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3, 3), (2, 3, 2, 1)])
def test_points_of_a_gaussian(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"encode: points must be \(B, K, 2\), got "):
        encode(torch.zeros(shape), (4, 6), 1.0)


def test_whole_numbers_of_numpy_are_whole(model: HeatmapNetwork) -> None:
    predictor = Predictor(model, LSP14, size=(64, 64), batch_size=np.int64(2))
    [pose] = predictor(PICTURE, "whole")
    assert np.isfinite(pose.keypoints).all()
    with pytest.raises(BoxError, match="boxes must be numbers"):
        predictor(PICTURE, [[0, 0, 10**400, 1]])
    for time in (NAN, INF):
        with pytest.raises(InputError, match="Tracker: time must be a number"):
            Tracker(predictor, boxes=[[0, 0, 9, 9]])(PICTURE, time)
    for options in ({"detect_every": 0}, {"detect_every": NAN}, {"min_confidence": NAN}):
        with pytest.raises(InputError, match=f"Tracker: {next(iter(options))}"):
            Tracker(predictor, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [NAN, INF, -1.0, 1e30])
def test_numbers_of_functions(value: float, model: HeatmapNetwork, tmp_path: Path) -> None:
    points = np.zeros((2, 3, 2))
    with pytest.raises(InputError, match="threshold must be a number from 0 to 1000000"):
        pck(points, points, np.ones(2), threshold=value)
    with pytest.raises(VideoError, match="frames a second"):
        VideoWriter(tmp_path / "a.mp4", value)
    with pytest.raises(InputError, match="allow_megapixels: count must be"):
        allow_megapixels(value)
    for find in (
        lambda: PersonFinder(min_score=value),
        lambda: load_detector(min_score=value),
        lambda: read_boxes(tmp_path / "boxes.json", value),
        lambda: gatedpose.draw(PICTURE, [], min_score=value),
    ):
        with pytest.raises(InputError, match="min_score must be a number from 0 to 1, got"):
            find()
    with pytest.raises(InputError, match=r"export: size, \(height, width\), must be 2 whole"):
        export(model, tmp_path / "a.pt2", "torch-export", size=(value, 64))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="optimize: example_shape must be 4 whole numbers"):
        gatedpose.optimize(model, example_shape=(value, 3, 64, 64))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
