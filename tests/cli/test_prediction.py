"""`gatedpose predict` on folders, on several people and on video, as a person uses it."""

import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn

import gatedpose
from gatedpose.cli import film, main
from gatedpose.media.demo import demo_image
from gatedpose.media.video import Frame, VideoWriter, read_video


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def numbers(rows: list[dict[str, Any]]) -> list[np.ndarray]:
    """(N, K, 3) of each picture."""
    return [np.array([list(pose["keypoints"].values()) for pose in row["poses"]]) for row in rows]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five crops of a photograph, of several sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    with Image.open(demo_image()) as photo:
        for number in range(1, 6):
            left = 10 * number
            photo.crop((left, 0, left + 300, 280 + left)).save(folder / f"{number:03d}.png")
    return folder


@pytest.fixture
def film_file(tmp_path: Path) -> Path:
    """A person who moves to the right on a grey wall, 12 frames of 320 x 240 at 12.5 a second."""
    path = tmp_path / "film.mp4"
    with Image.open(demo_image()) as photo, VideoWriter(path, 12.5) as writer:
        person = photo.convert("RGB").resize((150, 150))
        for number in range(12):
            frame = Image.new("RGB", (320, 240), (128, 128, 128))
            frame.paste(person, (10 + 8 * number, 50))
            writer.write(frame)
    return path


@pytest.mark.parametrize("suffix", [".MTS", ".3gp"])
def test_video_of_other_suffixes(suffix: str, film_file: Path, tmp_path: Path) -> None:
    film_file = film_file.rename(film_file.with_suffix(suffix))  # ffmpeg looks at the content
    result = run(film_file, "--out", tmp_path / "drawn.mp4")
    assert result.stdout == f"12 frames, 1 people -> {tmp_path / 'drawn.mp4'}\n"


# Folders


def test_results_are_lines_and_pictures(photos: Path, tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", [str(path) for path in sorted(photos.iterdir())]
    (photos / "notes.txt").touch()
    result = run(photos, "--whole", "--out", out)
    assert result.stdout == f"5 pictures, 5 people -> {out / 'poses.jsonl'}\n"
    assert "5/5" in result.stderr
    assert f"{photos}: 5 pictures; files passed over: 1 .txt\n" in result.stderr
    rows = lines((out / "poses.jsonl").read_text())
    assert [row["image"] for row in rows] == wanted
    assert all(Path(row["picture"]).stat().st_size for row in rows)
    printed = lines(
        run(photos, "--whole", "--out", tmp_path / "other", "--json", "--no-pictures").stdout
    )
    assert [row["poses"] for row in printed] == [row["poses"] for row in rows]
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["poses.jsonl"]


def test_large_photos_are_read_when_allowed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "large.png"
    Image.new("RGB", (1500, 1000), "teal").save(photo)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    failed = run(photo, "--out", tmp_path / "a.png", code=1)
    assert "commands take --max-megapixels" in failed.output
    run(photo, "--out", tmp_path / "a.png", "--max-megapixels", 1.6)
    assert (tmp_path / "a.png").is_file()
    assert "0 is not in the range" in run(photo, "--max-megapixels", 0, code=2).output


def test_results_are_not_overwritten_unasked(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(photos / "001.png", "--out", tmp_path / "one.png")
    run(photos / "00[12].png", "--out", out)
    before = (out / "poses.jsonl").read_bytes()
    failed = run(photos, "--out", out, code=1)
    assert "holds results: go on with --resume, begin anew with --overwrite" in failed.output
    assert (out / "poses.jsonl").read_bytes() == before
    run(photos, "--out", out, "--overwrite")
    assert len(lines((out / "poses.jsonl").read_text())) == 5
    other = tmp_path / "others" / "002.png"
    other.parent.mkdir()
    other.write_bytes(b"another photo")
    failed = run(photos, "--out", other.parent, code=1)
    assert f"{other} is there and would be drawn over" in failed.output
    assert [path.read_bytes() for path in other.parent.iterdir()] == [b"another photo"]
    run(photos, "--out", photos, "--no-pictures")
    assert len(lines((photos / "poses.jsonl").read_text())) == 5


def test_resume_does_what_is_left(photos: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    run(photos, "--whole", "--out", whole, "--coco", whole / "coco.json")
    run(photos, "--whole", "--out", out, "--resume")  # nothing there yet
    log = out / "poses.jsonl"
    kept = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(kept[:3]) + kept[3][:40])  # killed within the fourth line
    drawn = {path: path.stat().st_mtime_ns for path in sorted(out.glob("*.png"))}
    result = run(photos, "--whole", "--out", out, "--resume", "--json", "--coco", out / "coco.json")
    assert len(result.stdout.splitlines()) == 2
    anew = [path.name for path, time in drawn.items() if path.stat().st_mtime_ns != time]
    assert anew == ["004.png", "005.png"]
    rows = lines(log.read_text())
    expected = lines((whole / "poses.jsonl").read_text())
    assert [row["image"] for row in rows] == [row["image"] for row in expected]
    for found, wanted in zip(numbers(rows), numbers(expected), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-3)
    results = [json.loads((folder / "coco.json").read_text()) for folder in (out, whole)]
    assert [row["image_id"] for row in results[0]] == [1, 2, 3, 4, 5]
    for found, wanted in zip(*results, strict=True):
        assert found["keypoints"] == pytest.approx(wanted["keypoints"], abs=2e-3)
    again = run(photos, "--whole", "--out", out, "--resume")
    assert log.read_text() == "".join(json.dumps(row) + "\n" for row in rows)
    assert "5 pictures" in again.stdout

    log.write_bytes(kept[0] + b"nonsense\n" + kept[1])
    failed = run(photos, "--whole", "--out", out, "--resume", code=1)
    assert "poses.jsonl, line 2: no JSON object but b'nonsense'" in failed.output


def test_resume_loses_no_other_picture(photos: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    (out / "001.png").write_bytes(b"another photo")
    failed = run(photos, "--whole", "--out", out, "--resume", code=1)  # nothing to go on with
    assert "is there and would be drawn over" in failed.output
    (out / "001.png").unlink()
    run(photos, "--whole", "--out", out)
    shutil.copytree(photos, other)
    drawn = (out / "001.png").read_bytes()
    failed = run(other, "--whole", "--out", out, "--resume", code=1)
    assert "that of" in failed.output
    assert "would replace it" in failed.output
    assert (out / "001.png").read_bytes() == drawn


def test_coco_replaces_results_only(photos: Path, tmp_path: Path) -> None:
    options = (photos, "--whole", "--no-pictures", "--out", tmp_path / "out", "--coco")
    labels = tmp_path / "labels.json"
    for text in ('{"annotations": [{"id": 1, "image_id": 7}]}', '[{"image_id": 7, "bbox": []}]'):
        labels.write_text(text)
        assert "it would be lost" in run(*options, labels, code=2).output
        assert labels.read_text() == text
    assert "is a folder" in run(*options, photos, code=2).output
    assert not (tmp_path / "out").exists()


def test_a_lone_photo_into_a_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As several: a pattern may stand for one."""
    photo, out = photos / "001.png", tmp_path / "out"
    run(photo, "--whole", "--no-pictures", "--out", out)
    run(photo, "--whole", "--no-pictures", "--out", f"{tmp_path}/v1.2/")
    for folder in (out, tmp_path / "v1.2"):
        [row] = lines((folder / "poses.jsonl").read_text())
        assert row["image"] == str(photo)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert "1 pictures, 1 people" in run(photo, "--whole", "--resume").stdout
    assert len(lines((tmp_path / "poses" / "poses.jsonl").read_text())) == 1
    other = tmp_path / "others" / "001.png"
    other.parent.mkdir()
    other.write_bytes(b"another photo")
    for place in (other, other.parent):
        failed = run(photo, "--whole", "--out", place, code=1)
        assert f"{other} is there and would be drawn over" in failed.output
        assert other.read_bytes() == b"another photo"
    run(photo, "--whole", "--out", other, "--overwrite")
    Image.open(other).verify()
    for _ in range(2):
        run(photo, "--whole")  # poses.png is for the last drawing


def test_resume_draws_what_is_missing(photos: Path, tmp_path: Path) -> None:
    options = ("--whole", "--model", "fast", "--out", tmp_path / "out")
    run(photos, *options)
    (tmp_path / "out" / "002.png").unlink()
    before = (tmp_path / "out" / "003.png").stat().st_mtime_ns
    run(photos, *options, "--resume")
    assert (tmp_path / "out" / "002.png").is_file()
    assert (tmp_path / "out" / "003.png").stat().st_mtime_ns == before
    assert len(lines((tmp_path / "out" / "poses.jsonl").read_text())) == 5


def test_drawing_does_not_change_the_poses(tmp_path: Path) -> None:
    """Large JPEGs are decoded smaller for the network, at their size to be drawn on."""
    photo = tmp_path / "large.jpg"
    with Image.open(demo_image()) as image:
        image.convert("RGB").resize((2048, 2048)).save(photo)
    options = (photo, "--model", "fast", "--json")
    plain = run(*options, "--no-pictures").stdout
    [poses], [drawn], [small] = (
        [row["poses"] for row in lines(text)]
        for text in (
            plain,
            run(*options, "--out", tmp_path / "a.png").stdout,
            run(*options, "--out", tmp_path / "b.png", "--max-side", 1500).stdout,
        )
    )
    assert poses == drawn == small
    with Image.open(tmp_path / "a.png") as a, Image.open(tmp_path / "b.png") as b:
        assert (a.size, b.size) == ((2048, 2048), (1500, 1500))


def test_a_corrupt_picture_is_reported_and_the_rest_goes_on(photos: Path, tmp_path: Path) -> None:
    whole = (photos / "002.png").read_bytes()
    (photos / "002.png").write_bytes(whole[: len(whole) // 2])
    (photos / "004.png").write_bytes(b"")
    arguments = (photos, "--whole", "--out", tmp_path / "out", "--coco", tmp_path / "coco.json")
    result = run(*arguments, code=1)
    assert "002.png is not a whole image" in result.output
    assert "004.png is empty" in result.output
    assert len(lines((tmp_path / "out" / "poses.jsonl").read_text())) == 3
    results = json.loads((tmp_path / "coco.json").read_text())
    assert [row["image_id"] for row in results] == [1, 3, 5]
    (photos / "002.png").write_bytes(whole)
    result = run(*arguments, "--resume", code=1)  # is tried again
    assert "002.png" not in result.output
    assert len(lines((tmp_path / "out" / "poses.jsonl").read_text())) == 4


def test_names_that_are_no_numbers_and_folders_in_folders(photos: Path, tmp_path: Path) -> None:
    (photos / "a").mkdir()
    (photos / "001.png").rename(photos / "a" / "002.png")
    (photos / "003.png").rename(photos / "c3.png")
    out = tmp_path / "out"
    options = ("--whole", "--out", out)
    twice = run(photos / "**" / "*.png", *options, "--coco", tmp_path / "c.json", code=1)
    assert re.search(r"/002.png and \S+/002.png would\s+both be '002.png'", twice.output)
    assert not (tmp_path / "c.json").exists()
    (photos / "a" / "002.png").rename(photos / "a" / "001.png")
    run(photos / "**" / "*.png", *options, "--coco", out / "coco.json")
    pictures = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert pictures == {"002.png", "004.png", "005.png", "a/001.png", "c3.png"}
    ids = [row["image_id"] for row in json.loads((out / "coco.json").read_text())]
    assert sorted(ids) == ["001.png", "002.png", "004.png", "005.png", "c3.png"]


def test_image_ids_are_the_tables(photos: Path, tmp_path: Path) -> None:
    """The table calls 001.png image 0, and two pictures of one name are told by their folders."""
    for folder, number in (("x", "002"), ("y", "003")):
        (photos / folder).mkdir()
        (photos / f"{number}.png").rename(photos / folder / "1.png")
    names = {0: "001.png", 71: "x/1.png", "b7": "y/1.png"}
    images = [{"id": number, "file_name": name} for number, name in names.items()]
    people = [
        {"id": n, "image_id": number, "category_id": 1, "bbox": [10 * n, 20, 100 + 10 * n, 150]}
        for n, number in enumerate((71, 0, "b7", 0))
    ]
    table = tmp_path / "ann.json"
    table.write_text(json.dumps({"images": images, "annotations": people}))
    out, coco = tmp_path / "out", tmp_path / "coco.json"
    for name in ("004.png", "005.png"):
        (photos / name).unlink()
    run(photos / "**" / "*.png", "--boxes", table, "--no-pictures", "--out", out, "--coco", coco)
    results = json.loads(coco.read_text())
    assert [row["image_id"] for row in results] == [0, 0, 71, "b7"]
    x = [np.array(row["keypoints"]).reshape(-1, 3)[:, 0].mean() for row in results]
    assert x[0] < x[1]  # the boxes of image 0 in their order
    images[1]["file_name"] = "001.png"
    table.write_text(json.dumps({"images": images, "annotations": people}))
    twice = run(photos / "x", "--boxes", table, "--out", tmp_path / "no", code=1)
    assert "'images' has file_name '001.png' twice" in twice.output


# Several people


@pytest.fixture
def box_file(tmp_path: Path) -> Path:
    boxes = [[10, 5, 200, 250], [50.5, 20, 280, 260], [0, 0, 150, 200]]
    people = {f"{n:03d}.png": boxes[: n - 1] for n in range(1, 5)}  # none, one, two, three
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(people))
    return path


def test_poses_do_not_depend_on_the_batch(photos: Path, box_file: Path) -> None:
    found = []
    for size in (2, 32):
        out = photos.parent / f"out{size}"
        result = run(photos, "--boxes", box_file, "--out", out, "--batch-size", size, "--json")
        assert "001.png: nobody found" in result.stderr
        assert "005.png: nobody found" in result.stderr
        assert "does not name 1 of the 5 pictures, in which nobody is looked for" in result.stderr
        assert "they are called 005.png" in result.stderr
        rows = lines(result.stdout)
        assert [len(row["poses"]) for row in rows] == [0, 1, 2, 3, 0]
        assert rows[3]["poses"][1]["box"] == [50.5, 20, 280, 260]
        assert all(Path(row["picture"]).is_file() for row in rows)
        found.append(np.concatenate([row for row in numbers(rows) if len(row)]))
    np.testing.assert_allclose(*found, atol=2e-3)


def test_bad_boxes_of_one_picture_are_reported(photos: Path, tmp_path: Path) -> None:
    data = {"001.png": [[5, 5, 90, 90]], "002.png": [[900, 5, 990, 90]], "003.png": [[9, 9, 9, 99]]}
    (tmp_path / "boxes.json").write_text(json.dumps(data))
    out = tmp_path / "out"
    result = run(photos, "--boxes", tmp_path / "boxes.json", "--out", out, code=1)
    assert "002.png: box 0 (900, 5, 990, 90) lies outside the image" in result.output
    assert "003.png: box 0 (9, 9, 9, 99) has no area" in result.output
    assert [len(row["poses"]) for row in lines((out / "poses.jsonl").read_text())] == [1, 0, 0]


def test_real_people_by_coco_annotations(fixtures: Path, tmp_path: Path) -> None:
    """A picture of five skiers; counts and boxes are those of the annotations."""
    folder = fixtures / "coco_images"
    out = ("--out", tmp_path / "skiers.png", "--coco", tmp_path / "coco.json")
    result = run(folder / "000000197388.jpg", "--boxes", folder / "test_coco.json", *out, "--json")
    [row] = lines(result.stdout)
    annotations = json.loads((folder / "test_coco.json").read_text())["annotations"]
    boxes = [a["bbox"] for a in annotations if a["image_id"] == 197388]
    expected = [[x, y, x + w, y + h] for x, y, w, h in boxes]
    np.testing.assert_allclose([pose["box"] for pose in row["poses"]], expected, atol=1e-3)
    results = json.loads((tmp_path / "coco.json").read_text())
    assert [result["image_id"] for result in results] == [197388] * 5


@pytest.mark.slow
def test_the_detector_finds_the_people(photos: Path, tmp_path: Path) -> None:
    """Untrained, but made to see one person who fills the picture."""
    model = fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    state = model.state_dict()
    state["roi_heads.box_predictor.cls_score.bias"][1] = 9
    state["roi_heads.box_predictor.bbox_pred.bias"][6:8] = 25  # logarithm of the size, times 5
    torch.save(state, tmp_path / "detector.pth")
    weights = ("--detector-weights", tmp_path / "detector.pth")
    rows = lines(run(photos, *weights, "--out", tmp_path / "out", "--json").stdout)
    assert [len(row["poses"]) for row in rows] == [1] * 5
    boxes = np.array([row["poses"][0]["box"] for row in rows])
    np.testing.assert_allclose(boxes, [[0, 0, 300, 280 + 10 * n] for n in range(1, 6)], atol=0.1)
    result = run(photos / "001.png", *weights, "--min-person", 1, "--out", tmp_path / "a.png")
    assert "001.png: nobody found" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--detect"], "cannot be downloaded from https://"),
        (["--detector-weights", "absent.pth"], "absent.pth cannot be read"),
        (["--model", "cu_net_2"], "has no weights"),
    ],
)
def test_what_is_missing_is_told_before_results_are_lost(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    (tmp_path / "poses.jsonl").write_text('{"image": "old"}\n')
    result = run(photos, *options, "--out", tmp_path, "--overwrite", code=1)
    assert message in result.output
    assert (tmp_path / "poses.jsonl").read_text() == '{"image": "old"}\n'


# Video


def test_video(film_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn.mkv"
    result = run(film_file, "--box", "10,50,160,200", "--out", out, "--smooth", "--json")
    assert "12/12" in result.stderr
    rows = lines(result.stdout)
    assert [row["frame"] for row in rows] == list(range(12))
    assert [row["time"] for row in rows] == pytest.approx([0.08 * i for i in range(12)], abs=1e-3)
    assert [[pose["track"] for pose in row["poses"]] for row in rows] == [[0]] * 12
    head = np.array([row["poses"][0]["keypoints"]["head top"][:2] for row in rows])
    np.testing.assert_allclose(head[-1] - head[0], (88, 0), atol=6)
    drawn = read_video(out)
    assert drawn.rate == 12.5
    frames = list(drawn)
    assert len(frames) == 12
    assert frames[0].image.shape == (3, 240, 320)
    x, y = head[0].round().astype(int)
    mark = frames[0].image[:, y - 1 : y + 2, x - 1 : x + 2].float().mean((1, 2))
    assert mark[1] > mark[0] + 20  # a green dot


def test_video_without_pictures(
    film_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(film_file, "--whole", "--no-pictures")
    assert result.stdout == "12 frames, 1 people\n"
    with monkeypatch.context() as patch:  # in a folder that is write-protected
        patch.setattr(os, "access", lambda *_: False)
        assert run(film_file, "--whole", "--no-pictures").stdout == result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    assert run(film_file, "--whole").stdout == "12 frames, 1 people -> poses.mp4\n"


def test_frames_that_are_not_there_are_told(film_file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    with VideoWriter(cut, 12.5) as writer:
        for time, image in read_video(film_file):
            writer.write(image, time)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 3 // 4])
    result = run(cut, "--whole", "--no-pictures")
    count = int(result.stdout.split()[0])
    assert 0 < count < 12
    assert f"cut.avi says it holds 12 frames: {count} were there" in result.stderr


def test_odd_sides_are_told(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "odd.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 65, 49, "bgr0"
        for image in np.zeros((2, 49, 65, 3), np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    result = run(tmp_path / "odd.mkv", "--out", tmp_path / "drawn.mp4")
    assert "an odd side: the one written is a pixel larger" in result.stderr
    [frame, *_] = read_video(tmp_path / "drawn.mp4")
    assert frame.image.shape == (3, 50, 66)


class Webcam(Iterator[Frame]):
    """Frames of a file; then somebody presses Ctrl-C, or the program is told to end."""

    def __init__(self, path: Path, told: int = signal.SIGINT) -> None:
        self.told = told
        video = read_video(path)
        self.rate, self.count = video.rate, None
        self.frames = itertools.islice(video, 5)

    def __next__(self) -> Frame:
        for frame in self.frames:
            return frame
        os.kill(os.getpid(), self.told)
        raise AssertionError("it went on")


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def told(request: pytest.FixtureRequest) -> Iterator[int]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    yield request.param
    assert signal.getsignal(signal.SIGTERM) == before[1]
    signal.signal(signal.SIGINT, before[0])


def test_webcam_until_told_to_end(
    told: int, film_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "read_camera", lambda number: Webcam(film_file, told))
    result = run("--camera", 0, "--whole", "--out", tmp_path / "drawn.mp4")
    assert result.stdout == f"5 frames, 1 people -> {tmp_path / 'drawn.mp4'}\n"
    assert len(list(read_video(tmp_path / "drawn.mp4"))) == 5


def test_a_command_that_ends_leaves_no_part_of_a_video(
    told: int, film_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "read_video", lambda path: Webcam(path, told))
    code = 1 if told == signal.SIGINT else 128 + told
    run(film_file, "--whole", "--out", tmp_path / "drawn.mp4", code=code)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{film}", "--out", "{film}"], "film.mp4 is what is read: it would be written over"),
        (["{film}", "--out", "{folder}/a.txt"], "the suffix must be one of .avi"),
        (["{film}", "--out", "{folder}/none/a.mp4"], "cannot write into"),
        (["{film}", "--box", "900,900,950,950"], "outside the image of 320 x 240"),
        (["{film}", "--coco", "{folder}/c.json"], "--coco is for pictures"),
        (["{film}", "--boxes", "{folder}/b.json"], "--boxes is for pictures; a video takes --box"),
        (["{film}", "--resume"], "--resume is for pictures"),
        (["{folder}/absent.mp4"], "there is no file"),
        (["{folder}/bad.mp4"], "bad.mp4 is no video that ffmpeg can read"),
        (["--camera", "97"], "cannot open webcam /dev/video97"),
        (["{film}", "a.jpg"], "film.mp4 is a video: give it alone"),
        (["--camera", "97", "{film}"], "give photos, folders, patterns or a video"),
        (["{photos}", "--smooth"], "--smooth is for a video"),
        (["{photos}", "--resume", "--overwrite"], "not both"),
        (["{photos}", "--box", "1,2,30,40", "--detect"], "one of --box, --boxes, --whole and"),
        (["{photos}", "--coco", "{folder}/none/c.json"], "there is no folder"),
        (["{photos}", "--coco", "poses/poses.jsonl"], "poses.jsonl is where the poses go"),
        (["{photos}", "--boxes", "{folder}/absent.json"], "absent.json cannot be read as JSON"),
        (["{photos}", "--boxes", "{folder}/b.json"], "names none of the 5 pictures: it names 'x.j"),
        (["{film}", "--out", "{folder}/bad.mp4"], "bad.mp4 is there and would be written over"),
        (["{photos}/001.png", "--out", "{photos}/002.png"], "002.png is there and would be drawn"),
        ([""], "an empty name stands for no picture"),
        (["{photos}/001.png", "--out", "{photos}/001.png"], "001.png is what is read"),
        (["{photos}/001.png", "--out", "a.jpg", "--format", "png"], "--format png or --out a.jpg"),
        (["{photos}/001.png", "--no-pictures", "--out", "a.jpg"], "--out is for drawings"),
        (["{photos}", "--no-pictures", "--max-side", "64"], "--max-side is for drawn pictures"),
        (["{film}", "--no-pictures", "--min-score", "0"], "--min-score is for drawings"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    photos: Path, film_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], message: str,
) -> None:  # fmt: skip
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    (tmp_path / "b.json").write_text('{"x.jpg": [[1, 2, 3, 4]]}')
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    names = {"film": film_file, "folder": tmp_path, "photos": photos}
    result = CliRunner().invoke(main, ["predict", *(word.format(**names) for word in arguments)])
    assert result.exit_code in (1, 2)
    assert message in " ".join(result.output.split())
    assert "Traceback" not in result.output
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_fast_finds_the_same(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eager = partial(gatedpose.optimize, compile=False)  # compiling is tested elsewhere
    monkeypatch.setattr(gatedpose, "optimize", eager)
    options = ["--json", "--whole", "--no-pictures", "--batch-size", 2, "--out"]
    slow = lines(run(photos, *options, photos.parent / "slow").stdout)
    fast = lines(run(photos, *options, photos.parent / "fast", "--fast").stdout)
    for before, after in zip(numbers(slow), numbers(fast), strict=True):
        sure = before[..., 2] >= np.sort(before[..., 2])[..., -3:-2]  # the best three joints
        np.testing.assert_allclose(after[sure][:, :2], before[sure][:, :2], atol=3)


def test_another_size_of_the_input(photos: Path, tmp_path: Path) -> None:
    photo, options = photos / "001.png", ["--model", "fast", "--no-pictures", "--out", tmp_path]
    [row] = lines(run(photo, *options, "--json", "--whole", "--size", "192x128").stdout)
    [pose] = gatedpose.Predictor("fast", size=(192, 128))(photo, "whole")
    assert row["poses"] == [pose.to_dict()]
    again = run(photo, *options, "--whole", "--resume", code=1)
    assert "was made otherwise (size [192, 128] -> None)" in again.output


def test_a_video_into_a_folder_and_an_animation_into_a_video(
    film_file: Path, tmp_path: Path
) -> None:
    for folder in ("drawn", "v1.0/"):
        run(film_file, "--whole", "--out", f"{tmp_path}/{folder}")
        assert (tmp_path / folder / f"{film_file.stem}.mp4").is_file()
    frames = [Image.new("RGB", (64, 48), (40 * i, 90, 30)) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=100)
    told = run(tmp_path / "a.gif", "--whole", "--out", tmp_path / "b.mp4")
    assert "3 frames" in told.stdout
    failed = run(tmp_path / "*.mp4", code=2)
    assert "is a pattern of videos" in failed.output
