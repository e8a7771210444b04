"""`python -m gatedpose.cli`, for launchers that take a module."""

from gatedpose.cli import main

main()
