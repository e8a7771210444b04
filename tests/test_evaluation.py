"""Scores from whole images, by the predictor that users call."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gatedpose.data.samples import Sample
from gatedpose.evaluation import evaluate
from gatedpose.geometry import crop_matrices, keypoints_to_box, transform_points
from gatedpose.heatmaps import encode
from gatedpose.network import HeatmapNetwork
from gatedpose.predictor import Predictor
from gatedpose.skeleton import COCO17, LSP14, Skeleton


class Told(HeatmapNetwork):
    """A network that is told where the joints of the next crops are."""

    def __init__(self, crop_points: Tensor) -> None:
        super().__init__(crop_points.shape[1], 3, 4, 1, 4)
        self.stem = nn.Conv2d(3, 4, 1)
        self.crop_points, self.seen = crop_points, 0

    def forward(self, images: Tensor) -> Tensor:
        points = self.crop_points[self.seen : self.seen + len(images)]
        self.seen += len(images)
        return encode(points, (64, 64), 1.5).unsqueeze(1)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Three people of LSP's joints on plain pictures; the second lacks two labels."""
    generator = np.random.default_rng(0)
    people = []
    for number in range(3):
        image = tmp_path / f"{number}.png"
        Image.new("RGB", (150, 120 + number)).save(image)
        keypoints = generator.uniform(10, 110, (14, 2)).astype(np.float32)
        labelled = np.ones(14, dtype=bool)
        labelled[[0, 5]] = number != 1
        box = keypoints_to_box(torch.from_numpy(keypoints), torch.from_numpy(labelled)).numpy()
        people.append(Sample(f"x/{number}", image, keypoints, labelled, box, LSP14))
    return people


def told(samples: list[Sample]) -> Told:
    boxes = torch.from_numpy(np.stack([sample.box for sample in samples]))
    points = torch.from_numpy(np.stack([sample.keypoints for sample in samples]))
    return Told(transform_points(crop_matrices(boxes, (256, 256)), points))


def test_the_truth_scores_100_and_an_error_is_counted(
    samples: list[Sample], tmp_path: Path
) -> None:
    right = evaluate(Predictor(told(samples), LSP14, batch_size=2), samples, progress=False)
    assert right.score.mean == 100.0
    assert right.score.counted == 3 * 14 - 2
    assert right.ids == ("x/0", "x/1", "x/2")
    seen = np.stack([sample.labelled for sample in samples])
    truth = np.stack([sample.keypoints for sample in samples])
    assert np.abs(right.keypoints - truth)[seen].max() < 0.05

    model = told(samples)
    model.crop_points[2, 4] = 250.0  # one knee far away
    wrong = evaluate(Predictor(model, LSP14), samples, progress=False)
    assert wrong.score.mean == pytest.approx(100 * 39 / 40)

    right.save(tmp_path / "raw.npz")
    raw = np.load(tmp_path / "raw.npz")
    np.testing.assert_array_equal(raw["keypoints"], right.keypoints)
    assert raw["ids"].tolist() == list(right.ids)
    assert raw["scores"].shape == (3, 14)


def test_other_joints_are_refused(samples: list[Sample]) -> None:
    other = Skeleton("other", LSP14.joints[::-1], (), ())
    for skeleton in (COCO17, other):
        model = Told(torch.zeros(1, skeleton.num_keypoints, 2))
        with pytest.raises(ValueError, match=r"the network predicts .*, the data has lsp14"):
            evaluate(Predictor(model, skeleton), samples, progress=False)
