"""Visitors of the page at once: every one must be answered, and the server's memory must not grow.

    python tests/load_page.py --rounds 6

prints after each round of visitors how many were answered, how many not, and the server's memory.
Ends with 1 if a visitor was not answered, or memory grew by a third after the second round.
"""

import json
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import click
import httpx
import numpy as np
from PIL import Image

SIZES = ((3000, 4000), (1200, 1600), (2000, 1500), (480, 640), (4000, 2250), (800, 600))


def photos(folder: Path) -> list[Path]:
    """Photographs of noise, as large as phones take them."""
    draw, files = np.random.default_rng(0), []
    for number, (height, width) in enumerate(SIZES):
        small = draw.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8)
        files.append(folder / f"{number}.jpg")
        Image.fromarray(small).resize((width, height)).save(files[-1])
    return files


def visit(page: str, model: str, photo: Path) -> bool:
    """Uploads a photo and asks for the keypoints; whether they came."""
    with httpx.Client(timeout=300) as client:
        sent = client.post(f"{page}/upload", files={"files": (photo.name, photo.read_bytes())})
        file = {"path": sent.json()[0], "meta": {"_type": "gradio.FileData"}}
        data = {"data": [file, model, False, 0.2, None, None, None, None]}
        event = client.post(f"{page}/call/find", json=data).json()["event_id"]
        return "event: complete" in client.get(f"{page}/call/find/{event}").text


def memory(process: int) -> int:
    """Of a process, in MB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 // 2**20


@click.command()
@click.option("--rounds", type=click.IntRange(3, 1000), default=6, show_default=True)
@click.option("--visitors", type=click.IntRange(1, 100), default=8, show_default=True)
@click.option("--model", default="gated_hg_1s_68.lsp", show_default=True)
def main(rounds: int, visitors: int, model: str) -> None:
    """Sends visitors to the page, round by round."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gatedpose.cli", "demo", "--port", str(port)]
    server = subprocess.Popen([*command, "--model", model], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    used, failed = [], 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(visitors) as pool:
        try:
            server.stdout.readline()  # it is there
            files = photos(Path(folder))
            for number in range(rounds):
                some = (files[(number * visitors + i) % len(files)] for i in range(visitors))
                one = partial(visit, f"http://127.0.0.1:{port}/gradio_api", model)
                answers = list(pool.map(one, some))
                failed += answers.count(False)
                used.append(memory(server.pid))
                facts = {"round": number + 1, "answered": sum(answers), "failed": failed}
                click.echo(json.dumps({**facts, "memory_mb": used[-1]}))
        finally:
            server.terminate()
            server.wait()
    sys.exit(bool(failed or used[-1] > used[1] * 4 / 3))


if __name__ == "__main__":
    main()
