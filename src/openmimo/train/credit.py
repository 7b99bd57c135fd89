"""Credit: what rewards say about tokens. Pure functions from a group's rewards, and from log-probabilities, to numbers.

A row is a token that the model wrote itself; R rows lie end to end, rollout after rollout, group after group.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

__all__ = [
    "Grading",
    "clipped_weights",
    "difficulty_levels",
    "graded_rewards",
    "group_advantages",
    "group_scales",
    "has_signal",
    "truncated_weights",
]

Grading = Literal["strict", "soft"]
"""How passed tests pay: a level as a whole and only after all easier ones, or every test by itself."""

LEVEL_GAP = 0.1
"""Pass rates of neighbours in difficulty that lie farther apart than this part two levels."""

MIN_SPREAD = 1e-4
"""Rewards of a group that lie closer together are equal: a reward with rounding errors must not become an advantage."""


def has_signal(rewards: Sequence[float]) -> bool:
    """Whether a group's rewards differ, so that it says which samples are better.

    Args:
        rewards: of the samples of one task.
    Returns:
        False for a group that is dropped, such as one that is all right or all wrong.
    Source: dynamic sampling of MiMo-7B, after DAPO.
    """
    return max(rewards) - min(rewards) > MIN_SPREAD


def difficulty_levels(passed: Sequence[Sequence[bool]]) -> list[list[int]]:
    """Sort a task's tests into levels by how many samples pass them.

    Args:
        passed: for each sample of a task, whether it passes each test.
    Returns:
        numbers of the tests, level by level, the easiest first.
    Source: test-difficulty-driven reward of MiMo-7B, after the scoring of the IOI.
    """
    rates = [sum(column) / len(passed) for column in zip(*passed, strict=True)]
    order = sorted(range(len(rates)), key=lambda test: -rates[test])
    levels = [order[:1]]
    for easier, test in pairwise(order):
        if rates[easier] - rates[test] > LEVEL_GAP:
            levels.append([])
        levels[-1].append(test)
    return levels


def graded_rewards(passed: Sequence[Sequence[bool]], grading: Grading) -> list[float]:
    """Rewards for a part of the tests, where all or nothing would leave hard tasks without a signal.

    Args:
        passed: as for `difficulty_levels`.
        grading: "strict" pays a level if all its tests and all those of easier levels pass; "soft" pays every test its
            share of its level.
    Returns:
        a reward for each sample, from 0 to 1; every level is worth the same.
    Source: strict and soft scheme of MiMo-7B.
    """
    levels = difficulty_levels(passed)
    rewards = []
    for sample in passed:
        shares = [sum(sample[test] for test in level) / len(level) for level in levels]
        if grading == "strict":
            shares = [float(min(shares[: number + 1]) == 1.0) for number in range(len(levels))]
        rewards.append(math.fsum(shares) / len(levels))
    return rewards


def group_advantages(rewards: Sequence[float]) -> list[float]:
    """How much better each sample of a task is than its group.

    Args:
        rewards: of the samples of one task.
    Returns:
        (reward - mean) / standard deviation of the group; zeros where all are equal. Rewards 1, 0, 0, 0 give
        1.732, -0.577, -0.577, -0.577.
    Source: A_i of GRPO as in MiMo-7B.
    """
    if not has_signal(rewards):
        return [0.0] * len(rewards)
    mean = math.fsum(rewards) / len(rewards)
    spread = math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards))
    return [(reward - mean) / spread for reward in rewards]


def group_scales(lengths: Sequence[int]) -> list[float]:
    """What one token of each group counts in the loss: the mean over groups of the mean over all tokens of a group.

    Args:
        lengths: for each group, the tokens of all its samples together.
    Returns:
        a number for each group. A long sample weighs more than a short one of its group, but a group of long samples
        weighs as much as any other. Over all tokens they add up to 1.
    Source: 1 / sum |o_i| of the objective of MiMo-7B.
    """
    return [1.0 / (len(lengths) * max(length, 1)) for length in lengths]


def clipped_weights(
    logprobs_R: Tensor, old_R: Tensor, advantages_R: Tensor, bounds: tuple[float, float] = (0.2, 0.28)
) -> Tensor:
    """Weights of the second and later updates on one batch: the ratio, and 0 once it went far enough.

    The gradient of min(r A, clip(r, 1 - low, 1 + high) A) is r A grad log pi up to the limit that A pulls r towards,
    and 0 beyond it.

    Args:
        logprobs_R: log-probability of each token by the model as it is.
        old_R: the same when the batch was sampled.
        advantages_R: of each token.
        bounds: low and high. A higher upper limit leaves unlikely tokens room to grow.
    Returns:
        float [R] without gradient.
    Source: clip-higher of MiMo-7B; 0.2 and 0.28 of DAPO.
    """
    ratios_R = (logprobs_R.detach() - old_R).exp()
    is_free_R = torch.where(advantages_R > 0, ratios_R <= 1 + bounds[1], ratios_R >= 1 - bounds[0])
    return ratios_R.where(is_free_R, 0.0)  # not a product: a ratio may be infinite


def truncated_weights(logprobs_R: Tensor, sampled_R: Tensor, most: float = 2.0) -> Tensor:
    """Importance weights of tokens that other weights sampled: an older model's, or a quantised engine's.

    Args:
        logprobs_R: log-probability of each token by the model as it is.
        sampled_R: the same by the sampler.
        most: limit of the ratio, which bounds the variance.
    Returns:
        float [R] without gradient; the ratio up to the limit, then the limit.
    Source: truncated importance sampling of MiMo-V2-Flash's partial rollouts; limit 2 as in verl.
    """
    return (logprobs_R.detach() - sampled_R).exp().clamp_max(most)
