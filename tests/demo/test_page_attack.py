"""Calls of the page's functions with values that no person would type, as programs send them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gatedpose.demo import page
from gatedpose.demo.viewer import PoseFinder

gr = pytest.importorskip("gradio")
NAME = "gated_hg_1s_68.lsp"
NO_BOX = (None,) * 4


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
    show = page._shower(finder, Path(photo["path"]).parent)
    found = show(photo, name, None, score, *box)
    assert found[0] is None
    assert message in found[1]


def test_sides_that_no_jpeg_has(finder: PoseFinder, photo: dict[str, str]) -> None:
    Image.new("1", (20_000, 10)).save(photo["path"])
    found = page._shower(finder, Path(photo["path"]).parent)(photo, NAME, False, 0.2, *NO_BOX)
    assert "mine.png has 20000 x 10 pixels: the page shows sides up to 16384" in found[1]


def test_an_address_is_not_fetched(finder: PoseFinder) -> None:
    built = page.build_page(finder)
    photo = next(block for block in built.blocks.values() if block.elem_id == "photo")
    for address in ("http://127.0.0.1:1/a.jpg", "https://x.invalid/a.png", "file:///etc/passwd"):
        with pytest.raises(gr.Error, match="must be uploaded"):
            asyncio.run(photo.async_move_resource_to_block_cache(address))
