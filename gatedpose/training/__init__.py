"""From datasets to trained weights."""

from gatedpose.training.run import train

__all__ = ["train"]
