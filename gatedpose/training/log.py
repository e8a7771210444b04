"""What a training tells those who wait for it: a table, curves, TensorBoard, sample pictures."""

import csv
import io
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from tqdm import tqdm

from gatedpose.errors import InputError
from gatedpose.evaluation.plots import BLUE, RED, new_figure, png
from gatedpose.files.whole import write_whole
from gatedpose.media.images import write_image

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "log.csv"


def share_bar(shown: bool = True) -> "tqdm[Any]":
    """A bar of a training in per cent, with the time that is left."""
    form = "{percentage:5.1f}%|{bar}| {elapsed} gone, {remaining} to go"
    return tqdm(total=100, bar_format=form, disable=not shown, mininterval=15)


class Journal:
    """Writes log.csv, curves.png, samples.png and the folder tensorboard, each when it is told.

    What was noted of later steps than the training's, before a crash, is forgotten. `score` is the
    column of the score on the validation data, and what curves call it.
    """

    def __init__(self, out: Path, step: int, score: tuple[str, str]) -> None:
        self.out, self.start, (self.score, self.label) = out, step, score
        self.rows: list[dict[str, Any]] = []
        self.writer: SummaryWriter | None = None
        if (out / LOG_FILE).exists():
            try:
                with (out / LOG_FILE).open(newline="", encoding="utf-8") as file:
                    self.rows = [row for row in csv.DictReader(file) if self._numbered(row) <= step]
            except (csv.Error, KeyError, TypeError, ValueError) as error:
                raise InputError(
                    f"{out / LOG_FILE} is no table of a training ({error!r}): remove it, or train "
                    "into another folder"
                ) from error

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *error: object) -> None:
        if self.writer:
            self.writer.close()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Adds a point to each curve in TensorBoard."""
        if not self.writer:
            from torch.utils.tensorboard import SummaryWriter

            self.writer = SummaryWriter(str(self.out / "tensorboard"), purge_step=self.start + 1)
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def look(self, row: Mapping[str, Any], sheet: Tensor | None) -> None:
        """Prints a row, adds it to the table and TensorBoard, draws curves and samples anew.

        The row has "step", "size", "images", "loss" and the score; the sheet is a picture (3, H, W)
        uint8.
        """
        row = {"time": time.strftime("%H:%M:%S"), **row}
        tqdm.write("  ".join(f"{name} {value}" for name, value in row.items()))  # above the bar
        self.scalars(row["step"], {self.score: row[self.score]})
        self.rows.append(row)
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, list(row), extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(self.out / LOG_FILE, table.getvalue())
        write_whole(self.out / "curves.png", self._curves())
        if sheet is not None:
            write_image(sheet, self.out / "samples.png")

    def _numbered(self, row: Mapping[str, Any]) -> int:
        """A row's step; all that is drawn of it must be numbers."""
        for name in ("size", "images", "loss", self.score):
            float(row[name])
        return int(row["step"])

    def _curves(self) -> bytes:
        """Loss and score over the steps, a dotted line where the input size changes, as PNG."""
        figure = new_figure(7, 5)
        upper, lower = figure.subplots(2, sharex=True)
        steps = [int(row["step"]) for row in self.rows]
        for axes, name, label, colour in (
            (upper, "loss", "training loss", RED),
            (lower, self.score, self.label, BLUE),
        ):
            axes.plot(steps, [float(row[name]) for row in self.rows], color=colour, marker=".")
            axes.set_ylabel(label)
            axes.grid(alpha=0.3)
        for before, row in itertools.pairwise(self.rows):
            if str(before["size"]) != str(row["size"]):
                for axes in (upper, lower):
                    axes.axvline(int(before["step"]), color="grey", linestyle=":")
        sizes = dict.fromkeys(str(row["size"]) for row in self.rows)
        upper.set_title(f"inputs of {', then '.join(sizes)} px", fontsize=9)
        lower.set_xlabel("step")
        return png(figure)
