"""`gatedpose predict` on a video or a webcam."""

from contextlib import nullcontext, suppress
from pathlib import Path

import click
from tqdm import tqdm

from gatedpose.cli.options import check_apart, check_makeable, check_writable
from gatedpose.cli.people import Job
from gatedpose.files.typed_json import to_json
from gatedpose.media.video import VideoWriter, read_camera, read_video
from gatedpose.predict.people import WHOLE
from gatedpose.predict.smoothing import joint_filter
from gatedpose.predict.tracker import Tracker


def predict_video(
    job: Job,
    source: str | None,
    camera: int | None,
    out: Path | None,
    folder: bool,
    smooth: bool,
    overwrite: bool,
) -> None:
    """Predicts, draws and prints frame by frame: of a file, or of a webcam until Ctrl-C or SIGTERM.

    `out` is the video to write, or the `folder` for it.
    """
    video = read_video(source) if source else read_camera(camera or 0)
    target = _target(source, out, folder, overwrite) if job.drawn else None
    writer = VideoWriter(target, video.rate) if target else None
    tracker = Tracker(
        job.predictor,
        job.detector,
        boxes=WHOLE if job.whole else job.boxes,
        smooth=joint_filter if smooth else None,
    )
    frames, empty, tracks, odd = 0, 0, set(), False
    stop = nullcontext() if camera is None else suppress(KeyboardInterrupt, SystemExit)
    with writer or nullcontext(), stop:
        bar = tqdm(video, "predicting", video.count, unit="frame")
        for time, image in bar:
            poses = tracker(image, time)
            if not frames:
                odd = bool(image.shape[1] % 2 or image.shape[2] % 2)
            if writer:
                writer.write(job.draw(image, poses, scale=1), time)
            if job.as_json:
                facts = {"frame": frames, "time": round(time, 4)}
                bar.write(to_json({**facts, "poses": [pose.to_dict() for pose in poses]}))
            frames, empty = frames + 1, empty + (not poses)
            tracks |= {pose.track for pose in poses}
    if writer and odd:
        click.echo("the video has an odd side: the one written is a pixel larger", err=True)
    if video.count and frames < video.count:
        click.echo(f"{source} says it holds {video.count} frames: {frames} were there", err=True)
    if not job.as_json:
        nobody = f", in {empty} of them nobody found" if empty else ""
        shown = f" -> {target}" if writer else ""
        click.echo(f"{frames} frames, {len(tracks)} people{nobody}{shown}")


def _target(source: str | None, out: Path | None, folder: bool, overwrite: bool) -> Path:
    target = out or Path("poses.mp4")
    if folder:
        check_makeable(target)
        target = target / (f"{Path(source).stem}.mp4" if source else "poses.mp4")
        target.parent.mkdir(parents=True, exist_ok=True)
    check_apart("--out", target, Path(source) if source else None)
    check_writable(target.parent)
    if out and target.is_file() and not overwrite:
        raise click.ClickException(
            f"{target} is there and would be written over: name another place by --out, or give "
            "--overwrite"
        )
    return target
