"""What a training starts from: fresh weights, trained ones, or those of another size."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatedpose.catalogue import weights_table
from gatedpose.errors import InputError, UnknownModelError, WeightsError
from gatedpose.models.base import HeatmapNetwork
from gatedpose.models.saved import file_facts, skeleton_of
from gatedpose.models.variants import BY_NAME, find_variant, find_word, parse_name
from gatedpose.models.weights import read_config
from gatedpose.models.zoo import create_model
from gatedpose.skeleton import Skeleton
from gatedpose.training.growth import grow, keep_shared_joints, shrink

CHANGES = {"grow": grow, "shrink": shrink}  # from one trained network to another


def check_variant(name: str) -> None:
    """Sees that the network to train is called by its variant, and not by weights of it."""
    source, place, tag = parse_name(found := find_word(name))
    if source == "local-dir":
        variant = read_config(source, place)["architecture"]
    else:
        variant = "VARIANT" if source else find_variant(place).name
    if source or tag:
        raise InputError(
            f"train: {name!r} stands for weights: give the variant: train {variant} --init "
            f"{found if source else tag}"
        )


def starting_model(
    name: str, skeleton: Skeleton, init: str | None, **config: Any
) -> HeatmapNetwork:
    """The network that a training starts from, for the joints of a skeleton.

    Args:
        name: A variant of the zoo.
        skeleton: The joints to predict.
        init: A .safetensors file, for the same joints unless it says for which it is; or the name
            of a trained model of this variant, its tag alone, or "pretrained" for the default one;
            or "grow:" and the name of a smaller trained model, or "shrink:" and that of a larger
            one, see `gatedpose.training.growth`. Where weights are for other joints, the channels
            of joints of the same name are kept and the others start afresh. Fresh weights if None.
        **config: Fields of the variant's configuration to change.
    """
    count = skeleton.num_keypoints
    if init is None:
        return create_model(name, num_keypoints=count, **config)
    if init.endswith(".safetensors"):
        known = file_facts(Path(init))[0] or skeleton.joints
        old = create_model(name, num_keypoints=len(known), checkpoint_path=init, **config)
        return _for_joints(old, known, skeleton)
    how, _, source = init.partition(":")
    if change := CHANGES.get(how):
        model = create_model(name, num_keypoints=count, **config)
        change(_trained(source, skeleton), model)
        return model
    try:
        named = _full_name(init, name)
        model = _trained(named, skeleton, **config)
    except UnknownModelError as error:
        hint = "--init can also be a .safetensors file to start from"
        raise UnknownModelError(f"{error} ({hint})") from error
    except WeightsError as error:
        if init != "pretrained":
            raise
        raise WeightsError(f"{error} (--set init=null starts from fresh weights)") from error
    if (variant := model.pretrained_cfg["architecture"]) != name:
        raise InputError(
            f"{init} is a {variant}, not a {name}: --init grow:{init} puts a smaller network into "
            f"a larger one, --init shrink:{init} cuts a larger one to size"
        )
    return model


def _full_name(init: str, name: str) -> str:
    """What --init means for a variant: "pretrained", a tag, a word, a folder or a model's name."""
    if init == "pretrained":
        return name
    if (tagged := f"{name}.{init}") in weights_table():
        return tagged
    named, place, _ = parse_name(found := find_word(init))
    return found if named or place in BY_NAME else tagged  # a tag that there is not


def _trained(name: str, skeleton: Skeleton, **config: Any) -> HeatmapNetwork:
    """A trained model, for other joints if need be."""
    model = create_model(name, pretrained=True, **config)
    known = skeleton_of(model)
    return _for_joints(model, known.joints if known else (), skeleton)


def _for_joints(old: HeatmapNetwork, known: Sequence[str], skeleton: Skeleton) -> HeatmapNetwork:
    """A trained network for other joints: it keeps the channels of those that it knows by name."""
    if tuple(known) == skeleton.joints:
        return old
    new = copy.deepcopy(old)
    new.reset_classifier(skeleton.num_keypoints)
    keep_shared_joints(old, new, known, skeleton.joints)
    return new
