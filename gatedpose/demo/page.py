"""The page of `gatedpose demo`: Gradio's components about a `PoseFinder`, served until Ctrl+C.

Nothing is fetched from the net and nothing is sent there.
"""

import errno
import html
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatedpose.demo.viewer import Finding, PoseFinder
from gatedpose.errors import (
    BoxError,
    GatedPoseError,
    ImageError,
    InputError,
    MissingPackageError,
    PortError,
)
from gatedpose.media.demo import DEMO_BOX, demo_image
from gatedpose.media.images import image_size

FONTS = ["system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
LARGEST_SIDE = 16_384  # pixels of a photo
LARGEST_BOX = 10**6  # pixels
UPLOAD = "50mb"
MONO = ["ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace"]
# Gradio's gallery has a fixed number of columns, scrolls, and puts captions on the pictures. Here a
# row has as many heatmaps as there is room for, all are shown, and captions stand below.
CSS = """
#heatmaps .grid-wrap {min-height: 0; max-height: none; padding-top: 32px}
#heatmaps .grid-container {grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)) !important}
#heatmaps .thumbnail-lg {aspect-ratio: auto; height: auto}
#heatmaps .thumbnail-lg > img {aspect-ratio: 1; height: auto}
#heatmaps .caption-label {position: static; max-width: 100%; border: 0; text-align: center}
@media (max-width: 600px) {#table th, #table .cell-wrap {font-size: 11px}}
"""
INTRODUCTION = """# gatedpose
Keypoints of one person. Drop a photo, take one with the camera, or try the example. The whole
photo is taken as the person, unless you give a box. Photos stay on the computer that serves this
page."""


def timing_text(finding: Finding, name: str, flip: bool, device: str) -> str:
    """The times in one line of Markdown, and what they are times of."""
    steps = " · ".join(
        f"{step} **{milliseconds:.1f} ms**" for step, milliseconds in finding.milliseconds.items()
    )
    passes = "two passes" if flip else "one pass"
    state = "first photo with this variant: warming up included" if finding.first else "warm"
    return f"{steps}\n\n{name} on {device}, {passes}; {state}"


def build_page(finder: PoseFinder) -> Any:
    """Lays out the page.

    Returns:
        `gradio.Blocks`, for `serve`.

    Raises:
        ImportError: Without Gradio; names the pip command that brings it.
    """
    gr = _gradio()
    with gr.Blocks(title="gatedpose", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    label="Photo",
                    type="filepath",
                    height=400,
                    # A mirrored snapshot would exchange left and right.
                    webcam_options=gr.WebcamOptions(mirror=False),
                    buttons=["fullscreen"],
                    elem_id="photo",
                )
                photo.async_move_resource_to_block_cache = _own_files(photo)
                example = gr.Button("Try the example photo", elem_id="example")
            with gr.Column():
                drawn = [_picture(gr), gr.Markdown(elem_id="times")]
        with gr.Row():
            with gr.Column():
                variant, flip, score, box = _settings(gr, finder)
                find = gr.Button("Find keypoints", variant="primary", elem_id="find")
            with gr.Column():
                table = _table(gr)
        # Gradio would open the file before we do, and say nothing useful of one that it cannot
        # read: preprocess=False gives us the uploaded file itself.
        run = {
            "fn": _shower(finder, Path(photo.GRADIO_CACHE)),
            "inputs": [photo, variant, flip, score, *box],
            "outputs": [*drawn, table, _gallery(gr)],
            "preprocess": False,
        }
        # At first Gradio shows 0 for no number, and a new photo has nothing to do with the old box.
        empty = {"fn": lambda: [None] * 4, "outputs": box, "queue": False, "api_name": False}
        page.load(**empty)
        new = photo.input(**empty)
        chosen = example.click(_example, None, [photo, *box], api_name=False)
        for event in (new.then, chosen.then, variant.change, flip.change, score.release):
            event(**run, api_name=False)
        gr.on([find.click, *(number.submit for number in box)], **run, api_name="find")
    return page


def _settings(gr: Any, finder: PoseFinder) -> tuple[Any, Any, Any, list[Any]]:
    variant = gr.Dropdown(
        list(finder.names), value=finder.chosen, label="Variant", elem_id="variant"
    )
    flip = gr.Checkbox(label="Flip test (half as fast, a little better)")
    score = gr.Slider(0, 1, 0.2, step=0.05, label="Draw joints from this score")
    gr.Markdown("Box about the person, in pixels; empty for the whole photo:")
    with gr.Row():
        box = [gr.Number(label=name, min_width=110) for name in ("x0", "y0", "x1", "y1")]
    return variant, flip, score, box


def _picture(gr: Any) -> Any:
    return gr.Image(
        label="Keypoints",
        format="jpeg",
        height=400,
        interactive=False,
        buttons=["download", "fullscreen"],
        elem_id="picture",
    )


def _table(gr: Any) -> Any:
    return gr.Dataframe(
        headers=["joint", "x", "y", "score"],
        datatype=["str", "number", "number", "number"],
        column_widths=["37%", "22%", "22%", "19%"],
        label="Pixels of the photo; scores from 0 to 1",
        interactive=False,
        max_height=700,
        elem_id="table",
    )


def _gallery(gr: Any) -> Any:
    return gr.Gallery(
        label="Heatmaps, over what the network sees",
        format="jpeg",
        buttons=["download", "fullscreen"],
        object_fit="contain",
        elem_id="heatmaps",
    )


def _own_files(photo: Any) -> Any:
    """What Gradio calls to get a photo: as ever, but an address of the net is not fetched."""
    gr = _gradio()
    move = photo.async_move_resource_to_block_cache

    async def moved(resource: Any) -> Any:
        if re.match(r"[a-z][a-z0-9+.-]+:", str(resource), re.IGNORECASE):
            raise gr.Error(
                "The photo must be uploaded, not named by an address", print_exception=False
            )
        return await move(resource)

    return moved


def _example() -> list[Any]:
    return [str(demo_image()), *DEMO_BOX]


def _shower(finder: PoseFinder, uploads: Path) -> Any:
    """What an event calls: raw values of the inputs in, values of the outputs out."""
    gr = _gradio()

    def show(photo: Any, name: Any, flip: Any, min_score: Any, *box: Any) -> list[Any]:
        if photo is None:
            return [None, "", None, None]
        path = str(photo["path"])
        # Who talks to the server without the page could name any file of this computer.
        if not Path(path).resolve().is_relative_to(uploads.resolve()):
            raise gr.Error("The photo was not uploaded", print_exception=False)
        try:
            _check_sides(path)
            finding = finder(Path(path), str(name), _numbers(box), bool(flip), _share(min_score))
        except (GatedPoseError, OSError, MemoryError) as error:
            # People know their file by its own name, and not by where Gradio keeps it.
            message = str(error).replace(path, photo.get("orig_name") or "the photo")
            message = html.escape(message, quote=False)
            gr.Warning(message, title="No keypoints")
            return [None, f"**No keypoints:** {message}", None, None]
        pose = finding.pose
        joints = list(zip(pose.skeleton.joints, pose.to_numpy().tolist(), strict=True))
        return [
            finding.picture,
            timing_text(finding, name, flip, finder.device),
            [[joint, f"{x:.1f}", f"{y:.1f}", f"{sure:.2f}"] for joint, (x, y, sure) in joints],
            [
                (overlay, f"{joint} {sure:.2f}")
                for overlay, (joint, (_, _, sure)) in zip(finding.overlays, joints, strict=True)
            ],
        ]

    return show


def _check_sides(path: str) -> None:
    """Raises ImageError for a photo that no JPEG can show."""
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


def _share(score: Any) -> float:
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise InputError(f"the score must be a number from 0 to 1, got {score!r:.80}")
    return float(score)


def serve(page: Any, host: str, port: int) -> None:
    """Serves the page until Ctrl+C.

    Args:
        page: Of `build_page`.
        host: Address to listen on; "127.0.0.1" is this computer only, "0.0.0.0" everybody.
        port: 1 to 65535.

    Raises:
        PortError: If nothing can listen on the port, because it is in use for example.
    """
    gr = _gradio()
    check_port(host, port)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        show_error=True,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        max_file_size=UPLOAD,
        allowed_paths=[str(demo_image())],
        theme=gr.themes.Default(font=FONTS, font_mono=MONO),
        css=CSS,
    )
    print(f"The page is at {page.local_url} (stop it with Ctrl+C)", flush=True)
    page.block_thread()


def check_port(host: str, port: int) -> None:
    """Raises `PortError` if nothing can listen on the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen()
    except OSError as error:
        text = f"gatedpose demo: cannot listen on port {port} of {host}: {error.strerror}"
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            text += f". Choose another port, such as --port {max(port, 1023) + 1}"
        raise PortError(text) from error


def _gradio() -> Any:
    """Gradio, told to stay offline and to keep no photos."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = os.environ["GRADIO_RUN_HISTORY"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise MissingPackageError(
            f'the page needs Gradio ({error}): pip install "gatedpose[demo]"'
        ) from error
    return gradio
