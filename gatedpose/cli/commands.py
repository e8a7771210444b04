"""The group of all commands: errors as one line, notes of the log, a quiet end of a pipe."""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from typing import Any

import click
from tqdm import tqdm

from gatedpose.errors import GatedPoseError

DEBUG = "gatedpose.debug"


class Commands(click.Group):
    """Shows our own errors as one line, and asks for a report of any other."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command line; a closed stdin, stdout or stderr stands for /dev/null."""
        _open_streams()
        return super().main(*args, **kwargs)

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Adds a command, whose first paragraph is listed whole, and --debug to it."""
        cmd.short_help = " ".join((cmd.help or "").partition("\n\n")[0].split())
        super().add_command(cmd, name)
        if not any(param.name == "debug" for param in cmd.params):  # else known by two names
            cmd.params.append(_debug_option())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; bad input ends with exit code 1 and the message."""
        try:
            with notes_shown(), _cleaned_up_on_sigterm():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            gone = isinstance(error, BrokenPipeError) and "cannot write" not in str(error)
            if gone or ctx.meta.get(DEBUG):  # click ends quietly where the reader has gone
                raise
            raise click.ClickException(_message(error)) from error


@contextmanager
def _cleaned_up_on_sigterm() -> Iterator[None]:
    """SIGTERM, of `docker stop` for example, ends the command as Ctrl-C does: no part is left."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    if current_thread() is not main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _debug_option() -> click.Option:
    def note(context: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            context.meta[DEBUG] = True

    text = "Show the traceback of an error."
    return click.Option(["--debug"], is_flag=True, expose_value=False, callback=note, help=text)


def _message(error: Exception) -> str:
    """What a person is to know of an error."""
    text = str(error)
    if isinstance(error, GatedPoseError | ImportError):
        return text
    if isinstance(error, OSError):  # the system's: of a file, or of none
        return text if error.filename or not text.startswith("[Errno") else f"{text} ({_call()})"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: take a smaller --batch-size, model or picture ({_call()})"
    first = text.strip().partition("\n")[0]
    return (
        f"{type(error).__name__}: {first:.200}\n"
        f"That is a bug of gatedpose in `{_call()}`. Please report it, with what the same command "
        "prints with --debug."
    )


def _call() -> str:
    return shlex.join(["gatedpose", *sys.argv[1:]])[:300]


def _open_streams() -> None:
    """Else the next file to be opened would be taken for stderr by whatever writes there."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:  # something else may have the number by now
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


LOG = logging.getLogger("gatedpose")


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str], object]) -> None:
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        self.write(self.format(record))


@contextmanager
def notes_shown() -> Iterator[None]:
    """Shows what is logged meanwhile above progress bars; of several processes, the first's."""
    first = os.environ.get("RANK", "0") == "0"
    shown = _Lines(lambda line: tqdm.write(line, file=sys.stderr))
    with _logged_to(shown if first else logging.NullHandler()):
        yield


@contextmanager
def notes_kept() -> Iterator[list[str]]:
    """A list that what is logged meanwhile goes to, and not to the screen."""
    lines: list[str] = []
    with _logged_to(_Lines(lines.append)):
        yield lines


def notes_for_json(as_json: bool) -> list[str]:
    """What is logged until the end, for the one object that a command prints with --json."""
    return click.get_current_context().with_resource(notes_kept()) if as_json else []


@contextmanager
def _logged_to(handler: logging.Handler) -> Iterator[None]:
    handlers, level = LOG.handlers[:], LOG.level
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOG.handlers[:] = handlers
        LOG.setLevel(level)
