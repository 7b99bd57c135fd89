"""The objective of multi-teacher on-policy distillation as functions of log-probabilities.

A row is a token that the student wrote itself. R rows lie end to end whatever sequence they belong to; `sequences_R`
and `domains_R` say which. Nothing here runs a model.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = [
    "MopdObjective",
    "distillation_advantages",
    "domain_scales",
    "masked_weights",
    "reverse_kl",
    "sampled_loss",
    "sequence_mean",
]

SCALE_BOUNDS = (0.25, 4.0)
"""Smallest and largest weight that `domain_scales` gives a domain."""

LARGEST_FULL = 16_384
"""Largest vocabulary whose whole distributions are kept unasked: 64 KB a token, 3 GB for 50,000 tokens of a step."""


@dataclass(frozen=True)
class MopdObjective:
    """Settings of the objective.

    Attributes:
        alpha: weight of the outcome advantage beside the teacher's log-ratio; 0 needs no rewards.
        bounds: a token counts if the ratio of its probabilities, trainer / sampler, lies between these.
        max_advantage: limit of the log-ratio, nats.
        is_full: the reverse KL over the whole vocabulary in place of the sampled token's log-ratio; None chooses, see
            `for_vocabulary`.
        has_scales: weigh each domain by `domain_scales`.
    Source: MOPD of MiMo-V2-Flash, which publishes neither alpha nor the bounds; log-ratio limit 5 of the MOPD paper.
    """

    alpha: float = 0.0
    bounds: tuple[float, float] = (0.5, 2.0)
    max_advantage: float = 5.0
    is_full: bool | None = None
    has_scales: bool = False

    def for_vocabulary(self, vocab_size: int, has_servers: bool = False) -> "MopdObjective":
        """The same with the form chosen: whole distributions have no noise, but take vocab_size floats a token.

        Args:
            vocab_size: of the student.
            has_servers: whether a teacher is a server, which tells of the sampled tokens alone.
        Returns:
            `is_full` where it is set, else whether the vocabulary has at most LARGEST_FULL tokens and all teachers are
            in the process.
        """
        chosen = vocab_size <= LARGEST_FULL and not has_servers if self.is_full is None else self.is_full
        return replace(self, is_full=chosen)


def masked_weights(logprobs_R: Tensor, sampled_R: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Importance weights of tokens that another engine or an older student sampled; those far off count nothing.

    Args:
        logprobs_R: log-probability of each token by the trainer.
        sampled_R: the same by the sampler.
        bounds: lowest and highest ratio that is kept.
    Returns:
        the ratio without gradient, float [R]; 0, and not the bound, where it lies outside.
    Source: w_t of the MOPD objective; masking of IcePop.
    """
    ratios_R = (logprobs_R.detach() - sampled_R).exp()
    # Not a product: a ratio may be infinite, and 0 times that is no number.
    return ratios_R.where((ratios_R >= bounds[0]) & (ratios_R <= bounds[1]), 0.0)


def distillation_advantages(teacher_R: Tensor, logprobs_R: Tensor, max_advantage: float) -> Tensor:
    """How much better the teacher likes each token than the student does.

    Args:
        teacher_R: log-probability of each token by its domain's teacher.
        logprobs_R: the same by the student.
        max_advantage: limit of the log-ratio; a teacher may find a token impossible.
    Returns:
        float [R] without gradient. On average over the student's own tokens it is minus the reverse KL.
    Source: the first part of A_t of the MOPD objective; the other is alpha times the outcome's advantage.
    """
    return (teacher_R - logprobs_R).detach().clamp(-max_advantage, max_advantage)


def sampled_loss(logprobs_R: Tensor, weights_R: Tensor, advantages_R: Tensor) -> Tensor:
    """Loss of each token, whose gradient raises what the teacher likes better than the student.

    Args:
        logprobs_R: log-probability by the student, with gradient.
        weights_R: of `masked_weights`.
        advantages_R: of `distillation_advantages`, with the outcome's added to it.
    Returns:
        float [R]: -w * A * log pi; only log pi carries gradient.
    Source: L_MOPD.
    """
    return -(weights_R * advantages_R).detach() * logprobs_R


def reverse_kl(student_RV: Tensor, teacher_RV: Tensor) -> Tensor:
    """KL(student || teacher) over the whole vocabulary: what the sampled log-ratio estimates, without its noise.

    Args:
        student_RV: logits, with gradient.
        teacher_RV: logits.
    Returns:
        float [R], nats, at least 0, and 0 with a gradient of 0 where both distributions are the same.
    """
    student_RV, teacher_RV = student_RV.log_softmax(-1), teacher_RV.detach().log_softmax(-1)
    return (student_RV.exp() * (student_RV - teacher_RV)).sum(-1)


def sequence_mean(values_R: Tensor, sequences_R: Tensor, num_sequences: int) -> Tensor:
    """Mean over sequences of the mean over each one's tokens, so that long ones count no more than short ones.

    Args:
        values_R: one number for each token.
        sequences_R: int64, which sequence it belongs to.
        num_sequences: how many there are; one without tokens adds nothing.
    Returns:
        a scalar.
    Source: the 1/|y| of L_MOPD.
    """
    counts_N = torch.bincount(sequences_R, minlength=num_sequences)
    return (values_R / counts_N[sequences_R]).sum() / num_sequences


def domain_scales(ratios_R: Tensor, domains_R: Tensor, num_domains: int) -> Tensor:
    """Weights that bring the signals of loud and quiet domains to one scale.

    Args:
        ratios_R: log-ratios of a batch.
        domains_R: int64, the domain of each.
        num_domains: how many there are.
    Returns:
        float [num_domains]: spread of all log-ratios / the domain's own, between 0.25 and 4; 1 where a domain has no
        spread at all.
    Source: rule of DN-MOPD.
    """
    overall = ratios_R.std(correction=0)
    scales = torch.ones(num_domains, dtype=ratios_R.dtype, device=ratios_R.device)
    for domain in range(num_domains):
        members = ratios_R[domains_R == domain]
        if len(members) and (spread := members.std(correction=0)) > 0:
            scales[domain] = (overall / spread).clamp(*SCALE_BOUNDS)
    return scales
