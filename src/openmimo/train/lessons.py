"""What a step of distillation learns from, and its loss: rollouts of each domain with their teacher's opinion."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openmimo.errors import TrainingError
from openmimo.model.model import MiMo
from openmimo.train.distill import (
    MopdObjective,
    distillation_advantages,
    domain_scales,
    masked_weights,
    reverse_kl,
    sampled_loss,
    sequence_mean,
)
from openmimo.train.domains import DomainStep
from openmimo.train.loss import Losses, LossWeights
from openmimo.train.policy import PolicyBatch, keep_company, own_logits, side_losses
from openmimo.train.processes import from_all
from openmimo.train.rollout import Rollout
from openmimo.train.shards import full, is_sharded

__all__ = ["Lesson", "MopdStep", "mean_reward", "mopd_losses"]


@dataclass(frozen=True)
class Lesson:
    """Rollouts of one domain with what its teacher thinks of them. R counts the tokens that the student wrote.

    Attributes:
        domain: its name.
        batch: the rollouts.
        rollouts: the same, in the same order.
        outcome_R: advantage of each token's sequence.
        teacher_R: the teacher's log-probability of each token.
        teacher_RV: its logits; None in the sampled form.
    """

    domain: str
    batch: PolicyBatch
    rollouts: tuple[Rollout, ...]
    outcome_R: Tensor
    teacher_R: Tensor
    teacher_RV: Tensor | None


@dataclass(frozen=True)
class MopdStep:
    """What one optimiser step learns from.

    Attributes:
        lessons: of all domains.
    """

    lessons: tuple[Lesson, ...]

    @property
    def num_tokens(self) -> int:
        """Real tokens, padding not counted."""
        return sum(lesson.batch.packed.num_tokens for lesson in self.lessons)

    @property
    def has_targets(self) -> bool:
        """Whether the student wrote anything."""
        return any(len(lesson.batch.rows_R) for lesson in self.lessons)

    def to(self, device: torch.device) -> "MopdStep":
        """The same step; its tensors are on the training device already."""
        assert all(lesson.teacher_R.device.type == device.type for lesson in self.lessons)
        return self


def mopd_losses(
    model: MiMo, step: MopdStep, objective: MopdObjective, weights: LossWeights, progress: float = 0.0
) -> tuple[Losses, dict[str, DomainStep]]:
    """Run the student over a step's lessons and leave the gradients of the loss in its parameters.

    Args:
        model: the student, in training mode.
        step: what its teachers think of what it wrote.
        objective: what is minimised.
        weights: of the MTP heads, whose gradient stays in them, and of the routers' balance.
        progress: share of the run done, for weights that change.
    Returns:
        the losses, `total` without a gradient that is left to follow; and what the step did to each domain.
    Source: L_MOPD, or in its place the reverse KL over the whole vocabulary.
    """
    by_domain: dict[str, list[Lesson]] = defaultdict(list)
    for lesson in step.lessons:
        by_domain[lesson.domain].append(lesson)
    scales = _scales(by_domain, objective)
    num_sequences = sum(lesson.batch.num_sequences for lesson in step.lessons)
    model.zero_grad()
    gradients: dict[str, Tensor] = {}
    passes: list[_Pass] = []
    domains = {}
    for domain, most in _most_passes(model, by_domain).items():
        lessons = by_domain[domain]
        taught = [
            _learn(
                model, lesson, objective, weights, scales[domain], lesson.batch.num_sequences / num_sequences, progress
            )
            for lesson in lessons
        ]
        for _ in range(most - len(lessons)):
            keep_company(model, step.lessons[0].batch, weights, progress)
        norm = _move_gradients(model, gradients)
        domains[domain] = _summarise([rollout for lesson in lessons for rollout in lesson.rollouts], taught, norm)
        passes += taught
    for name, parameter in model.named_parameters():
        parameter.grad = gradients.get(name)
    figures = {"kl": _mean([one.kl_R for one in passes]), "entropy": _mean([one.entropy_R for one in passes])}
    figures["sampler_gap"] = _mean([one.gap_R for one in passes])
    mtp_K, agreement_K = (
        tuple(
            sum(one.share * value for one, value in zip(passes, values, strict=True))
            for values in zip(*rows, strict=True)
        )
        for rows in ([one.mtp_K for one in passes], [one.agreement_K for one in passes])
    )
    total = torch.stack([one.total for one in passes]).sum()
    accuracy = _mean([one.is_first_R.float() for one in passes])
    return Losses(total, sum(one.objective.item() for one in passes), accuracy, mtp_K, agreement_K, figures), domains


@dataclass(frozen=True)
class _Pass:
    """One lesson taken: losses, and for each token what the live table wants to know."""

    share: float
    objective: Tensor
    total: Tensor
    mtp_K: tuple[float, ...]
    agreement_K: tuple[float, ...]
    kl_R: Tensor
    pull_R: Tensor
    entropy_R: Tensor
    is_masked_R: Tensor
    is_first_R: Tensor
    ratio_R: Tensor
    outcome_R: Tensor
    gap_R: Tensor


def _learn(
    model: MiMo,
    lesson: Lesson,
    objective: MopdObjective,
    weights: LossWeights,
    scale: float,
    share: float,
    progress: float,
) -> _Pass:
    """Add the gradient of one lesson, which holds a share of the step's sequences."""
    batch = lesson.batch
    hidden_BTC, logits_RV = own_logits(model, batch, replays=True)
    scores_RV = logits_RV.log_softmax(-1)
    logprobs_R = scores_RV.gather(1, batch.ids_R[:, None]).squeeze(1)
    weights_R = masked_weights(logprobs_R, batch.sampled_R, objective.bounds)
    ratio_R = distillation_advantages(lesson.teacher_R, logprobs_R, objective.max_advantage)
    outcome_R = objective.alpha * lesson.outcome_R
    if lesson.teacher_RV is None:
        kl_R = -(lesson.teacher_R - logprobs_R.detach())
        loss_R = sampled_loss(logprobs_R, weights_R, ratio_R + outcome_R)
    else:
        kl_R = reverse_kl(logits_RV, lesson.teacher_RV)
        loss_R = kl_R + sampled_loss(logprobs_R, weights_R, outcome_R)
    lengths_N = torch.bincount(batch.sequences_R, minlength=batch.num_sequences)
    taught = share * scale * sequence_mean(loss_R, batch.sequences_R, batch.num_sequences)
    beside, heads = side_losses(model, hidden_BTC, batch.packed, weights, progress)
    total = taught + share * beside
    total.backward()
    with torch.no_grad():
        pull_R = share * scale * (weights_R * (ratio_R + outcome_R)).abs() / lengths_N[batch.sequences_R]
        entropy_R = -(scores_RV.exp() * scores_RV).sum(-1)
        gap_R = (logprobs_R - batch.sampled_R).abs()
        is_first_R = scores_RV.argmax(-1) == batch.ids_R
    return _Pass(
        share, taught.detach(), total.detach(), heads.mtp_K, heads.agreement_K,
        kl_R.detach(), pull_R, entropy_R, weights_R == 0, is_first_R, ratio_R, outcome_R, gap_R,
    )  # fmt: skip


def _most_passes(model: MiMo, by_domain: Mapping[str, Sequence[Lesson]]) -> dict[str, int]:
    """For each domain, lessons of the process that has most: those that share a model must run it equally often."""
    numbers = {domain: len(lessons) for domain, lessons in by_domain.items()}
    if not is_sharded(model):
        return numbers
    found = from_all(numbers)
    if any(other.keys() != numbers.keys() for other in found):
        raise TrainingError("processes that share a model must draw tasks of the same domains at a step")
    return {domain: max(other[domain] for other in found) for domain in numbers}


def _scales(by_domain: Mapping[str, Sequence[Lesson]], objective: MopdObjective) -> dict[str, float]:
    """What each domain counts. The sampler's log-probabilities stand for the student's: it is the same model."""
    if not objective.has_scales:
        return dict.fromkeys(by_domain, 1.0)
    ratios = [
        torch.cat([lesson.teacher_R - lesson.batch.sampled_R for lesson in lessons]) for lessons in by_domain.values()
    ]
    numbers_R = torch.arange(len(ratios)).repeat_interleave(torch.tensor([len(ratio) for ratio in ratios]))
    clipped_R = torch.cat(ratios).clamp(-objective.max_advantage, objective.max_advantage)
    return dict(
        zip(by_domain, domain_scales(clipped_R, numbers_R.to(clipped_R.device), len(ratios)).tolist(), strict=True)
    )


def _move_gradients(model: MiMo, sums: dict[str, Tensor]) -> float:
    """Add the parameters' gradients to sums, clear them, and give the norm of the trunk's."""
    trunk = []
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            sums[name] = sums[name] + parameter.grad if name in sums else parameter.grad
            trunk += [] if ".mtp" in name else [parameter.grad]
            parameter.grad = None
    return full(torch.nn.utils.get_total_norm(trunk)).item()


def _summarise(rollouts: Sequence[Rollout], passes: Sequence[_Pass], norm: float) -> DomainStep:
    ratio_R, outcome_R = (torch.cat([getattr(one, name) for one in passes]) for name in ("ratio_R", "outcome_R"))
    lengths = [rollout.num_own for rollout in rollouts]
    spread = ratio_R.std(correction=0).item()
    return DomainStep(
        kl=_mean([one.kl_R for one in passes]),
        reward=mean_reward(rollouts),
        tokens=sum(lengths),
        pull=sum(one.pull_R.sum().item() for one in passes),
        gradient=norm,
        length=sum(lengths) / len(lengths),
        truncated=sum(rollout.is_truncated for rollout in rollouts) / len(rollouts),
        entropy=_mean([one.entropy_R for one in passes]),
        masked=_mean([one.is_masked_R.float() for one in passes]),
        outcome_ratio=outcome_R.std(correction=0).item() / spread if spread else 0.0,
    )


def _mean(parts: Sequence[Tensor]) -> float:
    return torch.cat(list(parts)).mean().item()


def mean_reward(rollouts: Sequence[Rollout]) -> float:
    """Mean reward of rollouts."""
    return sum(rollout.reward for rollout in rollouts) / len(rollouts)
