"""`gatedpose demo`: a page in the browser."""

import click

from gatedpose.catalogue import DEFAULT_WORD
from gatedpose.cli.options import best_device, device_option


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
