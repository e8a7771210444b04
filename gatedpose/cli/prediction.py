"""`gatedpose predict`: photos or video in, pictures with keypoints out."""

from pathlib import Path
from typing import Any

import click

from gatedpose.cli.options import (
    BATCH,
    SHARE,
    check_apart,
    decoder_option,
    device_option,
    fast_option,
    json_option,
    pixels_option,
)


@click.command()
@click.argument("source", required=False)
@click.option("--demo", is_flag=True, help="Use a photograph that scikit-image ships.")
@click.option(
    "--camera",
    type=click.IntRange(0, 255),
    metavar="N",
    help="Use webcam /dev/videoN, until Ctrl-C.",
)
@click.option(
    "--model", default="gated_hg_1s_68.lsp", show_default=True,
    help="Of the zoo, or an exported .onnx or .xml file.",
)  # fmt: skip
@click.option("--box", "boxes", multiple=True, metavar="X0,Y0,X1,Y1", help="A person; repeat it.")
@click.option(
    "--boxes",
    "table",
    type=Path,
    metavar="FILE",
    help='People of each picture: JSON {"a.jpg": [[x0, y0, x1, y1], ...], ...}, or COCO\'s.',
)
@click.option("--detect", is_flag=True, help="Find people by torchvision's detector.")
@click.option(
    "--detector-weights", type=Path, metavar="FILE", help="Its weights. [torch.hub's download]"
)
@click.option(
    "--min-person",
    type=SHARE,
    default=0.7,
    show_default=True,
    help="Detected people below this score are left out.",
)
@click.option(
    "--out",
    type=Path,
    help="Picture or video to write, or folder for many. [poses.png, poses.mp4, poses/]",
)
@click.option("--no-pictures", is_flag=True, help="Draw nothing.")
@click.option(
    "--resume", is_flag=True, help="Go on with a folder: pictures in OUT/poses.jsonl are done."
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Begin OUT/poses.jsonl anew; without these two a folder with results is refused.",
)
@click.option("--coco", type=Path, metavar="FILE", help="Write COCO's results, too, at the end.")
@click.option("--smooth", is_flag=True, help="Steady the joints of a video in time.")
@click.option(
    "--min-score", type=SHARE, default=0.2, show_default=True, help="Joints below are not drawn."
)
@device_option
@fast_option
@click.option("--flip", is_flag=True, help="Average with the mirrored image (half as fast).")
@decoder_option
@click.option("--batch-size", type=BATCH, default=32, show_default=True, help="People at once.")
@pixels_option
@json_option
def predict(
    source: str | None,
    demo: bool,
    camera: int | None,
    boxes: tuple[str, ...],
    out: Path | None,
    no_pictures: bool,
    resume: bool,
    overwrite: bool,
    coco: Path | None,
    smooth: bool,
    **options: Any,
) -> None:
    """Draws the keypoints of people in SOURCE: a photo, a folder, a "*.jpg", or a video.

    People are told by --box, --boxes or --detect; else the whole picture is taken as one person.
    For a folder or a pattern, poses go to OUT/poses.jsonl as they come, one line a picture. In a
    video the boxes follow the people of the first frame; each keeps its number.
    """
    from gatedpose.cli.film import predict_video
    from gatedpose.cli.people import Job
    from gatedpose.cli.pictures import predict_pictures
    from gatedpose.media.demo import DEMO_BOX, demo_image
    from gatedpose.media.images import find_images
    from gatedpose.media.video import READ_SUFFIXES

    if demo + (camera is not None) + (source is not None) != 1:
        raise click.UsageError("give a photo, a folder, a pattern or a video, --demo or --camera")
    file = Path(source or "")
    video = camera is not None or (file.suffix.lower() in READ_SUFFIXES and not file.is_dir())
    many = not (video or demo or file.is_file())
    options["detect"] |= options["detector_weights"] is not None
    _check_places(
        [
            ("--resume", resume, many, "a folder or a pattern"),
            ("--overwrite", overwrite, many, "a folder or a pattern"),
            ("--smooth", smooth, video, "a video"),
            ("--coco", coco, not video, "pictures"),
            ("--boxes", options["table"], not video, "pictures; a video takes --box or --detect"),
        ]
    )
    if resume and overwrite:
        raise click.UsageError("give --resume or --overwrite, not both")
    if bool(boxes) + bool(options["table"]) + (options["detect"] and not video) > 1:
        raise click.UsageError("give one of --box, --boxes and --detect")
    job = Job(
        boxes=[_parse_box(box) for box in boxes] or ([DEMO_BOX] if demo else None),
        alone=not many,
        drawn=not no_pictures,
        **options,
    )
    if video:
        predict_video(job, source, camera, out, smooth)
    else:
        files = [demo_image()] if demo else find_images(source or "")
        check_apart("--coco", coco, options["table"], *files)
        keep = True if resume else False if overwrite else None
        predict_pictures(job, source or "", files, out, not many, keep, coco)


def _check_places(rules: list[tuple[str, object, bool, str]]) -> None:
    """Of each rule, an option that is given must be in its place."""
    for option, given, in_place, place in rules:
        if given and not in_place:
            raise click.UsageError(f"{option} is for {place}")


def _parse_box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise click.BadParameter(f"{text!r} is not X0,Y0,X1,Y1 in pixels", param_hint="--box")
    return box
