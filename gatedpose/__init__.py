"""gatedpose: fast, accurate keypoints of people with soft-gated skip connections.

    import gatedpose
    poses = gatedpose.predict("photo.jpg")
    predictor = gatedpose.Predictor("gated_hg_1s_68")
    poses = predictor("photo.jpg", boxes=[[10, 20, 210, 420]])

What needs PyTorch is imported when it is asked for, so that `gatedpose --help` is quick. After
`import gatedpose` every variant is known to timm, whichever is imported first.
"""

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatedpose.engines.optimize import optimize
    from gatedpose.errors import UnknownModelError, WeightsError
    from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig, HybridHourglass
    from gatedpose.models.layers import SoftGate, SoftGatedResidual
    from gatedpose.models.profiling import Profile, profile
    from gatedpose.models.shortcuts import gate_shortcuts
    from gatedpose.models.variants import list_models
    from gatedpose.models.weights import load_weights
    from gatedpose.models.zoo import create_model
    from gatedpose.pose import Pose, draw
    from gatedpose.predict.oneline import predict
    from gatedpose.predict.predictor import Predictor
    from gatedpose.skeleton import COCO17, LSP14, MPII16, PEOPLE19, Skeleton

__version__ = "0.1.0"

__all__ = [
    "COCO17", "LSP14", "MPII16", "PEOPLE19", "GatedHourglass", "GatedHourglassConfig",
    "HybridHourglass", "Pose", "Predictor", "Profile", "Skeleton", "SoftGate", "SoftGatedResidual",
    "UnknownModelError", "WeightsError", "create_model", "draw", "gate_shortcuts", "list_models",
    "load_weights", "optimize", "predict", "profile",
]  # fmt: skip

_HOMES = {
    "engines.optimize": ("optimize",),
    "errors": ("UnknownModelError", "WeightsError"),
    "models.hourglass": ("GatedHourglass", "GatedHourglassConfig", "HybridHourglass"),
    "models.layers": ("SoftGate", "SoftGatedResidual"),
    "models.profiling": ("Profile", "profile"),
    "models.shortcuts": ("gate_shortcuts",),
    "models.variants": ("list_models",),
    "models.weights": ("load_weights",),
    "models.zoo": ("create_model",),
    "pose": ("Pose", "draw"),
    "predict.predictor": ("Predictor",),
    "skeleton": ("COCO17", "LSP14", "MPII16", "PEOPLE19", "Skeleton"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"gatedpose.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"gatedpose.{name}"):
        return importlib.import_module(f"gatedpose.{name}")  # a wing; `predict` can be called
    raise AttributeError(f"module 'gatedpose' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _AfterTimm:
    """Has the zoo registered as soon as timm is imported: a finder that is asked once."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "timm":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_register(module: Any) -> None:
                load(module)
                importlib.import_module("gatedpose.models.zoo").register()

            spec.loader.exec_module = load_and_register  # type: ignore[method-assign]
        return spec


if "timm" in sys.modules:
    importlib.import_module("gatedpose.models.zoo").register()
else:
    sys.meta_path.insert(0, _AfterTimm())
