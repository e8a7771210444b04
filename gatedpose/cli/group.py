"""Groups of commands that are imported when they are called, and errors as one line."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from gatedpose.errors import GatedPoseError


@dataclass(frozen=True)
class Entry:
    """A command that is not imported yet.

    Attributes:
        name: What it is called by.
        place: Module of this package and name in it, with a colon between.
        summary: The first paragraph of its help.
    """

    name: str
    place: str
    summary: str

    def load(self) -> click.Command:
        """The command."""
        module, _, name = self.place.partition(":")
        command: click.Command = getattr(importlib.import_module(f"gatedpose.cli.{module}"), name)
        return command


class Commands(click.Group):
    """Commands in the order of a table; our own errors are one line and not a traceback.

    Args:
        entries: The commands.
        hidden: Those that are known as well, and not listed.
        **options: Of `click.Group`.
    """

    def __init__(
        self, *, entries: Sequence[Entry] = (), hidden: Sequence[Entry] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self.entries = {entry.name: entry for entry in entries}
        self.hidden_entries = {entry.name: entry for entry in hidden}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in their order."""
        return [*self.entries, *self.commands]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now."""
        entry = self.entries.get(cmd_name) or self.hidden_entries.get(cmd_name)
        return entry.load() if entry else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the summaries whole, without importing the commands."""
        rows = [(entry.name, entry.summary) for entry in self.entries.values()]
        rows += [(name, command.help or "") for name, command in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; bad input ends with exit code 1 and the message."""
        try:
            return super().invoke(ctx)
        except (
            GatedPoseError, ValueError, TypeError, ImportError, OSError, FloatingPointError,
        ) as error:  # fmt: skip
            raise click.ClickException(f"{error}") from error
