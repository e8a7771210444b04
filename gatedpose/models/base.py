"""What every network of the zoo is to its users: images in, one set of heatmaps a stack out.

`HeatmapNetwork` holds the input check and the methods that timm's users expect; the paper's network
and the baselines it is compared with build the parts, and say on their own page how data goes.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gatedpose.errors import InputError, InputTypeError, in_range
from gatedpose.heatmaps import STRIDE

LIMITS = {
    "width": (1, 65_536),
    "stacks": (1, 64),
    "num_keypoints": (1, 100_000),
    "in_channels": (1, 1024),
    "depth": (2, 5),
}


def check_sizes(config: object, **limits: tuple[int, int]) -> None:
    """Makes each size of a network's configuration an int; ValueError if it is not in its limits.

    Those are the smallest and largest values of `LIMITS` and `limits`.
    """
    for name, (low, high) in {**LIMITS, **limits}.items():
        if not hasattr(config, name):
            continue
        value = getattr(config, name)
        if not in_range(value, (low, high)):
            text = f"{name} must be an integer from {low} to {high}, got {value!r}"
            features = name == "num_keypoints" and value == 0
            raise InputError(text + "; timm's features_only=True gives features" * features)
        object.__setattr__(config, name, int(value))  # NumPy's are not JSON's


def check_batch(images: object) -> None:
    """Raises TypeError unless images are a tensor of floats, ValueError unless of four axes."""
    if not isinstance(images, Tensor):
        raise InputTypeError(f"forward: images must be a torch.Tensor, got {type(images).__name__}")
    if images.dim() != 4:
        raise InputError(f"forward: images must be (B, C, H, W), got shape {tuple(images.shape)}")
    if not images.is_floating_point():
        raise InputTypeError(
            f"forward: images are {images.dtype} and must be floats: divided by 255 and "
            "normalised, as Predictor does"
        )


@torch.fx.wrap
def check_images(
    images: Tensor, channels: int, multiple: int, dtype: torch.dtype | None = None
) -> None:
    """Raises unless `images` are (B, channels, H, W) with H, W multiples of `multiple`.

    They must be floats, and of the weights' dtype, if that is given, unless autocast is on.
    """
    check_batch(images)
    shape = tuple(images.shape)
    if shape[1] != channels:
        raise InputError(f"forward: expected {channels} channels in dimension 1, got shape {shape}")
    kind = images.device.type
    autocast = kind != "meta" and torch.is_autocast_enabled(kind)
    if dtype not in (None, images.dtype) and not autocast:
        kinds = f"images are {images.dtype} but the weights are {dtype}"
        raise InputTypeError(f"forward: {kinds}; convert them")
    height, width = images.shape[-2:]
    if height % multiple or width % multiple or not height or not width:
        good = [max(multiple, -(-int(s) // multiple) * multiple) for s in (height, width)]
        raise InputError(
            f"forward: height and width must be multiples of {multiple}, got {height} x {width}; "
            f"the next good size is {good[0]} x {good[1]}"
        )


def check_network(what: str, model: object) -> None:
    """Raises TypeError unless a model is a network of the zoo as it is built."""
    if not isinstance(model, HeatmapNetwork):
        inner = isinstance(getattr(model, "model", None), HeatmapNetwork)  # of a Predictor
        raise InputTypeError(
            f"{what}: takes a network of the zoo, such as create_model gives, not within another "
            f"module; got {type(model).__name__}{', whose .model is one' if inner else ''}"
        )


def hand_on(model: nn.Module, made: nn.Module) -> None:
    """Copies what a network says of its joints and images to one that was made from it."""
    images = ("in_channels", "size_multiple", "pretrained_cfg")
    for name in (*images, "num_keypoints", "skeleton", "calibration", "as_told", "feature_info"):
        if hasattr(model, name):
            setattr(made, name, getattr(model, name))


class HeatmapNetwork(nn.Module):
    """Stacks that each predict heatmaps from an image; every stack is supervised.

    Subclasses build `stem`, `stacks`, `heads`, `remap_features` and `remap_heatmaps`, and say in
    `forward_stacks` how a stack follows the one before.

    Args:
        num_keypoints: Heatmap channels K.
        in_channels: Channels of the input image.
        num_features: Channels C of the features that a heatmap head reads.
        num_stacks: Number S of stacks.
        depth: How often a stack halves its input.
    """

    config: Any  # the dataclass that it is built from
    pretrained_cfg: dict[str, Any]  # timm's: what the weights are and how images are to be given
    as_told: bool = False  # whether it was loaded with the weights that pretrained_cfg tells of
    stem: nn.Module
    stacks: nn.ModuleList
    heads: nn.ModuleList
    remap_features: nn.ModuleList
    remap_heatmaps: nn.ModuleList

    def __init__(
        self, num_keypoints: int, in_channels: int, num_features: int, num_stacks: int, depth: int
    ) -> None:
        super().__init__()
        self.num_keypoints = self.num_classes = num_keypoints
        self.in_channels = self.in_chans = in_channels
        self.num_features = self.head_hidden_size = num_features
        self.num_stacks = num_stacks
        self.size_multiple = STRIDE * 2**depth
        self.grad_checkpointing = False
        self.pretrained_cfg = {"input_size": (in_channels, 256, 256)}
        self.feature_info = [
            {"num_chs": num_features, "reduction": STRIDE, "module": f"stacks.{s}"}
            for s in range(num_stacks)
        ]

    def check_input(self, images: Tensor) -> None:
        """Raises a named error for images that this network cannot take; see `check_images`."""
        # DataParallel's copies keep their weights as plain attributes.
        weights = (m.weight for m in self.stem.modules() if isinstance(m, nn.Conv2d))
        dtype = next(weights).dtype
        check_images(images, self.in_channels, self.size_multiple, dtype)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """See PyTorch's; what the weights before these were worth is not known of these."""
        self.as_told = False
        return super().load_state_dict(*args, **options)

    def run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """Calls `module`, trading time for memory when gradient checkpointing is on."""
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            out: Tensor = checkpoint(module, *inputs, use_reentrant=False)
        else:
            out = module(*inputs)
        return out

    def forward_stacks(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yields each stack's features and heatmaps, (B, *, H/4, W/4); None for a pruned head."""
        raise NotImplementedError(f"{type(self).__name__} has no forward_stacks")

    def forward(self, images: Tensor) -> Tensor:
        """Predicts heatmaps.

        Args:
            images: (B, C, H, W) normalised RGB; H and W multiples of `size_multiple`.

        Returns:
            Heatmaps (B, S, K, H/4, W/4) of all stacks, in training and in evaluation alike; the
            prediction is `[:, -1]`. Cell (m, n) is centred on pixel (4 (m + 0.5), 4 (n + 0.5)); a
            peak near 1 is a joint that is surely there, a flat map one that is out of sight.

        Raises:
            TypeError: If images are not of the weights' dtype and autocast is off.
            ValueError: For a wrong rank, number of channels or size.
        """
        self.check_head("forward")
        if self.training:  # it moves the norms' statistics, and the weights are to follow
            self.as_told = False
        heatmaps = [h for _, h in self.forward_stacks(images) if h is not None]
        return torch.stack(heatmaps, dim=1)

    def check_head(self, what: str) -> None:
        """Raises RuntimeError if there is no head for the last stack's features any more."""
        if len(self.heads) < self.num_stacks:
            raise RuntimeError(f"{what}: the last head was pruned; call forward_features")

    # What timm's users expect of a model.

    def forward_features(self, images: Tensor) -> Tensor:
        """Features of the last stack, (B, C, H/4, W/4)."""
        for features, _ in self.forward_stacks(images):
            last = features  # one at a time: the earlier stacks' are not kept
        return last

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Heatmaps (B, K, H/4, W/4) from the last stack's features; those if `pre_logits`."""
        if pre_logits:
            return features
        self.check_head("forward_head")
        heatmaps: Tensor = self.heads[-1](features)
        return heatmaps

    def forward_intermediates(
        self,
        images: Tensor,
        indices: int | list[int] | tuple[int, ...] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Features (B, C, H/4, W/4) of chosen stacks, as timm has them; `norm` is not used.

        They come behind the last features computed, unless `intermediates_only`.
        """
        from timm.models._features import feature_take_indices

        if output_fmt != "NCHW":
            raise InputError(
                f'forward_intermediates: output_fmt must be "NCHW", got {output_fmt!r}'
            )
        take, last = feature_take_indices(self.num_stacks, indices)
        intermediates, features = [], images
        for s, (features, _) in enumerate(self.forward_stacks(images)):
            if s in take:
                intermediates.append(features)
            if stop_early and s == last:
                break
        return intermediates if intermediates_only else (features, intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] | None = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops the stacks behind the last one that `indices` asks for; returns the stacks kept."""
        from timm.models._features import feature_take_indices

        take: list[int]
        take, last = feature_take_indices(self.num_stacks, indices)
        self.num_stacks = last + 1
        self.config = replace(self.config, stacks=last + 1)
        self.feature_info = self.feature_info[: last + 1]
        self.stacks = self.stacks[: last + 1]
        self.remap_features = self.remap_features[:last]
        self.remap_heatmaps = self.remap_heatmaps[:last]
        self.heads = self.heads[: last if prune_head else last + 1]
        return take

    def keypoint_modules(self) -> list[str]:
        """Names of the modules whose shape depends on K: the heads and the heatmap remaps."""
        names = ("heads", "remap_heatmaps")
        return [f"{name}.{i}" for name in names for i in range(len(getattr(self, name)))]

    def get_classifier(self) -> nn.ModuleList:
        """The heatmap heads, one for each stack."""
        return self.heads

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces heads and heatmap remaps by fresh ones for `num_classes` keypoints.

        Raises:
            ValueError: For a number that the configuration refuses, or a `global_pool`.
        """
        if global_pool:
            raise InputError(f"reset_classifier: heatmaps are not pooled, got {global_pool!r}")
        self.config = replace(self.config, num_keypoints=num_classes)
        self.num_keypoints = self.num_classes = self.config.num_keypoints
        about = ("tag", "source", "file", "hf_hub_id")  # which weights, so which joints, these were
        self.pretrained_cfg = {k: v for k, v in self.pretrained_cfg.items() if k not in about}
        self.as_told = False
        kind: Any = type(self)
        fresh = kind(self.config).to(next(self.parameters()))  # its device and dtype
        for name in self.keypoint_modules():
            self.set_submodule(name, fresh.get_submodule(name))

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Groups for timm's layer-wise learning rates: the stem, then a group a stack."""
        return {
            "stem": r"^stem",
            "blocks": r"^(?:stacks|heads|remap_features|remap_heatmaps)\.(\d+)",
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recomputes each stack in the backward pass instead of keeping its activations."""
        self.grad_checkpointing = enable

    def no_weight_decay(self) -> set[str]:
        """The gates, besides norms and biases, are not decayed."""
        return {name for name, _ in self.named_parameters() if name.endswith("gate.alpha")}
