"""Trained weights: reading and verifying files, strict loading.

Weights are safetensors only; nothing is ever unpickled (`gatedpose.models.convert` turns other
files into them, when asked to). `read_tensors` verifies a file before it is parsed, `load_tensors`
checks every key before the first weight of a network changes.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from gatedpose.catalogue import hub_file
from gatedpose.errors import InputError, JsonError, WeightsError
from gatedpose.files.typed_json import read_json
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.configs import check_config
from gatedpose.models.finder import FinderConfig
from gatedpose.models.variants import VARIANTS

FIRST_CONV = "stem.conv"
PREFIXES = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every key
COUNTED = "num_batches_tracked"  # by batch norm, for nothing that is used here
LOW, HIGH, SCALE = ":low", ":high", ":scale"  # parts of packed weights


def read_config(source: str, place: str, cache_dir: str | Path | None = None) -> dict[str, Any]:
    """Timm's config.json of a folder ("local-dir") or Hub repository ("hf-hub")."""
    file = "config.json"
    path = hub_file(place, file, cache_dir) if source == "hf-hub" else Path(place) / file
    if not path.is_file():
        inner = Path(place) / "model"
        hint = f"name {inner}" if (inner / file).is_file() else "a training writes it at its end"
        raise WeightsError(f"there is no model in {place}: it holds no {file} ({hint})")
    try:
        return check_config(read_json(path), str(path))
    except JsonError as error:
        raise WeightsError(f"{path} is no config.json of timm's: {error}") from error


def read_tensors(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Reads a safetensors file whole, verifies it and drops what wrappers put before every key."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path}: only .safetensors is loaded, since unpickling may run any code; convert it "
            f"once: gatedpose convert {shlex.quote(str(path))} "
            f"{shlex.quote(str(path.with_suffix('.safetensors')))}"
        )
    try:
        data = path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if sha256 not in (None, found):
            raise WeightsError(
                f"{path} is damaged: its sha256 is {found[:12]}..., not {str(sha256)[:12]}...; "
                "remove it and get it again"
            )
        tensors = safetensors.torch.load(data)
    except (OSError, safetensors.SafetensorError) as error:
        other = path.with_name("pytorch_model.bin")  # what timm writes unless told otherwise
        hint = f"; {other.name} is there: gatedpose convert {other} {path}" * other.is_file()
        raise WeightsError(f"{path} cannot be read: {error}{hint}") from error
    tensors = unpack(unwrapped(tensors, PREFIXES), path)
    require_finite(tensors, path)
    return tensors


def unwrapped(tensors: dict[str, Tensor], prefixes: Sequence[str]) -> dict[str, Tensor]:
    """Tensors without what wrappers put before every key."""
    while tensors and (found := [p for p in prefixes if all(k.startswith(p) for k in tensors)]):
        tensors = {key.removeprefix(found[0]): tensor for key, tensor in tensors.items()}
    return tensors


def require_finite(tensors: Mapping[str, Tensor], origin: object) -> None:
    """Raises WeightsError, naming the tensor, for NaN, infinity or a variance below 0."""
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
            raise WeightsError(f"{origin}: {key} holds values that are not finite ({tensor.dtype})")
        if key.endswith("running_var") and tensor.numel() and float(tensor.min()) < 0:
            raise WeightsError(f"{origin}: {key} holds a variance below 0")


def load_tensors(
    model: HeatmapNetwork,
    tensors: Mapping[str, Tensor],
    origin: object,
    new_keypoints: bool = False,
) -> None:
    """Loads tensors, all of them or none; see `check_fit` and `load_weights`."""
    check_fit(model, tensors, origin, new_keypoints)
    state = model.state_dict()
    fresh = _fresh(model, new_keypoints)
    kept = {k: t for k, t in state.items() if k.startswith(fresh) or k not in tensors}
    cast = {key: tensor.to(state[key].dtype) for key, tensor in tensors.items()}
    require_finite(cast, origin)
    model.load_state_dict({**cast, **kept})


def _fresh(model: HeatmapNetwork, new_keypoints: bool) -> tuple[str, ...]:
    return tuple(f"{name}." for name in model.keypoint_modules()) if new_keypoints else ()


def check_fit(
    model: HeatmapNetwork,
    tensors: Mapping[str, Tensor],
    origin: object,
    new_keypoints: bool = False,
) -> None:
    """Raises WeightsError unless `tensors` are a model's, which may be on the meta device."""
    state = model.state_dict()
    fresh = _fresh(model, new_keypoints)
    have, want = _shapes(tensors), _shapes(state)
    problems = {
        # Batch norm that timm froze counts no batches any more.
        "missing": [key for key in want if key not in have and not key.endswith(COUNTED)],
        "unexpected": sorted(key for key in have if key not in want),
        "of another shape": [
            f"{key} {have[key]} for {want[key]}"
            for key in want
            if key in have and have[key] != want[key] and not key.startswith(fresh)
        ],
    }
    if any(problems.values()):
        found = "; ".join(
            f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for what, keys in problems.items()
            if keys
        )
        raise WeightsError(f"{origin} does not fit this network: {found}. {_looks_like(tensors)}")


def require_described(
    tensors: Mapping[str, Tensor], origin: object, keypoints: int, channels: int
) -> None:
    """Raises WeightsError if a model's description has other numbers than its tensors."""
    told = {
        "heads.0.weight": (0, keypoints, "keypoints"),
        f"{FIRST_CONV}.weight": (1, channels, "input channels"),
    }
    for key, (axis, number, what) in told.items():
        if key in tensors and tensors[key].ndim == 4 and tensors[key].shape[axis] != number:
            raise WeightsError(
                f"{origin} has {tensors[key].shape[axis]} {what}, what describes it says {number}"
            )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Shapes in words; batch norm's counts may be floats: who halves all weights halves them."""
    kind = {True: "", False: "integer "}
    return {
        key: f"{kind[t.is_floating_point() or key.endswith(COUNTED)]}{tuple(t.shape)}"
        for key, t in tensors.items()
    }


def _looks_like(tensors: Mapping[str, Tensor]) -> str:
    heads = [t for key, t in tensors.items() if re.fullmatch(r"heads\.\d+\.weight", key)]
    stem = tensors.get(f"{FIRST_CONV}.weight")
    if heads and stem is not None and stem.ndim == heads[0].ndim == 4:
        keypoints, width = heads[0].shape[:2]
        for variant in VARIANTS:
            sizes = (variant.config.stacks, variant.config.width)
            if sizes == (len(heads), width) and not isinstance(variant.config, FinderConfig):
                with suppress(InputError), torch.device("meta"):  # of sizes that no network has
                    like = variant.build(num_keypoints=keypoints, in_channels=stem.shape[1])
                    if _shapes(like.state_dict()) == _shapes(tensors):
                        return f"It is of {variant.name} with {keypoints} keypoints"
    return "It is of no variant as it stands"


def load_weights(
    model: HeatmapNetwork,
    path: str | Path,
    *,
    new_keypoints: bool = False,
    sha256: str | None = None,
) -> None:
    """Loads a safetensors file strictly; if anything is wrong, no weight is changed.

    Values are cast to the model's dtype; a "module." or "_orig_mod." before every key is dropped.

    Args:
        model: A network of the zoo.
        path: A .safetensors file.
        new_keypoints: The file is for other keypoints: exactly `model.keypoint_modules()` keep
            their present values, every other key must fit.
        sha256: What the file must hash to, in hexadecimal; not checked if None.

    Raises:
        WeightsError: If the file is absent, damaged, no safetensors, or of another network; the
            message has the first keys that are missing, unexpected or of another shape.
    """
    load_tensors(model, read_tensors(path, sha256), path, new_keypoints)


def unpack(tensors: Mapping[str, Tensor], origin: object) -> dict[str, Tensor]:
    """Tensors without packed weights: ten bits, as a low and a high byte, times a scale a channel.

    `python examples/package_weights.py --packed` makes them; those that are not packed stay.
    """
    rest = dict(tensors)
    for key in [key.removesuffix(LOW) for key in tensors if key.endswith(LOW)]:
        none = torch.empty(0)
        low, high, scale = (rest.pop(key + part, none) for part in (LOW, HIGH, SCALE))
        kinds = (low.dtype, high.dtype) == (torch.uint8, torch.int8)
        shapes = low.ndim == 4 and low.shape == high.shape and scale.shape == low.shape[:1]
        if not (kinds and shapes):
            raise WeightsError(f"{origin}: the packed weights {key} lack a part or do not fit")
        whole = high.short() * 256 + low.short()
        rest[key] = whole * scale.float()[:, None, None, None]
    return rest
