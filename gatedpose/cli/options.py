"""Options that several commands take."""

from typing import Any

import click

import gatedpose
from gatedpose.heatmaps import DECODERS, DEFAULT_DECODER

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
decoder_option = click.option(
    "--decoder", type=click.Choice(DECODERS), default=DEFAULT_DECODER, show_default=True
)
device_option = click.option("--device", help="Such as cpu or cuda; CUDA where it is by default.")

fast_option = click.option(
    "--fast", is_flag=True, help="Prepare the model for this machine first: see gatedpose.optimize."
)


def best_device(name: str | None) -> str:
    """The device called `name`; CUDA where it is there, else the CPU, if None."""
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from HEIGHTxWIDTH."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not HEIGHTxWIDTH, such as 256x192") from None
    return height, width


def make_ready(
    model: Any, fast: bool, device: str, batch: int, size: tuple[int, int] | None = None
) -> Any:
    """The model, optimised for batches of crops of `size`, its own if None, if asked for."""
    channels, *own = model.pretrained_cfg["input_size"]
    shape = (batch, channels, *(size or own))
    return gatedpose.optimize(model, device, example_shape=shape) if fast else model
