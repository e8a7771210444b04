"""Takes the picture of docs/page.md: `gatedpose demo` with two photographs of scikit-image.

It needs Chromium.

python examples/page_picture.py docs/page.png
"""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright
from skimage.data import astronaut, camera

DEMO = [sys.executable, "-m", "gatedpose", "demo", "--device", "cpu", "--port"]


def look(page: Any, photo: Path, out: Path) -> None:
    """Has a photo looked at twice: the times shown are then those of a network that is warm."""
    page.locator("#photo input[type=file]").set_input_files(photo)
    found = page.locator("#times").filter(has_text="2 people")
    found.wait_for(timeout=120_000)
    page.get_by_role("button", name="Find keypoints").click()
    found.filter(has_text="warm").wait_for()
    page.wait_for_timeout(5_000)  # until all heatmaps are shown
    page.screenshot(path=out, full_page=True)
    Image.open(out).convert("RGB").quantize(256).save(out, optimize=True)  # a third of the bytes


@click.command(help=__doc__)
@click.argument("out", type=Path)
@click.option("--port", default=7871, show_default=True)
def main(out: Path, port: int) -> None:
    """See the top of the file."""
    grey = np.repeat(camera()[..., None], 3, axis=2)
    both = Image.fromarray(np.concatenate((astronaut()[:, :400], grey), axis=1))
    demo = subprocess.Popen([*DEMO, str(port)], stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout
        next(line for line in demo.stdout if "The page is at" in line)
        with TemporaryDirectory() as folder, sync_playwright() as playwright:
            both.save(photo := Path(folder) / "two.png")
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(f"http://127.0.0.1:{port}/")
            look(page, photo, out)
            browser.close()
    finally:
        demo.terminate()
        demo.wait()


if __name__ == "__main__":
    main()
