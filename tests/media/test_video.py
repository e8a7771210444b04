"""Video in and out: frames, times and sizes come back, and bad files are named."""

import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gatedpose.errors import VideoError
from gatedpose.media import video
from gatedpose.media.video import SUFFIXES, VideoWriter, read_camera, read_video

H, W = 48, 64


def shades(count: int, height: int = H, width: int = W) -> Iterator[Tensor]:
    """Flat frames, each 20 brighter than the one before, with a red left upper quarter."""
    for number in range(count):
        frame = torch.full((3, height, width), 20 * number % 256, dtype=torch.uint8)
        frame[:, : height // 2, : width // 2] = torch.tensor([200, 20, 20]).view(3, 1, 1)
        yield frame


def write(path: Path, count: int = 5, rate: Fraction | float = 25, **size: int) -> Path:
    with VideoWriter(path, rate) as writer:
        for frame in shades(count, **size):
            writer.write(frame)
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_come_back(suffix: str, tmp_path: Path) -> None:
    film = read_video(write(tmp_path / f"film{suffix}"))
    assert film.rate == 25
    assert film.count in (5, None)
    frames = list(film)
    assert [frame.time for frame in frames] == pytest.approx([0, 0.04, 0.08, 0.12, 0.16], abs=2e-3)
    for frame, sent in zip(frames, shades(5), strict=True):
        assert frame.image.shape == (3, H, W)
        assert frame.image.dtype == torch.uint8
        difference = (frame.image.float() - sent.float()).abs()
        assert difference[:, : H // 2 - 4, : W // 2 - 4].mean() < 6  # colours go through 4:2:0
        assert difference[:, H // 2 + 4 :].mean() < 6


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v", ".mkv", ".webm"])
def test_files_say_how_their_colours_are_made(suffix: str, tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / f"film{suffix}"))) as film:
        frame = next(film.decode(video=0))
    assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601 with 16 to 235, as ffmpeg makes


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), 23.976, 12, 239.76])
def test_rates_come_back(rate: Fraction | float, tmp_path: Path) -> None:
    film = read_video(write(tmp_path / "film.mp4", rate=rate))
    assert float(film.rate) == pytest.approx(float(rate), rel=1e-5)
    times = [frame.time for frame in film]
    assert times == pytest.approx([i / float(rate) for i in range(5)], abs=1e-4)


def test_uneven_times_come_back(tmp_path: Path) -> None:
    times = [0, 0.04, 0.1, 0.5, 0.52]
    with VideoWriter(tmp_path / "film.mp4", 25) as writer:
        for time, frame in zip(times, shades(5), strict=True):
            writer.write(frame, time)
    assert [f.time for f in read_video(tmp_path / "film.mp4")] == pytest.approx(times, abs=1e-4)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi"])
def test_odd_sizes_grow_by_a_copied_edge(suffix: str, tmp_path: Path) -> None:
    [frame, *_] = read_video(write(tmp_path / f"film{suffix}", height=47, width=63))
    assert frame.image.shape == (3, 48, 64)
    assert frame.image[:, -1].float().mean() == pytest.approx(
        float(frame.image[:, -2].float().mean()), abs=3
    )


def test_frames_of_other_sizes_are_fitted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """To 64 x 48: a smaller one of that aspect fills it, one of 32 x 48 is its middle."""
    white = [
        torch.full((3, *size), 255, dtype=torch.uint8) for size in ((H, W), (24, 32), (48, 32))
    ]
    send(tmp_path / "film.mp4", white, [0.0, 0.1, 0.2])
    first, smaller, narrow = (frame.image.float() for frame in read_video(tmp_path / "film.mp4"))
    assert first.shape == smaller.shape == narrow.shape == (3, H, W)
    assert smaller.min() > 245
    assert narrow[..., 20:44].min() > 245
    assert max(narrow[..., :12].max(), narrow[..., 52:].max()) < 10
    assert caplog.messages == [
        f"{tmp_path / 'film.mp4'}: frames of 32 x 24 pixels are fitted to 64 x 48"
    ]


def test_mpeg4_stands_in_for_h264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    path = write(tmp_path / "film.mp4", rate=Fraction(30000, 1001))
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    assert len(list(read_video(path))) == 5


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Sets the matrix of an mp4's track header, as phones do (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # version and flags, times and ids, ...
    data[at : at + 24] = struct.pack(">6i", a << 16, b << 16, 0, c << 16, d << 16, 0)
    path.write_bytes(data)


def test_names_in_other_letters_do_not_matter(tmp_path: Path) -> None:
    """Titles that are no UTF-8, as cameras of other countries write them."""
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "XXXX"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        [frame] = shades(1)
        picture = np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"XXXX", b"Caf\xe9"))
    assert len(list(read_video(path))) == 1


@pytest.mark.parametrize(
    ("matrix", "corner", "size"),
    [  # where the red corner goes, counted by rows from the left upper one, and the shown size
        ((1, 0, 0, 1), 0, (H, W)),
        ((0, 1, -1, 0), 1, (W, H)),  # a quarter clockwise
        ((-1, 0, 0, -1), 3, (H, W)),
        ((0, -1, 1, 0), 2, (W, H)),
        ((-1, 0, 0, 1), 1, (H, W)),  # a mirror
        ((1, 0, 0, -1), 2, (H, W)),  # upside down, not turned
        ((0, 1, 1, 0), 0, (W, H)),  # rows are columns
        ((0, -1, -1, 0), 3, (W, H)),
    ],
)
def test_the_display_matrix_is_applied(
    matrix: tuple[int, int, int, int], corner: int, size: tuple[int, int], tmp_path: Path
) -> None:
    path = write(tmp_path / "film.mp4")
    [plain, *_] = read_video(path)
    set_matrix(path, *matrix)
    [shown, *_] = read_video(path)
    assert shown.image.shape[1:] == size
    red = shown.image.float().unflatten(1, (2, -1)).unflatten(3, (2, -1)).mean((2, 4))
    assert red[0].flatten().argmax() == corner
    a, b, c, d = matrix  # pixel by pixel, as the standard has it
    rows, columns = torch.meshgrid(torch.arange(H), torch.arange(W), indexing="ij")
    x, y = a * columns + c * rows, b * columns + d * rows
    wanted = torch.empty(3, *size, dtype=torch.uint8)
    wanted[:, y - y.min(), x - x.min()] = plain.image
    torch.testing.assert_close(shown.image, wanted)


@pytest.mark.parametrize(
    ("aspect", "turned", "size"),
    [
        (Fraction(16, 11), False, (H, 93)),  # 64 * 16 / 11
        (Fraction(8, 9), False, (H, 57)),
        (Fraction(2), True, (128, H)),
    ],
)
def test_pixels_that_are_not_square_are_stretched(
    aspect: Fraction, turned: bool, size: tuple[int, int], tmp_path: Path
) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        frame = torch.zeros(H, W, 3, dtype=torch.uint8)
        frame[:, W // 4 : W // 2] = 255
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.numpy())))
        container.mux(stream.encode())
    if turned:
        set_matrix(path, 0, 1, -1, 0)
    [shown] = read_video(path)
    assert shown.image.shape[1:] == size
    lit = (shown.image.float().mean(0).mean(1 if turned else 0) > 128).nonzero()
    wide = max(size)  # a quarter to a half of it is white, to a pixel
    assert lit.min() == pytest.approx(wide / 4, abs=1)
    assert lit.max() + 1 == pytest.approx(wide / 2, abs=1)


def test_a_picture_of_the_cover_is_not_the_film(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=25) for codec in ("mjpeg", "libx264")]
        for stream, kind in zip(streams, ("yuvj420p", "yuv420p"), strict=True):
            stream.width, stream.height, stream.pix_fmt = W, H, kind
        for stream, count in zip(streams, (1, 5), strict=True):
            for frame in shades(count):
                picture = frame.permute(1, 2, 0).contiguous().numpy()
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    assert len(list(read_video(path))) == 5


def test_times_increase_whatever_the_file_says(tmp_path: Path) -> None:
    """Raw H.264 carries no times."""
    with av.open(str(tmp_path / "film.h264"), "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        for frame in shades(4):
            picture = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy())
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    times = [frame.time for frame in read_video(tmp_path / "film.h264")]
    assert len(times) == 4
    assert (np.diff(times) > 0).all()


def send(path: Path, frames: Iterable[Tensor], times: Iterable[float | None]) -> None:
    with VideoWriter(path, 25) as writer:
        for frame, time in zip(frames, times, strict=True):
            writer.write(frame, time)


def test_an_error_leaves_the_old_file(tmp_path: Path) -> None:
    path = write(tmp_path / "film.mp4")
    before = path.read_bytes()

    def frames() -> Iterator[Tensor]:
        yield next(shades(1))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        send(path, frames(), [None, None])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_a_full_disk_is_named_at_the_end(tmp_path: Path, full_disk: Callable[..., None]) -> None:
    noise = np.random.default_rng(0)

    def frames() -> Iterator[Tensor]:
        for _ in range(8):
            yield torch.from_numpy(noise.integers(0, 255, (3, 64, 64), np.uint8))
        full_disk(1000)

    with pytest.raises(VideoError, match=r"cannot write .*/x\.mp4: File too large"):
        send(tmp_path / "x.mp4", frames(), [None] * 8)
    full_disk()
    assert not list(tmp_path.iterdir())


def test_nothing_is_there_before_the_end(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "film.mp4", 25) as writer:
        writer.write(next(shades(1)))
        assert not (tmp_path / "film.mp4").exists()
    assert (tmp_path / "film.mp4").exists()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.2, 0.1], r"a frame at 0.1 s is not later"),
        ([0.2, 0.2], r"a frame at 0.2 s is not later"),
        ([0.2, float("inf")], r"a frame at inf s is not later"),
        ([], "there are no frames"),
    ],
)
def test_bad_frames(times: list[float | None], message: str, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=message):
        send(tmp_path / "film.mp4", shades(len(times)), times)
    assert not list(tmp_path.iterdir())


def test_bad_targets(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"the suffix must be one of \.avi"):
        VideoWriter(tmp_path / "film.txt", 25)
    with pytest.raises(VideoError, match="at 0 frames a second"):
        VideoWriter(tmp_path / "film.mp4", 0)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        send(tmp_path / "absent" / "film.mp4", shades(1), [None])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file .*absent\.mp4"):
        read_video(tmp_path / "absent.mp4")
    with pytest.raises(VideoError, match="is a folder"):
        read_video(tmp_path)
    for data in (b"", b"no film at all" * 99):
        (tmp_path / "bad.mp4").write_bytes(data)
        with pytest.raises(VideoError, match=r"bad\.mp4 is no video that ffmpeg can read: Invalid"):
            read_video(tmp_path / "bad.mp4")
    whole = write(tmp_path / "film.mp4", 30).read_bytes()
    (tmp_path / "torn.mp4").write_bytes(whole[: len(whole) // 2])  # the index is at the end
    with pytest.raises(VideoError, match=r"torn\.mp4"):
        read_video(tmp_path / "torn.mp4")


@pytest.mark.parametrize("durations", [None, 20, [40, 200, 70, 100, 100]])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng"])
def test_animations_lose_no_frame(suffix: str, durations: Any, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    first, *others = [Image.new("RGB", (48, 32), (50 * n, 9, 9)) for n in range(5)]
    options = {} if durations is None else {"duration": durations}
    kind = "PNG" if suffix == ".apng" else None
    first.save(path, kind, save_all=True, append_images=others, **options)
    video = read_video(path)
    times, images = zip(*video, strict=True)
    each = durations if isinstance(durations, list) else [durations or 100] * 5
    assert video.count == 5
    assert times == pytest.approx(np.cumsum([0, *each[:-1]]) / 1000)
    assert float(video.rate) == pytest.approx(5000 / sum(each), rel=0.01)
    shades = [float(image[0].float().mean()) for image in images]
    assert shades == pytest.approx([0, 50, 100, 150, 200], abs=3)
    with VideoWriter(tmp_path / "b.mp4", video.rate) as writer:
        for time, image in zip(times, images, strict=True):
            writer.write(image, time)
    assert len(list(read_video(tmp_path / "b.mp4"))) == 5


def test_an_animation_of_hours_has_a_rate(tmp_path: Path) -> None:
    first, other = (Image.new("RGB", (48, 32), colour) for colour in ("red", "blue"))
    path = tmp_path / "slow.webp"
    first.save(path, save_all=True, append_images=[other], duration=3_000_000)
    assert read_video(path).rate == Fraction(1, 1000)


def test_animations_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.gif").write_bytes(b"no film")
    with pytest.raises(VideoError, match=r"cannot read the animation: .*a\.gif is not a whole"):
        read_video(tmp_path / "a.gif")


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), layout="mono", format="s16"
        )
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(VideoError, match=r"sound\.wav holds no video, only audio"):
        read_video(tmp_path / "sound.wav")


def test_damage_within_is_named(tmp_path: Path) -> None:
    """The bytes of the pictures are overwritten, the index at the end is kept."""
    path = write(tmp_path / "film.mp4", 30)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = b"\xff" * (end - start)
    path.write_bytes(data)
    with pytest.raises(VideoError, match=r"film\.mp4 (cannot be decoded after 0|holds no) frames"):
        list(read_video(path))


def test_damaged_parts_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A part in the middle is overwritten; most of what comes behind is there."""
    path = write(tmp_path / "film.mp4", 30)
    with av.open(str(path)) as container:
        [stream] = container.streams.video
        spots = [packet.pos for packet in container.demux(stream) if packet.size]
    data = bytearray(path.read_bytes())
    data[spots[10] : spots[11]] = b"\xff" * (spots[11] - spots[10])
    path.write_bytes(data)
    times = [frame.time for frame in read_video(path)]
    assert 20 <= len(times) < 30
    assert times[-1] == pytest.approx(29 / 25, abs=2e-3)
    assert "film.mp4: 1 damaged parts passed over: Invalid data found" in caplog.text


def test_a_header_alone_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "none.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"none\.mp4 holds no video, only a header"):
        list(read_video(tmp_path / "none.mp4"))


def test_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VideoError, match=r"cannot open webcam /dev/video97: .*; cameras here: "):
        read_camera(97)
    monkeypatch.setattr(video.sys, "platform", "darwin")
    with pytest.raises(VideoError, match="needs Linux, not darwin"):
        read_camera(0)


def test_missing_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for call in (lambda: read_video("a.mp4"), lambda: VideoWriter("a.mp4", 25), read_camera):
        with pytest.raises(ImportError, match=r'pip install "gatedpose\[video\]"'):
            call()
