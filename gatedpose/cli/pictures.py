"""`gatedpose predict` on pictures: one, or a folder of them that can be resumed."""

import logging
import math
import os
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from gatedpose.cli.options import check_apart, check_makeable, check_writable
from gatedpose.cli.people import Job
from gatedpose.cli.sources import (
    STDIN,
    Source,
    check_not_read,
    in_line,
    real_name,
    suffix_of,
    targets,
)
from gatedpose.data.boxes import BoxTable
from gatedpose.errors import BoxError, ImageError, InputError
from gatedpose.evaluation.coco_results import save_results, tell_lacking
from gatedpose.evaluation.reports import pose_text
from gatedpose.files.journal import JsonLines
from gatedpose.files.typed_json import to_json
from gatedpose.media.download import is_url
from gatedpose.media.images import FORMATS, write_image
from gatedpose.media.photos import Photo
from gatedpose.pose import Pose
from gatedpose.predict.predictor import People
from gatedpose.predict.queues import ahead

RESULTS = "poses.jsonl"
LOG = logging.getLogger(__name__)

Facts = dict[str, Any]


def predict_pictures(
    job: Job,
    sources: list[Source],
    out: Path | None,
    single: bool,
    keep: bool | None,
    coco: Path | None,
    suffix: str | None,
    patterns: Sequence[str] = (),
) -> None:
    """Predicts, draws and prints picture by picture.

    `out` is the picture to write if a `single` one was asked for, else the folder; `keep` says
    whether results in it are kept (True) or begun anew (False); if None there may be none. `suffix`
    is that of the drawings in a folder, with its dot; each picture's own if None. `patterns` are
    those that the sources were found by.
    """
    folder = out or Path("poses")
    pictures = _pictures(sources, out, single, suffix, job.drawn)
    if job.drawn and not single:
        check_not_read(sources, folder, pictures.values(), patterns)
    if single and keep is None and out:  # the usual name is for the last drawing
        _check_free(pictures)
    _check_files(job, sources, coco, None if single else folder)
    job.load()
    if coco:
        tell_lacking(job.predictor.skeleton)
    with ExitStack() as stack:
        log = None if single else stack.enter_context(_open_results(job, folder, keep, pictures))
        rows = log.rows if log else []
        done = Counter(real_name(row["image"]) for row in rows)
        if log and (twice := [name for name, count in done.items() if count > 1]):
            raise InputError(
                f"{log.path} has {twice[0]} {done[twice[0]]} times: begin anew with --overwrite"
            )
        _check_others_drawings(rows, pictures)
        reader = _Reader([source for source in sources if real_name(source.name) not in done], job)
        found = _predict(job, reader, pictures)
        bar = tqdm(found, "predicting", len(sources), unit="image", disable=single)
        bar.update(len(sources) - len(reader.sources))
        for facts in bar:
            (log.add if log else rows.append)(facts)
            _tell(bar, facts, job.as_json, len(sources) == 1)
    asked = {real_name(source.name) for source in sources}
    rows = [row for row in rows if real_name(row["image"]) in asked]
    if coco:
        ids, skeleton = image_ids(sources, job.listed), job.predictor.skeleton
        people = ((ids[real_name(row["image"])], facts) for row in rows for facts in row["poses"])
        save_results([Pose.from_dict(facts, skeleton).to_coco(i) for i, facts in people], coco)
    if not (single or job.as_json):
        click.echo(f"{_count(rows)} -> {log.path if log else ''}")
    if reader.failures:
        raise click.ClickException("\n".join(reader.failures))


def _count(rows: Sequence[Facts]) -> str:
    """How many people there are, and in how many pictures there is nobody."""
    people, empty = sum(len(row["poses"]) for row in rows), sum(not row["poses"] for row in rows)
    nobody = f", nobody found in {empty}" if empty else ""
    return f"{len(rows)} pictures, {people} people{nobody}"


def _tell(bar: Any, facts: Facts, as_json: bool, alone: bool) -> None:
    if not facts["poses"]:
        bar.write(f"{in_line(facts['image'])}: nobody found", file=sys.stderr)
    if as_json:
        bar.write(to_json(facts))
    elif alone:
        bar.write(pose_text({"picture": "-", **facts}))


def _check_files(job: Job, sources: Sequence[Source], coco: Path | None, made: Path | None) -> None:
    """Catches results that cannot be written, where `made` will be there, and unfit boxes."""
    if coco:
        folder = coco.resolve().parent
        if not (folder.is_dir() or (made and made.resolve() == folder)):
            raise click.BadParameter(f"there is no folder {coco.parent}", param_hint="--coco")
        if folder.is_dir():
            check_writable(folder, "--coco")
        if coco.is_dir():
            raise click.BadParameter(f"{coco} is a folder", param_hint="--coco")
        if made and coco.resolve() == made.resolve() / RESULTS:
            raise click.BadParameter(f"{coco} is where the poses go", param_hint="--coco")
        image_ids(sources, job.listed)  # before any work
    if job.listed:
        job.listed.check_pictures([source.file for source in sources])
        _check_named(job.listed, sources)


def _check_named(table: BoxTable, sources: Sequence[Source]) -> None:
    """Says so if a file of boxes does not name all pictures; it must name one."""
    if not (missing := [source.file.name for source in sources if source.file not in table]):
        return
    named = ", ".join(map(repr, list(table.by_image)[:3])) or "nothing"
    text = f"it names {named}, and they are called {missing[0]}, for example"
    if len(missing) == len(sources):
        raise click.ClickException(
            f"{table.file} names none of the {len(sources)} pictures: {text}"
        )
    LOG.warning(
        f"{table.file} does not name {len(missing)} of the {len(sources)} pictures, in which "
        f"nobody is looked for: {text}"
    )


def _predict(job: Job, reader: "_Reader", pictures: Mapping[str, Path]) -> Iterator[Facts]:
    for poses in job.predictor.stream(reader):
        source, photo = reader.read.popleft()
        facts: Facts = {"image": source.name, **source.state()}
        if job.drawn:
            picture = pictures[source.name]
            picture.parent.mkdir(parents=True, exist_ok=True)
            write_image(job.draw(photo.pixels, poses, shrink=photo.shrink), picture)
            facts["picture"] = str(picture)
        yield {**facts, "poses": [pose.to_dict() for pose in poses]}


def _unchanged(row: Facts) -> bool:
    """Whether a line still holds: the photo is the same, and its drawing there; or it is gone."""
    name, drawing = row["image"], row.get("picture")
    source = Source(name, Path(name), remote=is_url(name))
    if not (source.remote or source.file.exists()):
        return True
    drawn = drawing is None or Path(drawing).exists()
    return drawn and source.state().items() <= row.items()


def _check_free(pictures: Mapping[str, Path]) -> None:
    """Raises ClickException if a drawing would replace another picture."""
    if there := [file for file in pictures.values() if file.exists()]:
        raise click.ClickException(
            f"{there[0]} is there and would be drawn over: name another place by --out, or give "
            "--overwrite"
        )


def _check_others_drawings(rows: Sequence[Facts], pictures: Mapping[str, Path]) -> None:
    """Raises ClickException if a drawing would replace that of another photo that is kept."""
    owners = {os.path.abspath(row["picture"]): row["image"] for row in rows if "picture" in row}
    for name, file in pictures.items():
        owner = owners.get(os.path.abspath(file), name)
        if real_name(owner) != real_name(name):
            raise click.ClickException(
                f"{file} is the drawing of {owner}, and that of {name} would replace it: name "
                "another folder by --out"
            )


def _open_results(
    job: Job, folder: Path, keep: bool | None, pictures: Mapping[str, Path]
) -> JsonLines:
    path = folder / RESULTS
    if keep is None and path.exists() and path.stat().st_size:
        raise click.ClickException(
            f"{path} holds results: go on with --resume, begin anew with --overwrite, or name "
            "another folder by --out"
        )
    if keep is None or (keep and not path.exists()):  # then there is nothing to resume
        _check_free(pictures)
    folder.mkdir(parents=True, exist_ok=True)
    return JsonLines(
        path,
        resume=bool(keep),
        made_by=job.made_by,
        keep=_unchanged,
        check=lambda row: (
            isinstance(row.get("image"), str)
            and isinstance(row.get("picture", ""), str)
            and isinstance(row.get("poses"), list)
        ),
    )


def image_ids(sources: Sequence[Source], table: BoxTable | None) -> dict[str, int | str]:
    """COCO's number of each picture: the table's, else that in its name if all are numbers.

    Else it is the name.
    """
    files = [source.file for source in sources]
    known = {file: table.id_of(file) for file in files} if table else {}
    numbered = all(file.stem.isdecimal() for file in files)
    numbered &= all(number is None for number in known.values())
    ids: dict[str, int | str] = {}
    owners: dict[int | str, Path] = {}
    for source in sources:
        file = source.file
        number = known.get(file)
        if number is None:
            number = int(file.stem) if numbered else file.name
        if number in owners:
            raise click.ClickException(
                f"COCO's results tell pictures by number or name, and {owners[number]} and {file} "
                f"would both be {number!r}: give their numbers by a table of COCO's, --boxes FILE"
            )
        ids[real_name(source.name)], owners[number] = number, file
    return ids


def _pictures(
    sources: list[Source], out: Path | None, single: bool, suffix: str | None, drawn: bool
) -> dict[str, Path]:
    """Where each drawing, if any, goes by its source's name, checked before any work is done."""
    if single and not drawn:
        return {}
    first = sources[0].file
    target = out or Path("poses" + (suffix or suffix_of(first)) if single else "poses")
    if not single:
        check_makeable(target)
        return targets(sources, target, suffix) if drawn else {}
    check_writable(target.parent)
    if target.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise click.BadParameter(f"{target} is none of {known}", param_hint="--out")
    if suffix and suffix_of(target) != suffix:
        raise click.UsageError(f"--format {suffix[1:]} or --out {target}: they differ")
    check_apart("--out", target, None if sources[0].remote else first)
    return {sources[0].name: target}


class _Reader:
    """Reads pictures ahead of time; those that cannot be read are kept to be reported."""

    def __init__(self, sources: list[Source], job: Job) -> None:
        self.sources, self.job = sources, job
        self.failures: list[str] = []
        # Of those whose poses are still to come, with the picture to draw on: it may be finer than
        # what the network is given, which drawing must not change.
        self.read: deque[tuple[Source, Photo]] = deque()

    def __iter__(self) -> Iterator[tuple[Photo, People]]:
        threads = self.job.predictor.workers
        with ThreadPoolExecutor(threads) as pool:
            begun = ((source, pool.submit(self._read, source)) for source in self.sources)
            for source, reading in ahead(begun, lambda: threads):
                try:
                    photo, canvas, boxes = reading.result()
                except (ImageError, BoxError, OSError) as error:
                    place = f"{in_line(str(source.file))}: " if isinstance(error, BoxError) else ""
                    self.failures.append(f"{place}{error}")
                    continue
                self.read.append((source, canvas))
                yield photo, boxes

    def _read(self, source: Source) -> tuple[Photo, Photo, People]:
        boxes, job = self.job.people(source.file), self.job
        name = "standard input" if source.name == STDIN else in_line(source.name)
        photo = job.predictor.read(source.load(), boxes, name=name)
        drawn_side = job.max_side or math.inf
        canvas = photo.finer(max(photo.size) / drawn_side) if job.drawn else photo
        return photo, canvas, boxes
