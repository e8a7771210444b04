"""What the commands share: their group, and options that several take."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import click

import gatedpose
from gatedpose.cli.notes import notes_shown
from gatedpose.heatmaps import DECODERS, DEFAULT_DECODER
from gatedpose.models.optimize import ASKED, ENGINES


class Commands(click.Group):
    """Shows our own errors as one line and not as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; bad input ends with exit code 1 and the message."""
        try:
            with notes_shown():
                return super().invoke(ctx)
        except (
            ValueError, TypeError, ImportError, OSError, FloatingPointError, gatedpose.WeightsError,
        ) as error:  # fmt: skip
            raise click.ClickException(f"{error}") from error


def _allow(context: click.Context, option: click.Parameter, megapixels: float | None) -> None:
    if megapixels is not None:
        from gatedpose.media.images import allow_megapixels

        allow_megapixels(megapixels)


pixels_option = click.option(
    "--max-megapixels", type=click.FloatRange(min=1, max=10_000), callback=_allow,
    expose_value=False, help="Read pictures of up to so many million pixels. [89]",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
decoder_option = click.option(
    "--decoder", type=click.Choice(DECODERS), default=DEFAULT_DECODER, show_default=True
)
device_option = click.option("--device", help="Such as cpu or cuda; CUDA where it is by default.")


class Fast(NamedTuple):
    """How a model is prepared for this machine, see `gatedpose.optimize`."""

    engine: Any = "auto"
    precision: Any = "auto"


def fast_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--fast, --engine and --precision, which the command gets as `fast`: `Fast` or None."""

    @click.option(
        "--fast", is_flag=True, help="Prepare the model for this machine: see gatedpose.optimize."
    )
    @click.option("--engine", type=click.Choice(ENGINES), help="What runs it; with --fast. [auto]")
    @click.option(
        "--precision", type=click.Choice(ASKED), help="What it computes in; with --fast. [auto]"
    )
    @functools.wraps(command)
    def with_fast(
        *args: Any, fast: bool, engine: str | None, precision: str | None, **options: Any
    ) -> Any:
        asked = Fast(engine or "auto", precision or "auto")
        chosen = asked if fast or engine or precision else None
        return command(*args, fast=chosen, **options)

    return with_fast


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
    model: Any, fast: Fast | None, device: str, batch: int, size: tuple[int, int] | None = None
) -> Any:
    """The model, optimised for batches of crops of `size`, its own if None, if asked for."""
    if not fast:
        return model
    channels, *own = model.pretrained_cfg["input_size"]
    shape = (batch, channels, *(size or own))
    return gatedpose.optimize(model, device, example_shape=shape, **fast._asdict())
