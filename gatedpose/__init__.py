"""gatedpose: fast, accurate keypoints of people with soft-gated skip connections.

    import gatedpose
    model = gatedpose.create_model("gated_hg_1s_68", pretrained=True)
    poses = gatedpose.Predictor(model)("photo.jpg", boxes=[[10, 20, 210, 420]])

After `import gatedpose` every variant is known to timm as well.
"""

from gatedpose.checkpoints import WeightsError, load_weights
from gatedpose.hourglass import GatedHourglass, GatedHourglassConfig, HybridHourglass
from gatedpose.inference import optimize
from gatedpose.layers import SoftGate, SoftGatedResidual
from gatedpose.pose import Pose
from gatedpose.predictor import Predictor
from gatedpose.profiling import Profile, profile
from gatedpose.shortcuts import gate_shortcuts
from gatedpose.skeleton import COCO17, LSP14, MPII16, Skeleton
from gatedpose.variants import UnknownModelError
from gatedpose.zoo import create_model, list_models

__version__ = "0.1.0"

__all__ = [
    "COCO17",
    "LSP14",
    "MPII16",
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
