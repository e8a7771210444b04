"""Calls of the page's functions with values that no person would type, as programs send them."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gatedpose.demo import page
from gatedpose.demo.events import CHOOSES, MARKS, Events
from gatedpose.demo.viewer import Finding, PoseFinder

gr = pytest.importorskip("gradio")
NAME = "gated_hg_1s_68.lsp"
NO_BOX = (None,) * 4
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Gradio's, outside of an event


@pytest.fixture(scope="module")
def finder() -> PoseFinder:
    return PoseFinder(NAME)


@pytest.fixture
def photo(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "photo.png"
    Image.new("RGB", (80, 60), "white").save(path)
    return {"path": str(path), "orig_name": "mine.png"}


@pytest.mark.parametrize(
    ("name", "score", "box", "message"),
    [
        (None, 0.2, NO_BOX, "variant must be one of"),
        (NAME, None, NO_BOX, "the score must be a number from 0 to 1, got None"),
        (NAME, float("nan"), NO_BOX, "the score must be a number"),
        (NAME, "x", NO_BOX, "the score must be a number"),
        (NAME, 0.2, ("a", 0, 10, 10), "four numbers of pixels"),
        (NAME, 0.2, (0, 0, 10**400, 10), "four numbers of pixels"),
        (NAME, 0.2, (0, 0, 1e300, 10), "pixels up to 1,000,000"),
        (NAME, 0.2, (0, 0, float("nan"), 10), "pixels up to 1,000,000"),
        (NAME, 0.2, (1, None, 3, 4), "3 are filled in"),
    ],
)
def test_odd_values_are_named(
    finder: PoseFinder, photo: dict[str, str], name: Any, score: Any, box: Any, message: str
) -> None:
    show = Events(finder, Path(photo["path"]).parent).show
    found = show(photo, name, None, score, None, 1, *box)
    assert found[0] is None
    assert message in found[1]


@pytest.mark.parametrize("person", [0, -1, 1.5, float("nan"), "two", 10**9, True])
def test_odd_people_are_named(finder: PoseFinder, photo: dict[str, str], person: Any) -> None:
    show = Events(finder, Path(photo["path"]).parent).show
    assert "people are counted from 1" in show(photo, NAME, 0, 0.2, 0, person, *NO_BOX)[1]


def test_clicks(finder: PoseFinder, photo: dict[str, str]) -> None:
    """Corners of a photo of 80 x 60, which is shown seven times as large."""
    click = Events(finder, Path(photo["path"]).parent).click
    settings = photo, NAME, False, 0.2, False, 1
    first = click([70, 35], MARKS, *settings, *NO_BOX)
    assert first[:5] == [10.0, 5.0, None, None, 1]
    assert "A corner at 10, 5" in first[6]
    second = click([7, 350], MARKS, *settings, 10.0, 5.0, None, None)
    assert second[:4] == [1.0, 5.0, 10.0, 50.0]
    assert second[5].shape == (420, 560, 3)
    assert len(second[7]) == 14
    third = click([70, 35], MARKS, *settings, *second[:4])  # begins anew
    assert third[:4] == [10.0, 5.0, None, None]
    kept = click([70, 35], CHOOSES, *settings, *second[:4])
    assert kept[:5] == [*second[:4], 1]
    for at in ([1], ["a", 2], [float("nan"), 1], None):
        told = click(at, MARKS, *settings, *NO_BOX)
        assert told[:5] == [*NO_BOX, 1]
        assert "No keypoints:" in told[6]


def test_a_click_on_a_person_finds_people_once(
    finder: PoseFinder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skimage.data import astronaut, camera

    grey = np.stack([camera()] * 3, axis=-1)
    picture = Image.fromarray(np.concatenate([astronaut()[:, :400], grey], axis=1))
    picture.save(tmp_path / "two.png")
    photo, runs = {"path": str(tmp_path / "two.png")}, []
    run = PoseFinder.__call__

    def counted(*values: Any, **options: Any) -> Finding:
        runs.append(run(*values, **options))
        return runs[-1]

    monkeypatch.setattr(PoseFinder, "__call__", counted)
    click = Events(finder, tmp_path).click
    for at in ([620, 300], [200, 300]):
        found = click(at, CHOOSES, photo, NAME, False, 0.2, False, 1, *NO_BOX)
        x0, y0, x1, y1 = runs[-1].poses[found[4] - 1].box
        assert x0 < at[0] < x1
        assert y0 < at[1] < y1
        assert found[:4] == [*NO_BOX]
        assert f"heatmaps of person {found[4]}" in found[6]
        assert np.array_equal(found[5], runs[-1].picture)
    assert len(runs) == 2
    assert [len(found.poses) for found in runs] == [2, 2]


def test_sides_that_no_jpeg_has(finder: PoseFinder, photo: dict[str, str]) -> None:
    Image.new("1", (20_000, 10)).save(photo["path"])
    show = Events(finder, Path(photo["path"]).parent).show
    found = show(photo, NAME, False, 0.2, False, None, *NO_BOX)
    assert "mine.png has 20000 x 10 pixels: the page shows sides up to 16384" in found[1]


def test_what_is_asked_while_the_last_is_worked_on_is_not_dropped(finder: PoseFinder) -> None:
    """Gradio passes over an event of the mode "once" while one of its kind runs."""
    built = page.build_page(finder)
    [picture] = [one._id for one in built.blocks.values() if one.elem_id == "picture"]
    events = [event for event in built.config["dependencies"] if picture in event["outputs"]]
    assert len(events) == 8  # photo, example, variant, flip, score, whole, find, click
    assert "once" not in {event["trigger_mode"] for event in events}


def test_an_address_is_not_fetched(finder: PoseFinder) -> None:
    built = page.build_page(finder)
    photo = next(block for block in built.blocks.values() if block.elem_id == "photo")
    for address in ("http://127.0.0.1:1/a.jpg", "https://x.invalid/a.png", "file:///etc/passwd"):
        with pytest.raises(gr.Error, match="must be uploaded"):
            asyncio.run(photo.async_move_resource_to_block_cache(address))
