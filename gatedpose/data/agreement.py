"""Whether labels agree with their pictures: what speaks against it, in words."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from gatedpose.data.samples import Sample, first_five, require_images
from gatedpose.errors import BoxError, DatasetError, ImageError
from gatedpose.geometry import as_boxes
from gatedpose.media.images import Header, image_header

LOG = logging.getLogger(__name__)
FAR = 0.1  # of a picture's longer side: a joint that is farther outside is hardly a label of it
CLOSE = 0.02  # of a side: a box may reach so far out of the picture


def require_pictures(folder: Path, people: Sequence[Sample]) -> None:
    """Sees that a folder holds people's pictures, and logs what speaks against the labels."""
    require_images(folder, people)
    for doubt in examine(people, *headers_of(person.image for person in people)):
        LOG.warning(doubt)


def examine(
    people: Sequence[Sample], headers: Mapping[Path, Header], wrong: Sequence[str]
) -> list[str]:
    """The `doubts`; DatasetError for boxes outside of pictures, and what else is `wrong`."""
    misplaced = []
    for person in (one for one in people if one.image in headers):
        header = headers[person.image]
        try:
            as_boxes(person.box[None], header.height, header.width)
        except BoxError as error:
            misplaced.append(f"{person.id}: {error}")
    doubted = doubts(people, headers)
    if texts := [*wrong, *misplaced]:
        raise DatasetError("\n".join([first_five(texts, "\n"), *doubted]))
    return doubted


def check_pictures(people: Sequence[Sample]) -> None:
    """Logs the `doubts`; pictures that cannot be read are left to those who read them."""
    for doubt in doubts(people, headers_of(person.image for person in people)[0]):
        LOG.warning(doubt)


def headers_of(
    images: Iterable[Path], look: Callable[[Path], Header] = image_header
) -> tuple[dict[Path, Header], list[str]]:
    """What `look` gives of each picture, and what is wrong with those that cannot be read."""
    headers, wrong = {}, []
    for path in dict.fromkeys(images):
        try:
            headers[path] = look(path)
        except (ImageError, OSError) as error:  # noqa: PERF203
            wrong.append(str(error))
    return headers, wrong


def doubts(samples: Sequence[Sample], headers: Mapping[Path, Header]) -> list[str]:
    """What speaks against labels, a text a kind: counts, the first example and the likely cause.

    Labels of pictures without a header are not looked at.
    """
    people = [sample for sample in samples if sample.image in headers]
    texts = _unlike_sizes(people, headers)

    def doubt(some: Sequence[Sample], what: str, cause: str, place: str = "") -> None:
        if some:
            count = f"{len(some)} of {len(people)} people"
            texts.append(f"{count} have {what} (first {some[0].id}{place}): {cause}")

    far = [s for s in people if _beyond(s, h := headers[s.image]) > FAR * max(h.width, h.height)]
    if far:
        header = headers[far[0].image]
        away = f"{_beyond(far[0], header):.0f} pixels outside of {header.width} x {header.height}"
        turned = [s for s in far if headers[s.image].turned]
        inside = sum(not _beyond(person, headers[person.image], True) for person in turned)
        cause = "labels of another size of the picture?"
        if inside:
            cause = f"{inside} of them fit before the EXIF orientation turns the picture upright"
        doubt(far, "joints far outside of their picture", cause, f", {away}")
    tiny = [s for s in people if len(s.points) > 1 and np.ptp(s.points, axis=0).max() <= 1]
    doubt(tiny, "all joints within a pixel", "coordinates are pixels, not shares of the picture")
    corner = [person for person in people if (person.points == 0.5).all(axis=1).any()]
    doubt(corner, "a joint labelled at 0, 0", "one that is not labelled has visibility 0")
    apart = [person for person in people if _is_apart(person)]
    cause = "boxes or joints of other people, or of another size of the picture?"
    doubt(apart, "no joint in or near their box", cause)
    if corners := [person for person in people if _has_corners(person, headers[person.image])]:
        what = "a box that leaves the picture, but not if its numbers are two corners"
        x0, y0, x1, y1 = (f"{value:g}" for value in corners[0].box)
        cause = "'bbox' is x, y, width, height"
        doubt(corners, what, cause, f", {x0}, {y0} to {x1}, {y1}")
    return texts


def _unlike_sizes(people: Sequence[Sample], headers: Mapping[Path, Header]) -> list[str]:
    """Pictures whose size is not what the dataset says, by likely cause."""
    sizes = {person.image: person.size for person in people if person.size}
    turned, scaled, other = [], [], []
    for path, (width, height) in sizes.items():
        header = headers[path]
        if (width, height) == (header.width, header.height):
            continue
        if header.turned and (height, width) == (header.width, header.height):
            turned.append(path)
        elif abs(width * header.height / (height * header.width) - 1) < CLOSE:
            scaled.append(path)
        else:
            other.append(path)
    texts = []
    for paths, cause in (
        (turned, _turned_cause(people, headers, set(turned))),
        (scaled, "resized after they were labelled? Labels are not scaled"),
        (other, "cut or replaced after they were labelled?"),
    ):
        if paths:
            header, (width, height) = headers[paths[0]], sizes[paths[0]]
            example = f"{paths[0].name} is {header.width} x {header.height}"
            texts.append(
                f"{len(paths)} of {len(sizes)} pictures are not as large as the table says "
                f"({example}, there {width:g} x {height:g}): {cause}"
            )
    return texts


def _turned_cause(
    people: Sequence[Sample], headers: Mapping[Path, Header], turned: set[Path]
) -> str:
    """What sizes that are exchanged by an EXIF orientation mean, judged by the joints."""
    there = [person for person in people if person.image in turned]
    out = sum(bool(_beyond(person, headers[person.image]) > 0) for person in there)
    text = "the table has the sizes before the EXIF orientation turns the pictures upright"
    if out:
        return (
            f"{text}, and joints of {out} of {len(there)} people lie outside of the upright ones: "
            "they were labelled unturned, so labels lie elsewhere. Without the orientation "
            "(exiftool -Orientation= *.jpg) the files are read as they were labelled"
        )
    if not any(len(person.points) for person in there):
        return f"{text}: boxes of a program that does not turn pictures lie elsewhere"
    return (
        f"{text}; all joints lie within the upright ones, as which they are read. Label Studio "
        "writes such sizes; of a program that does not turn pictures, labels lie elsewhere: look "
        "at gatedpose data check --out"
    )


def _beyond(person: Sample, header: Header, turned: bool = False) -> float:
    """How far the farthest labelled joint lies outside of the picture, in pixels; 0 if none."""
    points = person.points
    sides = np.array((header.height, header.width) if turned else (header.width, header.height))
    return float(np.maximum(-points, points - sides).clip(min=0).max(initial=0))


def _is_apart(person: Sample) -> bool:
    """Whether no joint is in or near the box."""
    room = (person.box[2:] - person.box[:2]).max() / 2
    near = (person.points > person.box[:2] - room) & (person.points < person.box[2:] + room)
    return len(near) > 0 and not near.all(axis=1).any()


def _has_corners(person: Sample, header: Header) -> bool:
    """Whether a box leaves the picture as x, y, width, height, but holds the joints as corners."""
    sides = np.array((header.width, header.height))
    low, high = person.box[:2], person.box[2:] - person.box[:2]  # the four numbers as given
    leaves = (person.box[2:] > (1 + CLOSE) * sides).any()
    within = (high > low).all() and (high <= (1 + CLOSE) * sides).all()
    room = FAR * (high - low).max()
    holds = ((person.points > low - room) & (person.points < high + room)).all()
    return bool(leaves and within and holds)
