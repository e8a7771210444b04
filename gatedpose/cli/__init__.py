"""The `gatedpose` command: thin layers of options over the package. Nothing imports it."""

import click

import gatedpose
from gatedpose.cli.learning import evaluate, train
from gatedpose.cli.models import info, list_command
from gatedpose.cli.options import Commands
from gatedpose.cli.prediction import predict


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gatedpose.__version__)
def main() -> None:
    """Fast, accurate keypoints of people: gated hourglasses from 0.5 M to 26 M parameters."""


for _command in (list_command, info, predict, evaluate, train):
    main.add_command(_command)
