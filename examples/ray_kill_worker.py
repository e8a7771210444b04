"""Kills a worker of ray_batch_inference.py on the way and compares its poses with the plain loop's.

pip install ".[scale,train]"
python examples/ray_kill_worker.py PHOTOS OUT
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import psutil  # accelerate brings it
import torch

import gatedpose
from gatedpose.media.folders import find_images

SCRIPT = Path(__file__).with_name("ray_batch_inference.py")
MODEL = "gated_hg_1s_68.lsp"


def workers(driver: int) -> list[psutil.Process]:
    """Ray's processes that hold a network."""
    children = psutil.Process(driver).children(recursive=True)
    return [child for child in children if "MapWorker" in child.name() + str(child.cmdline()[:1])]


def times(parts: Path) -> dict[str, int]:
    """When each part was written."""
    return {file.name: file.stat().st_mtime_ns for file in parts.glob("*.jsonl")}


@click.command(help=__doc__)
@click.argument("photos")
@click.argument("out", type=Path)
@click.option("--after", default=20, show_default=True, help="Parts that are there at the kill.")
def main(photos: str, out: Path, after: int) -> None:
    """See the top of the file."""
    command = [sys.executable, str(SCRIPT), photos, str(out), "--model", MODEL, "--workers", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment) as driver:
        while len(before := times(out / "parts")) < after:
            if driver.poll() is not None:
                raise click.ClickException(f"ended before {after} parts were there: is OUT new?")
            time.sleep(0.2)
        victim = workers(driver.pid)[0]
        victim.send_signal(signal.SIGKILL)
    behind = times(out / "parts")
    rows = [json.loads(line) for line in (out / "poses.jsonl").read_text("utf-8").splitlines()]

    torch.set_num_threads(1)
    files = find_images(photos)
    predictor = gatedpose.Predictor(gatedpose.create_model(MODEL, pretrained=True), batch_size=16)
    plain = predictor.stream((file, None) for file in files)
    wanted = {
        file.name: [pose.to_dict() for pose in poses]
        for file, poses in zip(files, plain, strict=True)
    }
    differ = sum(wanted[Path(row["image"]).name] != row.get("poses") for row in rows)
    click.echo(f"exit code {driver.returncode}; worker {victim.pid} got SIGKILL")
    click.echo(f"parts there at the kill: {len(before)} of {len(behind)}")
    click.echo(f"of these written again: {sum(behind[name] != t for name, t in before.items())}")
    click.echo(f"photos, different names: {len(rows)}, {len({row['image'] for row in rows})}")
    click.echo(f"lines that differ from the plain loop: {differ}")


if __name__ == "__main__":
    main()
