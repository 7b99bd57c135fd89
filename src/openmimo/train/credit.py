"""Credit: what rewards say about tokens. Pure functions from a group's rewards, and from log-probabilities, to numbers.

A row is a token that the model wrote itself; R rows lie end to end, rollout after rollout, group after group.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["clipped_weights", "group_advantages", "group_scales", "has_signal", "truncated_weights"]

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
    limit_R = torch.where(advantages_R > 0, ratios_R <= 1 + bounds[1], ratios_R >= 1 - bounds[0])
    return ratios_R * limit_R


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
