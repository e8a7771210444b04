"""The folder of a training: who may train into it, and what it keeps to go on from."""

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatedpose.errors import InputError, WeightsError
from gatedpose.files.journal import changes_of
from gatedpose.files.typed_json import from_json, read_json, to_json
from gatedpose.files.whole import check_replaceable, write_whole
from gatedpose.models.saved import MODEL_FILES

CHECKPOINT = "last.pt"
BEST = "best.safetensors"


def check_folder(out: Path, resume: bool, read: Iterable[Path]) -> None:
    """Sees that a training from the folders `read` may begin, or go on, in the folder `out`."""
    if (out / CHECKPOINT).exists() and not resume:
        raise FileExistsError(
            f"{out} holds a training: go on with it by --resume, or train into another folder"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: train into a folder")
    if out.resolve() in {folder.resolve() for folder in read}:
        raise InputError(f"{out} is a folder of pictures: train into another one")
    check_replaceable(out / "model", MODEL_FILES)


def note_recipe(out: Path, recipe: Any) -> None:
    """Writes a recipe, or sees that the training to be resumed has the same one."""
    path, fields = out / "recipe.json", asdict(recipe)
    if (out / CHECKPOINT).exists():
        try:
            before = from_json(type(recipe), read_json(path), str(path))
        except InputError as error:
            raise InputError(f"{out} cannot go on: train into another folder ({error})") from error
        require_same(f"{out} holds a training by another recipe", asdict(before), fields)
    else:
        write_whole(path, to_json(fields, indent=1))


def require_same(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises InputError, which begins with `what`, unless all fields are as before."""
    if changes := changes_of(before, now):
        text = "resume it with that one, or train into another folder"
        raise InputError(f"{what} ({changes}): {text}")


def save_checkpoint(out: Path, state: Mapping[str, Any]) -> None:
    """Writes last.pt, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    write_whole(out / CHECKPOINT, buffer.getvalue())


def load_checkpoint(out: Path) -> dict[str, Any]:
    """Reads last.pt and looks at its checksums, which PyTorch does not; nothing in it is run."""
    with zipfile.ZipFile(out / CHECKPOINT) as file:
        if changed := file.testzip():
            raise WeightsError(f"the checksum of {changed} is another")
    state: dict[str, Any] = torch.load(out / CHECKPOINT, weights_only=True, map_location="cpu")
    return state


@contextmanager
def damage_named(out: Path) -> Iterator[None]:
    """Turns whatever goes wrong with last.pt meanwhile into a WeightsError that says what to do."""
    try:
        yield
    except Exception as error:  # of a file that was damaged, there are many kinds
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(
            f"{out / CHECKPOINT} is damaged ({type(error).__name__}: {reason:.200}): put a copy of "
            f"it in its place, or begin anew in another folder; {BEST}, if there is one, can be "
            "given to --init"
        ) from error


def save_best(out: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """Writes a network's weights as best.safetensors; see `gatedpose.models.saved.file_facts`."""
    from safetensors.torch import save

    weights = {name: t.cpu().contiguous() for name, t in network.state_dict().items()}
    told = {key: "\n".join(v) if isinstance(v, tuple) else str(v) for key, v in about.items()}
    write_whole(out / BEST, save(weights, told))
