"""What tells whether a mixture of experts learns as it should: num-zeros, the share of each expert, an alarm."""

from collections import deque

import torch
import torch.distributed as dist
from torch import nn

from openmimo.model.moe import MoE, Router
from openmimo.train.shards import is_sharded, own

__all__ = ["LoadWatch", "expert_shares", "num_zeros"]

EXPERT_STACKS = ("gate_proj", "up_proj", "down_proj")


@torch.no_grad()
def num_zeros(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Count the trainable numbers whose gradient is exactly zero, after backward.

    Args:
        model: any module; a trainable parameter without a gradient counts as all zero.
    Returns:
        zeros and trainable numbers of "experts", "router" and "rest". Zeros that rise mean experts that get no tokens;
        zeros that fall mean overfitting.
    Source: num-zeros of MiMo-V2-Flash, report section on SFT.
    """
    groups, nonzero = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            path, _, kind = name.rpartition(".")
            groups.append((_group(model.get_submodule(path), kind), parameter.numel()))
            grad = parameter.grad
            nothing = own(parameter).new_zeros((), dtype=torch.int64)
            nonzero.append(nothing if grad is None else torch.count_nonzero(own(grad)))
    found = torch.stack(nonzero) if nonzero else torch.zeros(0, dtype=torch.int64)
    if is_sharded(model):
        dist.all_reduce(found)
    counts: dict[str, tuple[int, int]] = dict.fromkeys(("experts", "router", "rest"), (0, 0))
    for (group, total), count in zip(groups, found.tolist(), strict=True):
        counts[group] = counts[group][0] + total - count, counts[group][1] + total
    return counts


def _group(module: nn.Module, name: str) -> str:
    if isinstance(module, MoE) and name in EXPERT_STACKS:
        return "experts"
    return "router" if isinstance(module, Router) else "rest"


@torch.no_grad()
def expert_shares(model: nn.Module) -> list[list[float]]:
    """Say how the tokens since the last `balance_bias` were spread.

    Args:
        model: any module with `Router`s that ran in training mode.
    Returns:
        for each router, the share of its tokens that each expert got; zeros if there were none.
    """
    loads = [module.load_E for module in model.modules() if isinstance(module, Router)]
    if not loads:
        return []
    loads_LE = torch.stack(loads)
    return (loads_LE / loads_LE.sum(-1, keepdim=True).clamp_min(1)).tolist()


class LoadWatch:
    """Raises the alarm when experts of a layer stay without work.

    An expert starves if over `window` steps it got less than a tenth of its fair share; a layer where more than a
    quarter of the experts starve has collapsed.

    Args:
        window: steps that are looked at together.
    """

    STARVING, COLLAPSED = 0.1, 0.25

    def __init__(self, window: int = 20):
        self._recent: deque[list[list[float]]] = deque(maxlen=window)
        self._alarmed: frozenset[int] = frozenset()

    def look(self, shares: list[list[float]]) -> str | None:
        """Take in one step.

        Args:
            shares: as `expert_shares` gives them.
        Returns:
            what to tell people, if a layer collapsed or recovered with this step.
        """
        self._recent.append(shares)
        if len(self._recent) < (self._recent.maxlen or 0):
            return None
        found = {}
        for layer, steps in enumerate(zip(*self._recent, strict=True)):
            means = [sum(expert) / len(steps) for expert in zip(*steps, strict=True)]
            starving = sum(mean < self.STARVING / len(means) for mean in means)
            if starving > self.COLLAPSED * len(means):
                found[layer] = f"{starving} of {len(means)} experts of router {layer}"
        before, self._alarmed = self._alarmed, frozenset(found)
        if self._alarmed - before:
            return (
                f"expert collapse: {', '.join(found.values())} got almost no tokens for {len(self._recent)} steps; "
                "raise balance_speed or the balance loss"
            )
        return "all experts get tokens again" if before and not found else None
