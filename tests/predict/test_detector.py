"""Boxes of people from torchvision's detector, and detectors that err."""

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import gatedpose
from gatedpose.errors import DetectorError, UnknownModelError, WeightsError
from gatedpose.predict.detector import detect_people, load_detector
from gatedpose.predict.people import find_people
from gatedpose.predict.predictor import Predictor

H, W = 60, 90


@pytest.fixture
def image() -> Tensor:
    return torch.randint(0, 256, (3, H, W), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def detector_state() -> dict[str, Tensor]:
    """Torchvision's detector without training, but sure that all it sees is people."""
    torch.manual_seed(0)
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    state: dict[str, Tensor] = model.state_dict()
    state["roi_heads.box_predictor.cls_score.bias"][1] = 5
    return state


class Fixed(nn.Module):
    """Answers like a detector of torchvision, always the same."""

    def __init__(self, **answer: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.answer = answer
        self.seen: list[Tensor] = []

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        self.seen += images
        return [self.answer]


def test_people_are_kept_by_label_and_score(image: Tensor) -> None:
    boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 20, 20], [0, 0, 9, 9], [8, 8, 60, 50]])
    labels, scores = torch.tensor([1, 3, 1, 1]), torch.tensor([0.9, 0.8, 0.3, 0.7])
    model = Fixed(boxes=boxes, labels=labels, scores=scores)
    found = detect_people(model, image)
    assert found[:, :4].tolist() == boxes[[0, 3]].tolist()
    assert found[:, 4].tolist() == pytest.approx([0.9, 0.7])
    assert detect_people(model, image, 0.2)[:, :4].tolist() == boxes[[0, 2, 3]].tolist()
    assert detect_people(model, image, 0.95).shape == (0, 5)
    torch.testing.assert_close(model.seen[0], image / 255)


@pytest.mark.slow
def test_weights_from_a_file(
    detector_state: dict[str, Tensor],
    image: Tensor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.save(detector_state, tmp_path / "detector.pth")
    save_file(detector_state, tmp_path / "detector.safetensors")
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None).eval()
    model.load_state_dict(detector_state)
    expected = detect_people(model, image, 0.0)
    assert len(expected)
    for file in ("detector.pth", "detector.safetensors"):
        detect = load_detector(tmp_path / file, min_score=0.0)
        torch.testing.assert_close(find_people(detect, image), expected)
    assert len(find_people(load_detector(tmp_path / "detector.pth", min_score=0.99), image)) == 0

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(
        WeightsError, match=r"download https://\S+907ea3f9\.pth to .*--detector-weights"
    ):
        load_detector()
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (tmp_path / "detector.pth").rename(
        folder / "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth"
    )
    torch.testing.assert_close(find_people(load_detector(min_score=0.0), image), expected)


class Evil:
    """What a pickle may do; weights_only=True refuses it."""

    def __reduce__(self) -> Any:
        return (print, ("never printed",))


def test_bad_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsError, match=r"absent\.pth cannot be read"):
        load_detector(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match=r"absent\.safetensors cannot be read"):
        load_detector(tmp_path / "absent.safetensors")
    for data in (b"", b"no weights", b"\x80\x02}q\x00."):
        (tmp_path / "bad.pth").write_bytes(data)
        with pytest.raises(WeightsError, match=r"bad\.pth (cannot be read|does not fit)"):
            load_detector(tmp_path / "bad.pth")
    torch.save(Evil(), tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth cannot be read as tensors alone"):
        load_detector(tmp_path / "evil.pth")
    assert capsys.readouterr().out == ""
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"list\.pth holds no table of weights but a list"):
        load_detector(tmp_path / "list.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth does not fit fasterrcnn_mobilenet_v3"):
        load_detector(tmp_path / "other.pth")


# Any callable


def test_a_callable_gives_the_boxes(image: Tensor) -> None:
    predictor = Predictor(gatedpose.create_model("gated_hg_1s_68", num_keypoints=14, width=8))
    boxes = [[5.0, 5, 40, 50], [30, 10, 80, 55]]
    seen = []

    def detect(picture: Tensor) -> list[list[float]]:
        seen.append(picture)
        return boxes

    poses = predictor(image.permute(1, 2, 0).numpy(), detect)
    assert [pose.box.tolist() for pose in poses] == boxes
    torch.testing.assert_close(seen[0], image)
    for pose, given in zip(poses, predictor(image, boxes), strict=True):
        np.testing.assert_array_equal(pose.keypoints, given.keypoints)


@pytest.mark.parametrize("nobody", [[], (), np.zeros((0, 4)), torch.zeros(0, 4)])
def test_nobody_is_an_empty_list(nobody: Any, image: Tensor) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=14, width=8)
    predictor = Predictor(model, batch_size=2)
    assert predictor(image, lambda _: nobody) == []
    some = [[5.0, 5, 40, 50]]
    wanted = [
        (image, lambda _: nobody),
        (image, some),
        (image, lambda _: nobody),
        (image, some * 3),
    ]
    assert [len(poses) for poses in predictor.stream(wanted)] == [0, 1, 0, 3]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "a NoneType: boxes must have shape"),
        ([[200, 2, 220, 40]], "a list: .*outside the image of 90 x 60"),
        ({"boxes": [[1, 2, 30, 40]]}, "a dict: boxes must be numbers"),
    ],
)
def test_nonsense_is_named(answer: object, message: str, image: Tensor) -> None:
    def my_detector(picture: Tensor) -> Any:
        return answer

    with pytest.raises(
        DetectorError, match=f"the detector my_detector returned no boxes but {message}"
    ):
        find_people(my_detector, image)


# Downloads


def test_downloads_are_named_and_checked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    detector_state: dict[str, Tensor],
) -> None:
    caplog.set_level("INFO", "gatedpose")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    with pytest.raises(
        UnknownModelError, match="unknown detector 'ssdlite320_mobilenet'; did you mean"
    ):
        load_detector(name="ssdlite320_mobilenet", download=True)
    data = tmp_path / "weights.pth"
    torch.save(detector_state, data)
    digest = hashlib.sha256(data.read_bytes()).hexdigest()[:8]
    source = SimpleNamespace(meta={"_file_size": 19.4})
    monkeypatch.setattr(
        torchvision.models, "get_model_weights", lambda name: SimpleNamespace(DEFAULT=source)
    )
    for file, message in (("altered-00000000.pth", "file:.*invalid hash"), ("none-0.pth", "")):
        source.url = (tmp_path / file).as_uri()
        if message:
            (tmp_path / file).write_bytes(data.read_bytes())
        with pytest.raises(WeightsError, match=f"cannot be downloaded from {message}"):
            load_detector(download=True)
    data.rename(tmp_path / f"good-{digest}.pth")
    source.url = (tmp_path / f"good-{digest}.pth").as_uri()
    load_detector(download=True)
    assert [file.name for file in (tmp_path / "hub" / "checkpoints").iterdir()] == [
        f"good-{digest}.pth"
    ]
    assert "downloading fasterrcnn_mobilenet_v3_large_320_fpn (19 MB) from file:" in caplog.text
