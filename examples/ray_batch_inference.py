"""Poses of very many photos by several workers, on one machine or on a Ray cluster.

    python examples/ray_batch_inference.py INPUT OUT --workers 2

INPUT is a folder of photos, a pattern such as "photos/*.jpg", or a table of paths: a .jsonl or
.parquet file, or a pattern of several, with a column "path", relative to the table's folder. OUT
gets `parts/`, a file for each batch, and in the end `poses.jsonl`: a line for each photo, sorted by
name. A photo that cannot be read has "error" in place of "poses", and the exit code is 1.

The name of a part follows from what it is made of: the model, the photos with their sizes and
dates, their boxes. A part is whole or not there. So whatever is killed, a worker (Ray starts
another) or everything (give the command again), only what is missing is done. With RAY_ADDRESS in
the environment the workers are those of a cluster, which see INPUT and OUT under the same paths.
"""

import glob
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import click
from torch import Tensor
from tqdm import tqdm

import gatedpose
from gatedpose.data.boxes import read_boxes
from gatedpose.device import keep_freed_memory
from gatedpose.errors import BoxError, ImageError
from gatedpose.files.whole import write_whole
from gatedpose.geometry import Boxes, as_boxes
from gatedpose.media.folders import find_images
from gatedpose.media.images import read_image
from gatedpose.predict.people import Detector

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports nothing to its makers
People: TypeAlias = Boxes | Detector | None
TABLES = (".jsonl", ".parquet")


@dataclass(frozen=True)
class Photo:
    """Its name in the results, where it is, and its people's boxes; they are looked for if None."""

    name: str
    path: str
    boxes: list[list[float]] | None


class PoseWorker:
    """One worker's network. Ray makes as many as it is told to, each in a process of its own."""

    def __init__(self, model: str, batch_size: int, device: str) -> None:
        keep_freed_memory()
        network = gatedpose.create_model(model, pretrained=True)
        self.predictor = gatedpose.Predictor(network, batch_size=batch_size, device=device)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Writes the parts of a batch that are not there: "part" is the file, "photos" are JSON."""
        for part, photos in zip(batch["part"], batch["photos"], strict=True):
            if not Path(part).exists():  # a worker that was killed may have written it
                rows = self.predict([Photo(**photo) for photo in json.loads(photos)])
                write_whole(part, "".join(json.dumps(row) + "\n" for row in rows))
        return {"part": batch["part"]}

    def predict(self, photos: list[Photo]) -> list[dict[str, Any]]:
        """A row for each photo: "image" and "poses", or "image" and "error"."""
        errors: dict[str, str] = {}
        found = list(self.predictor.stream(_read(photos, errors)))
        good = [photo.name for photo in photos if photo.name not in errors]
        rows: list[dict[str, Any]] = [
            {"image": name, "poses": [pose.to_dict() for pose in poses]}
            for name, poses in zip(good, found, strict=True)
        ]
        return rows + [{"image": name, "error": text} for name, text in errors.items()]


def _read(photos: list[Photo], errors: dict[str, str]) -> Iterator[tuple[Tensor, People]]:
    """Photos and boxes as they are asked for; what is wrong with the others goes into `errors`."""
    for photo in photos:
        try:
            image = read_image(photo.path)
            if photo.boxes:
                as_boxes(photo.boxes, *image.shape[1:])
        except (ImageError, BoxError, OSError) as error:
            errors[photo.name] = str(error)
            continue
        yield image, _nobody if photo.boxes == [] else photo.boxes


def _nobody(image: Tensor) -> Boxes:
    """A detector's answer to a photo without people."""
    return []


def find_photos(source: str, boxes: Path | None) -> list[Photo]:
    """All photos of INPUT, sorted by name; each name once, for names tell results apart."""
    if source.endswith(TABLES):
        paths = [row for table in sorted(glob.glob(source)) for row in _read_table(Path(table))]
        if not paths:
            raise ValueError(f"{source}: there is no such table, or it has no rows")
    else:
        paths = [(file.name, file) for file in find_images(source)]
    [(name, times)] = Counter(name for name, _ in paths).most_common(1)
    if times > 1:
        raise ValueError(f"{source}: {name} is there {times} times, names must be unique")
    table = read_boxes(boxes) if boxes else None
    missing = [name for name, path in paths if table and path not in table]
    if missing:
        raise ValueError(
            f"{boxes}: no boxes for {missing[0]} ({len(missing)} of {len(paths)} photos); a photo "
            "without people has []"
        )
    return [
        Photo(name, str(path.resolve()), table.of(path) if table else None)
        for name, path in sorted(paths)
    ]


def _read_table(table: Path) -> list[tuple[str, Path]]:
    """Names as they stand in the table, and paths."""
    if table.suffix == ".parquet":
        from pyarrow import parquet

        rows = parquet.read_table(table).to_pylist()
    else:
        rows = [json.loads(line) for line in table.read_text("utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not isinstance(row.get("path"), str):
            raise ValueError(f'{table}: row {number} has no "path": {row}')
    return [(row["path"], table.parent / row["path"]) for row in rows]


def plan_parts(photos: list[Photo], model: str, size: int, folder: Path) -> dict[Path, list[Photo]]:
    """Cuts the photos into parts of `size`: the file of each, and what it is made of."""
    parts = {}
    for start in range(0, len(photos), size):
        chosen = photos[start : start + size]
        made_of = [model, *((asdict(photo), _stamp(photo)) for photo in chosen)]
        digest = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()
        parts[folder / f"{digest[:24]}.jsonl"] = chosen
    return parts


def _stamp(photo: Photo) -> tuple[int, int] | None:
    try:
        found = os.stat(photo.path)
    except OSError:
        return None  # the worker reports it
    return found.st_size, found.st_mtime_ns


def run_workers(parts: dict[Path, list[Photo]], model: str, workers: int, gpus: float) -> None:
    """Has the parts written by Ray's workers; Ray Data starts another for one that dies."""
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False  # there is tqdm's
    if "RAY_ADDRESS" in os.environ:
        ray.init(address="auto")
    else:
        ray.init(address="local", num_cpus=workers, include_dashboard=False)
    rows = [
        {"part": str(file), "photos": json.dumps([asdict(photo) for photo in photos])}
        for file, photos in parts.items()
    ]
    size = max(len(photos) for photos in parts.values())
    done = ray.data.from_items(rows).map_batches(
        PoseWorker,
        fn_constructor_args=(model, size, "cuda" if gpus else "cpu"),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
        num_cpus=1,
        num_gpus=gpus,
    )
    for _ in tqdm(done.iter_rows(), "predicting", len(rows), unit="part"):
        pass


@click.command(help=__doc__)
@click.argument("source", metavar="INPUT")
@click.argument("out", type=Path)
@click.option("--model", default="gated_hg_2s_128.people", show_default=True)
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option(
    "--boxes", type=Path, help="People of each photo, as `gatedpose predict --boxes` reads."
)
@click.option("--gpus", default=0.0, show_default=True, help="Of each worker; 0.5 shares one.")
def main(
    source: str,
    out: Path,
    model: str,
    workers: int,
    batch_size: int,
    boxes: Path | None,
    gpus: float,
) -> None:
    """See the top of the file."""
    try:
        photos = find_photos(source, boxes)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    folder = out.resolve() / "parts"
    folder.mkdir(parents=True, exist_ok=True)
    parts = plan_parts(photos, model, batch_size, folder)
    missing = {file: chosen for file, chosen in parts.items() if not file.exists()}
    click.echo(f"{len(photos)} photos in {len(parts)} parts, {len(missing)} to do")
    if missing:
        run_workers(missing, model, workers, gpus)
    lines = [line for file in parts for line in file.read_text("utf-8").splitlines()]
    rows = sorted((json.loads(line) for line in lines), key=lambda row: row["image"])
    write_whole(out / "poses.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    errors = [row["error"] for row in rows if "error" in row]
    click.echo(f"{out / 'poses.jsonl'}: {len(rows) - len(errors)} photos and {len(errors)} errors")
    if errors:
        raise click.ClickException("\n".join(errors))


if __name__ == "__main__":
    main()
