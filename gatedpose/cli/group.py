"""Groups of commands that are imported when they are called."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from gatedpose.cli.commands import Commands


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


class LateCommands(Commands):
    """Commands in the order of a table.

    Args:
        entries: The commands.
        unlisted: Those that are known as well, and not listed.
        **options: Of `click.Group`.
    """

    def __init__(
        self, *, entries: Sequence[Entry] = (), unlisted: Sequence[Entry] = (), **options: Any
    ) -> None:
        super().__init__(**options)
        self.entries = {entry.name: entry for entry in entries}
        self.unlisted = {entry.name: entry for entry in unlisted}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, in their order."""
        return [*self.entries, *(name for name in self.commands if name not in self._late)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, imported now."""
        if cmd_name in self._late and cmd_name not in self.commands:
            self.add_command(self._late[cmd_name].load(), cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the summaries whole, without importing the commands."""
        rows = []
        for name in self.list_commands(ctx):
            entry = self.entries.get(name)
            rows.append((name, entry.summary if entry else self.commands[name].help or ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    @property
    def _late(self) -> dict[str, Entry]:
        return {**self.entries, **self.unlisted}
