"""Other people's pose networks in shape, with fresh weights, to be timed beside ours."""

from collections.abc import Callable

import timm
from torch import Tensor, nn

from gatedpose.errors import require
from gatedpose.skeleton import LSP14

KEYPOINTS = LSP14.num_keypoints
INPUT = {"input_size": (3, 256, 256)}


class HRNetPose(nn.Module):
    """timm's HRNet-W32 with a heatmap head on its finest branch: Sun et al., CVPR 2019, in shape.

    Shape: (B, 3, H, W) -> (B, 1, K, H/4, W/4).
    """

    pretrained_cfg = INPUT
    num_keypoints = KEYPOINTS

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(
            "hrnet_w32", features_only=True, feature_location="", out_indices=(1,)
        )
        self.head = nn.Conv2d(32, self.num_keypoints, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        heatmaps: Tensor = self.head(self.backbone(images)[0])
        return heatmaps.unsqueeze(1)


class ViTPose(nn.Module):
    """transformers' ViTPose-B: Xu et al., NeurIPS 2022. Its own size is 256 x 192.

    Shape: (B, 3, 256, 192) -> (B, 1, K, 64, 48).
    """

    pretrained_cfg = INPUT
    num_keypoints = KEYPOINTS

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        require("transformers", "vitpose_base needs transformers", "transformers")
        from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation

        backbone = VitPoseBackboneConfig(image_size=list(size), out_indices=[12])
        config = VitPoseConfig(backbone_config=backbone, num_labels=self.num_keypoints)
        self.network = VitPoseForPoseEstimation(config)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        heatmaps: Tensor = self.network(images).heatmaps
        return heatmaps.unsqueeze(1)


PEERS: dict[str, Callable[[tuple[int, int]], nn.Module]] = {
    "hrnet_w32": lambda size: HRNetPose(),
    "vitpose_base": ViTPose,
}
