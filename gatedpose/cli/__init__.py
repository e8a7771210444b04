"""The `gatedpose` command: thin layers of options over the package. Nothing imports it."""

import logging

import click

import gatedpose
from gatedpose.allocator import keep_freed_memory
from gatedpose.cli.bench import bench
from gatedpose.cli.commands import Commands
from gatedpose.cli.convert import convert
from gatedpose.cli.data import data
from gatedpose.cli.demo import demo
from gatedpose.cli.evaluation import evaluate
from gatedpose.cli.export import export
from gatedpose.cli.finder import finder
from gatedpose.cli.gates import gates
from gatedpose.cli.hub import push
from gatedpose.cli.models import info, list_command
from gatedpose.cli.prediction import predict
from gatedpose.cli.training import ablate, compare, recipe, train


class Told(logging.Handler):
    """Tells people what the package logs, on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints a record's text."""
        click.echo(f"gatedpose: {record.getMessage()}", err=True)


logging.getLogger("gatedpose").addHandler(Told(logging.INFO))
logging.getLogger("gatedpose").setLevel(logging.INFO)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gatedpose.__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """Fast, accurate keypoints of people: gated hourglasses from 0.5 M to 26 M parameters."""
    if context.invoked_subcommand != "bench":  # which times plain programs, too
        keep_freed_memory()


COMMANDS = (
    list_command, info, predict, demo, evaluate, train, recipe, ablate, compare, gates, export,
    bench, push, data, convert, finder,
)  # fmt: skip
for _command in COMMANDS:
    main.add_command(_command)
