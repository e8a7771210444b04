"""`gatedpose predict` on pictures: one, or a folder of them that can be resumed."""

import os
import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from torch import Tensor

from gatedpose.cli.people import Job
from gatedpose.data.boxes import BoxTable
from gatedpose.errors import BoxError, ImageError, InputError
from gatedpose.evaluation.coco_results import save_results
from gatedpose.evaluation.reports import pose_text
from gatedpose.journal import JsonLines
from gatedpose.json_files import to_json
from gatedpose.media.images import FORMATS, read_image, write_image
from gatedpose.pose import Pose
from gatedpose.predict.predictor import Detector
from gatedpose.predict.threads import ahead
from gatedpose.skeleton import Skeleton

RESULTS = "poses.jsonl"

Facts = dict[str, Any]


def predict_pictures(
    job: Job,
    source: str,
    files: list[Path],
    out: Path | None,
    single: bool,
    keep: bool | None,
    coco: Path | None,
) -> None:
    """Predicts, draws and prints picture by picture.

    Args:
        job: Which people, and how.
        source: The folder or pattern that they were found by.
        files: The pictures.
        out: Picture to write if there is a single one, else folder.
        single: Whether a single picture was asked for, and not a folder or pattern.
        keep: Whether results that the folder holds are kept (True) or begun anew (False); if None
            there may be none.
        coco: File to write in COCO's format of results.

    Raises:
        ClickException: At the end, if pictures could not be read.
    """
    from tqdm import tqdm

    pictures = _pictures(files, out, single)
    if job.drawn and not single:
        _check_not_read(files, out or Path("poses"), source)
    _check_files(job, files, coco)
    job.load()
    with ExitStack() as stack:
        log = (
            None if single else stack.enter_context(_open_results(job, out or Path("poses"), keep))
        )
        rows = log.rows if log else []
        done = {_real(row["image"]) for row in rows}
        reader = _Reader([file for file in files if _real(file) not in done], job)
        bar = tqdm(
            _predict(job, reader, pictures), "predicting", len(files), unit="image", disable=single
        )
        bar.update(len(files) - len(reader.files))
        for facts in bar:
            if log:
                log.add(facts)
            else:
                rows.append(facts)
            _tell(bar, facts, job.as_json, single)
    asked = {_real(file) for file in files}
    rows = [row for row in rows if _real(row["image"]) in asked]
    if coco:
        _write_coco(rows, image_ids(files, job.listed), job.predictor.skeleton, coco)
    if not (single or job.as_json):
        people = sum(len(row["poses"]) for row in rows)
        click.echo(f"{len(rows)} pictures, {people} people -> {log.path if log else ''}")
    if reader.failures:
        raise click.ClickException("\n".join(reader.failures))


def _tell(bar: Any, facts: Facts, as_json: bool, single: bool) -> None:
    """Prints beside the bar what is to be said of a picture."""
    if not facts["poses"]:
        bar.write(f"{facts['image']}: no people found", file=sys.stderr)
    if as_json:
        bar.write(to_json(facts))
    elif single:
        bar.write(pose_text({"picture": "-", **facts}))


def _check_files(job: Job, files: Sequence[Path], coco: Path | None) -> None:
    """Catches results that cannot be written, and a file of boxes that is of other pictures."""
    if coco and not coco.resolve().parent.is_dir():
        raise click.BadParameter(f"there is no folder {coco.parent}", param_hint="--coco")
    if coco:
        image_ids(files, job.listed)  # before any work
    if job.listed:
        job.listed.check_pictures(files)
    if job.listed and not any(file in job.listed for file in files):
        named = ", ".join(map(repr, list(job.listed.by_image)[:3])) or "nothing"
        raise click.ClickException(
            f"{job.table} names none of the {len(files)} pictures: it names {named}, and they are "
            f"called {files[0].name}, for example"
        )


def _predict(job: Job, reader: "_Reader", pictures: Mapping[Path, Path]) -> Iterator[Facts]:
    """What becomes of each picture that can be read, drawn where that is wanted."""
    for poses in job.predictor.stream(reader):
        file, image = reader.next_done()
        facts: Facts = {"image": str(file), **_state(file)}
        if job.drawn:
            pictures[file].parent.mkdir(parents=True, exist_ok=True)
            write_image(job.draw(image, poses), pictures[file])
            facts["picture"] = str(pictures[file])
        yield {**facts, "poses": [pose.to_dict() for pose in poses]}


def _real(file: str | Path) -> str:
    """A photo under one name, however it is called."""
    return str(Path(file).resolve())


def _state(file: Path) -> Facts:
    """What tells a photo from another one of the same name."""
    found = file.stat()
    return {"bytes": found.st_size, "modified": found.st_mtime_ns}


def _unchanged(row: Facts) -> bool:
    file = Path(row["image"])
    return not file.exists() or _state(file).items() <= row.items()


def _open_results(job: Job, folder: Path, keep: bool | None) -> JsonLines:
    path = folder / RESULTS
    if keep is None and path.exists() and path.stat().st_size:
        raise click.ClickException(
            f"{path} holds results: go on with --resume, begin anew with --overwrite, or name "
            "another folder by --out"
        )
    log = JsonLines(path, resume=bool(keep), made_by=job.made_by, keep=_unchanged, check=_check_row)
    try:
        names = Counter(_real(row["image"]) for row in log.rows)
        if twice := [name for name, count in names.items() if count > 1]:
            raise InputError(
                f"{path} has {twice[0]} {names[twice[0]]} times: begin anew with --overwrite"
            )
    except BaseException:
        log.__exit__()
        raise
    return log


def _check_row(row: Facts) -> bool:
    return isinstance(row.get("image"), str) and isinstance(row.get("poses"), list)


def image_ids(files: Sequence[Path], table: BoxTable | None) -> dict[str, int | str]:
    """COCO's number of each picture: the table's, else that in its name if all are numbers.

    Else it is the name.

    Raises:
        ClickException: If two pictures would have the same.
    """
    known = {file: table.id_of(file) for file in files} if table else {}
    numbered = all(file.stem.isdecimal() for file in files)
    numbered &= all(number is None for number in known.values())
    ids: dict[str, int | str] = {}
    owners: dict[int | str, Path] = {}
    for file in files:
        number = known.get(file)
        if number is None:
            number = int(file.stem) if numbered else file.name
        if number in owners:
            raise click.ClickException(
                f"COCO's results tell pictures by number or name, and {owners[number]} and {file} "
                f"would both be {number!r}: give their numbers by a table of COCO's, --boxes FILE"
            )
        ids[str(file)], owners[number] = number, file
    return ids


def _write_coco(
    rows: Sequence[Facts], ids: Mapping[str, int | str], skeleton: Skeleton, path: Path
) -> None:
    """Writes all poses as COCO's results."""
    results = []
    for row in rows:
        poses = [Pose.from_dict(facts, skeleton) for facts in row["poses"]]
        results += [pose.to_coco(ids[row["image"]]) for pose in poses]
    save_results(results, path)


def _pictures(files: list[Path], out: Path | None, single: bool) -> dict[Path, Path]:
    """Where each file's picture goes, checked to be writable before any work is done."""
    target = out or Path("poses.png" if single else "poses")
    if single and not target.is_dir():
        pictures = {files[0]: target}
        folder = target.parent
    else:
        target.mkdir(parents=True, exist_ok=True)
        root = Path(os.path.commonpath([file.parent for file in files]))
        names = {file: file.relative_to(root) for file in files}
        pictures = {file: target / name.parent / f"{name.name}.png" for file, name in names.items()}
        folder = target
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.BadParameter(f"cannot write into {folder}", param_hint="--out")
    if single and target.suffix and target.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise click.BadParameter(f"{target} is none of {known}", param_hint="--out")
    if single and target.resolve() == files[0].resolve():
        raise click.BadParameter(f"{target} is the photo itself", param_hint="--out")
    return pictures


def _check_not_read(files: list[Path], out: Path, source: str) -> None:
    """Refuses to draw where the same pattern would take drawings for photos the next time."""
    into, places = out.resolve(), {file.parent.resolve() for file in files}
    if into in places or ("**" in source and places & set(into.parents)):
        raise click.BadParameter(
            f"{out} holds the photos: the pictures drawn there would be taken for photos the next "
            "time; name another folder, or give --no-pictures",
            param_hint="--out",
        )


class _Reader:
    """Reads files ahead of time; those that cannot be read are kept to be reported."""

    def __init__(self, files: list[Path], job: Job) -> None:
        self.files, self.job = files, job
        self.failures: list[str] = []
        self.read: deque[tuple[Path, Tensor]] = deque()

    def __iter__(self) -> Iterator[tuple[Tensor, Detector | None]]:
        threads = self.job.predictor.workers
        with ThreadPoolExecutor(threads) as pool:
            begun = ((file, pool.submit(read_image, file)) for file in self.files)
            for file, reading in ahead(begun, lambda: threads):
                try:
                    image = reading.result()
                    boxes = self.job.people(file, image)
                except (ImageError, BoxError, OSError) as error:
                    self.failures.append(f"{error}")
                    continue
                self.read.append((file, image))
                yield image, None if boxes is None else _always(boxes)

    def next_done(self) -> tuple[Path, Tensor]:
        """The file whose poses have just come, and its image."""
        return self.read.popleft()


def _always(boxes: Tensor) -> Detector:
    """Boxes that may be none, which only a detector may return."""
    return lambda image: boxes
