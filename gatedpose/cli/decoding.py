"""The option of commands that decode heatmaps; it needs PyTorch, unlike those of `options`."""

import click

from gatedpose.heatmaps import DECODERS, DEFAULT_DECODER

decoder_option = click.option(
    "--decoder", type=click.Choice(DECODERS), default=DEFAULT_DECODER, show_default=True
)
