"""`gatedpose predict`: photos or video in, pictures with keypoints out; `demo`: a page for it."""

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gatedpose.catalogue import DEFAULT_WORD, is_finder
from gatedpose.cli.options import (
    BATCH,
    RESULTS,
    SHARE,
    best_device,
    check_apart,
    check_replaced,
    checked,
    decoder_option,
    device_option,
    fast_option,
    json_option,
    parse_size,
    pixels_option,
)

DETECTOR = "fasterrcnn_mobilenet_v3_large_320_fpn"


@click.command()
@click.argument("sources", nargs=-1, metavar="[SOURCE]...")
@click.option("--demo", is_flag=True, help="Use a photograph that scikit-image ships.")
@click.option(
    "--camera", type=click.IntRange(0, 255), metavar="N",
    help="Use webcam /dev/videoN, until Ctrl-C.",
)  # fmt: skip
@click.option(
    "--model", default=DEFAULT_WORD, show_default=True, metavar="NAME",
    help="fast, balanced, best, a name that `gatedpose list --pretrained` shows, or an exported "
    ".onnx or .xml file.",
)  # fmt: skip
@click.option(
    "--box", "boxes", multiple=True, metavar="X0,Y0,X1,Y1",
    help="Box of a person in pixels of the picture; once for each.",
)  # fmt: skip
@click.option(
    "--boxes", "table", type=Path, metavar="FILE",
    help='People of each picture: JSON {"a.jpg": [[x0, y0, x1, y1], ...], ...}, or COCO\'s.',
)  # fmt: skip
@click.option("--whole", is_flag=True, help="Take each picture as one person.")
@click.option(
    "--detector", "detector_name", metavar="NAME",
    help="Find people by this detector of torchvision, ssdlite320_mobilenet_v3_large for example; "
    "it is downloaded if it is not there. [gated_finder_320]",
)  # fmt: skip
@click.option("--detect", is_flag=True, help=f"The same as --detector {DETECTOR}.")
@click.option("--detector-weights", type=Path, metavar="FILE", help="Its weights. [download]")
@click.option(
    "--min-person", type=SHARE,
    help="Detected people below this score are left out. [finder 0.45, others 0.7]",
)  # fmt: skip
@click.option(
    "--out",
    help="Picture or video to write, or folder for drawings and poses.jsonl. [poses.jpg or .png, "
    "poses.mp4, of many poses/]",
)
@click.option(
    "--format", "kind", type=click.Choice(["jpg", "png"]),
    help="Format of the drawings. [JPEG for JPEGs, PNG for others]",
)  # fmt: skip
@click.option(
    "--max-side", type=click.IntRange(16, 100_000),
    help="Longest side of drawings in pixels. [the photo's]",
)  # fmt: skip
@click.option("--no-pictures", is_flag=True, help="Draw nothing.")
@click.option(
    "--resume", is_flag=True, help="Go on with OUT: pictures in OUT/poses.jsonl are done."
)
@click.option(
    "--overwrite", is_flag=True,
    help="Begin OUT/poses.jsonl anew, and write over what OUT is or holds.",
)  # fmt: skip
@click.option("--coco", type=Path, metavar="FILE", help="Write COCO's results, too, at the end.")
@click.option("--smooth", is_flag=True, help="Steady the joints of a video in time.")
@click.option(
    "--min-score", type=SHARE,
    help="Joints below are drawn hollow, below half of it not at all. [0.46; where scores are no "
    "chances 0.2]",
)  # fmt: skip
@device_option
@fast_option
@click.option("--flip", is_flag=True, help="Average with the mirrored image (half as fast).")
@decoder_option
@click.option(
    "--size", callback=checked(parse_size),
    help="HEIGHTxWIDTH of the network's input; 192x192 takes three fifths of the time. [the "
    "model's own]",
)  # fmt: skip
@click.option(
    "--batch-size", type=BATCH, default=8, show_default=True,
    help="People at once; about as many photos wait in memory.",
)  # fmt: skip
@pixels_option
@json_option
def predict(
    sources: tuple[str, ...],
    demo: bool,
    camera: int | None,
    boxes: tuple[str, ...],
    out: str | None,
    kind: str | None,
    detect: bool,
    no_pictures: bool,
    resume: bool,
    overwrite: bool,
    coco: Path | None,
    smooth: bool,
    **options: Any,
) -> None:
    """Finds the people in photos or a video, and draws their keypoints.

    SOURCE is a photo, a folder, a pattern such as "*.jpg", an address (https://...) or - for
    standard input; give as many as you like. Or it is one video. People are looked for, unless
    --box, --boxes or --whole say where they are. For several pictures, and where OUT is a
    folder, poses go to OUT/poses.jsonl, one line a picture. In a video each person keeps a number.
    """
    from gatedpose.cli.film import predict_video
    from gatedpose.cli.people import Job
    from gatedpose.cli.pictures import predict_pictures
    from gatedpose.cli.sources import Source, find_sources
    from gatedpose.media.demo import demo_image

    if demo + (camera is not None) + bool(sources) != 1:
        raise click.UsageError("give photos, folders, patterns or a video, --demo or --camera")
    place = Path(out) if out else None
    video = camera is not None or _is_video(sources, place)
    several = not (video or demo or _is_one(sources))
    folder = _is_folder(out)
    many = several or (not video and (resume or folder))
    _check_together(click.get_current_context().params, video, many)
    if detect or options["detector_weights"] is not None:
        options["detector_name"] = options["detector_name"] or DETECTOR
    job = Job(
        boxes=[_parse_box(box) for box in boxes] or None,
        alone=not several,
        drawn=not no_pictures,
        **options,
    )
    if video:
        film = sources[0] if sources else None
        return predict_video(job, film, camera, place, folder, smooth, overwrite)
    pictures = [Source(str(demo_image()), demo_image())] if demo else find_sources(sources)
    files = [picture.file for picture in pictures if not picture.remote]
    check_apart("--coco", coco, options["table"], *files)
    check_replaced("--coco", coco, *RESULTS)
    keep = True if resume else False if overwrite else None
    patterns = [source for source in sources if glob.has_magic(source)]
    suffix = kind and f".{kind}"
    return predict_pictures(job, pictures, place, not many, keep, coco, suffix, patterns)


def _is_video(sources: tuple[str, ...], out: Path | None) -> bool:
    """Whether the one source is a video, or an animation that is to become one.

    Videos with other sources, or elsewhere, are refused.
    """
    from gatedpose.media import animations
    from gatedpose.media.download import is_url
    from gatedpose.media.images import VIDEOS
    from gatedpose.media.video import SUFFIXES

    suffixes = {Path(source).suffix.lower() for source in sources}
    animated = len(sources) == 1 and suffixes <= animations.SUFFIXES
    if animated and out and out.suffix.lower() in SUFFIXES:
        return True
    videos = [s for s in sources if Path(s).suffix.lower() in VIDEOS and not Path(s).is_dir()]
    patterns = [v for v in videos if glob.has_magic(v) and not Path(v).exists()]
    if patterns:
        raise click.UsageError(
            f"{patterns[0]} is a pattern of videos: give them alone, one command each, such as\n"
            f'  for video in {patterns[0]}; do gatedpose predict "$video" --out drawn; done'
        )
    if remote := [video for video in videos if is_url(video)]:
        raise click.UsageError(f"{remote[0]} is a video: download it, and give the file")
    if videos and len(sources) > 1:
        raise click.UsageError(f"{videos[0]} is a video: give it alone, without other sources")
    return bool(videos)


def _is_folder(out: str | None) -> bool:
    """Whether --out is a folder, or would be: a name without a suffix, or with a slash behind."""
    if not out:
        return False
    return not Path(out).suffix or out.endswith(("/", os.sep)) or Path(out).is_dir()


def _is_one(sources: tuple[str, ...]) -> bool:
    """Whether the sources are a single picture, and no folder or pattern."""
    from gatedpose.cli.sources import STDIN
    from gatedpose.media.download import is_url

    [first, *others] = sources
    return not others and (first == STDIN or is_url(first) or Path(first).is_file())


def _check_together(given: Mapping[str, Any], video: bool, many: bool) -> None:
    drawn = not given["no_pictures"]
    for option, value, in_place, place in (
        ("--resume", given["resume"], many, "pictures"),
        ("--smooth", given["smooth"], video, "a video"),
        ("--coco", given["coco"], not video, "pictures"),
        ("--format", given["kind"], drawn and not video, "drawn pictures"),
        ("--max-side", given["max_side"], drawn and not video, "drawn pictures"),
        ("--min-score", given["min_score"], drawn, "drawings; joints keep their scores"),
        ("--out", given["out"], drawn or many, "drawings, and for poses of several pictures"),
        ("--boxes", given["table"], not video, "pictures; a video takes --box or --detect"),
    ):
        if not in_place and value is not None and value is not False:
            raise click.UsageError(f"{option} is for {place}")
    if given["resume"] and given["overwrite"]:
        raise click.UsageError("give --resume or --overwrite, not both")
    detector = given["detect"] or given["detector_name"] or given["detector_weights"]
    people = given["boxes"], given["table"], given["whole"], detector and not video
    if sum(map(bool, people)) > 1:
        raise click.UsageError("give one of --box, --boxes, --whole and --detect")
    if given["min_person"] is not None and not detector and (given["boxes"] or given["whole"]):
        raise click.UsageError("--min-person is for people who are found, or whom --boxes scores")
    name = given["detector_name"]
    if given["detector_weights"] is not None and name and is_finder(name):
        raise click.UsageError(
            f"--detector-weights is for torchvision's detectors; {name} has its weights in the "
            "package"
        )


def _parse_box(text: str) -> list[float]:
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise click.BadParameter(f"{text!r} is not X0,Y0,X1,Y1 in pixels", param_hint="--box")
    return box


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 lets others in.")
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@click.option("--model", default=DEFAULT_WORD, show_default=True, help="Model to begin with.")
@device_option
def demo(host: str, port: int, model: str, device: str | None) -> None:
    """Serves a page for your browser that finds people on photos and before the webcam; offline."""
    from gatedpose.demo.page import build_page, check_port, serve
    from gatedpose.demo.viewer import PoseFinder

    check_port(host, port)  # before the time that loading takes
    serve(build_page(PoseFinder(model, best_device(device))), host, port)
