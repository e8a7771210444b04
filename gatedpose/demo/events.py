"""What happens on the page: raw values of Gradio's parts in, values of its parts out."""

import atexit
import functools
import html
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gatedpose.demo.viewer import Finding, PoseFinder
from gatedpose.errors import (
    BoxError,
    GatedPoseError,
    ImageError,
    InputError,
    MissingPackageError,
    check_range,
)
from gatedpose.media.drawing import enlargement
from gatedpose.media.images import image_size

LARGEST_SIDE = 16_384  # pixels of a photo
LARGEST_BOX = 10**6  # pixels
MOST_PEOPLE = 10_000
CHOOSES, MARKS = "chooses a person", "marks a corner of a box"
NOBODY = '**Nobody found.** Mark a box about the person, or tick "The whole photo is one person".'
SCORE = "the score"
NOTHING = [None, "", None, None]  # picture, text, table, heatmaps


def finding_text(finding: Finding, name: str, flip: bool, device: str) -> str:
    """Who was found and the times, in a few lines of Markdown, and what they are times of."""
    found, several = len(finding.poses), "; joints and heatmaps of person {}, click another one"
    people = f"**{found} {'person' if found == 1 else 'people'}**"
    people += several.format(finding.person + 1) if found > 1 else ""
    steps = " · ".join(
        f"{step} **{milliseconds:.1f} ms**" for step, milliseconds in finding.milliseconds.items()
    )
    passes = "two passes" if flip else "one pass"
    state = "first photo with this variant: warming up included" if finding.first else "warm"
    heading = people if found else NOBODY
    return f"{heading}\n\n{steps}\n\n{name} on {device}, {passes}; {state}"


class Events:
    """Functions for the page's events; of photos those in the folder of uploads are read alone."""

    def __init__(self, finder: PoseFinder, uploads: Path) -> None:
        self.finder, self.uploads, self.gr = finder, uploads.resolve(), gradio()

    def show(
        self, photo: Any, name: Any, flip: Any, min_score: Any, whole: Any, person: Any, *box: Any
    ) -> list[Any]:
        """The picture, a text, the table of joints and the heatmaps."""
        values = name, flip, min_score, whole, person, *box
        return self._guarded(photo, lambda path: self._shown(path, values)[1:], NOTHING)

    def _shown(
        self, path: str, values: Sequence[Any], at: tuple[float, float] | None = None
    ) -> list[Any]:
        """The person whose joints are shown, counted from 1, and what `show` gives."""
        name, flip, min_score, whole, person, *box = values
        check_range(SCORE, min_score, (0.0, 1.0))
        finding = self.finder(
            Path(path),
            str(name),
            _numbers(box),
            bool(flip),
            min_score,
            whole=bool(whole),
            person=_person(person) - 1,
            at=at,
        )
        text = finding_text(finding, str(name), bool(flip), self.finder.device)
        return [finding.person + 1, finding.picture, text, *_joints(finding)]

    def click(self, at: Any, mode: Any, photo: Any, *values: Any) -> list[Any]:
        """A click on the picture: the four numbers of the box, the person, and what `show` gives.

        It is `at` a column and a row; the mode is `CHOOSES` or `MARKS`, the rest as for `show`.
        """
        name, flip, min_score, whole, person, *box = values

        def clicked(path: str) -> list[Any]:
            scale = enlargement(image_size(path))
            x, y = (value / scale for value in _place(at))
            if mode == MARKS:
                before = [number for number in _numbers(box) if number is not None]
                x, y, skip = round(x, 1), round(y, 1), self.gr.skip()
                if len(before) != 2:
                    hint = f"**A corner at {x:.0f}, {y:.0f}.** Click the opposite one."
                    return [x, y, None, None, 1, skip, hint, skip, skip]
                (x0, x1), (y0, y1) = sorted((before[0], x)), sorted((before[1], y))
                corners = [x0, y0, x1, y1]
                return [*corners, 1, *self.show(photo, name, flip, min_score, whole, 1, *corners)]
            return [*box, *self._shown(path, values, (x, y))]

        return self._guarded(photo, clicked, [*box, person, *NOTHING])

    def live(self, frame: Any, name: Any, min_score: Any) -> Any:
        """A frame of the camera with its people drawn."""
        try:
            check_range(SCORE, min_score, (0.0, 1.0))
            return None if frame is None else self.finder.live(frame, str(name), min_score)
        except GatedPoseError as error:
            raise self.gr.Error(str(error), print_exception=False) from error

    def _guarded(
        self, photo: Any, act: Callable[[str], list[Any]], nothing: Sequence[Any]
    ) -> list[Any]:
        """What `act` gives of an uploaded photo's path; a warning and `nothing` for bad input."""
        if photo is None:
            return list(nothing)
        path = str(photo["path"])
        # Who talks to the server without the page could name any file of this computer.
        if not Path(path).resolve().is_relative_to(self.uploads):
            raise self.gr.Error("The photo was not uploaded", print_exception=False)
        try:
            _check_sides(path)
            return act(path)
        except (GatedPoseError, OSError, MemoryError) as error:
            # People know their file by its own name, and not by where Gradio keeps it.
            message = str(error).replace(path, photo.get("orig_name") or "the photo")
            message = html.escape(message, quote=False)
            self.gr.Warning(message, title="No keypoints")
            before = list(nothing[: len(nothing) - len(NOTHING)])
            return [*before, None, f"**No keypoints:** {message}", None, None]


def _joints(finding: Finding) -> list[Any]:
    """Rows of the table, and heatmaps with captions, of the person shown."""
    if not finding.poses:
        return [None, None]
    pose = finding.poses[finding.person]
    joints = list(zip(pose.skeleton.joints, pose.to_numpy().tolist(), strict=True))
    rows = [[joint, f"{x:.1f}", f"{y:.1f}", f"{sure:.2f}"] for joint, (x, y, sure) in joints]
    captions = [f"{joint} {sure:.2f}" for joint, (_, _, sure) in joints]
    return [rows, list(zip(finding.overlays, captions, strict=True))]


def own_files(photo: Any) -> Any:
    """Gradio's own way to get a photo, except that an address of the net is not fetched."""
    gr = gradio()
    move = photo.async_move_resource_to_block_cache

    async def moved(resource: Any) -> Any:
        if re.match(r"[a-z][a-z0-9+.-]+:", str(resource), re.IGNORECASE):
            raise gr.Error(
                "The photo must be uploaded, not named by an address", print_exception=False
            )
        return await move(resource)

    return moved


def _check_sides(path: str) -> None:
    if max(sides := image_size(path)) > LARGEST_SIDE:
        raise ImageError(
            f"{path} has {sides[0]} x {sides[1]} pixels: the page shows sides up to {LARGEST_SIDE}"
        )


def _numbers(box: Sequence[Any]) -> list[float | None]:
    """The box as it was typed, perhaps by a program; None for what is empty."""
    try:
        numbers = [None if value in (None, "") else float(value) for value in box]
    except (TypeError, ValueError, OverflowError) as error:
        raise BoxError(f"a box has four numbers of pixels, got {list(box)!r:.80}") from error
    if any(number is not None and not abs(number) <= LARGEST_BOX for number in numbers):
        raise BoxError(f"a box has pixels up to {LARGEST_BOX:,}, got {list(box)!r:.80}")
    return numbers


def _place(at: Any) -> tuple[float, float]:
    numbers = _numbers(at) if isinstance(at, list | tuple) else []
    x, y = numbers if len(numbers) == 2 else (None, None)
    if x is None or y is None:
        raise InputError(f"a click is at a column and a row of the picture, got {at!r:.80}")
    return x, y


def _person(number: Any) -> int:
    whole = isinstance(number, int | float) and not isinstance(number, bool) and number % 1 == 0
    if number is None:
        return 1
    if not whole or not 1 <= number <= MOST_PEOPLE:
        raise InputError(f"people are counted from 1, got {number!r:.80}")
    return int(number)


@functools.cache
def _own_folder() -> str:
    """A folder for uploads of this process only, removed at its end: no last frame stays there."""
    place = os.environ.get("GRADIO_TEMP_DIR")
    if place:
        Path(place).mkdir(parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="gatedpose-", dir=place)
    atexit.register(shutil.rmtree, folder, True)
    return folder


def gradio() -> Any:
    """Gradio, told to stay offline and to keep no photos."""
    os.environ["GRADIO_TEMP_DIR"] = _own_folder()
    os.environ["GRADIO_ANALYTICS_ENABLED"] = os.environ["GRADIO_RUN_HISTORY"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise MissingPackageError(
            f'the page needs Gradio ({error}): pip install "gatedpose[demo]"'
        ) from error
    return gradio
