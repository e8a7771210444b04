"""Reading and writing video, frame by frame, through PyAV, which brings ffmpeg's libraries."""

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ImageOps
from torch import Tensor

from gatedpose.errors import VideoError, in_range, require
from gatedpose.files.whole import whole_file
from gatedpose.media import animations
from gatedpose.media.images import ImageSource, read_image, to_pil

LOG = logging.getLogger(__name__)
SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")  # of files that are written
CODECS = {".avi": ("mpeg4",), ".webm": ("libvpx-vp9", "libvpx")}  # the first that ffmpeg has
WIDEST = 8  # a pixel, as a multiple of its height; DVDs' are up to 1.5
# Hardly to be told from the original; players guess other colours of large videos unless told.
ENCODING = {"crf": "20", "colorspace": "smpte170m", "color_range": "tv"}


class Frame(NamedTuple):
    """One picture of a video.

    Attributes:
        time: Seconds since the first frame; later than that of the frame before.
        image: (3, H, W) uint8 RGB, as it is to be shown: turned and mirrored as the file asks for,
            its width stretched where the file's pixels are not square.
    """

    time: float
    image: Tensor


class Video(Iterator[Frame]):
    """Frames of a file or a webcam in their order, each decoded when it is asked for.

    Damaged parts are passed over, as players do; the log says how many.

    Attributes:
        name: What messages call it.
        rate: Frames a second, on average.
        count: Number of frames as the file declares it; None if it does not.

    Raises:
        VideoError: On the way, if the file cannot be read on, or holds no frame.
    """

    def __init__(self, container: Any, name: str) -> None:
        stream = container.streams.best("video")  # no picture of the cover, as players choose
        if stream is None:
            kinds = sorted({stream.type for stream in container.streams})
            raise VideoError(f"{name} holds no video, only {' and '.join(kinds) or 'a header'}")
        stream.thread_type = "AUTO"
        self.name = name
        self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
        self.count: int | None = stream.frames or None
        self._aspect = Fraction(stream.sample_aspect_ratio or 1)
        if not 1 / WIDEST <= self._aspect <= WIDEST:
            raise VideoError(f"{name} has pixels {self._aspect} as wide as high, which cannot be")
        self._frames = self._timed(container, stream)

    def __next__(self) -> Frame:
        return next(self._frames)

    def _timed(self, container: Any, stream: Any) -> Iterator[Frame]:
        number, origin, time = 0, 0.0, 0.0
        with container:
            for number, frame in enumerate(self._decoded(container, stream), 1):
                if number == 1:
                    origin = frame.time or 0.0
                elif frame.time is not None and frame.time - origin > time:
                    time = frame.time - origin
                else:  # some files give no times, or the same again
                    time += 1 / float(self.rate)
                yield Frame(time, _shown(frame, self._aspect))
        if not number:
            raise VideoError(f"{self.name} holds no frames")

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        from av import FFmpegError

        damage = []

        def frames(packet: Any) -> Any:
            try:
                return packet.decode()
            except FFmpegError as error:
                damage.append(error.strerror)
                return ()

        try:
            for packet in container.demux(stream):
                yield from frames(packet)
        except FFmpegError as error:
            raise VideoError(f"{self.name} cannot be read on: {error.strerror}") from error
        if damage:
            LOG.warning(f"{self.name}: {len(damage)} damaged parts passed over: {damage[-1]}")


class _Animation(Video):
    """The same of an animated picture, whose frames all come, with the times that it gives them."""

    def __init__(self, path: Path) -> None:
        times = animations.frame_times(path)
        self.name, self.count = str(path), len(times) - 1
        rate = Fraction(self.count / times[-1]).limit_denominator(1000)
        self.rate = max(rate, Fraction(1, 1000))
        self._frames = map(Frame, times[:-1], animations.frame_images(path))


def read_video(path: str | os.PathLike[str]) -> Video:
    """Opens a video or animation; a loop over it gives `time, image` of each frame.

    Frames are as a player shows them: turned and mirrored by the file's display matrix, which
    phones write, and stretched where its pixels are not square, as on DVDs.

    Raises:
        FileNotFoundError: If there is no such file.
        VideoError: For what is no video; see also `Video`.
        ImportError: Without PyAV.
    """
    path = Path(path)
    av = None if path.suffix.lower() in animations.SUFFIXES else _import_av()
    if path.is_dir():
        raise VideoError(f"{path} is a folder, not a video")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path} (looked from {Path.cwd()})")
    if av is None:
        return _Animation(path)
    # Before version 19 titles that are no UTF-8 are an error, unless one says otherwise.
    old = int(av.__version__.partition(".")[0]) < 19
    lenient = {"metadata_errors": "replace"} if old else {}
    try:
        return Video(av.open(str(path), **lenient), str(path))
    except av.FFmpegError as error:
        raise VideoError(f"{path} is no video that ffmpeg can read: {error.strerror}") from error


def read_camera(number: int = 0) -> Video:
    """Opens webcam `number`, /dev/video0 for example, through Linux's video4linux2.

    Its frames have no end: stop asking.

    Raises:
        VideoError: If there is no such camera, it is in use, or the system is not Linux.
        ImportError: Without PyAV.
    """
    av = _import_av()
    device = f"/dev/video{number}"
    if sys.platform != "linux":
        raise VideoError(f"reading a webcam needs Linux, not {sys.platform}: record a file instead")
    try:
        return Video(av.open(device, format="v4l2"), device)
    except (av.FFmpegError, ValueError) as error:
        there = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"cannot open webcam {device}: {reason}; cameras here: {there}") from error


class VideoWriter:
    """Writes frames to a file that appears whole, when the `with` block ends without an error.

        with VideoWriter("out.mp4", rate=25) as writer:
            writer.write(image)

    The codec is H.264, or MPEG-4 where ffmpeg lacks it and for .avi, and VP9 for .webm. These take
    even sizes: an odd width or height grows by one pixel, a copy of the last column or row. Frames
    of another size than the first are fitted to it, their aspect kept, between black bars if need
    be; the log says so once.

    Args:
        path: Ends in one of `SUFFIXES`; the folder must exist.
        rate: Frames a second.

    Raises:
        VideoError: For another suffix, a rate that is not positive, or no frame at the end.
        ImportError: Without PyAV.
    """

    def __init__(self, path: str | os.PathLike[str], rate: Fraction | float) -> None:
        self._av = _import_av()
        if not in_range(rate, (1e-3, 1e6)):
            raise VideoError(f"cannot write {path} at {rate} frames a second")
        self.path, self.rate = Path(path), Fraction(rate).limit_denominator(1001)
        if self.path.suffix.lower() not in SUFFIXES:
            raise VideoError(
                f"cannot write {path}: the suffix must be one of {', '.join(SUFFIXES)}"
            )
        # Fine enough for uneven times, a whole number a frame, and no finer than MPEG-4 allows;
        # AVI knows even times only.
        fine = max(1, 65535 // self.rate.numerator)
        even = self.path.suffix.lower() == ".avi"
        self._tick = 1 / self.rate if even else Fraction(1, fine * self.rate.numerator)
        self._time, self._at = -math.inf, -1  # of the last frame: seconds, ticks
        self._size: tuple[int, int] | None = None  # (height, width) of the first frame
        self._told = False  # that others are fitted to it
        self._stack = ExitStack()

    def __enter__(self) -> "VideoWriter":
        part = self._stack.enter_context(whole_file(self.path))
        self._container = self._stack.enter_context(self._av.open(str(part), "w"))
        self._stack.push(self._finish)
        return self

    def __exit__(self, *error: Any) -> bool | None:
        try:
            return self._stack.__exit__(*error)
        except self._av.FFmpegError as late:  # of what the container keeps until its end
            raise VideoError(f"cannot write {self.path}: {late.strerror}") from late

    def write(self, image: ImageSource, time: float | None = None) -> None:
        """Adds a frame.

        Args:
            image: Anything that `gatedpose.media.images.read_image` reads.
            time: Seconds since the start, later than that of the frame before; a frame's duration
                later if None.

        Raises:
            VideoError: For a time that is not later, or infinite.
        """
        picture = read_image(image)
        if self._size is None:
            height, width = self._size = picture.shape[1], picture.shape[2]
            self._stream = self._open(height + height % 2, width + width % 2)
        height, width = self._size
        if picture.shape[1:] != self._size:
            picture = self._fitted(picture, height, width)
        if time is None:
            time = 0.0 if self._at < 0 else self._time + float(1 / self.rate)
        if not self._time < time < math.inf:
            raise VideoError(f"{self.path}: a frame at {time} s is not later than the one before")
        self._time, self._at = time, max(self._at + 1, round(time / self._tick))
        pixels = picture.permute(1, 2, 0).numpy()
        even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
        frame.pts, frame.time_base = self._at, self._tick
        self._encode(frame)

    def _fitted(self, picture: Tensor, height: int, width: int) -> Tensor:
        """A frame of another size, made as large as the first; says so the first time."""
        if not self._told:
            size = f"{picture.shape[2]} x {picture.shape[1]}"
            LOG.warning(f"{self.path}: frames of {size} pixels are fitted to {width} x {height}")
        self._told = True
        return read_image(ImageOps.pad(to_pil(picture), (width, height)))

    def _open(self, height: int, width: int) -> Any:
        wanted = CODECS.get(self.path.suffix.lower(), ("libx264", "mpeg4"))
        codec = next((name for name in wanted if name in self._av.codecs_available), wanted[-1])
        stream = self._container.add_stream(codec, rate=self.rate, options=dict(ENCODING))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = int(0.2 * width * height * self.rate) if codec == "mpeg4" else 0
        stream.codec_context.time_base = self._tick
        return stream

    def _encode(self, frame: Any) -> None:
        """Hands a frame to the encoder, None at the end, and its packets to the file."""
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except self._av.FFmpegError as error:
            raise VideoError(f"cannot write {self.path}: {error.strerror}") from error

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            if self._size is None:
                raise VideoError(f"cannot write {self.path}: there are no frames")
            self._encode(None)


def _import_av() -> Any:
    return require("av", "video needs PyAV", "gatedpose[video]")


def _shown(frame: Any, aspect: Fraction) -> Tensor:
    """The picture (3, H, W) that a player shows: square pixels, turned and mirrored."""
    width = max(1, round(frame.width * aspect))
    pixels = frame.to_ndarray(format="rgb24", width=width, interpolation="BICUBIC")
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    if (data := frame.side_data.get("DISPLAYMATRIX")) is None:
        return image
    # Stored (x, y) is shown at (a x + c y, b x + d y), but for a shift; the nearest right angle.
    (a, b, _), (c, d, _), _ = np.frombuffer(data, np.int32).reshape(3, 3).tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, a, d = image.transpose(1, 2), c, b
    return image.flip([axis for axis, along in ((2, a), (1, d)) if along < 0])
