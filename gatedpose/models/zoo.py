"""The zoo's door: models by name, registered with timm as soon as timm is imported.

timm is the registry: after `import gatedpose`, `timm.create_model`, `timm.list_models`, "hf-hub:"
and "local-dir:" know every variant. Our own names need no timm, whose import takes longer than all
else. Weights take one way, whoever asks for them: `locate` finds the file (packaged first, then the
Hub through its cache), `gatedpose.models.weights` verifies and loads it.
"""

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatedpose.catalogue import (
    HUB_FILE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Weights,
    hub_file,
    weights_table,
)
from gatedpose.device import find_device
from gatedpose.errors import (
    InputError,
    InputTypeError,
    UnknownModelError,
    WeightsError,
    check_flags,
)
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.finder import FinderConfig
from gatedpose.models.variants import (
    BY_NAME,
    VARIANTS,
    Variant,
    find_weights,
    find_word,
    keypoint_modules,
    parse_name,
)
from gatedpose.models.weights import (
    FIRST_CONV,
    check_fit,
    load_tensors,
    load_weights,
    read_config,
    read_tensors,
    require_described,
    require_finite,
)


def locate(cfg: Any, cache_dir: str | Path | None = None) -> tuple[Path, str | None]:
    """Path of the weights that a timm `PretrainedCfg` stands for, and their sha256 if known."""
    if cfg.source == "local-dir":
        return Path(cfg.file) / HUB_FILE, None
    if cfg.source == "hf-hub":
        return hub_file(cfg.hf_hub_id, HUB_FILE, cache_dir), None
    if cfg.url or cfg.state_dict:
        raise WeightsError(
            f"{cfg.architecture}: weights must be a safetensors file or a Hub repository"
        )
    name = f"{cfg.architecture}.{cfg.tag}" if cfg.tag else cfg.architecture
    known = weights_table().get(name)
    if cfg.file and not (known and cfg.file == str(known.path)):
        return Path(cfg.file), None  # the caller's own, by timm's pretrained_cfg_overlay
    if cfg.hf_hub_id and not (known and cfg.hf_hub_id == known.hub_id):
        return hub_file(cfg.hf_hub_id, HUB_FILE, cache_dir), None
    weights = find_weights(name)
    return weights.fetch(cache_dir), weights.sha256


def create_model(
    name: str,
    pretrained: bool = False,
    *,
    num_keypoints: int | None = None,
    num_classes: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    checkpoint_path: str | Path | None = None,
    **config: Any,
) -> HeatmapNetwork:
    """Builds a network of the zoo.

    Args:
        name: "gated_hg_2s_128" for example (see `list_models`), "gated_hg_1s_68.lsp" for weights by
            tag, "fast", "balanced" or "best" as for `Predictor`;
            "hf-hub:organisation/name@revision" for a Hub repository or "local-dir:path" for a
            folder, both with timm's config.json and model.safetensors.
        pretrained: Whether to load weights: the tag's, the variant's default ones, or those of the
            repository or folder. Without it any network is random, "hf-hub:" too, as in timm.
        num_keypoints: Heatmap channels K; as the weights or the variant (16) have it if None. With
            another number than the weights', exactly the heads and heatmap remaps are random.
        num_classes: timm's word for `num_keypoints`.
        device: Where to put the network, the CPU if None.
        dtype: Floating point type of its weights; PyTorch's default, usually float32, if None.
        checkpoint_path: A .safetensors file to load strictly, see `load_weights`.
        **config: Fields of the variant's configuration to change (gate, merge, skip, norm_layer,
            act_layer, depth, stacks, width, in_channels), and timm's `cache_dir`.

    Raises:
        UnknownModelError: For an unknown name or tag; the message has close matches.
        WeightsError: For weights that do not exist, cannot be had, are damaged or do not fit.
        TypeError: For an option that the configuration has not; the message has the valid ones.
        ValueError: For a value that the configuration refuses.
    """
    name = find_word(name)
    config |= {"num_keypoints": num_keypoints, "num_classes": num_classes}
    config = _in_timms_words({name: value for name, value in config.items() if value is not None})
    num_keypoints = config.pop("num_classes", None)
    source, place, tag = parse_name(name)
    if source:
        found = read_config(source, place, config.get("cache_dir"))["architecture"]
        if found not in BY_NAME:
            raise UnknownModelError(f"{name} is a {found!r}, not a network of this zoo")
    elif tag or place not in BY_NAME:
        find_weights(name)
    check_flags("create_model", pretrained=pretrained)
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise InputTypeError(f"create_model: dtype must be such as torch.float16, got {dtype!r}")
    if pretrained and checkpoint_path:
        raise InputError("create_model: pretrained and checkpoint_path exclude each other")
    if config.get("features_only"):
        raise InputTypeError("create_model: features_only is an option of timm.create_model")
    known = {"in_chans", "cache_dir"}
    if place in BY_NAME:
        known |= {field.name for field in fields(BY_NAME[place].config)}
    model: HeatmapNetwork
    if source or set(config) - known:
        import timm

        model = timm.create_model(name, pretrained=pretrained, num_classes=num_keypoints, **config)
    else:
        if "in_chans" in config:
            config["in_channels"] = config.pop("in_chans")
        model = _create(name, pretrained, num_keypoints, **config)
    if checkpoint_path:
        load_weights(model, checkpoint_path)
    model = model.to(device=None if device is None else find_device(device, meta=True), dtype=dtype)
    if dtype is not None and (pretrained or checkpoint_path):
        require_finite(model.state_dict(), f"{name} in {dtype}")
    return model


def _in_timms_words(options: dict[str, Any]) -> dict[str, Any]:
    """Options under timm's names of the two that have two; InputError if both are given unlike."""
    for ours, theirs in (("num_keypoints", "num_classes"), ("in_channels", "in_chans")):
        if ours in options:
            mine, timms = options[ours], options.setdefault(theirs, options.pop(ours))
            if mine != timms:
                raise InputError(f"{ours} and {theirs} are the same, got {mine!r} and {timms!r}")
    return options


def _timm_cfg(variant: Variant, weights: Weights | None = None) -> dict[str, Any]:
    """What timm's `PretrainedCfg` is to say of a variant and its weights."""
    side = 256
    if isinstance(variant.config, FinderConfig):
        side = weights.recipe["phases"][-1]["size"] if weights else 320
    cfg = {
        "num_classes": variant.config.num_keypoints,
        "input_size": (3, side, side),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "first_conv": FIRST_CONV,
        "classifier": keypoint_modules(variant.config),
        "architecture": variant.name,
    }
    if weights:
        # What cannot be had has no place, so that timm.list_models(pretrained=True) leaves it out.
        file = str(weights.path) if weights.obtainable else None
        cfg |= {"file": file, "hf_hub_id": weights.hub_id, "license": weights.license}
        cfg["num_classes"] = weights.num_keypoints
    return cfg


def _create(
    name: str,
    pretrained: bool,
    num_keypoints: int | None,
    cache_dir: str | Path | None = None,
    **changes: Any,
) -> HeatmapNetwork:
    """A network by a name of our own, as timm would make it."""
    _, place, tag = parse_name(name)
    variant = BY_NAME[place]
    weights = find_weights(name) if pretrained or tag else None
    cfg = _timm_cfg(variant, weights)
    keypoints = cfg["num_classes"] if num_keypoints is None else num_keypoints
    sizes: dict[str, Any] = {"num_keypoints": keypoints, **changes}
    if pretrained and weights:
        file = weights.fetch(cache_dir), weights.sha256
        model = _trained(variant, sizes, *file, cfg["num_classes"], cfg["input_size"][0])
    else:
        model = variant.build(**sizes)
    if weights:
        cfg["tag"] = weights.name.partition(".")[2]
    model.pretrained_cfg = {
        **{key: value for key, value in cfg.items() if value is not None},
        "classifier": tuple(model.keypoint_modules()),
        "custom_load": False,
        "fixed_input_size": False,
        "crop_mode": "center",
        "pool_size": None,
    }
    return model


def _trained(
    variant: Variant,
    sizes: dict[str, Any],
    path: Path,
    sha256: str | None,
    keypoints: int,
    channels: int,
) -> HeatmapNetwork:
    """A network of these sizes with the weights in a file, which are for so many keypoints."""
    tensors, stem = read_tensors(path, sha256), f"{FIRST_CONV}.weight"
    require_described(tensors, path, keypoints, channels)
    wanted = sizes.get("in_channels", channels)
    if stem in tensors and wanted != channels:
        if channels != 3:  # what timm can turn into others
            raise InputError(f"create_model: {path} has {channels} input channels, not {wanted}")
        from timm.models import adapt_input_conv

        tensors[stem] = adapt_input_conv(wanted, tensors[stem])
    fresh = sizes["num_keypoints"] != keypoints
    with torch.device("meta"):  # a network of any size, before memory is asked for
        check_fit(variant.build(**sizes), tensors, path, fresh)
    model = variant.build(**sizes)
    load_tensors(model, tensors, path, fresh)
    model.as_told = True
    return model


def _entry(variant: Variant) -> Callable[..., nn.Module]:
    from timm.models import build_model_with_cfg, resolve_pretrained_cfg

    def entry(
        pretrained: bool = False,
        pretrained_cfg: Any = None,
        pretrained_cfg_overlay: dict[str, Any] | None = None,
        cache_dir: str | Path | None = None,
        **options: Any,
    ) -> nn.Module:
        if not pretrained and not pretrained_cfg:  # the paper's network, whatever weights there are
            pretrained_cfg = _timm_cfg(variant)
        cfg = resolve_pretrained_cfg(variant.name, pretrained_cfg, pretrained_cfg_overlay)
        options = _in_timms_words(options)
        kind = options.get("feature_cls")
        if isinstance(kind, str) and kind not in ("getter", "fx"):
            raise InputError(f"{variant.name}: feature_cls is 'getter' or 'fx', got {kind!r}")
        config = replace(variant.config, stacks=options.get("stacks", variant.config.stacks))
        cfg = replace(cfg, classifier=keypoint_modules(config))

        def build(num_classes: int, in_chans: int, **changes: Any) -> HeatmapNetwork:
            sizes = {"num_keypoints": num_classes, "in_channels": in_chans, **changes}
            if not pretrained:
                return variant.build(**sizes)
            file = locate(cfg, cache_dir)
            return _trained(variant, sizes, *file, cfg.num_classes, cfg.input_size[0])

        features = {"feature_cls": "getter", "out_indices": tuple(range(config.stacks))}
        model: nn.Module = build_model_with_cfg(
            build, variant.name, False, cfg.to_dict(), feature_cfg=features, **options
        )
        return model

    entry.__name__ = entry.__qualname__ = variant.name
    entry.__doc__ = f"{variant.name}: {variant.paper}; options as in `gatedpose.create_model`."
    return entry


def register() -> None:
    """Registers every variant, with the weights that the table has now, with timm; repeatable."""
    from timm.models import generate_default_cfgs, register_model

    table = weights_table()
    cfgs = {name: _timm_cfg(BY_NAME[name.partition(".")[0]], table[name]) for name in table}
    trained = {name.partition(".")[0] for name in cfgs}
    cfgs |= {v.name: _timm_cfg(v) for v in VARIANTS if v.name not in trained}
    default_cfgs.update(generate_default_cfgs(cfgs))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", rf"Overwriting \w+ in registry with {__name__}\.")
        for variant in VARIANTS:
            globals()[variant.name] = register_model(_entry(variant))


default_cfgs: dict[str, Any] = {}  # where timm's register_model looks for them
