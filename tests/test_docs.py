"""What the documentation prints is what the package says."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import gatedpose
from gatedpose.checkpoints import WEIGHTS_DIR, weights_table
from gatedpose.data.readers import read_dataset
from gatedpose.metrics import lsp_pck
from gatedpose.reports import model_rows, model_table

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.slow
def test_the_model_table_is_what_list_prints() -> None:
    page = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert model_table(model_rows(gatedpose.list_models())) in page


def test_scores_in_the_readme_are_those_of_the_table() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for name, weights in weights_table().items():
        for split, score in weights.scores.items():
            assert re.search(rf"{name}.*{split}.*{score['mean']:.2f}", readme), (name, split)


@pytest.mark.parametrize("name", list(weights_table()))
def test_weights_come_with_recipe_data_licence_and_scores(name: str) -> None:
    weights = weights_table()[name]
    assert weights.license
    assert weights.data
    assert {"seed", "phases", "optimizer", "lr", "commit"} <= set(weights.recipe)
    for score in weights.scores.values():
        assert set(score["columns"]) >= {"Head", "Shoulder", "Total"}
        assert name in score["command"]
        assert score["people"] > 0
    json.dumps(dict(weights.scores))


@pytest.mark.skipif(not DATA.is_dir(), reason="the datasets are not here")
@pytest.mark.parametrize("name", list(weights_table()))
def test_raw_predictions_give_the_scores(name: str) -> None:
    raw = np.load(WEIGHTS_DIR / f"{name}.predictions.npz")
    for dataset in ("lsp", "lspet"):
        samples = read_dataset(dataset, DATA / dataset, "val")
        assert raw[f"{dataset}_ids"].tolist() == [sample.id for sample in samples]
        target = np.stack([sample.keypoints for sample in samples])
        labelled = np.stack([sample.labelled for sample in samples])
        score = lsp_pck(raw[f"{dataset}_keypoints"], target, labelled)
        published = weights_table()[name].scores[f"{dataset}-val"]
        assert score.mean == pytest.approx(published["mean"], abs=0.05)


@pytest.mark.parametrize("page", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (ROOT / "docs" / target).exists(), target


def test_code_of_the_blocks_page_runs() -> None:
    page = (ROOT / "docs" / "blocks.md").read_text("utf-8")
    names: dict[str, object] = {}
    for code in ("import torch", *re.findall(r"```python\n(.*?)```", page, re.DOTALL)):
        exec(code, names)  # one after the other, as a reader would
    assert tuple(names["heatmaps"].shape) == (2, 1, 17, 32, 48)  # type: ignore[attr-defined]
