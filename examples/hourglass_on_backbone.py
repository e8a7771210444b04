"""The paper's hourglass on top of another network: any `features_only` backbone of timm's.

    python examples/hourglass_on_backbone.py --backbone resnet18 --steps 60

Features of stride 4 go through a 1x1 convolution, a `HybridHourglass` and a head. To show that it
learns, it is taught one photograph's pose as the packaged network sees it, and then asked for it.
"""

import click
import numpy as np
import timm
import torch
from torch import Tensor, nn

import gatedpose
from gatedpose.geometry import crop_image, crop_matrices, transform_points
from gatedpose.media.demo import demo_image
from gatedpose.media.images import read_image
from gatedpose.skeleton import LSP14
from gatedpose.training.losses import heatmap_loss


class HourglassOnBackbone(nn.Module):
    """Images (B, 3, H, W) -> heatmaps (B, 1, K, H/4, W/4), H and W multiples of 64.

    Args:
        backbone: Name of a timm network with features of stride 4.
        num_keypoints: K.
        width: Channels of the hourglass.
    """

    def __init__(self, backbone: str, num_keypoints: int, width: int = 68) -> None:
        super().__init__()
        self.num_keypoints = num_keypoints
        whole = timm.create_model(backbone, features_only=True)
        level = whole.feature_info.reduction().index(4)
        self.backbone = timm.create_model(backbone, features_only=True, out_indices=(level,))
        self.project = nn.Conv2d(self.backbone.feature_info.channels()[0], width, 1)
        self.hourglass = gatedpose.HybridHourglass(width)
        self.head = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, num_keypoints, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        [features] = self.backbone(images)
        heatmaps: Tensor = self.head(self.hourglass(self.project(features)))
        return heatmaps.unsqueeze(1)


@click.command(help=__doc__)
@click.option("--backbone", default="resnet18", show_default=True)
@click.option("--steps", default=60, show_default=True)
def main(backbone: str, steps: int) -> None:
    """See the top of the file."""
    torch.manual_seed(0)
    photo = demo_image()
    teacher = gatedpose.Predictor(gatedpose.create_model("gated_hg_1s_68.lsp", pretrained=True))
    [wanted] = teacher(photo)
    model = HourglassOnBackbone(backbone, LSP14.num_keypoints)
    click.echo(f"{backbone} and an hourglass: {sum(p.numel() for p in model.parameters()):,}")
    matrix = crop_matrices(torch.from_numpy(wanted.box)[None], teacher.size)
    picture = crop_image(read_image(photo), matrix[0], teacher.size, teacher.mean)
    image = (picture - teacher.mean) / teacher.std
    keypoints = transform_points(matrix, torch.from_numpy(wanted.keypoints)[None])
    sure = torch.from_numpy(wanted.scores) > 0.4
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(1, steps + 1):
        heatmaps = model.train()(image.expand(2, -1, -1, -1))
        truth = keypoints.expand(2, -1, -1), sure.expand(2, -1)
        loss = heatmap_loss(heatmaps, *truth, sigma=1.5, loss="softmax")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            click.echo(f"step {step}: loss {loss.item():.3f}")
    [found] = gatedpose.Predictor(model, LSP14)(photo)
    away = np.linalg.norm(found.keypoints - wanted.keypoints, axis=1)[sure.numpy()]
    click.echo(f"{len(away)} joints, {away.mean():.1f} pixels of the photo away on average")


if __name__ == "__main__":
    main()
