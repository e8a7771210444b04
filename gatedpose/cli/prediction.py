"""`gatedpose predict`: photos in, pictures with keypoints out."""

import json
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from torch import Tensor

import gatedpose
from gatedpose.cli.options import best_device, decoder_option, device_option, json_option
from gatedpose.media import FORMATS, ImageError, read_image


@click.command()
@click.argument("source", required=False)
@click.option("--demo", is_flag=True, help="Use a photograph that scikit-image ships.")
@click.option("--model", default="gated_hg_1s_68.lsp", show_default=True)
@click.option("--box", "boxes", multiple=True, metavar="X0,Y0,X1,Y1", help="A person; repeat it.")
@click.option("--out", type=Path, help="Picture to write, or folder for many. [poses.png, poses/]")
@click.option("--min-score", default=0.2, show_default=True, help="Joints below are not drawn.")
@device_option
@click.option("--flip", is_flag=True, help="Average with the mirrored image (half as fast).")
@decoder_option
@click.option("--batch-size", default=32, show_default=True, help="People at once.")
@json_option
def predict(
    source: str | None,
    demo: bool,
    model: str,
    boxes: tuple[str, ...],
    out: Path | None,
    min_score: float,
    as_json: bool,
    device: str | None,
    flip: bool,
    decoder: Any,
    batch_size: int,
) -> None:
    """Draws the keypoints of people in PHOTO, in a folder's photos or in those a "*.jpg" finds.

    Without --box the whole picture is taken as one person.
    """
    from tqdm import tqdm

    from gatedpose.cards import DEMO_BOX
    from gatedpose.media import demo_image, draw_poses, find_images, write_image
    from gatedpose.reports import pose_text, stack_poses

    if demo == (source is not None):
        raise click.UsageError("give a photo, a folder or a pattern, or --demo")
    files = [demo_image()] if demo else find_images(source or "")
    single = demo or Path(source or "").is_file()
    pictures = _pictures(files, out, single)
    wanted = [_parse_box(box) for box in boxes] or ([DEMO_BOX] if demo else None)
    predictor = gatedpose.Predictor(
        gatedpose.create_model(model, pretrained=True),
        flip_test=flip,
        decoder=decoder,
        batch_size=batch_size,
        device=best_device(device),
    )
    reader = _Reader(files)
    results = predictor.stream((image, wanted) for image in reader)
    for poses in tqdm(results, "predicting", len(files), unit="image", disable=single):
        file, image = reader.next_done()
        keypoints, scores, found = stack_poses(poses)
        picture = draw_poses(
            image,
            keypoints,
            scores,
            predictor.skeleton,
            boxes=found if boxes else None,
            min_score=min_score,
        )
        write_image(picture, pictures[file])
        facts = {
            "image": str(file),
            "picture": str(pictures[file]),
            "poses": [pose.to_dict() for pose in poses],
        }
        click.echo(json.dumps(facts) if as_json else pose_text(facts))
    if reader.failures:
        raise click.ClickException("\n".join(reader.failures))


def _parse_box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise click.BadParameter(f"{text!r} is not X0,Y0,X1,Y1 in pixels", param_hint="--box")
    return box


def _pictures(files: list[Path], out: Path | None, single: bool) -> dict[Path, Path]:
    """Where each file's picture goes, checked to be writable before any work is done."""
    target = out or Path("poses.png" if single else "poses")
    if single and not target.is_dir():
        pictures = {files[0]: target}
    else:
        target.mkdir(parents=True, exist_ok=True)
        pictures = {file: target / f"{file.name}.png" for file in files}
    folder = next(iter(pictures.values())).parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.BadParameter(f"cannot write into {folder}", param_hint="--out")
    if single and target.suffix and target.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise click.BadParameter(f"{target} is none of {known}", param_hint="--out")
    return pictures


class _Reader:
    """Reads files as they are asked for; those that cannot be read are kept to be reported."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.failures: list[str] = []
        self.read: deque[tuple[Path, Tensor]] = deque()

    def __iter__(self) -> Iterator[Tensor]:
        for file in self.files:
            try:
                image = read_image(file)
            except (ImageError, OSError) as error:
                self.failures.append(f"{error}")
                continue
            self.read.append((file, image))
            yield image

    def next_done(self) -> tuple[Path, Tensor]:
        """The file whose poses have just come, and its image."""
        return self.read.popleft()
