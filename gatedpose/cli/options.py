"""What several commands share: kinds of options, each with its range."""

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
from click.core import ParameterSource

import gatedpose
from gatedpose.catalogue import DECODERS, DEFAULT_DECODER, ENGINES, PRECISIONS
from gatedpose.device import find_device
from gatedpose.errors import InputError

Value = TypeVar("Value")

LARGEST_SIDE = 4096  # of a network's input, in pixels
PNG = b"\x89PNG"
RESULTS = "file of results", b'[\n{"image_id"', b"[\n\n]"  # COCO's, as they are written; of nobody


class Number(click.FloatRange):
    """A finite number, perhaps within a range."""

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """See click."""
        number = float(super().convert(value, param, ctx))
        if not abs(number) < float("inf"):
            self.fail(f"{value} is no finite number.", param, ctx)
        return number


class PictureFile(click.Path):
    """A .png to write, which may replace a picture but no other file."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """See click."""
        path: Path = super().convert(value, param, ctx)  # type: ignore[assignment]
        if path.exists() and not path.is_file():
            return path  # a device or a pipe
        if path.suffix.lower() != ".png":
            self.fail(f"{path} does not end in .png", param, ctx)
        check_writable(path.parent, param.opts[0])
        check_replaced(param.opts[0], path, "PNG picture", PNG)
        return path


def check_replaced(option: str, out: Path | None, kind: str, *signs: bytes) -> None:
    """Raises BadParameter for a file that is there and begins with none of the signs of a kind."""
    if out is not None and out.is_file() and out.stat().st_size:
        with out.open("rb") as file:
            start = file.read(300)
            if not any(sign in start for sign in signs):
                raise click.BadParameter(
                    f"{out} is there and no {kind}: it would be lost", param_hint=option
                )


def check_apart(option: str, out: Path | None, *inputs: Path | None) -> None:
    """Raises BadParameter if what is written is one of the files or folders that are read."""
    for path in inputs:
        if out is None or path is None:
            continue
        linked = out.exists() and path.exists() and out.samefile(path)
        if linked or out.resolve() == path.resolve():
            raise click.BadParameter(
                f"{out} is what is read: it would be written over", param_hint=option
            )


def check_writable(folder: Path, option: str = "--out") -> None:
    """Raises BadParameter if no file can be made in a folder."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise click.BadParameter(f"cannot write into {folder}", param_hint=option)


def check_makeable(folder: Path) -> None:
    """Raises BadParameter if no file can be made in the --out folder, which need not be there."""
    check_writable(next(p for p in (folder, *folder.absolute().parents) if p.exists()))


def check_unused(way: str, names: Sequence[str]) -> None:
    """Raises UsageError for an option of these that is given beside `way`, which does without."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if parameter.name in names and given:
            raise click.UsageError(f"{parameter.opts[0]} does not go with {way}")


def checked(convert: Callable[[str], Value]) -> Callable[..., Value | None]:
    """A callback of click's whose errors name the option."""

    def callback(context: Any, param: Any, text: str | None) -> Value | None:
        try:
            return None if text is None else convert(text)
        except InputError as error:
            raise click.BadParameter(str(error)) from error

    return callback


def _allow(context: click.Context, option: click.Parameter, megapixels: float | None) -> None:
    if megapixels is not None:
        from gatedpose.media.images import allow_megapixels

        allow_megapixels(megapixels)


pixels_option = click.option(
    "--max-megapixels", type=Number(1, 10_000), callback=_allow,
    expose_value=False, help="Largest picture that is read, in million pixels. [64]",
)  # fmt: skip


def phase_option(form: str, kind: str, *numbers: type[int] | type[float]) -> Callable[..., Any]:
    """--phase of a recipe: `form` is how its numbers are written, `kind` the class they make."""

    def phase(text: str) -> Any:
        from gatedpose.training import groups

        try:
            parts = zip(numbers, text.split(","), strict=True)
            return getattr(groups, kind)(*(number(part) for number, part in parts))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not {form}: {error}") from error

    return click.option(
        "--phase", "phases", multiple=True, metavar=form,
        callback=lambda context, param, texts: tuple(map(phase, texts)),
        help="Replaces the recipe's phases (SIZE in pixels"
        f"{', SIGMA of the target in heatmap cells' * ('SIGMA' in form)}); repeat it.",
    )  # fmt: skip


class Fast(NamedTuple):
    """How a model is prepared for this machine, see `gatedpose.optimize`."""

    engine: Any = "auto"
    precision: Any = "auto"


def fast_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--fast, --engine and --precision, which the command gets as `fast`: `Fast` or None."""

    @click.option("--fast", is_flag=True, help="Make the model fast on this machine first.")
    @click.option("--engine", type=click.Choice(ENGINES), help="What runs it; turns on --fast.")
    @click.option(
        "--precision", type=click.Choice(PRECISIONS), help="What it computes in; turns on --fast."
    )
    @functools.wraps(command)
    def with_fast(
        *args: Any, fast: bool, engine: str | None, precision: str | None, **options: Any
    ) -> Any:
        asked = Fast(engine or "auto", precision or "auto")
        chosen = asked if fast or engine or precision else None
        if chosen and chosen.engine != "torch" and importlib.util.find_spec("openvino"):
            give_way()
        return command(*args, fast=chosen, **options)

    return with_fast


def give_way() -> None:
    """Lets PyTorch's threads sleep between operations, so that an engine or another program runs.

    They would else wait awake for the next operation, for a while. A training beside another
    program is then many times slower, and one alone is no faster. Read when PyTorch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def best_device(name: str | None) -> str:
    """The device called `name`; CUDA where it is there, else the CPU, if None."""
    import torch

    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from HEIGHTxWIDTH."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise click.BadParameter(f"{text!r:.40} is not HEIGHTxWIDTH, such as 256x192") from None
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise click.BadParameter(f"{text!r:.40}: sides are from 1 to {LARGEST_SIDE} pixels")
    return height, width


def make_ready(
    model: Any, fast: Fast | None, device: str, batch: int, size: tuple[int, int] | None = None
) -> Any:
    """The model, optimised for batches of crops of `size`, its own if None, if asked for."""
    if not fast:
        return model
    channels, *own = model.pretrained_cfg["input_size"]
    shape = (batch, channels, *(size or own))
    return gatedpose.optimize(model, device, example_shape=shape, **fast._asdict())


POSITIVE = Number(min=0, min_open=True)
SHARE = Number(0, 1)
COUNT = click.IntRange(1, 10**9)
BATCH = click.IntRange(1, 65_536)
SEED = click.IntRange(0, 2**63 - 1)
PICTURE = PictureFile(dir_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
decoder_option = click.option(
    "--decoder", type=click.Choice(DECODERS), default=DEFAULT_DECODER, show_default=True,
    help="How a heatmap becomes a point.",
)  # fmt: skip
check_device = checked(lambda name: str(find_device(name)))
device_option = click.option(
    "--device", callback=check_device, help="cpu, cuda or cuda:1. [cuda if there is one]"
)
size_option = click.option(
    "--size", default="256x256", show_default=True, callback=checked(parse_size),
    help="HEIGHTxWIDTH of the input.",
)  # fmt: skip
