"""The `gatedpose` command: thin layers of options over the package. Nothing imports it.

Commands import what takes long (PyTorch, for example) when they are called: --help is quick.
"""

import copy

import click

import gatedpose
from gatedpose.cli import data, evaluation, finder, models, prediction, research, training
from gatedpose.cli.commands import Commands
from gatedpose.device import keep_freed_memory

COMMANDS = (
    prediction.predict, prediction.demo, models.list_command, models.info, evaluation.evaluate,
    training.train, training.recipe, finder.finder, data.data, models.export, models.quantise,
    models.convert, models.push,
)  # fmt: skip
RESEARCH = (research.bench, training.ablate, training.compare, research.gates)


def _keep_memory(context: click.Context) -> None:
    """Has freed memory kept, except for the group of others and for plain programs' times."""
    if context.invoked_subcommand not in ("research", "bench", "list"):
        keep_freed_memory()


@click.group(name="research", cls=Commands)
@click.pass_context
def research_group(context: click.Context) -> None:
    """Measures speed (bench), repeats the paper's comparisons (ablate, compare, gates).

    Each is a command by itself, too: gatedpose bench.
    """
    _keep_memory(context)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(gatedpose.__version__)
@click.pass_context
def main(context: click.Context) -> None:
    """Finds people and their joints in photos and videos; trains networks for your own joints."""
    _keep_memory(context)


for _command in (*COMMANDS, research_group):
    main.add_command(_command)
for _command in RESEARCH:
    research_group.add_command(_command)
    _alone = copy.copy(_command)  # by its name alone it is known, too, and not listed
    _alone.hidden = True
    main.add_command(_alone)
