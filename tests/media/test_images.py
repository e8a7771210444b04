"""Reading images of every kind, and writing them."""

import math
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from tempfile import SpooledTemporaryFile

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gatedpose.errors import ImageError, MissingPackageError
from gatedpose.media import demo
from gatedpose.media.images import image_header, read_image, write_image
from gatedpose.media.photos import read_photo

H, W = 12, 20


@pytest.fixture
def photo() -> np.ndarray:
    """Noise: every pixel and channel differs, so no axis can be swapped unseen."""
    return np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def planes(array: np.ndarray) -> Tensor:
    array = np.repeat(array[..., None], 3, axis=2) if array.ndim == 2 else array
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


# Reading


def test_every_kind_of_source_gives_the_same_rgb_tensor(photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    frozen = photo.copy()
    frozen.flags.writeable = False
    sources = {
        "Path": path,
        "str": str(path),
        "PIL": Image.fromarray(photo),
        "array": photo,
        "read-only": frozen,
        "reversed": photo[::-1, ::-1].copy()[::-1, ::-1],
        "float64 array": photo / 255,
        "float16 array": (photo / 255).astype(np.float16),
        "tensor": planes(photo),
        "float tensor": planes(photo).float() / 255,
        "strided tensor": torch.from_numpy(photo).permute(2, 0, 1),
        "tensor with grad": (planes(photo).double() / 255).requires_grad_(),
    }
    for kind, source in sources.items():
        got = read_image(source)
        assert got.dtype == torch.uint8, kind
        assert got.shape == (3, H, W), kind
        assert torch.equal(got, planes(photo)), kind


def test_bytes_and_open_files(photo: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    with path.open("rb") as file, SpooledTemporaryFile() as upload:
        upload.write(path.read_bytes())  # and its end is where it stands
        for source in (path.read_bytes(), BytesIO(path.read_bytes()), file, upload):
            for _ in range(2):  # each time from the start
                assert torch.equal(read_image(source), planes(photo))
    with pytest.raises(ImageError, match=r"photo\.png cannot be read: .*closed file"):
        read_image(file)


@pytest.mark.parametrize(("mode", "red"), [("RGB", "red"), ("CMYK", (0, 255, 255, 0))])
def test_red_is_channel_0(mode: str, red: object, tmp_path: Path) -> None:
    path = tmp_path / "red.jpg"
    Image.new(mode, (W, H), red).save(path, quality=95)
    assert read_image(path).float().mean((1, 2)).tolist() == pytest.approx([254, 0, 0], abs=4)


@pytest.mark.parametrize("shape", [(H, W), (H, W, 1), (1, H, W)])
def test_grey_arrays_and_tensors(photo: np.ndarray, shape: tuple[int, ...]) -> None:
    grey = photo[..., 1]
    source = grey.reshape(shape)
    got = read_image(torch.from_numpy(source.copy()) if shape[0] == 1 else source)
    assert torch.equal(got, planes(grey))
    got[0] = 0  # the channels share no memory
    assert torch.equal(got[1:], planes(grey)[1:])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "I;16", "I"])
def test_modes(mode: str, suffix: str, photo: np.ndarray, tmp_path: Path) -> None:
    grey, alpha = photo[..., 0], photo[..., 2]
    colours = Image.fromarray(photo).quantize(16)
    deep = (grey.astype(np.uint16) * 257 + 1).clip(0, 65535)  # 8 bits of a 16-bit value are grey
    made, right = {
        "L": lambda: (Image.fromarray(grey), grey),
        "1": lambda: (Image.fromarray(grey > 99), (grey > 99) * np.uint8(255)),
        "P": lambda: (colours, np.asarray(colours.convert("RGB"))),
        "LA": lambda: (Image.fromarray(np.dstack([grey, alpha])), on_white(grey, alpha)),
        "RGBA": lambda: (Image.fromarray(np.dstack([photo, alpha])), on_white(photo, alpha)),
        "I;16": lambda: (Image.fromarray(deep), grey),
        "I": lambda: (Image.fromarray(deep.astype(np.int32)), grey),
    }[mode]()
    assert made.mode == mode
    path = tmp_path / f"image{suffix if mode != 'I' else '.tif'}"  # Pillow writes no such PNG
    made.save(path)
    for source in (path, made):
        difference = read_image(source).int() - planes(right).int()
        assert difference.abs().max() <= (1 if "A" in mode else 0)


def on_white(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = (alpha / 255)[..., None] if pixels.ndim == 3 else alpha / 255
    return np.rint(pixels * share + 255 * (1 - share)).astype(np.uint8)


def test_16_bits_are_scaled_not_clipped_or_cut() -> None:
    values = np.array([[0, 128, 129, 257], [300, 32768, 65407, 65535]], dtype=np.uint16)
    got = read_image(Image.fromarray(values))[0].tolist()
    assert got == [[0, 0, 1, 1], [1, 128, 255, 255]]  # round(value / 257)


def test_transparent_palette_colour_turns_white(tmp_path: Path) -> None:
    image = Image.new("P", (W, H), 1)
    image.putpalette([0, 0, 0, 200, 10, 20])
    image.paste(0, (0, 0, 5, H))
    image.save(tmp_path / "palette.gif", transparency=0)
    image.save(tmp_path / "palette.png", transparency=bytes([0, 255]))
    for name in ("palette.gif", "palette.png"):
        got = read_image(tmp_path / name)
        assert (got[:, :, :5] == 255).all()
        assert got[:, 0, 5:].T.unique(dim=0).tolist() == [[200, 10, 20]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_exif_orientation(orientation: int, mode: str, photo: np.ndarray, tmp_path: Path) -> None:
    upright = photo if mode == "RGB" else photo[..., 0]
    t = upright.swapaxes(0, 1)
    stored = {  # where the first row and column of the stored file are in the upright scene
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: t,  # left, top
        6: t[::-1],  # right, top: turned 90 degrees clockwise to be seen
        7: t[::-1, ::-1],  # right, bottom
        8: t[:, ::-1],  # left, bottom
    }[orientation]
    if mode == "I;16":
        stored = stored.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert torch.equal(read_image(path), planes(upright))
    with Image.open(path) as image:
        assert torch.equal(read_image(image), planes(upright))
        assert image.size == stored.shape[1::-1]  # the caller's image is left as it was


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_tiffs_are_turned_once(
    orientation: int, compression: str | None, photo: np.ndarray, tmp_path: Path
) -> None:
    """Pillow turns them itself as it decodes; their size is upright before, or not, by version."""
    exif, path = Image.Exif(), tmp_path / "turned.tif"
    exif[0x0112] = orientation
    Image.fromarray(photo).save(path, exif=exif, compression=compression)
    with Image.open(path) as image:
        upright = planes(np.asarray(ImageOps.exif_transpose(image)))
    turned = orientation >= 5
    assert upright.shape == ((3, W, H) if turned else (3, H, W))
    assert torch.equal(read_image(path), upright)
    with Image.open(path) as image:
        assert torch.equal(read_image(image), upright)
        assert torch.equal(read_image(image), upright)  # which is decoded by now
    assert image_header(path) == (*upright.shape[:0:-1], turned)
    assert read_photo(path, lambda *_: 9.0).size == upright.shape[1:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "progressive"])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.95])
def test_file_cut_short(kind: str, share: float, tmp_path: Path) -> None:
    data = BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    kinds = {"progressive": {"format": "JPEG", "progressive": True}}
    Image.fromarray(noise).save(data, **kinds.get(kind, {"format": kind}))
    path = tmp_path / "cut.jpg"
    path.write_bytes(data.getvalue())
    read_image(path)
    path.write_bytes(data.getvalue()[: int(share * len(data.getvalue()))])
    with pytest.raises(ImageError, match=r"cut\.jpg is not a whole image"):
        read_image(path)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", "empty"), (b"hello, world", "is not a whole image"), (b"\xff\xd8", "not a whole image")],
    ids=["zero bytes", "text", "jpeg marker"],
)
def test_no_image_at_all(data: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=rf"odd\.jpg.*{text}"):
        read_image(path)


def test_files_of_other_kinds_are_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "walk.MP4").write_bytes(b"a film")
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftypnone")
    for name, text in (
        ("walk.MP4", r"is none of .*BMP, .*WEBP; for videos: .*read_video$"),
        ("a.HEIC", r"is none of .*WEBP; for HEIC: pip install pillow-heif$"),
    ):
        with pytest.raises(ImageError, match=text) as caught:
            read_image(tmp_path / name)
        assert "<_io" not in str(caught.value)
    with pytest.raises(ImageError, match=r"^https://a\.b/c\.jpg is an address: download it"):
        read_image("https://a.b/c.jpg")


@pytest.mark.parametrize(("count", "told"), [(1, False), (2, True)])
@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_of_several_pictures_the_first_is_taken_and_that_is_told(
    suffix: str, count: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, *others = [Image.new("RGB", (W, H), (0, 60 * n, 0)) for n in range(count)]
    path = tmp_path / f"a{suffix}"
    first.save(path, save_all=True, append_images=others)
    assert int(read_image(path).max()) < 5
    assert ("a" + suffix + " holds several pictures" in caplog.text) == told


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("limit", [H * W - 1, H * W // 2 - 1], ids=["warning", "error"])
def test_decompression_bomb(
    limit: int, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.png"
    Image.fromarray(photo).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageError, match=r"bomb\.png.*raise PIL\.Image\.MAX_IMAGE_PIXELS"):
        read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", H * W)
    assert torch.equal(read_image(path), planes(photo))


def test_threads_that_read_leave_the_filters_of_warnings_as_they_are(
    photo: np.ndarray, tmp_path: Path
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(200)]
    for path in paths:
        Image.fromarray(photo).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(read_image, paths))
    assert all(torch.equal(image, planes(photo)) for image in images)
    assert list(warnings.filters) == before


BAD_SOURCES = {
    "1 pixel": (np.zeros((1, 1, 3), np.uint8), "1 x 1 pixels"),
    "strip": (torch.zeros(3, 9, 1), "1 x 9 pixels"),
    "empty": (np.zeros((0, 5, 3)), "5 x 0 pixels"),
    "1-pixel PIL": (Image.new("L", (1, 1)), "^PIL image of mode L is 1 x 1"),
    "RGBA array": (np.zeros((H, W, 4), np.uint8), r"\(12, 20, 4\).*RGBA goes via PIL"),
    "channels first": (np.zeros((3, H, W), np.uint8), r"is not \(H, W, 3\) .*another order"),
    "channels last": (torch.zeros(H, W, 3), r"is not \(3, H, W\) .*another order"),
    "batch": (torch.zeros(1, 3, H, W), r"is not \(3, H, W\) .*several images give a list"),
    "no channel": (torch.zeros(H, W), r"is not \(3, H, W\)"),
    "int64": (np.zeros((H, W, 3), np.int64), "int64.*wrong dtype"),
    "uint16": (np.zeros((H, W), np.uint16), "uint16.*wrong dtype"),
    "big-endian uint16": (np.zeros((H, W), ">u2"), ">u2.*wrong dtype"),
    "objects": (np.zeros((H, W, 3), object), "object.*wrong dtype"),
    "words": (np.full((H, W), "a"), "wrong dtype"),
    "no name": ("", "'' is no file's name"),
    "NUL": ("\0.jpg", "is no file's name"),
    "text mode": (StringIO("a"), "is open in text mode"),
    "JPEG in text mode": (TextIOWrapper(BytesIO(b"\xff\xd8")), "is open in text mode"),
    "bool": (torch.zeros(3, H, W, dtype=torch.bool), "bool.*wrong dtype"),
    "NaN": (np.full((H, W, 3), math.nan), "values from nan"),
    "one NaN": (torch.eye(W).div(torch.eye(W)).expand(3, -1, -1), "values from nan"),
    "infinite": (np.full((H, W, 3), math.inf), "values from inf"),
    "0 to 255": (np.full((H, W, 3), 255.0), "to 255: .*divide by 255"),
    "normalised": (torch.full((3, H, W), -0.4), "from -0.4 .*undo the normalisation"),
    "32 bits": (Image.fromarray(np.full((H, W), 70000, np.int32)), "mode I has values"),
}


@pytest.mark.parametrize("kind", BAD_SOURCES)
def test_bad_sources_are_named(kind: str) -> None:
    source, text = BAD_SOURCES[kind]
    with pytest.raises(ImageError, match=text):
        read_image(source)


def test_rounding_errors_of_floats_are_let_through() -> None:
    got = read_image(torch.tensor([-1e-6, 0.5, 1 + 1e-6]).expand(3, 2, 3))
    assert got[0, 0].tolist() == [0, 128, 255]


def test_missing_file_folder_and_other_types(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(ImageError, match=r"is a folder.*find_images"):
        read_image(tmp_path)
    with pytest.raises(TypeError, match="got list"):
        read_image([[1, 2]])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got generator: for a loop there is Predictor\.stream"):
        read_image(picture for picture in ())  # type: ignore[arg-type]


# Writing


@pytest.mark.parametrize(
    ("name", "kind"), [("a.png", "PNG"), ("a.PNG", "PNG"), ("a.jpg", "JPEG"), ("a.jpeg", "JPEG")]
)
def test_write_image(name: str, kind: str, photo: np.ndarray, tmp_path: Path) -> None:
    write_image(photo, tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.format == kind
        assert image.size == (W, H)
    if kind == "PNG":
        assert torch.equal(read_image(tmp_path / name), planes(photo))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_write_image_names_the_suffixes(photo: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"a\.gif: .*\.png, \.jpg, \.jpeg"):
        write_image(photo, tmp_path / "a.gif")


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("missing/a.png", FileNotFoundError, "there is no folder .*missing"),
        ("file/a.png", NotADirectoryError, r"cannot write .*file/a\.png"),
        ("folder.png", IsADirectoryError, r"cannot write .*folder\.png"),
    ],
)
def test_places_that_cannot_be_written(
    name: str, error: type[OSError], text: str, photo: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(error, match=text):
        write_image(photo, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


# The demo photo


def test_demo_image_prefers_scikit_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("skimage", "matplotlib"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert demo.demo_image().name == "astronaut.png"
    assert read_image(demo.demo_image()).shape == (3, 512, 512)
    find = demo.find_spec
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "skimage" else find(name))
    assert demo.demo_image().name == "grace_hopper.jpg"
    assert read_image(demo.demo_image()).shape == (3, 600, 512)
    assert not {"skimage", "matplotlib"} & set(sys.modules)  # found without being imported
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install "gatedpose\[demo\]"'):
        demo.demo_image()


def test_other_programs_are_never_given_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\nshowpage\n%%EOF\n")
    with Image.open(path) as opened:
        assert opened.format == "EPS"  # which Pillow gives to Ghostscript
    with pytest.raises(ImageError, match=r"x\.jpg is not a whole image"):
        read_image(path)
    with pytest.raises(ImageError, match=r"x\.jpg is not a whole image"):
        image_header(path)


def test_a_small_file_of_many_pixels(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (9000, 8000)).save(path)  # 72 million pixels in some 9 kB
    assert path.stat().st_size < 20_000
    with pytest.raises(ImageError, match=r"9000 x 8000 = 72\.0 million pixels, the limit is 64"):
        read_image(path)
