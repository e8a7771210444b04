"""The fastest engine of this machine: measured once and kept with what it was measured on."""

import json
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from gatedpose.engines.engine import (
    NEEDS,
    PRECISIONS,
    Engine,
    installed,
    package_version,
    to_engine,
)
from gatedpose.engines.kept import keep
from gatedpose.engines.runtimes import Precision, Shape, capabilities
from gatedpose.files.typed_json import to_json
from gatedpose.models.base import HeatmapNetwork

Choice: TypeAlias = Engine | Literal["torch"]
REPEATS = 5
log = logging.getLogger(__name__)


def choose_engine(model: HeatmapNetwork, shape: Shape, plain: Callable[[], nn.Module]) -> Choice:
    """The engine that runs networks fastest on this machine's CPU.

    It is measured with the first network that asks, a picture of its `shape` at a time, and kept.
    torch.compile is not among those measured: it takes most of a minute in each program, a kept
    engine a second. `plain` gives the network as PyTorch runs it without compiling.
    """
    engines = installed()
    if not engines:
        log.info("engine torch, compiled in each program anew: %s brings one that is kept",
                 NEEDS["openvino"][1])  # fmt: skip
        return "torch"
    facts: dict[str, Any] = {"machine": machine(), "threads": torch.get_num_threads()}
    names = ("torch", *(name for engine in engines for name in NEEDS[engine][0]))
    facts["versions"] = {name: package_version(name) for name in names}
    one = (1, *shape[1:])
    parts = keep("engine", facts, lambda: {"json": _measured(model, engines, one, plain)})
    found: dict[str, float] = json.loads(parts["json"])["milliseconds"]
    best: Any = min(found, key=lambda name: found[name])
    told = ", ".join(f"{name} {ms:.1f}" for name, ms in found.items())
    log.info("engine %s: measured once on this machine, ms a picture: %s", best, told)
    return best  # type: ignore[no-any-return]


def fast_precision(engine: Engine) -> Precision:
    """bfloat16 where the engine and the processor have it, else float32."""
    if "bfloat16" in PRECISIONS[engine] and "BF16" in capabilities():
        return "bfloat16"
    return "float32"


def machine() -> str:
    """The processor and how many of it, in words."""
    file = Path("/proc/cpuinfo")  # of Linux
    lines = file.read_text("utf-8").splitlines() if file.is_file() else []
    kinds = ("model name", "flags")
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(kinds)]
    return f"{platform.machine()} {platform.processor()} {os.cpu_count()} {' '.join(names[:2])}"


def _measured(
    model: HeatmapNetwork, engines: list[Engine], shape: Shape, plain: Callable[[], nn.Module]
) -> bytes:
    """Milliseconds of each way, the least of several, taken in turns; as JSON."""
    log.info("measuring engines, once for this machine: torch, %s ...", ", ".join(engines))
    ways: dict[str, nn.Module] = {"torch": plain()}
    for engine in engines:
        ways[engine] = to_engine(model, engine, fast_precision(engine), shape)
    images: Tensor = torch.zeros(shape)
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(REPEATS + 1):
        for name, network in ways.items():
            start = time.perf_counter()
            network(images)
            if turn:  # the first prepares
                best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return to_json({"milliseconds": best}).encode()
