"""COCO's format of results, and AP by the command."""

import json
import math
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
    tell_lacking,
    to_results,
)
from gatedpose.models.saved import save_model
from gatedpose.skeleton import COCO17, LSP14, PEOPLE19, Skeleton


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


def test_joints_that_are_not_predicted_are_missed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    people = coco(folder, "val", check_images=False)
    keypoints = np.stack([person.keypoints for person in people])
    keypoints[:, :5] = np.nan  # as of LSP's 14 joints, which have no face
    results = to_results(people, keypoints, np.ones(keypoints.shape[:2]))
    assert "as missed: nose, left eye, right eye, left ear, right ear" in caplog.text
    assert results[0]["keypoints"][:2] == [0, 0]
    save_results(results, folder / "truth.json")
    truth = folder / "annotations" / "person_keypoints_val2017.json"
    assert 0 < score_results(truth, load_results(folder / "truth.json")).mean < 60


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
        ([{**GOOD, "category_id": None}], "'category_id': must be a number or a name, got None"),
        ([{k: v for k, v in GOOD.items() if k != "score"}], "field 'score': is missing"),
        ([{**GOOD, "score": float("nan")}], "field 'score': holds values that are not finite"),
    ],
)
def test_bad_results_are_named(content: object, message: str, tmp_path: Path) -> None:
    coco_truth(tmp_path / "truth.json")
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=message):
        score_results(tmp_path / "truth.json", load_results(tmp_path / "r.json"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--predictions", "{folder}/p.npz"],
            "predictions for COCO are a .json file of COCO's results",
        ),
        (["gated_hg_1s_68", "--threshold", "0.1"], "COCO's AP takes no --threshold"),
        (["gated_hg_1s_68", "--save", "p.npz"], "predictions are saved as .json"),
    ],
)
def test_other_formats_are_refused(folder: Path, arguments: list[str], message: str) -> None:
    (folder / "p.npz").touch()
    words = ["--dataset", "coco", "--data", "{folder}", *arguments]
    told = CliRunner().invoke(main, ["evaluate", *(word.format(folder=folder) for word in words)])
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


# Object keypoint similarity

COCO_SIGMAS = [26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]  # / 1000


def coco_truth(path: Path, people: int = 12) -> list[dict[str, object]]:
    """Writes annotations of people in four images, and returns them."""
    rng = np.random.default_rng(0)
    annotations = []
    for number in range(people):
        side = 60 + 10 * number
        points = np.round(rng.uniform(0, side, (17, 2)) + 100)
        seen = np.where(rng.random((17, 1)) < 0.8, 2, 0)
        keypoints = np.concatenate((points * (seen > 0), seen), axis=1)
        annotations.append(
            {
                "id": number + 1,
                "image_id": number // 3 + 1,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": [100 + 400 * (number % 3), 100, side, side],
                "area": side * side * 0.6,
                "num_keypoints": int((seen > 0).sum()),
                "keypoints": keypoints.reshape(-1).tolist(),
            }
        )
    images = [{"id": i + 1, "width": 1600, "height": 400} for i in range(4)]
    categories = [{"id": 1, "name": "person", "keypoints": [str(k) for k in range(17)]}]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return annotations


def similarity(annotation: dict, keypoints: np.ndarray) -> float:
    """OKS as its definition says, apart from pycocotools."""
    given = np.array(annotation["keypoints"]).reshape(17, 3)
    spread = 2 * np.array(COCO_SIGMAS) / 1000
    square = ((given[:, :2] - keypoints) ** 2).sum(axis=1)
    each = np.exp(-square / (2 * annotation["area"] * spread**2))
    return float(each[given[:, 2] > 0].mean())


def results_of(annotations: list[dict], noise: float) -> list[dict[str, object]]:
    rng = np.random.default_rng(1)
    return [
        {
            "image_id": a["image_id"],
            "category_id": 1,
            "score": float(rng.random()),
            "keypoints": (
                np.array(a["keypoints"]).reshape(17, 3) + rng.normal(0, noise, (17, 3)) * (1, 1, 0)
            ).reshape(-1).tolist(),
        }
        for a in annotations
    ]  # fmt: skip


def test_recall_follows_the_definition_of_similarity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = coco_truth(tmp_path / "truth.json", people=4)
    lone = [a for a in annotations if a["image_id"] == 2]  # one person in this image
    noised = results_of(annotations, 6.0)
    stats = oks_ap(tmp_path / "truth.json", noised)
    assert 0 < stats["AP"] < 1
    assert capsys.readouterr().out == ""
    score = score_results(tmp_path / "truth.json", noised)
    assert (score.mean, score.counted) == (100 * stats["AP"], 4)
    assert list(score.columns) == list(stats)
    assert math.isnan(score.columns["AP (L)"])  # nobody is as large
    own = [r for r in noised if r["image_id"] == 2]
    sure = similarity(lone[0], np.array(own[0]["keypoints"]).reshape(17, 3)[:, :2])
    truth = json.loads((tmp_path / "truth.json").read_text())
    truth["annotations"] = lone
    (tmp_path / "lone.json").write_text(json.dumps(truth))
    found = sum(sure >= threshold for threshold in np.linspace(0.5, 0.95, 10)) / 10
    assert oks_ap(tmp_path / "lone.json", own)["AR"] == pytest.approx(found)


def test_tables_as_programs_write_them_are_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No area, no counts, crowds in words, people of another category than 1, a root of it."""
    path = tmp_path / "truth.json"
    annotations = coco_truth(path, people=4)
    noised = results_of(annotations, 6.0)
    truth = json.loads(path.read_text())
    for row in truth["annotations"]:
        row["area"] = row["bbox"][2] * row["bbox"][3]
    path.write_text(json.dumps(truth))
    expected = oks_ap(path, noised)
    assert caplog.messages == []
    for row in truth["annotations"]:
        row |= {"category_id": 7, "iscrowd": "0"}
        del row["area"], row["num_keypoints"]
    root = {"id": 1, "name": "root", "supercategory": "none"}
    person = {"id": 7, "name": "person", "keypoints": [str(k) for k in range(17)]}
    box = {"id": 90, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    crowd = {**box, "id": 91, "category_id": 7, "iscrowd": "true", "keypoints": None}
    truth["annotations"] += [box, crowd]
    path.write_text(json.dumps({**truth, "categories": [root, person]}))
    assert oks_ap(path, noised) == pytest.approx(expected)
    read = "people to score by read: 5; left out: 1 of another category"
    assert caplog.messages == [f"{path}: {read}; assumed: 4 without an area have that of their box"]


def test_an_area_of_0_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "truth.json"
    noised = results_of(coco_truth(path, people=4), 6.0)
    truth = json.loads(path.read_text())
    for row in truth["annotations"]:
        row["area"] = row["bbox"][2] * row["bbox"][3]
    path.write_text(json.dumps(truth))
    expected = oks_ap(path, noised)
    for row in truth["annotations"]:
        row["area"] = 0
    path.write_text(json.dumps(truth))
    assert oks_ap(path, noised) == pytest.approx(expected)
    assert "4 without an area have that of their box" in caplog.text


def test_real_annotations_noised_score_what_pycocotools_prints(
    fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    path = fixtures / "coco_images" / "test_coco.json"
    annotations = [a for a in json.loads(path.read_text())["annotations"] if a["num_keypoints"] > 0]
    noised = results_of(annotations, 4.0)
    stats = oks_ap(path, noised)
    annotated = COCO(str(path))
    run = COCOeval(annotated, annotated.loadRes(noised), "keypoints")
    run.evaluate()
    run.accumulate()
    capsys.readouterr()
    run.summarize()
    printed = [float(line.split("=")[-1]) for line in capsys.readouterr().out.splitlines()]
    assert [round(value, 3) for value in stats.values()] == printed
    assert list(stats)[:3] == ["AP", "AP .5", "AP .75"]


@pytest.mark.parametrize("ids", [[0, 1, 2], [7, 7, 7]])
def test_ids_of_annotations_do_not_count(ids: list[int], tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    annotations = coco_truth(path, people=3)
    truth = json.loads(path.read_text())
    for row, number in zip(truth["annotations"], ids, strict=True):
        row["id"] = number
    path.write_text(json.dumps(truth))
    stats = oks_ap(path, results_of(annotations, 0))
    assert stats["AP"] == stats["AR"] == 1


@pytest.mark.parametrize("part", ["images", "annotations", "results"])
def test_image_ids_as_text(part: str, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    results = results_of(coco_truth(path, people=3), 0)
    truth = json.loads(path.read_text())
    key = "id" if part == "images" else "image_id"
    for row in results if part == "results" else truth[part]:
        row[key] = str(row[key])
    path.write_text(json.dumps(truth))
    stats = oks_ap(path, results)
    assert stats["AP"] == stats["AR"] == 1


@pytest.mark.parametrize("kind", [np.int64, float, np.float32])
def test_image_ids_of_other_kinds(kind: type, tmp_path: Path) -> None:
    results = results_of(coco_truth(tmp_path / "truth.json", people=3), 0)
    made = [{**row, "image_id": kind(row["image_id"])} for row in results]
    assert oks_ap(tmp_path / "truth.json", made)["AP"] == 1


def test_results_of_people_among_others_are_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a network of several categories, by the numbers that the annotations have for them."""
    path = tmp_path / "truth.json"
    people = results_of(coco_truth(path, people=3), 0)
    truth = json.loads(path.read_text())
    for row in (*truth["annotations"], *people):
        row["category_id"] = 2
    truth["annotations"][0]["category_id"] = "2"  # as some programs write it
    dog, person = {"id": 1, "name": "dog"}, {**truth["categories"][0], "id": 2}
    path.write_text(json.dumps({**truth, "categories": [dog, person]}))
    bark = {"image_id": 1, "category_id": 1, "keypoints": [5, 5, 2], "score": 1.0}
    assert oks_ap(path, [bark, *people])["AP"] == 1
    assert "1 of 4 results are of other categories: not scored" in caplog.text
    with pytest.raises(ValueError, match="people are of category 2, results of 3"):
        oks_ap(path, [{**bark, "category_id": 3}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": None}, r"truth\.json: 'categories' must be a list of objects, got None"),
        ({"images": [{"id": 1}]}, r"annotations\[3\], field 'image_id': 2 is the id of none of"),
        ({"annotations": [{"id": 3}]}, r"annotations\[0\], field 'category_id': is missing"),
    ],
)
def test_what_is_wrong_with_the_truth_is_named(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "truth.json"
    results = results_of(coco_truth(path), 0)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DatasetError, match=message):
        oks_ap(path, results)


def test_results_of_another_truth_are_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    good = results_of(coco_truth(path), 0)[0]
    for results, message in (
        ([], "no results"),
        ([{**good, "keypoints": [[1, 2, 2]] * 17}], r"must have shape \(51,\), got \(17, 3\)"),
        ([{**good, "image_id": 77}], r"truth.json has no image 77"),
    ):
        with pytest.raises(ValueError, match=message):
            oks_ap(path, results)


def test_joints_that_results_lack_are_told(caplog: pytest.LogCaptureFixture) -> None:
    kite = Skeleton("kite", ("left tip", "right tip"), (), ())  # a category of one's own
    for skeleton in (COCO17, PEOPLE19, kite):
        tell_lacking(skeleton)
    assert caplog.text == ""
    tell_lacking(LSP14)
    assert (
        "of the 14 of lsp14, without nose, left eye, right eye, left ear, right ear" in caplog.text
    )
