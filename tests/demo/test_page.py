"""`gatedpose demo`: what finds the keypoints, and the page in a real browser."""

import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from scipy.ndimage import binary_dilation

import gatedpose
from gatedpose.cli import main
from gatedpose.demo.events import finding_text
from gatedpose.demo.viewer import OVERLAY, Finding, PoseFinder, picture_of
from gatedpose.errors import BoxError, ImageError
from gatedpose.media.demo import demo_image
from gatedpose.media.drawing import draw_people
from gatedpose.pose import TRUST, TRUST_CALIBRATED
from gatedpose.predict import networks
from gatedpose.skeleton import LSP14

SMALL, LARGER, PEOPLE = "gated_hg_1s_68.lsp", "gated_hg_2s_128.lsp", "gated_hg_2s_128.people"
PATIENCE = 60_000  # milliseconds that a busy machine may take
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip


def predict(photo: Path, name: str = SMALL, boxes: Any = "whole", **options: Any) -> gatedpose.Pose:
    model = gatedpose.create_model(name, pretrained=True)
    [pose] = gatedpose.Predictor(model, **options)(photo, boxes)
    return pose


def found_on(photo: Path, name: str = PEOPLE, **options: Any) -> gatedpose.Pose:
    """What the page shows of a photo of one person."""
    return predict(photo, name, None, **options)


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A portrait of 400 x 512 pixels."""
    from skimage.data import astronaut

    path = tmp_path_factory.mktemp("photos") / "portrait.png"
    Image.fromarray(astronaut()[:, :400]).save(path)
    return path


@pytest.fixture(scope="module")
def two(photo: Path) -> Path:
    """Two people side by side, 912 x 512 pixels, the right one grey."""
    from skimage.data import camera

    path = photo.with_name("two.png")
    grey = np.stack([camera()] * 3, axis=-1)
    Image.fromarray(np.concatenate([np.asarray(Image.open(photo)), grey], axis=1)).save(path)
    return path


@pytest.fixture(scope="module")
def finder() -> PoseFinder:
    return PoseFinder("gated_hg_1s_68")


def test_finds_what_the_predictor_finds(finder: PoseFinder, photo: Path) -> None:
    box = (20.0, 10.0, 390.0, 500.0)
    for found, wanted in (
        (finder(photo, SMALL, whole=True), predict(photo)),
        (finder(photo, SMALL, [None] * 4, flip=True), found_on(photo, SMALL, flip_test=True)),
        (finder(photo, LARGER, box), predict(photo, LARGER, [box])),
    ):
        [pose] = found.poses
        np.testing.assert_allclose(pose.keypoints, wanted.keypoints, atol=1e-3)
        np.testing.assert_allclose(pose.scores, wanted.scores, atol=1e-5)
        assert len(found.overlays) == 14
        assert all(value > 0 for value in found.milliseconds.values())
    assert list(found.milliseconds) == ["reading", "cropping", "network", "decoding"]


def from_left_to_right(poses: list[gatedpose.Pose]) -> list[int]:
    """Their places in the list: the surest person comes first, wherever they stand."""
    return sorted(range(len(poses)), key=lambda person: poses[person].box[0])


def test_several_people_and_nobody(finder: PoseFinder, two: Path, tmp_path: Path) -> None:
    first, second = (finder(two, PEOPLE, person=person) for person in (0, 1))
    wanted = gatedpose.Predictor(PEOPLE)(two)
    for found, person in ((first, 0), (second, 1)):
        assert found.person == person
        assert len(found.poses) == len(wanted) == 2
        assert "finding people" in found.milliseconds
        for mine, theirs in zip(found.poses, wanted, strict=True):
            np.testing.assert_allclose(mine.keypoints, theirs.keypoints, atol=1e-3)
    alone = finder(two, PEOPLE, second.poses[1].box.tolist())
    for overlay, same in zip(second.overlays, alone.overlays, strict=True):
        assert np.abs(overlay.astype(int) - same).mean() < 1
    assert (first.picture != second.picture).any(axis=2).mean() < 0.05  # the coloured box
    left, right = from_left_to_right(wanted)
    for person, at, chosen in ((0, (200, 300), left), (0, (620, 300), right), (1, (-5, 3), 1)):
        assert finder(two, PEOPLE, person=person, at=at).person == chosen
    assert finder(two, PEOPLE, person=7).person == 1

    Image.new("RGB", (300, 200), (120, 140, 160)).save(tmp_path / "sky.png")
    nobody = finder(tmp_path / "sky.png", PEOPLE)
    assert (nobody.poses, nobody.overlays) == ([], [])
    assert (nobody.picture == (120, 140, 160)).all()
    assert nobody.picture.shape == (400, 600, 3)
    assert finding_text(nobody, PEOPLE, False, "cpu").startswith("**Nobody found.** Mark a box")


def test_overlays_are_hot_where_the_joints_are(finder: PoseFinder, photo: Path) -> None:
    canvas = Image.new("RGB", (1000, 1500), (90, 120, 150))
    canvas.paste(Image.open(photo), (300, 200))
    # The square about this box has sides of 1.25 * 1040 = 1300, from x = -120 and y = 80. The photo
    # has x = 0 to 1000 of it, so overlays are 246 x 320, and 320 / 1300 of the photo's size.
    found = finder(canvas, SMALL, (320, 210, 740, 1250))
    assert {overlay.shape for overlay in found.overlays} == {(OVERLAY, 246, 3)}
    [pose] = found.poses
    middle = (pose.keypoints - (0, 80)) * 320 / 1300
    sure = np.flatnonzero(pose.scores > 0.6)
    assert len(sure) >= 3
    for joint in sure:
        overlay = found.overlays[joint].astype(int)
        heat = overlay[:, :, 0] - overlay[:, :, 2]
        rows, columns = np.nonzero(heat >= 0.98 * heat.max())
        hottest = columns.mean() + 0.5, rows.mean() + 0.5
        assert np.abs(hottest - middle[joint]).max() < 5  # a cell of the heatmap
    corner = found.overlays[0][2, 2]  # far from all joints: the grey of the canvas, dimmed
    np.testing.assert_allclose(corner, 0.6 * 120, atol=3)


def test_overlays_of_a_whole_photo_are_of_the_closer_look(finder: PoseFinder, photo: Path) -> None:
    canvas = Image.new("RGB", (1000, 1100), (90, 120, 150))
    canvas.paste(Image.open(photo), (500, 500))
    found = finder(canvas, SMALL, whole=True)
    [pose] = found.poses
    assert (pose.box[2:] - pose.box[:2]).max() < 800  # not the whole photo
    boxed = finder(canvas, SMALL, pose.box.tolist())
    for overlay, same in zip(found.overlays, boxed.overlays, strict=True):
        assert np.abs(overlay.astype(int) - same).mean() < 1


def test_low_scores_are_not_drawn(finder: PoseFinder, photo: Path) -> None:
    # Hollow from half of it on.
    bare = finder(photo, SMALL, min_score=2.5, whole=True).picture
    np.testing.assert_array_equal(bare, np.asarray(Image.open(photo)))
    assert (finder(photo, SMALL, whole=True).picture != bare).any(axis=2).mean() > 0.005


def test_loads_a_variant_once(monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    loaded: list[str] = []
    load = networks.create_model

    def spy(name: str, **options: Any) -> torch.nn.Module:
        loaded.append(name)
        return load(name, **options)

    monkeypatch.setattr(networks, "create_model", spy)
    finder = PoseFinder(SMALL)
    trained = gatedpose.list_models(pretrained=True)
    assert finder.names == tuple(name for name in trained if "finder" not in name)
    first = [finder(photo, name).first for name in (SMALL, LARGER, SMALL, LARGER)]
    assert first == [True, True, False, False]
    assert loaded == [SMALL, LARGER]


def test_visitors_at_the_same_time_get_their_own(finder: PoseFinder, photo: Path) -> None:
    boxes = [(20 + 10 * i, 10, 390, 500) for i in range(4)]

    def ask(i: int) -> Finding:
        return finder(photo, (SMALL, LARGER)[i % 2], boxes[i], flip=i > 1)

    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(ask, range(4)))
    for i, found in enumerate(together):
        alone = ask(i)
        np.testing.assert_array_equal(found.poses[0].to_numpy(), alone.poses[0].to_numpy())
        np.testing.assert_array_equal(found.overlays[8], alone.overlays[8])


def test_bad_input_is_named(finder: PoseFinder, photo: Path, tmp_path: Path) -> None:
    with pytest.raises(BoxError, match="four numbers, x0, y0, x1, y1; 3 are filled in"):
        finder(photo, SMALL, (1, 2, None, 3))
    with pytest.raises(BoxError, match="outside the image of 400 x 512"):
        finder(photo, SMALL, (900, 0, 990, 50))
    with pytest.raises(ValueError, match="variant must be one of"):
        finder(photo, "local-dir:/etc")
    (tmp_path / "notes.jpg").write_text("no picture")
    with pytest.raises(ImageError, match="not a whole image"):
        finder(tmp_path / "notes.jpg", SMALL)


def test_a_model_of_ones_own_is_added(finder: PoseFinder, tmp_path: Path, photo: Path) -> None:
    from gatedpose.models.saved import save_model

    save_model(gatedpose.create_model(SMALL, pretrained=True), tmp_path / "mine", LSP14)
    own = PoseFinder(f"local-dir:{tmp_path / 'mine'}")
    assert own.names == (*finder.names, own.chosen)
    [pose] = own(photo, own.chosen, whole=True).poses
    np.testing.assert_allclose(pose.keypoints, predict(photo).keypoints, atol=1e-3)


def test_times_say_what_they_are_times_of(finder: PoseFinder, photo: Path) -> None:
    poses = finder(photo, SMALL, whole=True).poses
    found = Finding(poses, 0, np.zeros((4, 6, 3), np.uint8), [], {"network": 12.345}, True)
    text = finding_text(found, SMALL, flip=True, device="cpu")
    assert text.startswith("**1 person**\n")
    assert "network **12.3 ms**" in text
    assert "gated_hg_1s_68.lsp on cpu, two passes; first photo" in text


def test_the_command_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def output(*arguments: object, code: int = 1) -> str:
        result = CliRunner().invoke(main, ["demo", *map(str, arguments)])
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result.output

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = output("--port", port)
        assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in text
        assert "--port" in text
    assert "no.such.host.invalid" in output("--host", "no.such.host.invalid", "--port", free_port())
    assert "did you mean gated_hg_1s_68" in output(
        "--model", "gated_hg_1s_6", "--port", free_port()
    )
    assert "65536" in output("--port", 65536, code=2)
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    assert 'pip install "gatedpose[demo]"' in output("--port", free_port())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@dataclass
class Server:
    url: str
    log: Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real command; whatever it asks of the net would arrive at a proxy that nobody answers."""
    folder = tmp_path_factory.mktemp("server")
    log, port = folder / "log.txt", free_port()
    proxy = socket.create_server(("127.0.0.1", 0))
    proxy.setblocking(False)
    trap = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    environment = {
        **os.environ,
        "GRADIO_TEMP_DIR": str(folder / "uploads"),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), trap),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    command = [sys.executable, "-m", "gatedpose.cli", "demo", "--port", str(port)]
    with log.open("w") as file, proxy:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 180
            while "The page is at" not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, "the page did not start in three minutes"
                time.sleep(0.2)
            yield Server(f"http://127.0.0.1:{port}/", log)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
            assert "Traceback" not in log.read_text()
            left = [path for path in (folder / "uploads").rglob("*") if path.is_file()]
            assert not left, "photos stay on the disk"
            with pytest.raises(BlockingIOError):  # nothing came to the proxy
                proxy.accept()
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def film(photo: Path) -> tuple[Path, list[Image.Image]]:
    """What the browser's camera shows: the portrait on the left, then on the right."""
    person, files, pictures = Image.open(photo).resize((375, 480)), [], []
    for left in (0, 265):
        picture, file = Image.new("RGB", (640, 480), (90, 120, 150)), io.BytesIO()
        picture.paste(person, (left, 0))
        picture.save(file, "JPEG", quality=95)
        files += [file.getvalue()] * 60  # two seconds
        pictures.append(Image.open(file).copy())
    path = photo.with_name("camera.mjpeg")
    path.write_bytes(b"".join(files))
    return path, pictures


@pytest.fixture(scope="module")
def browser(film: tuple[Path, list[Image.Image]]) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None and not os.environ.get("CI"):
        pytest.skip("the browser tests need Chromium (apt-get install chromium)")
    assert chromium, "CI has to install Chromium: .ci/run does"
    camera = f"--use-file-for-fake-video-capture={film[0]}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*ARGUMENTS, camera])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, new; it may ask nobody but its own server for anything."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.url)
    page.locator("#photo input[type=file]").wait_for(state="attached")
    wait_for(page, lambda: box_shown(page) == [""] * 4, lambda: box_shown(page))
    yield page
    page.close()
    assert requests
    assert not [url for url in requests if not url.startswith((server.url, "data:", "blob:"))]


def upload(page: Any, path: Path) -> None:
    page.locator("#photo input[type=file]").set_input_files(path)


def box_shown(page: Any) -> list[str]:
    names = ("x0", "y0", "x1", "y1")
    return [page.get_by_label(name, exact=True).input_value() for name in names]


def wait_for(page: Any, holds: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < deadline, what()
        page.wait_for_timeout(200)


def shown(page: Any) -> np.ndarray:
    """(K, 3): x, y and score of the table's rows."""
    rows = re.findall(
        r"^(?:\w+ )?\w+\n(-?\d+\.\d)\n(-?\d+\.\d)\n(\d\.\d\d)$",
        page.locator("#table").inner_text(),
        re.MULTILINE,
    )
    return np.array(rows, dtype=float).reshape(-1, 3)


def picture_shown(page: Any, where: str) -> np.ndarray:
    """The picture of a part of the page, (H, W, 3), as the browser has it."""
    address = page.locator(f"{where} img").evaluate(
        """async image => {
            await image.decode().catch(() => null);  // replaced by the next one, which may be shown
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth || 1, image.naturalHeight || 1];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL("image/png");
        }"""
    )
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def skeleton_shown(seen: np.ndarray, drawn: np.ndarray, bare: np.ndarray) -> float:
    """How much of a drawing's lines a picture shows to 6 pixels; 0 for another photo."""
    wanted, found = (
        (np.abs(one.astype(int) - bare) > 60).any(axis=2) for one in (drawn, seen)
    )  # JPEG is not exact
    if found.sum() > 3 * wanted.sum():
        return 0.0
    return float((wanted & binary_dilation(found, iterations=6)).sum() / wanted.sum())


def wait_for_pose(page: Any, pose: gatedpose.Pose) -> None:
    """Until the table shows this pose, to a pixel and a hundredth."""

    def holds() -> bool:
        rows = shown(page)
        return rows.shape == (len(pose.scores), 3) and bool(
            (np.abs(rows - pose.to_numpy()) <= (1, 1, 0.01)).all()
        )

    wait_for(page, holds, lambda: f"shown: {shown(page)}, wanted: {pose.to_numpy()}")


@pytest.mark.slow
def test_an_uploaded_photo_gives_keypoints(page: Any, photo: Path) -> None:
    upload(page, photo)
    pose = found_on(photo)
    wait_for_pose(page, pose)
    assert "neck" in page.locator("#table").inner_text()
    assert re.search(r"network \d+\.\d ms", page.locator("#times").inner_text())

    page.locator("#picture img").wait_for()
    seen = picture_shown(page, "#picture")
    like_page = {"boxes": True, "min_score": pose.trust}
    drawn = draw_people(photo, [pose], **like_page).permute(1, 2, 0).numpy()
    assert seen.shape == drawn.shape == (512, 400, 3)
    assert skeleton_shown(seen, drawn, np.asarray(Image.open(photo))) > 0.9

    captions = page.locator("#heatmaps .caption-label").all_inner_texts()
    joints = zip(pose.skeleton.joints, pose.scores, strict=True)
    assert captions == [f"{joint} {score:.2f}" for joint, score in joints]
    assert page.locator("#heatmaps img").count() == 19

    page.set_viewport_size({"width": 390, "height": 844})  # a phone
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_another_variant_and_the_flip_test(page: Any, photo: Path) -> None:
    upload(page, photo)
    wait_for_pose(page, found_on(photo))
    page.locator("#variant input").click()
    page.get_by_role("option", name=LARGER).click()
    wait_for_pose(page, found_on(photo, LARGER))
    assert f"{LARGER} on cpu, one pass" in page.locator("#times").inner_text()
    slider = page.get_by_label("Draw joints from this score").first
    assert float(slider.input_value()) == TRUST  # its scores are no chances
    page.get_by_label("Flip test").check()
    wait_for_pose(page, found_on(photo, LARGER, flip_test=True))
    assert "two passes; warm" in page.locator("#times").inner_text()


@pytest.mark.slow
def test_the_example_is_one_click(page: Any, photo: Path) -> None:
    page.locator("#example").click()
    wait_for_pose(page, found_on(demo_image()))
    assert box_shown(page) == [""] * 4
    for name, number in zip(("x0", "y0", "x1", "y1"), (20, 10, 440, 500), strict=True):
        page.get_by_label(name, exact=True).fill(str(number))
    page.locator("#find").click()
    wait_for_pose(page, predict(demo_image(), PEOPLE, [[20, 10, 440, 500]]))
    upload(page, photo)  # the box was the other photo's
    wait_for_pose(page, found_on(photo))
    assert box_shown(page) == [""] * 4


@pytest.mark.slow
def test_bad_photos_and_boxes_get_a_message(page: Any, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "<b>dot.png")
    pose = found_on(photo)
    for name, message in (
        ("notes.jpg", "notes.jpg is not a whole image that Pillow can read"),
        ("<b>dot.png", "is 1 x 1 pixels: too small to hold a person"),
    ):
        upload(page, photo)
        wait_for_pose(page, pose)
        upload(page, tmp_path / name)
        toast = page.get_by_test_id("toast-body").filter(has_text=message)
        toast.wait_for()
        page.locator("#times").filter(has_text=f"No keypoints: {name[:2]}").wait_for()
        assert message in page.locator("#times").inner_text()
        assert len(shown(page)) == 0
        assert page.locator("#picture img").count() == 0
    upload(page, photo)
    wait_for_pose(page, pose)
    page.get_by_label("x0", exact=True).fill("3")
    page.locator("#find").click()
    page.get_by_test_id("toast-body").filter(has_text="a box has four numbers").wait_for()


def click_at(page: Any, x: float, y: float, size: tuple[int, int] = (912, 512)) -> None:
    """Clicks a pixel of a photo that is shown whole, in the middle of its place."""
    picture = page.locator("#picture img")
    place = picture.bounding_box()
    scale = min(place["width"] / size[0], place["height"] / size[1])
    left, top = (place["width"] - scale * size[0]) / 2, (place["height"] - scale * size[1]) / 2
    picture.click(position={"x": left + scale * x, "y": top + scale * y})


@pytest.mark.slow
def test_two_people_are_found_and_clicked(page: Any, two: Path) -> None:
    surest, other = poses = gatedpose.Predictor(PEOPLE)(two)
    upload(page, two)
    wait_for_pose(page, surest)
    assert "2 people; joints and heatmaps of person 1" in page.locator("#times").inner_text()
    page.locator("#picture img").wait_for()
    click_at(page, (200, 620)[from_left_to_right(poses).index(1)], 300)
    wait_for_pose(page, other)
    assert page.get_by_label("Person", exact=True).input_value() == "2"
    assert "heatmaps of person 2" in page.locator("#times").inner_text()

    page.get_by_label("marks a corner of a box").check()
    click_at(page, 390, 500)
    page.locator("#times").filter(has_text="Click the opposite one").wait_for()
    click_at(page, 10, 10)
    page.locator("#times").filter(has_text="1 person").wait_for()
    corners = [float(number) for number in box_shown(page)]
    np.testing.assert_allclose(corners, (10, 10, 390, 500), atol=3)
    wait_for_pose(page, predict(two, PEOPLE, [corners]))


@pytest.mark.slow
def test_nobody_and_the_whole_photo(page: Any, tmp_path: Path) -> None:
    path = tmp_path / "sky.png"
    Image.new("RGB", (300, 200), (120, 140, 160)).save(path)
    upload(page, path)
    page.locator("#times").filter(has_text="Nobody found").wait_for()
    page.locator("#picture img").wait_for()  # to mark a box on
    assert len(shown(page)) == 0
    page.get_by_label("The whole photo is one person").check()
    wait_for_pose(page, predict(path, PEOPLE))


@pytest.mark.slow
def test_the_live_camera(page: Any, film: tuple[Path, list[Image.Image]]) -> None:
    """A person moves from one place to the other, and their skeleton with them."""
    predictor, drawings = gatedpose.Predictor(PEOPLE), []
    for picture in map(np.array, film[1]):
        poses = predictor(picture)
        assert len(poses) == 1
        pixels = torch.from_numpy(picture).permute(2, 0, 1)
        sure = TRUST_CALIBRATED + 0.2  # joints at the limit come and go with the camera's noise
        drawings.append((picture_of(pixels, poses, sure, 1), picture))
    page.get_by_role("tab", name="Live camera").click()
    page.get_by_text("Click to Access Webcam").last.click()
    page.locator("#camera").get_by_text("Record").click()
    page.locator("#live img").wait_for()
    best = [0.0, 0.0]

    def both_seen() -> bool:
        seen = picture_shown(page, "#live")
        if seen.shape != drawings[0][1].shape:  # between two frames
            return False
        for i, drawing in enumerate(drawings):
            best[i] = max(best[i], skeleton_shown(seen, *drawing))
        return min(best) > 0.7

    wait_for(page, both_seen, lambda: best)
    page.locator("#camera").get_by_text("Stop").click()


@pytest.mark.slow
def test_other_files_of_the_computer_are_not_read(page: Any, server: Server, photo: Path) -> None:
    for name in (str(photo), str(photo.with_name("absent.png")), "../../etc/hostname"):
        values = [{"path": name}, SMALL, False, 0.2, False, 1, None, None, None, None]
        api = f"{server.url}gradio_api/call/find"
        event = page.request.post(api, data={"data": values}).json()["event_id"]
        answer = page.request.get(f"{api}/{event}").text()
        assert answer.startswith("event: error")
        assert "The photo was not uploaded" in answer


@pytest.mark.slow
def test_the_camera(page: Any, film: tuple[Path, list[Image.Image]]) -> None:
    page.get_by_label("Capture from camera").click()
    page.get_by_text("Click to Access Webcam").click()
    capture = page.get_by_label("capture photo")
    capture.wait_for()
    # Before the first frame a click takes no photo.
    page.wait_for_function("document.querySelector('#photo video')?.readyState >= 2")
    capture.click()
    wait_for(page, lambda: len(shown(page)) == 19, page.locator("body").inner_text)
    wanted = [found_on(picture).to_numpy() for picture in film[1]]
    # The camera's frame is compressed again: a joint in doubt may jump.
    near = (np.abs(shown(page) - rows)[rows[:, 2] > 0.9].max(axis=1) < 6 for rows in wanted)
    assert max(each.mean() for each in near) > 0.8
