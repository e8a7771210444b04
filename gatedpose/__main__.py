"""`python -m gatedpose`, the same as `gatedpose`."""

from gatedpose.cli import main

main(prog_name="python -m gatedpose")
