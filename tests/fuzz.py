"""Mutated files and options, each of which must be read well or refused in our own words.

    python tests/fuzz.py --count 300 --seed 0

prints for each kind of input how many were tried, how many were refused by a named error, and, to
be 0: raw tracebacks, hangs, and nonsense that was accepted. Ends with 1 if one of them is not 0.
What asks for more than `ROOM` of memory counts as raw. The inputs are in `fuzz_inputs`.
"""

import logging
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import click

os.environ["ACCELERATE_USE_CPU"] = "1"
sys.path.insert(0, str(Path(__file__).parent))

from fuzz_inputs import KINDS

from gatedpose.errors import GatedPoseError

SECONDS = 30  # of the processor, after which an input counts as a hang
ROOM = 4 * 2**30  # bytes of addresses that inputs may ask for
LAST: list[str] = []  # tracebacks


class Hang(BaseException):
    """An input that took too long."""


def alarm(*_: object) -> None:
    raise Hang


def outcome(good: Callable[[], bool]) -> str:
    """What becomes of one input."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # a busy machine is no hang
    try:
        return "read" if good() else "nonsense"
    except GatedPoseError:
        return "named"
    except Hang:
        return "hang"
    except Exception:
        LAST.append(traceback.format_exc())
        return "raw"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@click.command()
@click.option("--count", type=click.IntRange(1), default=300, show_default=True, help="A kind.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--kind", "kinds", multiple=True, type=click.Choice(list(KINDS)))
@click.option("--show", is_flag=True, help="Print what fails.")
def main(count: int, seed: int, kinds: tuple[str, ...], show: bool) -> None:
    """Tries mutated inputs of each kind."""
    signal.signal(signal.SIGPROF, alarm)
    warnings.simplefilter("ignore")
    logging.disable()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
    total: Counter[str] = Counter()
    for name in kinds or KINDS:
        counts: Counter[str] = Counter()
        draw = random.Random(f"{seed} {name}")
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(count):
                what, good = KINDS[name](draw, Path(folder))
                found = outcome(good)
                counts[found] += 1
                if show and found in ("raw", "hang", "nonsense"):
                    click.echo(f"{found}: {name}: {what}\n{LAST.pop() if found == 'raw' else ''}")
        total += counts
        click.echo(line(name, counts))
    click.echo(line("all", total))
    sys.exit(bool(total["raw"] + total["hang"] + total["nonsense"]))


def line(name: str, counts: Counter[str]) -> str:
    """A row of the table."""
    columns = ("named", "read", "raw", "hang", "nonsense")
    found = ", ".join(f"{counts[column]} {column}" for column in columns)
    return f"{name:12} {counts.total():5} tried: {found}"


if __name__ == "__main__":
    main()
