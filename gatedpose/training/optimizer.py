"""The optimiser of a recipe, by timm."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import create_optimizer_v2, list_optimizers, muon
from torch import nn

from gatedpose.errors import InputError, did_you_mean
from gatedpose.training.groups import Optimisation


def make_optimizer(recipe: Optimisation, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a model's parameters; norms, biases and gates are not decayed."""
    numbers = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, **recipe.options}
    optimizer: torch.optim.Optimizer
    try:
        optimizer = create_optimizer_v2(model, opt=recipe.optimizer, **numbers)
    except (AssertionError, TypeError, ValueError) as error:
        text, known = f"optimizer {recipe.optimizer!r} with {numbers}: {error}", list_optimizers()
        if recipe.optimizer not in known:
            text += f"; {did_you_mean(recipe.optimizer, known)}"
        raise InputError(text) from error
    if isinstance(optimizer, muon.Muon) and next(model.parameters()).device.type == "cpu":
        optimizer.step = _in_float32(optimizer.step)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of all parameters, of some scaled as timm's layer decay asks for."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("lr_scale", 1.0)


def _in_float32(step: Callable[..., Any]) -> Callable[..., Any]:
    """Muon's step with the products of its orthogonalisation in float32.

    timm fixes bfloat16, which processors without it emulate tens of times slower, and offers no
    option: its function gets another default while this optimiser steps, and only then.
    """

    @functools.wraps(step)
    def exact(*args: Any, **kwargs: Any) -> Any:
        orthogonalise = muon.zeropower_via_newtonschulz
        muon.zeropower_via_newtonschulz = functools.partial(orthogonalise, dtype=torch.float32)
        try:
            return step(*args, **kwargs)
        finally:
            muon.zeropower_via_newtonschulz = orthogonalise

    return exact
