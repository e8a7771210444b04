"""PyTorch's own files of weights: read as tensors alone, and turned into safetensors."""

import argparse
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from gatedpose.errors import WeightsError
from gatedpose.files.whole import write_whole
from gatedpose.models.weights import PREFIXES, unwrapped

LOG = logging.getLogger(__name__)
NAMES = ("state_dict", "model_state_dict", "model", "network", "net", "module", "weights")


def convert_weights(source: str | Path, target: str | Path) -> dict[str, Tensor]:
    """Writes `read_state_dict` of a file as .safetensors; returns the tensors by name."""
    target = Path(target)
    if target.suffix != ".safetensors":
        raise WeightsError(f"{target} does not end in .safetensors, the format that is written")
    whole = {
        name: tensor.detach().clone(memory_format=torch.contiguous_format)
        for name, tensor in read_state_dict(source).items()
    }
    write_whole(target, save(whole))
    return whole


def read_state_dict(source: str | Path) -> dict[str, Tensor]:
    """The weights in a file of PyTorch's own, a state dict or a checkpoint with one inside.

    PyTorch reads it with weights_only=True: that makes tensors, plain containers and the options
    that timm's train.py keeps, an argparse.Namespace, and runs nothing of the file. What wrappers
    put before every key, DataParallel or a module of Lightning's for example, is left out; the log
    says which weights were passed over.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            held = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{source} cannot be read: {error.strerror or error}") from error
    except (
        EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError,
        IndexError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{source} cannot be read as tensors alone ({reason:.200}); if it holds a whole "
            "pickled network, save its state_dict() with the code that made it"
        ) from error
    found = _state_dict(held, str(source)).items()
    tensors = {name: t for name, t in found if not name.endswith("n_averaged")}  # AveragedModel's
    return unwrapped(tensors, (*PREFIXES, "model."))


def _state_dict(held: Any, where: str) -> dict[str, Tensor]:
    """The table of tensors, which may lie deeper: under a usual name, or the only one there."""
    if not isinstance(held, Mapping):
        raise WeightsError(f"{where} holds no table of weights but a {type(held).__name__}")
    tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
    tables = {str(name): value for name, value in held.items() if isinstance(value, Mapping)}
    if tensors and not tables:
        return tensors
    named = [name for name in NAMES if name in tables] or list(tables)
    if tensors or not named or (named[0] not in NAMES and len(named) > 1):
        inside = ", ".join(map(repr, list(held)[:8])) or "nothing"
        raise WeightsError(
            f"{where}: it is not plain which of its parts are the weights; it holds {inside}, and "
            f"a state dict would be all tensors, or be called {', '.join(NAMES)}"
        )
    taken = named[0]
    others = [n for n, table in tables.items() if n != taken and _is_state_dict(table)]
    if others:
        passed = ", ".join(map(repr, others))
        LOG.warning(f"{where}: took the weights in {taken!r}, and passed over those in {passed}")
    return _state_dict(tables[taken], f"{where}, {taken!r}")


def _is_state_dict(table: Mapping[Any, Any]) -> bool:
    return bool(table) and all(isinstance(value, Tensor) for value in table.values())
