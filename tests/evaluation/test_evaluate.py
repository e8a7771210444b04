"""Scores from whole images, by the predictor that users call."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.io import savemat
from torch import Tensor, nn

from gatedpose.cli import main
from gatedpose.data.samples import Sample
from gatedpose.errors import InputError
from gatedpose.evaluation.predictions import load_confidences, load_predictions
from gatedpose.evaluation.run import evaluate, labelled_of, score_people
from gatedpose.geometry import crop_matrices, keypoints_to_box, transform_points
from gatedpose.heatmaps import encode
from gatedpose.models.base import HeatmapNetwork
from gatedpose.predict.predictor import Predictor
from gatedpose.skeleton import COCO17, LSP14, MPII16, Skeleton


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


def test_the_truth_scores_100_and_an_error_is_counted(samples: list[Sample]) -> None:
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


def test_joints_that_are_not_predicted_are_not_scored(
    samples: list[Sample], tmp_path: Path
) -> None:
    model = Told(torch.zeros(len(samples), 17, 2))
    found = evaluate(Predictor(model, COCO17), samples, progress=False)
    missing = [LSP14.joints.index(name) for name in ("neck", "head top")]
    assert np.isnan(found.keypoints[:, missing]).all()
    assert [k for k in range(14) if np.isnan(found.score.per_joint[k])] == missing
    found.save(tmp_path / "p.npz")
    again = load_predictions(tmp_path / "p.npz", samples)
    np.testing.assert_array_equal(again, found.keypoints)
    known = np.isfinite(again).all(axis=(0, 2))
    score = score_people(labelled_of(samples, known), again)
    assert (score.mean, score.counted) == (found.score.mean, found.score.counted)
    again[1, 0, 0] = np.nan  # of one person alone
    for wrong in (again, np.full_like(again, np.nan)):
        np.save(tmp_path / "p.npy", wrong)
        with pytest.raises(InputError, match=r"of person \d \(of 3\) are no finite numbers"):
            load_predictions(tmp_path / "p.npy", samples)
    strange = Skeleton("strange", tuple(f"joint {k}" for k in range(17)), (), ())
    with pytest.raises(ValueError, match="strange and lsp14 share no joint"):
        evaluate(Predictor(model, strange), samples, progress=False)


def test_joints_in_another_order_are_found_by_name(samples: list[Sample]) -> None:
    model = told(samples)
    model.crop_points = model.crop_points.flip(1)
    other = Skeleton("other", LSP14.joints[::-1], (), ())
    assert evaluate(Predictor(model, other), samples, progress=False).score.mean == 100


def test_mpii_joints_are_scored_on_lsp(samples: list[Sample]) -> None:
    model = told(samples)
    lsp = model.crop_points
    nowhere = torch.full((3, 2, 2), 128.0)  # pelvis and thorax, which LSP has not
    model = Told(torch.cat((lsp[:, :6], nowhere, lsp[:, 12:], lsp[:, 6:12]), dim=1))
    found = evaluate(Predictor(model, MPII16), samples, progress=False)
    assert found.score.mean == 100
    assert found.keypoints.shape == (3, 14, 2)
    assert found.scores.shape == (3, 14)


# Predictions made elsewhere


def store(path: Path, keypoints: np.ndarray, ids: list[str] | None) -> Path:
    named = {"keypoints": keypoints} | ({} if ids is None else {"ids": np.array(ids)})
    if path.suffix == ".npz":
        np.savez(path, **named)
    elif path.suffix == ".npy":
        np.save(path, keypoints)
    elif path.suffix == ".mat":
        savemat(path, {"preds": keypoints})
    else:
        path.write_text(json.dumps({key: value.tolist() for key, value in named.items()}))
    return path


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".json", ".mat"])
def test_stored_predictions_come_back(suffix: str, samples: list[Sample], tmp_path: Path) -> None:
    keypoints = np.random.default_rng(3).uniform(0, 100, (3, 14, 2))
    path = store(tmp_path / f"p{suffix}", keypoints, None)
    np.testing.assert_allclose(load_predictions(path, samples), keypoints)
    np.testing.assert_allclose(load_predictions(path, samples, -0.5), keypoints - 0.5)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_ids_put_predictions_in_order(suffix: str, samples: list[Sample], tmp_path: Path) -> None:
    keypoints = np.random.default_rng(3).uniform(0, 100, (3, 14, 2))
    path = store(tmp_path / f"p{suffix}", keypoints, ["x/2", "x/0", "x/1"])
    np.testing.assert_allclose(load_predictions(path, samples), keypoints[[1, 2, 0]])


def test_what_evaluate_saves_scores_the_same(samples: list[Sample], tmp_path: Path) -> None:
    result = evaluate(Predictor(told(samples), LSP14), samples, progress=False)
    result.save(tmp_path / "raw.npz")
    again = load_predictions(tmp_path / "raw.npz", samples[::-1])
    np.testing.assert_array_equal(again, result.keypoints[::-1])
    assert score_people(samples[::-1], again) == result.score
    scores = load_confidences(tmp_path / "raw.npz", samples[::-1])
    np.testing.assert_array_equal(scores, result.scores[::-1])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "p.npz",
            {"keypoints": (3, 14, 2), "ids": ["x/0", "x/1", "y"]},
            "missing: x/2; unknown: y",
        ),
        ("p.npz", {"keypoints": (3, 14, 2), "ids": ["x/0", "x/1", "x/1"]}, "missing: x/2"),
        ("p.npz", {"keypoints": (2, 14, 2), "ids": ["x/0", "x/1", "x/2"]}, "3 ids for 2 pred"),
        ("p.npz", {"points": (3, 14, 2)}, "holds points, but no 'keypoints'"),
        ("p.npy", (3, 16, 2), r"must be \(N, K, 2\) = \(3, 14, 2\), got \(3, 16, 2\)"),
        ("p.npy", b"", "cannot be read as NumPy's .npy"),
        ("p.npz", b"PK\x03\x04 cut", "cannot be read as NumPy's .npz"),
        ("p.json", b'{"points": []}', "holds points, but no 'keypoints'"),
        ("p.json", b'{"keypoints": [[1, "a"]]}', "keypoints must be numbers"),
        ("p.json", b"[1", "cannot be read as JSON"),
        ("p.mat", b"MATLAB", "cannot be read as a MATLAB file with 'preds'"),
        ("p.csv", b"1,2", r"\.npz, \.npy, \.json or \.mat, not '\.csv'"),
    ],
)
def test_bad_predictions_are_named(
    name: str, content: object, message: str, samples: list[Sample], tmp_path: Path
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(
            path, **{k: np.zeros(v) if isinstance(v, tuple) else v for k, v in content.items()}
        )
    else:
        np.save(path, np.zeros(content))
    with pytest.raises(ValueError, match=message) as caught:
        load_predictions(path, samples)
    assert name in str(caught.value)


def test_what_unpacks_to_far_more_is_refused(samples: list[Sample], tmp_path: Path) -> None:
    path = tmp_path / "p.npz"
    np.savez_compressed(path, keypoints=np.zeros(10**7, np.uint8))
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"keypoints\.npy unpacks to 10,000,128 bytes, more than"):
        load_predictions(path, samples)


def test_flipped_bits_are_named_or_do_no_harm(samples: list[Sample], tmp_path: Path) -> None:
    path, draw, named = tmp_path / "p.npz", np.random.default_rng(0), 0
    np.savez_compressed(path, keypoints=np.arange(84.0).reshape(3, 14, 2))
    good = path.read_bytes()
    for _ in range(200):
        data = bytearray(good)
        data[draw.integers(len(data))] ^= 1 << draw.integers(8)
        path.write_bytes(data)
        try:
            found = load_predictions(path, samples)
        except InputError:
            named += 1
        else:
            np.testing.assert_array_equal(found, np.arange(84.0).reshape(3, 14, 2))
    assert named > 100


def test_pickled_predictions_are_refused(samples: list[Sample], tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        load_predictions(tmp_path / "p.npy", samples)


# The metric is that of the joints


def people_of(skeleton: Skeleton, head: bool) -> list[Sample]:
    keypoints = np.random.default_rng(4).uniform(0, 100, (2, skeleton.num_keypoints, 2))
    labelled = np.ones(skeleton.num_keypoints, dtype=bool)
    labelled[3] = False
    head_box = np.array([0, 0, 30, 40], dtype=np.float32) if head else None  # head size 30
    box = np.array([10, 10, 110, 60], dtype=np.float32)
    return [
        Sample(f"x/{i}", Path("x"), keypoints[i], labelled, box, skeleton, head_box)
        for i in range(2)
    ]


def test_mpii_joints_are_scored_by_pckh() -> None:
    people = people_of(MPII16, head=True)
    pred = np.stack([person.keypoints for person in people])
    pred[0, 0, 0] += 15.1
    pred[:, 3] += 100  # without label
    score = score_people(people, pred)
    assert score.metric == "PCKh@0.5 (hrnet)"
    assert score.counted == 30
    assert score.per_joint[0] == 50
    assert score.mean == pytest.approx(100 * 25 / 26)
    official = score_people(people, pred, 0.52, averaging="official")
    assert (official.metric, official.mean) == ("PCKh@0.52 (official)", 100)
    with pytest.raises(
        ValueError, match=r"head boxes; 1 of 2 people have none, such as x/1; .*our_format\.mat"
    ):
        score_people([people[0], people_of(MPII16, head=False)[1]], pred)


def test_other_metrics_have_no_averaging(samples: list[Sample]) -> None:
    truth = np.stack([sample.keypoints for sample in samples])
    with pytest.raises(InputError, match=r"averaging 'official' is of PCKh.*lsp14 is scored by"):
        score_people(samples, truth, averaging="official")
    words = ["evaluate", "--predictions", __file__, "--dataset", "coco", "--data", "x"]
    told = CliRunner().invoke(main, [*words, "--averaging", "hrnet"])
    assert told.exit_code == 2
    assert "--averaging does not go with COCO's AP: it is of PCKh" in told.output


PAWS = Skeleton("paws", tuple(f"paw {k}" for k in range(17)), (), ())


@pytest.mark.parametrize("skeleton", [PAWS, LSP14, COCO17], ids=lambda skeleton: skeleton.name)
def test_people_without_a_torso_are_scored_against_the_box(skeleton: Skeleton) -> None:
    """Other joints than people's, and own portraits for example: nobody's hips are labelled."""
    hips = [k for k, name in enumerate(skeleton.joints) if "hip" in name]
    people = people_of(skeleton, head=False)
    for person in people:
        person.labelled[hips] = False
    pred = np.stack([person.keypoints for person in people])
    pred[0, 0, 0] += 19.9  # the longer side is 100
    pred[1, 0, 0] += 20.1
    score = score_people(people, pred)
    assert score.metric == "PCK@0.2 (normaliser: longer side of the box)"
    assert score.per_joint[0] == 50
    assert score.counted == sum(person.labelled.sum() for person in people)
    assert score_people(people, pred, 0.21).mean == 100
    people[1].labelled[hips] = True
    assert ("longer side" in score_people(people, pred).metric) == (skeleton == PAWS)


def test_errors_of_scoring_come_before_the_work(samples: list[Sample]) -> None:
    people = people_of(MPII16, head=False)  # of pictures that are not there
    predictor = Predictor(Told(torch.zeros(2, 16, 2)), MPII16)
    with pytest.raises(InputError, match="PCKh needs head boxes"):
        evaluate(predictor, people, progress=False)


def test_published_predictions_by_the_command(fixtures: Path, tmp_path: Path) -> None:
    table = {"hrnet": 87.299, "official": 86.757, "pooled16": 88.196}
    predictions = tmp_path / "PREDS.MAT"  # pixels from (1, 1), whatever the suffix's case
    predictions.symlink_to(fixtures / "mpii" / "bearpaw-hg_s2_b1.mat")
    for averaging, mean in table.items():
        result = CliRunner().invoke(
            main,
            ["evaluate", "--dataset", "mpii", "--data", str(fixtures / "mpii"), "--json",
             "--predictions", str(predictions), "--averaging", averaging],
        )  # fmt: skip
        assert result.exit_code == 0, result.output
        facts = json.loads(result.stdout)
        assert facts["people"] == 2958
        assert facts["mean"] == pytest.approx(mean, abs=1e-3)
