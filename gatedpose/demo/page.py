"""The page of `gatedpose demo`: Gradio's components about a `PoseFinder`, served until Ctrl+C.

Nothing is fetched from the net and nothing is sent there.
"""

import errno
import socket
from pathlib import Path
from typing import Any

from gatedpose.demo.events import CHOOSES, MARKS, Events, gradio, own_files
from gatedpose.demo.viewer import PoseFinder
from gatedpose.errors import PortError
from gatedpose.media.demo import demo_image

FONTS = ["system-ui", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif"]
FRAMES = 0.2  # seconds between two pictures of the live camera
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
Keypoints of the people on a photo. Drop one, take one with the camera, or try the example. People
are found by themselves: click one for their joints, or mark a box. Photos stay on the computer that
serves this page."""


def build_page(finder: PoseFinder) -> Any:
    """Lays out the page: `gradio.Blocks`, for `serve`; ImportError without Gradio."""
    gr = gradio()
    with gr.Blocks(title="gatedpose", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Photo"):
            _photo_tab(gr, page, finder)
        with gr.Tab("Live camera"):
            _live_tab(gr, finder)
    return page


def _photo_tab(gr: Any, page: Any, finder: PoseFinder) -> None:
    with gr.Row():
        with gr.Column():
            photo = _photo(gr, "Photo", type="filepath", height=400, buttons=["fullscreen"])
            example = gr.Button("Try the example photo", elem_id="example")
        with gr.Column():
            picture = _drawn(gr, "picture", height=400, buttons=["download", "fullscreen"])
            text = gr.Markdown(elem_id="times")
    with gr.Row():
        with gr.Column():
            variant, flip, score, whole, person, mode, box = _settings(gr, finder)
            find = gr.Button("Find keypoints", variant="primary", elem_id="find")
        with gr.Column():
            table = _table(gr)
    events = Events(finder, Path(photo.GRADIO_CACHE))
    inputs = [photo, variant, flip, score, whole, person, *box]
    results = [picture, text, table, _gallery(gr)]
    last = {"trigger_mode": "always_last"}  # else what is asked while one runs is dropped
    # Gradio would open the file before we do, and say nothing useful of one that it cannot read:
    # preprocess=False gives us the uploaded file itself.
    run = {"fn": events.show, "inputs": inputs, "outputs": results, "preprocess": False, **last}
    # At first Gradio shows 0 for no number, and a new photo has nothing to do with the old box.
    start = {"outputs": [*box, person], "queue": False, "api_name": False, **last}
    page.load(lambda: [None] * 4 + [1], **start)
    new = photo.input(lambda: [None] * 4 + [1], **start)
    chosen = example.click(
        lambda: [str(demo_image()), *[None] * 4, 1], None, [photo, *box, person], api_name=False
    )
    # Scores of weights without a calibration are lower.
    other = variant.change(finder.trust, variant, score, api_name=False)
    for event in (new.then, chosen.then, other.then, flip.change, score.release, whole.input):
        event(**run, api_name=False)
    gr.on([find.click, person.submit, *(number.submit for number in box)], **run, api_name="find")

    def click(event: gr.SelectData, *values: Any) -> list[Any]:
        return events.click(event.index, *values)

    picture.select(
        click,
        [mode, *inputs],
        [*box, person, *results],
        preprocess=False,
        trigger_mode="multiple",  # else a click is lost while the last one is worked on
        show_progress="hidden",
        api_name=False,
    )


def _live_tab(gr: Any, finder: PoseFinder) -> None:
    with gr.Row():
        camera = _photo(gr, "Camera", sources=["webcam"], streaming=True)
        drawn = _drawn(gr, "live", streaming=True, buttons=["fullscreen"])
    variant = gr.Dropdown(list(finder.names), value=finder.chosen, label="Variant of the live view")
    start = finder.trust(finder.chosen)
    score = gr.Slider(0, 1, start, step=0.05, label="Draw live joints from this score")
    variant.change(finder.trust, variant, score, api_name=False)
    events = Events(finder, Path(camera.GRADIO_CACHE))
    camera.stream(
        events.live,
        [camera, variant, score],
        drawn,
        stream_every=FRAMES,
        show_progress="hidden",
        api_name=False,
    )


def _photo(gr: Any, label: str, **options: Any) -> Any:
    # A mirrored snapshot would exchange left and right.
    camera = gr.WebcamOptions(mirror=False)
    photo = gr.Image(label=label, elem_id=label.lower(), webcam_options=camera, **options)
    photo.async_move_resource_to_block_cache = own_files(photo)
    return photo


def _drawn(gr: Any, name: str, **options: Any) -> Any:
    return gr.Image(label="Keypoints", elem_id=name, format="jpeg", interactive=False, **options)


def _settings(gr: Any, finder: PoseFinder) -> tuple[Any, ...]:
    variant = gr.Dropdown(
        list(finder.names), value=finder.chosen, label="Variant", elem_id="variant"
    )
    flip = gr.Checkbox(label="Flip test (half as fast, a little better)")
    start = finder.trust(finder.chosen)
    score = gr.Slider(0, 1, start, step=0.05, label="Draw joints from this score")
    whole = gr.Checkbox(label="The whole photo is one person")
    with gr.Row():
        person = gr.Number(1, label="Person", precision=0, minimum=1, min_width=110)
        mode = gr.Radio([CHOOSES, MARKS], value=CHOOSES, label="A click on the picture")
    gr.Markdown("Box about a person, in pixels; empty: people are looked for")
    with gr.Row():
        box = [gr.Number(label=name, min_width=110) for name in ("x0", "y0", "x1", "y1")]
    return variant, flip, score, whole, person, mode, box


def _table(gr: Any) -> Any:
    return gr.Dataframe(
        headers=["joint", "x", "y", "score"],
        datatype=["str", "number", "number", "number"],
        column_widths=["37%", "22%", "22%", "19%"],
        label="Pixels of the photo; scores from 0 to 1",
        interactive=False,
        max_height=950,
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


def serve(page: Any, host: str, port: int) -> None:
    """Serves the page until Ctrl+C, on "127.0.0.1" for this computer only, "0.0.0.0" for all."""
    gr = gradio()
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
