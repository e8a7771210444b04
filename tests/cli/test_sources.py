"""Where photos come from and where drawings go, as a person at the command line sees it."""

import gzip
import io
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import gatedpose
from gatedpose.catalogue import stored_rows
from gatedpose.cli import COMMANDS, main
from gatedpose.cli.sources import Source, find_sources, targets
from gatedpose.errors import ImageError
from gatedpose.evaluation.reports import count_rows
from gatedpose.media import download as web
from gatedpose.media.demo import demo_image
from gatedpose.media.download import download, file_name, is_url

FAST = ("--model", "fast")


def run(*arguments: object, code: int = 0, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["predict", *map(str, arguments)], input=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def jpeg(width: int = 90, height: int = 60, shade: int = 128) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), (shade, shade, shade)).save(data, "JPEG")
    return data.getvalue()


# The web


class Quiet(ThreadingHTTPServer):
    """Says nothing where a client goes before the end, as it does from an answer too large."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


PACKED_TWICE = gzip.compress(gzip.compress(bytes(2**20)))


class Answers(BaseHTTPRequestHandler):
    """A picture, and all that may come in its place."""

    def do_GET(self) -> None:
        path, host = self.path, self.headers["Host"]
        if path.startswith("/to/"):
            self.send_response(302)
            place = path.removeprefix("/to/").replace("HOST", f"http://{host}")
            self.send_header("Location", place)
            self.end_headers()
            return
        data = {"/a%20b.jpg": jpeg(), "/page.html": b"<html>", "/large": bytes(5000)}.get(path)
        data = PACKED_TWICE if path == "/packed.jpg" else data
        data = jpeg()[:200] if path == "/cut.jpg" else data
        self.send_response(200 if data or path in ("/slow", "/drips") else 404)
        if path == "/cut.jpg":
            self.send_header("Content-Length", str(len(jpeg())))
        if path == "/packed.jpg":
            self.send_header("Content-Encoding", "gzip, gzip")
        for _ in range(40 if path == "/drips" else 0):
            self.send_header("X", "x")
            self.flush_headers()
            time.sleep(0.05)
        self.end_headers()
        if path == "/slow":
            for _ in range(40):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.05)
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with Quiet(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_picture_from_the_web(server: str, tmp_path: Path) -> None:
    url = f"{server}/a%20b.jpg"
    assert download(url) == jpeg()
    assert download(f"{server}/to/HOST/a%20b.jpg") == jpeg()
    out = tmp_path / "out.png"
    [row] = rows(run(url, *FAST, "--whole", "--out", out, "--json").stdout)
    assert row["image"] == url
    with Image.open(out) as picture:
        assert picture.size == (90 * 6, 60 * 6)
    folder = tmp_path / "several"
    Image.new("RGB", (64, 64)).save(tmp_path / "c.png")
    run(url, tmp_path / "c.png", *FAST, "--whole", "--out", folder)
    assert {path.name for path in folder.iterdir()} == {"a_b.jpg", "c.png", "poses.jsonl"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/page.html", "page.html is not a whole image"),
        ("/none.jpg", "none.jpg answers 404, not a picture"),
        ("/cut.jpg", "cut.jpg cannot be had: peer closed connection"),
        ("/to/file:///etc/passwd", "leads elsewhere: only http and https are followed"),
        ("/to/ftp://127.0.0.1/a.jpg", "leads elsewhere: only http and https are followed"),
    ],
)
def test_what_is_no_picture_on_the_web(server: str, path: str, message: str) -> None:
    assert message in run(server + path, "--no-pictures", *FAST, code=1).output


def test_limits_of_size_and_time(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LARGEST", 5000)
    assert len(download(f"{server}/large")) == 5000
    monkeypatch.setattr(web, "LARGEST", 4999)
    with pytest.raises(ImageError, match="/large has more than 4,999 bytes"):
        download(f"{server}/large")
    monkeypatch.setattr(web, "SECONDS", 0.3)
    start = time.monotonic()
    for path in ("/slow", "/drips"):  # bytes, headers
        with pytest.raises(ImageError, match=rf"{path} takes longer than 0\.3 seconds"):
            download(server + path)
    assert time.monotonic() - start < 1.5
    with pytest.raises(ImageError, match="cannot be had"):
        download("http://127.0.0.1:9/a.jpg")
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/a.jpg"):
        with pytest.raises(ImageError, match="is no address of http or https"):
            download(url)


def test_packed_bytes_are_not_unpacked(server: str) -> None:
    assert download(f"{server}/packed.jpg") == PACKED_TWICE  # else one step gives 1 MB


def test_addresses_and_their_names() -> None:
    assert is_url("https://a.b/c.jpg")
    assert is_url("s3://bucket/c.jpg")
    assert not is_url("photos/c.jpg")
    assert not is_url("C:/photos/c.jpg")
    assert file_name("https://a.b/c/d%2F..%2Fe.jpg?x=/y.png") == "e.jpg"
    assert file_name("https://a.b/.hidden") == "hidden"
    assert file_name("https://a.b/") == "picture"
    assert file_name(f"https://a.b/{'人' * 300}.jpg") == f"{'人' * 46}.jpg"


# Standard input, and several words


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    [row] = rows(run("-", *FAST, "--whole", "--json", "--no-pictures", stdin=jpeg()).stdout)
    assert row["image"] == "-"
    assert "standard input is empty" in run("-", "--no-pictures", *FAST, code=1, stdin=b"").output
    wrong = run("-", "--no-pictures", *FAST, code=1, stdin=b"no picture")
    assert "standard input is not a whole image" in wrong.output


def test_standard_input_is_read_by_the_thread_that_ctrl_c_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(jpeg()))
    monkeypatch.setattr(sys, "stdin", stdin)
    [source] = find_sources(["-", "-"])
    assert stdin.buffer.read() == b""
    assert [source.load(), source.load()] == [jpeg(), jpeg()]


def test_files_folders_and_patterns_are_taken_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg", "in/c.png", "in/d.gif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 30)).save(tmp_path / name)
    words = [f"{tmp_path}/b.jpg", f"{tmp_path}/*.jpg", f"{tmp_path}/in"]
    sources = find_sources(words)
    assert [source.file.name for source in sources] == ["b.jpg", "a.jpg", "c.png", "d.gif"]
    monkeypatch.chdir(tmp_path)
    names = [source.name for source in find_sources(["b.jpg", *words])]
    assert names[:2] == ["b.jpg", str(tmp_path / "a.jpg")]
    with pytest.raises(FileNotFoundError):
        find_sources([*words, f"{tmp_path}/none.jpg"])
    out = tmp_path / "out"
    found = run(*words, *FAST, "--out", out)
    assert "4 pictures, 0 people, nobody found in 4 ->" in found.stdout
    assert f"{tmp_path}/a.jpg: nobody found" in found.stderr
    drawn = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert drawn == {"a.jpg", "b.jpg", "in/c.png", "in/d.png", "poses.jsonl"}


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    """Older systems and archives leave such names; JSON has no word for their bytes."""
    photo = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    try:
        photo.write_bytes(jpeg())
    except OSError:
        pytest.skip("this file system takes Unicode only")
    out = tmp_path / "out"
    for options in ((), ("--resume",)):
        run(tmp_path, *FAST, "--whole", "--out", out, *options)
        assert (out / photo.name).is_file()
        [row] = rows((out / "poses.jsonl").read_text())
        assert row["image"] == f"{tmp_path}/caf\\udce9.jpg"
        json.dumps(row, ensure_ascii=False).encode()  # is Unicode


def test_names_of_two_lines_are_told_in_one(tmp_path: Path) -> None:
    (tmp_path / "a\nb.jpg").write_bytes(jpeg())
    (tmp_path / "c\nd.jpg").write_bytes(b"no picture")
    found = run(tmp_path, *FAST, "--out", tmp_path / "out", "--no-pictures", code=1)
    assert "a\\nb.jpg': nobody found" in found.stderr
    assert "c\\nd.jpg' is not a whole image" in found.stderr
    assert not any(line.startswith(("b.jpg", "d.jpg")) for line in found.stderr.splitlines())


# Drawings


def test_drawings_keep_names_and_formats() -> None:
    sources = [Source(name, Path(name)) for name in ("x/a.JPG", "x/b.jpeg", "x/c.webp", "x/d.png")]
    names = [str(path) for path in targets(sources, Path("out"), None).values()]
    assert names == ["out/a.JPG", "out/b.jpeg", "out/c.png", "out/d.png"]
    names = [str(path) for path in targets(sources, Path("out"), ".png").values()]
    assert names == ["out/a.png", "out/b.png", "out/c.png", "out/d.png"]
    same = [Source(name, Path(name)) for name in ("x/a.gif", "x/a.png", "x/b.jpg")]
    names = [str(path) for path in targets(same, Path("out"), None).values()]
    assert names == ["out/a.gif.png", "out/a.png.png", "out/b.jpg"]
    names = ["https://a.b/1/x.jpg", "https://a.b/2/x.jpg", "https://a.b/3?x.jpg", "https://a.b/3?y"]
    remote = [Source(name, Path(file_name(name)), remote=True) for name in names]
    gifs = [Source(name, Path(name)) for name in ("a.gif", "a.png", "a.gif.png")]
    for some in (remote, gifs):
        assert len(set(targets(some, Path("out"), None).values())) == len(some)
    with pytest.raises(click.BadParameter, match="is one of the photos themselves"):
        targets(sources, Path("x"), None)


def test_jpegs_are_drawn_as_jpeg_and_made_smaller(tmp_path: Path) -> None:
    photo = tmp_path / "in" / "a.jpg"
    photo.parent.mkdir()
    with Image.open(demo_image()) as image:
        image.convert("RGB").resize((900, 600)).save(photo)
    box = ("--box", "90,0,800,600")
    out = tmp_path / "out"
    run(photo, *FAST, *box, "--out", tmp_path / "one.jpg", "--max-side", 300)
    with Image.open(tmp_path / "one.jpg") as picture:
        assert (picture.format, picture.size) == ("JPEG", (300, 200))
    for options, name, kind in (((), "a.jpg", "JPEG"), (("--format", "png"), "a.png", "PNG")):
        run(photo.parent, *FAST, *box, "--out", out, "--overwrite", *options)
        with Image.open(out / name) as picture:
            assert (picture.format, picture.size) == (kind, (900, 600))


def test_what_is_transparent_is_drawn_on_white(tmp_path: Path) -> None:
    """So every format can hold it."""
    photo = tmp_path / "logo.png"
    Image.new("RGBA", (90, 60), (200, 0, 0, 0)).save(photo)
    for name in ("a.jpg", "a.png"):
        run(photo, *FAST, "--box", "9,0,80,60", "--min-score", 1, "--out", tmp_path / name)
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == "RGB"
            assert picture.getpixel((picture.width - 3, 3)) == (255, 255, 255)


def test_a_small_drawing_is_the_large_one_made_small(tmp_path: Path) -> None:
    box = ("--box", "20,10,440,510")
    run(demo_image(), *FAST, *box, "--out", tmp_path / "large.png")
    run(demo_image(), *FAST, *box, "--out", tmp_path / "small.png", "--max-side", 256)
    with Image.open(tmp_path / "large.png") as large, Image.open(tmp_path / "small.png") as small:
        assert small.size == (256, 256)
        difference = np.abs(np.asarray(large.resize((256, 256)), float) - np.asarray(small, float))
    assert difference.mean() < 8


# The command itself


def test_the_help_of_commands_is_not_cut() -> None:
    text = " ".join(CliRunner().invoke(main, ["--help"]).output.split())
    for command in COMMANDS:
        assert " ".join((command.help or "").partition("\n\n")[0].split()) in text
    assert "research Measures speed (bench), repeats the paper's comparisons (ablate" in text
    assert text.count("ablate") == 1  # and has no line of its own
    assert CliRunner().invoke(main, ["ablate", "--help"]).exit_code == 0  # old names are kept


def test_stored_counts_are_those_of_the_networks() -> None:
    stored = [{k: v for k, v in row.items() if k != "weights"} for row in stored_rows()]
    assert stored == json.loads(json.dumps(count_rows())), (
        "gatedpose list --recount > gatedpose/weights/counts.json"
    )
    assert [row["name"] for row in stored] == gatedpose.list_models()
    names = [row["name"] for row in stored_rows(pretrained=True)]
    assert names == gatedpose.list_models(pretrained=True)
    assert [row["name"] for row in stored_rows("*_144.lsp", True)] == ["gated_hg_4s_144.lsp"]
