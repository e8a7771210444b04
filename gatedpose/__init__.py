"""gatedpose: fast, accurate keypoints of people with soft-gated skip connections.

    import gatedpose
    model = gatedpose.create_model("gated_hg_1s_68", pretrained=True)
    poses = gatedpose.Predictor(model)("photo.jpg", boxes=[[10, 20, 210, 420]])

After `import gatedpose` every variant is known to timm as well.
"""

from gatedpose.errors import UnknownModelError, WeightsError
from gatedpose.models.hourglass import GatedHourglass, GatedHourglassConfig, HybridHourglass
from gatedpose.models.layers import SoftGate, SoftGatedResidual
from gatedpose.models.optimize import optimize
from gatedpose.models.profiling import Profile, profile
from gatedpose.models.shortcuts import gate_shortcuts
from gatedpose.models.weights import load_weights
from gatedpose.models.zoo import create_model, list_models
from gatedpose.pose import Pose
from gatedpose.predict.predictor import Predictor
from gatedpose.skeleton import COCO17, LSP14, MPII16, PEOPLE19, Skeleton

__version__ = "0.1.0"

__all__ = [
    "COCO17",
    "LSP14",
    "MPII16",
    "PEOPLE19",
    "GatedHourglass",
    "GatedHourglassConfig",
    "HybridHourglass",
    "Pose",
    "Predictor",
    "Profile",
    "Skeleton",
    "SoftGate",
    "SoftGatedResidual",
    "UnknownModelError",
    "WeightsError",
    "create_model",
    "gate_shortcuts",
    "list_models",
    "load_weights",
    "optimize",
    "profile",
]
