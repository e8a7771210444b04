"""COCO's format of results, and AP by the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import gatedpose
from gatedpose.cli import main
from gatedpose.data.coco import coco
from gatedpose.errors import DatasetError
from gatedpose.evaluation.coco_results import (
    load_results,
    oks_ap,
    save_results,
    score_results,
    to_results,
)
from gatedpose.models.saved import save_model
from gatedpose.skeleton import COCO17


@pytest.fixture
def folder(fixtures: Path, tmp_path: Path) -> Path:
    """COCO's layout about four of its photos and their annotations."""
    (tmp_path / "annotations").mkdir()
    truth = tmp_path / "annotations" / "person_keypoints_val2017.json"
    truth.write_bytes((fixtures / "coco_images" / "test_coco.json").read_bytes())
    (tmp_path / "val2017").symlink_to(fixtures / "coco_images")
    return tmp_path


def run(*arguments: object) -> dict[str, Any]:
    told = CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--json"])
    assert told.exit_code == 0, told.output
    facts: dict[str, Any] = json.loads(told.output)
    return facts


def test_the_truth_as_results_is_perfect(folder: Path) -> None:
    people = coco(folder, "val", check_images=False)
    keypoints = np.stack([person.keypoints for person in people])
    results = to_results(people, keypoints, np.linspace(0, 1, keypoints.size // 2).reshape(-1, 17))
    annotated = json.loads(
        (folder / "annotations" / "person_keypoints_val2017.json").read_text("utf-8")
    )["annotations"]
    first = next(a for a in annotated if f"/{a['image_id']}/{a['id']}" in people[0].id)
    labelled = np.array(first["keypoints"]).reshape(17, 3)
    seen = labelled[:, 2] > 0
    triples = np.array(results[0]["keypoints"]).reshape(17, 3)
    np.testing.assert_allclose(triples[seen, :2], labelled[seen, :2], atol=1e-3)
    assert results[0]["image_id"] == first["image_id"]
    assert results[0]["score"] == pytest.approx(
        np.linspace(0, 1, len(people) * 17)[:17].mean(), abs=1e-6
    )

    save_results(results, folder / "truth.json")
    assert load_results(folder / "truth.json") == results
    facts = run("--predictions", folder / "truth.json", "--dataset", "coco", "--data", folder)
    assert facts["mean"] == facts["columns"]["AP"] == facts["columns"]["AR"] == 100
    assert facts["metric"] == "OKS AP"
    assert "per_joint" not in facts


def test_noised_results_score_what_pycocotools_says(folder: Path) -> None:
    people = coco(folder, "val", check_images=False)
    rng = np.random.default_rng(0)
    keypoints = np.stack([person.keypoints for person in people])
    noised = keypoints + rng.normal(0, 5, keypoints.shape)
    results = to_results(people, noised, rng.random(keypoints.shape[:2]))
    truth = folder / "annotations" / "person_keypoints_val2017.json"
    score, stats = score_results(truth, results), oks_ap(truth, results)
    assert 10 < score.mean < 99
    assert score.mean == 100 * stats["AP"]
    assert list(score.columns) == list(stats)
    assert score.counted == len(people)


def test_a_network_and_its_saved_results_score_the_same(folder: Path) -> None:
    model = gatedpose.create_model("gated_hg_1s_68", num_keypoints=17)
    save_model(model, folder / "model", COCO17)
    where = "--dataset", "coco", "--data", folder
    saved = folder / "results.json"
    fresh = run(f"local-dir:{folder / 'model'}", *where, "--size", 64, "--save", saved)
    again = run("--predictions", saved, *where)
    assert fresh["columns"] == again["columns"]
    assert fresh["people"] == len(json.loads(saved.read_text("utf-8")))
    text = CliRunner().invoke(main, ["evaluate", "--predictions", str(saved), *map(str, where)])
    assert "OKS AP" in text.output
    assert "AP .5" in text.output


GOOD = {"image_id": 785, "category_id": 1, "keypoints": [1.0] * 51, "score": 0.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "'results' must be a list of objects, got dict"),
        ([GOOD, {**GOOD, "keypoints": [1]}], r"results\[1\], field 'keypoints': must have shape"),
        ([{**GOOD, "category_id": 2}], "field 'category_id': must be one of"),
        ([{k: v for k, v in GOOD.items() if k != "score"}], "field 'score': is missing"),
        ([{**GOOD, "score": float("nan")}], "field 'score': holds values that are not finite"),
    ],
)
def test_bad_results_are_named(content: object, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        load_results(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "p.npz"], "predictions for COCO are a .json file of COCO's results"),
        (["gated_hg_1s_68", "--threshold", "0.1"], "COCO's AP takes no --threshold"),
        (["gated_hg_1s_68", "--save", "p.npz"], "predictions are saved as .json"),
    ],
)
def test_other_formats_are_refused(folder: Path, arguments: list[str], message: str) -> None:
    where = ["--dataset", "coco", "--data", str(folder)]
    told = CliRunner().invoke(main, ["evaluate", *arguments, *where])
    assert told.exit_code != 0
    assert message in told.output


def test_numbers_that_are_text_are_numbers(folder: Path, tmp_path: Path) -> None:
    path = folder / "annotations" / "person_keypoints_val2017.json"
    truth = json.loads(path.read_text())
    results, people = [], [row for row in truth["annotations"] if any(row["keypoints"])]
    for row in people:
        keypoints = list(map(str, row["keypoints"]))
        result = {"image_id": row["image_id"], "category_id": 1}
        results.append({**result, "keypoints": keypoints, "score": "0.9"})
        row["keypoints"], row["area"] = keypoints, "12"
        row["bbox"] = list(map(str, row["bbox"]))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "results.json").write_text(json.dumps(results))
    score = score_results(tmp_path / "truth.json", load_results(tmp_path / "results.json"))
    assert score.mean == 100
