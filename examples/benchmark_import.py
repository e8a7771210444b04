"""Prints how long Python takes to import gatedpose, and `gatedpose --help` to answer, beside timm.

    python examples/benchmark_import.py [--turns 7]

Each is run in a fresh process, in turns; medians are printed. The first turn, which reads files
from the disk, is not counted.
"""

import statistics
import subprocess
import sys
import time

import click

COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import timm": ["-c", "import timm"],
    "import gatedpose": ["-c", "import gatedpose"],
    "gatedpose --help": ["-m", "gatedpose.cli", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """How long a fresh Python takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@click.command(help=__doc__)
@click.option("--turns", default=7, show_default=True)
def main(turns: int) -> None:
    """See the top of the file."""
    rows = [[seconds(arguments) for arguments in COMMANDS.values()] for _ in range(turns + 1)]
    medians = dict(zip(COMMANDS, map(statistics.median, zip(*rows[1:], strict=True)), strict=True))
    for name, median in medians.items():
        click.echo(f"{name}: {median:.2f} s, {median / medians['import timm']:.2f} of timm's")


if __name__ == "__main__":
    main()
