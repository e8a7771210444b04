"""Files that folders and patterns stand for, and pictures that are not as they should be."""

import os
import struct
import zlib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, features

from gatedpose.media.folders import find_images
from gatedpose.media.images import read_image

FORMATS = {".jfif": "JPEG", ".dib": "DIB", ".mpo": "MPO", ".jp2": "JPEG2000", ".avif": "AVIF"}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(folder: Path, pattern: str) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder / pattern)]


@pytest.mark.parametrize("suffix", FORMATS)
def test_suffixes_that_pillow_reads(suffix: str, tmp_path: Path) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.new("RGB", (20, 12), (10, 200, 30)).save(tmp_path / f"a{suffix}", FORMATS[suffix])
    (found,) = find_images(tmp_path)
    image = read_image(found)
    assert image.shape == (3, 12, 20)
    assert (image[:, 6, 10] - torch.tensor([10, 200, 30])).abs().max() < 6


def test_apples_photos_are_read_with_the_package_for_them(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), (10, 200, 30))).save(tmp_path / "a.HEIC")
    [found] = find_images(tmp_path)
    assert read_image(found).shape == (3, 48, 64)
    assert (read_image(found)[:, 24, 32] - torch.tensor([10, 200, 30])).abs().max() < 6


@pytest.mark.skipif(find_spec("pillow_heif") is not None, reason="HEIC can be read here")
def test_what_is_passed_over_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.jpg", "b.HEIC", "c.heic", "notes.txt", "README", ".hidden", "sub/d.jpg")
    assert names(tmp_path, "") == ["a.jpg"]
    others = "2 .heic, 1 .txt, 1 without suffix; for HEIC: pip install pillow-heif"
    assert caplog.messages == [f"{tmp_path}: 1 pictures; files passed over: {others}"]
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no image in .*\.webp; there are {others}$"):
        find_images(tmp_path)


def test_nothing_is_said_of_folders_of_pictures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.jpg", "b.png")
    assert names(tmp_path, "*.jpg") == ["a.jpg"]
    assert names(tmp_path, "") == ["a.jpg", "b.png"]
    assert not caplog.records


def test_a_loop_of_links_gives_each_file_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a.jpg", "x/b.jpg", "x/y/c.jpg")
    (tmp_path / "x" / "again").symlink_to(tmp_path)
    (tmp_path / "x" / "here").symlink_to("y")
    for pattern in ("**/*", "**/*.jpg", "**", "*/../**/*.jpg"):
        found = [path.resolve() for path in find_images(tmp_path / pattern)]
        assert sorted(path.name for path in found) == ["a.jpg", "b.jpg", "c.jpg"]
    assert names(tmp_path, "**/*.jpg") == ["a.jpg", "x/b.jpg", "x/y/c.jpg"]


def test_many_loops_do_not_multiply(tmp_path: Path) -> None:
    """Two links a level would be 2 ** 40 names."""
    touch(tmp_path, "x/a.jpg", "x/y/b.jpg")
    for folder in (tmp_path / "x", tmp_path / "x" / "y"):
        for number in range(4):
            (folder / f"loop{number}").symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path, "**/*.jpg") == ["x/a.jpg", "x/y/b.jpg"]


def test_a_linked_folder_elsewhere_is_entered(tmp_path: Path) -> None:
    touch(tmp_path, "other/a.jpg", "photos/b.jpg")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "other")
    assert names(tmp_path, "photos/**/*") == ["photos/b.jpg", "photos/more/a.jpg"]
    assert names(tmp_path, "photos/**/more/*") == ["photos/more/a.jpg"]


def test_links_to_files_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "z.jpg")
    (tmp_path / "a.jpg").symlink_to("z.jpg")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    assert names(tmp_path, "") == ["z.jpg"]
    assert "files passed over: 1 that links lead to again" in caplog.text
    assert find_images(tmp_path / "a.jpg") == [tmp_path / "a.jpg"]  # asked for by its name


def test_patterns_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "x [1]/b.jpg", ".git/c.jpg")
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in find_images("**/*.jpg")] == ["a.jpg", "x [1]/b.jpg"]
    assert [str(path) for path in find_images("*/**/*.jpg")] == ["x [1]/b.jpg"]


def test_an_empty_name_is_not_the_working_folder() -> None:
    with pytest.raises(FileNotFoundError, match="an empty name"):
        find_images("")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into everything")
def test_a_folder_that_is_closed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.jpg", "x/b.jpg")
    (tmp_path / "x").chmod(0)
    assert names(tmp_path, "**/*.jpg") == ["a.jpg"]
    assert "x cannot be looked into: Permission denied" in caplog.text
    (tmp_path / "x").chmod(0o700)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos [1]"  # brackets are magic in patterns
    (folder / "sub.jpg").mkdir(parents=True)
    names = ("im10.jpg", "im2.JPG", "im1.png", "notes.txt", ".hidden.jpg", "sub.jpg/im3.webp")
    for name in names:
        (folder / name).touch()
    (tmp_path / "empty").mkdir()
    return folder


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("photos [1]", ["im1.png", "im2.JPG", "im10.jpg"]),
        ("photos [1]/notes.txt", ["notes.txt"]),
        ("photos*/im1*", ["im1.png", "im10.jpg"]),
        ("photos*/*", ["im1.png", "im2.JPG", "im10.jpg"]),
        ("**/*", ["im1.png", "im2.JPG", "im10.jpg", "im3.webp"]),
    ],
)
def test_find_images(source: str, names: list[str], folder: Path) -> None:
    for given in (folder.parent / source, str(folder.parent / source)):
        assert [path.name for path in find_images(given)] == names


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("empty", r"no image in .*empty; .*\.jpg"),
        ("photos*/*.txt", r"no image in .*\.txt; .*\.png"),
        ("missing", "there is no file or folder .*missing"),
    ],
)
def test_find_images_that_are_not_there(source: str, text: str, folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=text):
        find_images(folder.parent / source)


def test_a_pipe_is_not_called_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match=r"pipe is a pipe or device: give - and its bytes"):
        find_images(tmp_path / "pipe")


# Pictures that are not as they should be


def jpeg_with_exif(path: Path, block: bytes) -> None:
    Image.new("RGB", (20, 12), "teal").save(path, "JPEG", exif=block)


BROKEN = {
    "cut": b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12",
    "empty": b"Exif\0\0",
    "no header": b"Exif\0\0" + b"\xff" * 40,
    "far away": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "orientation 9": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0",
    "orientation of text": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x02aa\0\0\0\0\0\0",
}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_exif(kind: str, suffix: str, tmp_path: Path) -> None:
    from gatedpose.media.images import image_header

    path = tmp_path / f"a{suffix}"
    pixels = np.full((12, 20, 3), 77, np.uint8)
    Image.fromarray(pixels).save(path, exif=BROKEN[kind])
    assert image_header(path) == (20, 12, False)
    image = read_image(path)
    assert image.shape == (3, 12, 20)
    assert (image.float() - 77).abs().max() < 3


def test_good_exif_still_turns(tmp_path: Path) -> None:
    from gatedpose.media.images import image_header

    block = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    jpeg_with_exif(tmp_path / "a.jpg", block)
    assert image_header(tmp_path / "a.jpg") == (12, 20, True)
    assert read_image(tmp_path / "a.jpg").shape == (3, 20, 12)


def png_of_16_bits(path: Path, pixels: np.ndarray) -> None:
    """RGB of 16 bits, which Pillow reads and does not write."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


@pytest.mark.parametrize(("bits", "warned"), [(10, True), (12, True), (14, False), (16, False)])
def test_few_of_16_bits(
    bits: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    colours, brightest = np.linspace(0, 2**bits - 1, 720).reshape(12, 20, 3), 2**bits - 1
    Image.fromarray(colours[..., 2].astype(np.uint16)).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").max() == round(brightest / 257)
    png_of_16_bits(tmp_path / "colour.png", colours)
    assert read_image(tmp_path / "colour.png").max() == brightest // 256
    told = f"as if {bits} bits were stored in 16: multiply its values by {2 ** (16 - bits)}"
    assert [text.partition(" of 65535, ")[2] for text in caplog.messages] == [told, told] * warned
    grey = f"grey.png comes out nearly black: its brightest value is {brightest} of 65535"
    assert (grey in caplog.text) is warned


@pytest.mark.parametrize(("most", "warned"), [(4095, False), (65535, True)])
@pytest.mark.parametrize(("kind", "channels"), [("P5", 1), ("P6", 3)])
def test_few_of_16_bits_in_ppm(
    kind: str, channels: int, most: int, warned: bool, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    values = np.repeat(np.linspace(0, 4095, 240).astype(">u2"), channels)
    path = tmp_path / "a.ppm"
    path.write_bytes(f"{kind} 20 12 {most}\n".encode() + values.tobytes())
    assert read_image(path).max() == (16 if warned else 255)
    assert ["12 bits were stored" in text for text in caplog.messages] == [True] * warned


def test_black_is_not_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.fromarray(np.zeros((12, 20), np.uint16)).save(tmp_path / "black.png")
    assert not read_image(tmp_path / "black.png").any()
    assert caplog.messages == []
