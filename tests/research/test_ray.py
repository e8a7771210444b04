"""examples/ray_batch_inference.py: workers and drivers that are killed, photos that are broken."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

import gatedpose
from gatedpose.media.demo import demo_image

psutil = pytest.importorskip("psutil")  # accelerate brings it
if importlib.util.find_spec("ray") is None:
    pytest.skip('needs Ray: pip install "gatedpose[scale]"', allow_module_level=True)

SCRIPT = Path(__file__).parents[2] / "examples" / "ray_batch_inference.py"
BATCH = 2


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """40 different cuttings of one photograph."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Image.open(demo_image()).convert("RGB")
    for i in range(40):
        photo.crop((i, 2 * i, 200 + 2 * i, 320)).save(folder / f"{i}.jpg")
    return folder


@pytest.fixture(scope="module")
def script(example: Callable[[str], ModuleType]) -> ModuleType:
    return example("ray_batch_inference")


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(source), str(out), *options]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [*command, "--model", "gated_hg_1s_68.lsp", "--batch-size", str(BATCH)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=300)
    return output


def parts(out: Path) -> dict[Path, int]:
    """Files and when they were written."""
    return {file: file.stat().st_mtime_ns for file in (out / "parts").glob("[!.]*.jsonl")}


def wait_for_parts(process: subprocess.Popen[str], out: Path, wanted: int) -> None:
    while len(parts(out)) < wanted:
        assert process.poll() is None, finish(process)
        time.sleep(0.01)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the driver's actors that hold a network."""
    children = psutil.Process(process.pid).children(recursive=True)
    return [child.pid for child in children if "PoseWorker" in " ".join(_command(child))]


def _command(process: "psutil.Process") -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def read_rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "poses.jsonl").read_text("utf-8").splitlines()]


def kill_all(driver: subprocess.Popen[str]) -> None:
    """The driver; Ray then ends its workers, though not at once."""
    busy = [psutil.Process(pid) for pid in workers(driver)]
    driver.kill()
    driver.wait()
    driver.stdout.close()  # not read: Ray's agents hold the other end for a while
    _, alive = psutil.wait_procs(busy, timeout=30)
    assert not alive


def plain_loop(paths: dict[str, Path], boxes: dict[str, list]) -> dict[str, list[dict]]:
    model = gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True)
    stream = gatedpose.Predictor(model).stream((path, boxes[name]) for name, path in paths.items())
    return {
        name: [pose.to_dict() for pose in poses] for name, poses in zip(paths, stream, strict=True)
    }


def assert_same(poses: list[dict], expected: list[dict]) -> None:
    assert [pose["box"] for pose in poses] == [pose["box"] for pose in expected]
    for pose, other in zip(poses, expected, strict=True):
        ours, theirs = (np.array(list(p["keypoints"].values())) for p in (pose, other))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)  # they are rounded to 1e-3


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the workers have; sums of other numbers of threads differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_killed_drivers_and_workers_lose_and_repeat_nothing(photos: Path, tmp_path: Path) -> None:
    (photos / "7.jpg").write_bytes((photos / "8.jpg").read_bytes()[:700])
    (photos / "9.jpg").unlink()
    table, boxes, out = tmp_path / "a.jsonl", tmp_path / "boxes.json", tmp_path / "out"
    names = [f"photos/{i}.jpg" for i in range(40)]
    table.write_text("".join(json.dumps({"path": name}) + "\n" for name in names))
    people = {name: [[0, 0, 150, 300]] for name in names}
    people |= {
        "photos/2.jpg": [],
        "photos/3.jpg": [[30, 30, 10, 60]],
        "photos/5.jpg": [[20, 10, 170, 310], [0, 0, 150, 300]],
    }
    boxes.write_text(json.dumps(people))

    driver = start(table, out, "--boxes", str(boxes), "--workers", "1")
    wait_for_parts(driver, out, 1)
    kill_all(driver)
    first = parts(out)
    assert 1 <= len(first) < 20
    assert not (out / "poses.jsonl").exists()

    driver = start(table, out, "--boxes", str(boxes))
    wait_for_parts(driver, out, len(first) + 1)
    killed = workers(driver)[0]
    os.kill(killed, signal.SIGKILL)
    second = parts(out)
    output = finish(driver)
    assert driver.returncode == 1, output
    assert f"40 photos in 20 parts, {20 - len(first)} to do" in output
    assert len(second) < 20
    assert not psutil.pid_exists(killed)
    assert len(parts(out)) == 20
    assert first.items() <= second.items() <= parts(out).items()  # nothing is written again

    rows = {row["image"]: row for row in read_rows(out)}
    assert len(read_rows(out)) == 40
    assert list(rows) == sorted(names)
    errors = {name for name, row in rows.items() if "error" in row}
    assert errors == {"photos/3.jpg", "photos/7.jpg", "photos/9.jpg"}
    assert all(rows[name]["error"] in output for name in errors)
    assert "box 0 (30, 30, 10, 60) has no area" in rows["photos/3.jpg"]["error"]
    assert rows["photos/2.jpg"]["poses"] == []
    inhabited = {name: tmp_path / name for name in names if name not in errors and people[name]}
    for name, poses in plain_loop(inhabited, people).items():
        assert_same(rows[name]["poses"], poses)


def test_tables_and_folders_give_the_same_photos(photos: Path, script: ModuleType) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    names = sorted(file.name for file in photos.iterdir())
    pq.write_table(pa.table({"path": names[:25]}), photos / "a.parquet")
    pq.write_table(pa.table({"path": names[25:]}), photos / "b.parquet")
    found = script.find_photos(str(photos), None)
    assert [photo.name for photo in found] == names
    assert script.find_photos(str(photos / "*.parquet"), None) == found


def test_a_part_is_named_by_what_it_is_made_of(photos: Path, script: ModuleType) -> None:
    found = script.find_photos(str(photos), None)
    plan = script.plan_parts(found, "gated_hg_1s_68.lsp", 16, photos)
    assert [len(chosen) for chosen in plan.values()] == [16, 16, 8]
    assert plan == script.plan_parts(found, "gated_hg_1s_68.lsp", 16, photos)
    assert not plan.keys() & script.plan_parts(found, "gated_hg_2s_68.lsp", 16, photos).keys()
    os.utime(found[20].path, (1, 1))  # another photo of the same name
    later = script.plan_parts(found, "gated_hg_1s_68.lsp", 16, photos)
    assert [old == new for old, new in zip(plan, later, strict=True)] == [True, False, True]


@pytest.mark.parametrize(
    ("rows", "boxes", "message"),
    [
        ([], None, "has no rows"),
        ([{"file": "a.jpg"}], None, 'row 1 has no "path"'),
        ([{"path": "a.jpg"}, {"path": "a.jpg"}], None, "a.jpg is there 2 times"),
        ([{"path": "a.jpg"}, {"path": "b.jpg"}], {"a.jpg": []}, "no boxes for b.jpg"),
    ],
)
def test_bad_tables_are_named(
    rows: list[dict], boxes: dict | None, message: str, tmp_path: Path, script: ModuleType
) -> None:
    table, file = tmp_path / "a.jsonl", tmp_path / "boxes.json"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file.write_text(json.dumps(boxes))
    with pytest.raises(ValueError, match=message):
        script.find_photos(str(table), None if boxes is None else file)
