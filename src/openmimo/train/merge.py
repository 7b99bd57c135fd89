"""Baselines of distillation that need no training: arithmetic on the weights of models with one origin."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from openmimo.errors import ConfigError
from openmimo.model.model import MiMo

__all__ = ["add_tasks", "average"]


@torch.no_grad()
def average(models: Sequence[MiMo]) -> MiMo:
    """Take the mean of every weight.

    Args:
        models: at least one, all of one shape.
    Returns:
        a new model.
    Raises:
        ConfigError: there is none, or their shapes differ.
    Source: model soups (Wortsman et al. 2022).
    """
    return _merge(models, lambda weights: torch.stack(weights).mean(0))


@torch.no_grad()
def add_tasks(base: MiMo, tuned: Sequence[MiMo], scale: float = 1.0) -> MiMo:
    """Add to a base what each fine-tuned model has learnt since.

    Args:
        base: what all of them began as.
        tuned: at least one, of the base's shape.
        scale: how much of each difference is added.
    Returns:
        a new model.
    Raises:
        ConfigError: there is no tuned model, or their shapes differ.
    Source: task arithmetic (Ilharco et al. 2023).
    """
    if not tuned:
        raise ConfigError("there is no fine-tuned model to add to the base: give at least one")
    return _merge([base, *tuned], lambda weights: weights[0] + scale * sum(w - weights[0] for w in weights[1:]))


def _merge(models: Sequence[MiMo], combine: Callable[[list[Tensor]], Tensor]) -> MiMo:
    if not models:
        raise ConfigError("there is no model to merge: give at least one")
    states: list[dict[str, Tensor]] = [model.state_dict() for model in models]
    for number, state in enumerate(states):
        differing = [name for name in sorted({*states[0], *state}) if _shape(states[0], name) != _shape(state, name)]
        if differing:
            raise ConfigError(f"model {number} differs from the first in {differing[0]}: merge models of one origin")
    merged = MiMo(models[0].config)
    merged.load_state_dict({name: combine([state[name] for state in states]) for name in states[0]})
    return merged.train(models[0].training)


def _shape(state: dict[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None
