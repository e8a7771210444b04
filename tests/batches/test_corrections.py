"""Wrong labels are found by predictions, written down and kept from training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from gatedpose.batches.corrections import (
    Corrections,
    corrected,
    corrected_samples,
    load_corrections,
)
from gatedpose.batches.crops import Crops
from gatedpose.cli import main
from gatedpose.data.readers import read_dataset
from gatedpose.data.samples import Sample
from gatedpose.errors import DatasetError
from gatedpose.research.judging import Rule, find_corrections
from gatedpose.skeleton import Skeleton
from gatedpose.training import run as training
from gatedpose.training.recipes import RECIPES, Phase
from gatedpose.training.trainer import Trainer

KITE = Skeleton("kite", ("right tip", "left tip", "tail"), ((0, 1),), ((0, 1), (1, 2)))
POINTS = np.array([[0, 0], [100, 0], [50, 80]], dtype=np.float32)
SWAPPED = POINTS[[1, 0, 2]]


def person(name: str, points: np.ndarray, labelled: tuple[bool, ...] = (True,) * 3) -> Sample:
    box = np.array([0, 0, 100, 80], dtype=np.float32)
    return Sample(name, Path("x.jpg"), points.copy(), np.array(labelled), box, KITE)


def find(
    samples: list[Sample], *predicted: np.ndarray, rule: Rule, sure: float = 1.0
) -> Corrections:
    """Corrections by networks that predict each the same for all people."""
    keypoints = np.stack([np.stack([points] * len(samples)) for points in predicted])
    return find_corrections(samples, keypoints, np.full(keypoints.shape[:3], sure), rule)


def test_exchanged_sides_are_found() -> None:
    # Each tip is 1.0 of the box away, 0.25 by the limit: the mean of three joints falls by 1/6.
    samples = [person("right", POINTS), person("wrong", SWAPPED)]
    assert find(samples, POINTS, rule=Rule(better=0.16)) == Corrections(("wrong",), {})
    assert find(samples, POINTS, rule=Rule(better=0.17)).swapped == ()


def test_a_joint_that_is_not_predicted_says_nothing() -> None:
    """Its labels are neither dropped nor in the mean of distances: now of the two tips."""
    unknown = POINTS.copy()
    unknown[2] = np.nan
    samples = [person("wrong", SWAPPED), person("tail", POINTS, (False, False, True))]
    rule = Rule(better=0.24, sure=0.5)
    assert find(samples, unknown, rule=rule) == Corrections(("wrong",), {})


def test_an_exchange_takes_what_is_labelled_along() -> None:
    samples = [person("wrong", SWAPPED, (True, False, True))]
    assert find(samples, POINTS, rule=Rule(better=0.12)).swapped == ("wrong",)  # 0.25 / 2
    [after] = corrected_samples(samples, Corrections(("wrong",), {}))
    assert after.labelled.tolist() == [False, True, True]
    assert after.keypoints.tolist() == POINTS.tolist()
    assert samples[0].labelled.tolist() == [True, False, True]  # what came in stays as it was


def test_an_exchange_takes_what_is_out_of_the_picture_along() -> None:
    """Else a joint would be labelled and absent, and be learnt as one that is not there."""
    absent = np.array([False, True, False])
    sample = replace(person("wrong", SWAPPED, (True, False, True)), absent=absent)
    swap = Corrections(("wrong",), {})
    [after] = corrected_samples([sample], swap)
    arrays = (sample.keypoints, sample.labelled, absent)
    tensors = (torch.from_numpy(values[None].copy()) for values in arrays)
    crops = Crops(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), *tensors, ids=("wrong",))
    assert after.absent_joints.tolist() == [True, False, False]
    assert corrected(crops, swap, KITE).absent.tolist() == [[True, False, False]]
    assert absent.tolist() == [False, True, False]


def test_all_networks_must_agree() -> None:
    samples = [person("doubtful", SWAPPED)]
    assert find(samples, POINTS, SWAPPED, rule=Rule()).swapped == ()
    moved = POINTS + [[0, 0], [0, 0], [0, -40]]  # noqa: RUF005
    samples = [person("tail", moved.astype(np.float32))]
    rule = Rule(sure=0.5)
    assert find(samples, POINTS, rule=rule).dropped == {"tail": ("tail",)}
    assert find(samples, POINTS, moved, rule=rule).dropped == {}


def test_joints_are_dropped_only_where_networks_are_sure_and_far() -> None:
    moved = (POINTS + [[0, 0], [0, 0], [0, -30]]).astype(np.float32)  # noqa: RUF005
    samples = [person("tail", moved), person("unlabelled", moved, (True, True, False))]
    assert find(samples, POINTS, rule=Rule(sure=0.5)).dropped == {"tail": ("tail",)}
    assert find(samples, POINTS, rule=Rule(sure=0.5), sure=0.4).dropped == {}
    assert find(samples, POINTS, rule=Rule(sure=0.5, far=0.31)).dropped == {}
    assert find(samples, POINTS, rule=Rule()).dropped == {}  # by default none is


def test_an_exchange_comes_before_dropping() -> None:
    samples = [person("wrong", SWAPPED)]
    found = find(samples, POINTS, rule=Rule(sure=0.5))
    assert (found.swapped, found.dropped) == (("wrong",), {})


def test_crops_are_corrected_like_samples(tmp_path: Path) -> None:
    corrections = Corrections(("b",), {"a": ("tail",), "b": ("left tip",), "absent": ("tail",)})
    corrections.save(tmp_path / "c.json")
    assert load_corrections(tmp_path / "c.json") == corrections
    samples = [person("a", POINTS), person("b", SWAPPED, (True, True, False)), person("c", POINTS)]
    crops = Crops(
        torch.zeros(3, 3, 4, 4, dtype=torch.uint8),
        torch.from_numpy(np.stack([s.keypoints for s in samples])),
        torch.from_numpy(np.stack([s.labelled for s in samples])),
        ids=("a", "b", "c"),
    )
    after = corrected(crops, corrections, KITE)
    assert after.labelled.tolist() == [[True, True, False], [True, False, False], [True] * 3]
    assert torch.equal(after.keypoints, torch.from_numpy(np.stack([POINTS] * 3)))
    assert crops.labelled.sum() == 8
    for sample, labelled in zip(
        corrected_samples(samples, corrections), after.labelled, strict=True
    ):
        assert sample.labelled.tolist() == labelled.tolist()


def test_whole_pictures_of_a_person_are_corrected_too() -> None:
    samples = [person(name, SWAPPED) for name in ("a", "a/whole", "b/whole", "c/whole")]
    after = corrected_samples(samples, Corrections(("a",), {"a": ("tail",), "b": ("left tip",)}))
    assert [sample.keypoints[0, 0] for sample in after] == [0, 0, 100, 100]
    wanted = [[True, True, False]] * 2 + [[True, False, True], [True] * 3]
    assert [sample.labelled.tolist() for sample in after] == wanted


def test_twice_exchanged_is_as_before() -> None:
    samples = [person("a", POINTS, (True, False, True))]
    swap = Corrections(("a",), {})
    [again] = corrected_samples(corrected_samples(samples, swap), swap)
    assert again.keypoints.tolist() == POINTS.tolist()
    assert again.labelled.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("corrections", "message"),
    [
        (Corrections(("z",), {}), "corrections of z and others, but none of them is here"),
        (Corrections((), {"a": ("nose",)}), "the joints nose, unknown to kite"),
    ],
)
def test_corrections_of_others_are_refused(corrections: Corrections, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        corrected_samples([person("a", POINTS)], corrections)


@pytest.mark.parametrize("fields", [{"better": 0.0}, {"far": -1.0}, {"sure": 1.5}])
def test_rules_out_of_range_are_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="distances must be positive and sure a confidence"):
        Rule(**fields)


@pytest.mark.parametrize("text", ["[]", '{"swapped": ["a"]}', '{"swapped": 3, "dropped": {}}', "x"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"c\.json"):
        load_corrections(path)


@pytest.fixture
def kites(tmp_path: Path) -> Path:
    """Three drawings with the same joints, the second labelled the other way round."""
    folder = tmp_path / "kites"
    (folder / "images").mkdir(parents=True)
    category = {"id": 1, "name": "kite", "keypoints": KITE.joints, "flip_pairs": [KITE.joints[:2]]}
    table: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": [category]}
    for i, points in enumerate((POINTS, SWAPPED, POINTS)):
        Image.new("RGB", (120, 100)).save(folder / "images" / f"{i}.png")
        table["images"].append({"id": i, "file_name": f"{i}.png"})
        keypoints = [value for x, y in points.tolist() for value in (x + 10, y + 10, 2)]
        table["annotations"].append(
            {"id": i, "image_id": i, "category_id": 1, "keypoints": keypoints}
        )
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(table))
    return folder


def clean(*arguments: object, code: int = 0) -> str:
    words = ["data", "clean", "--dataset", "own", *map(str, arguments)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.output


def test_command_writes_what_training_learns_from(
    kites: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = read_dataset("own", kites, "train")
    keypoints = np.stack([samples[0].keypoints] * 3)
    ids = np.array([sample.id for sample in samples])
    file, out, picture = (tmp_path / name for name in ("p.npz", "c.json", "c.png"))
    np.savez(file, ids=ids[::-1], keypoints=keypoints, scores=np.ones((3, 3)))
    given = ("--data", kites, "--predictions", file, "--out", out)
    told = json.loads(clean(*given, "--picture", picture, "--json"))
    assert (told["swapped"], told["dropped"], told["people"], told["labels"]) == (1, 0, 3, 9)
    assert load_corrections(out).swapped == (samples[1].id,)
    with Image.open(picture) as drawn:
        assert drawn.width == 2 * 228 + 4  # one person, before and after
    assert "sides exchanged on 1 of 3 people, 0 of 9 labels dropped" in clean(*given)

    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    seen: list[Crops] = []
    monkeypatch.setattr(Trainer, "run", lambda trainer: seen.append(trainer.crops))
    monkeypatch.setattr(training, "save_model", lambda *_: None)
    recipe = replace(RECIPES["finetune"], init=None, calibrate=4, phases=(Phase(64, 2, 2, 1.0),))
    for name, corrections in (("as they are", None), ("corrected", str(out))):
        chosen = replace(recipe, corrections=corrections)
        training.train("gated_hg_1s_68", chosen, {"own": kites}, tmp_path / name)
    before, after = (crops.keypoints for crops in seen)
    assert not torch.equal(before[0], before[1])
    torch.testing.assert_close(after, before[:1].expand(3, 3, 2))


def test_packaged_corrections_are_of_training_people(real_data: Path) -> None:
    found = load_corrections("lspet")
    people = read_dataset("lspet", real_data / "lspet", "train", check_images=False)
    assert set(found.swapped) <= {person.id for person in people}
    assert len(found.swapped) == 232
    assert not found.dropped


def test_command_tells_errors_in_a_line(kites: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "p.npz", tmp_path / "c.json"
    given = ("--data", kites, "--predictions", file, "--out", out)
    np.savez(file, keypoints=np.zeros((3, 3, 2)))
    assert "p.npz holds keypoints, but no 'scores'" in clean(*given, code=1)
    np.savez(file, keypoints=np.zeros((3, 3, 2)), scores=np.ones((3, 2)))
    assert "scores must be (N, K) = (3, 3), got (3, 2)" in clean(*given, code=1)
    assert "0.0 is not in the range" in clean(*given, "--far", 0, code=2)
    assert not out.exists()
