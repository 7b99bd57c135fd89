"""The policy-gradient loss over rollouts: prompts are stems, samples branches, and only the model's own tokens count.

A row is a token that the model wrote itself; the R rows of a batch are in the order of its rollouts.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from openmimo.model.model import MiMo
from openmimo.model.moe import on_grid
from openmimo.train.data import Branch, PackedBatch, Tree, pack
from openmimo.train.loss import HeadLosses, Losses, LossWeights, balance_loss, head_losses
from openmimo.train.processes import from_all
from openmimo.train.rollout import Rollout
from openmimo.train.schedule import value_at
from openmimo.train.shards import is_sharded

__all__ = [
    "Part",
    "PolicyBatch",
    "PolicyStep",
    "TokenWeights",
    "keep_company",
    "own_logits",
    "pack_rollouts",
    "policy_losses",
    "shared_frozen",
    "side_losses",
    "split_groups",
]

MULTIPLE = 4
"""Stems and slots are padded to a multiple of this, so that shapes come again: on a CPU a new one costs."""

TokenWeights = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps log-probabilities, the sampler's, and advantages, each [R], to the weight of each token, without gradient."""


@dataclass(frozen=True)
class PolicyBatch:
    """Rollouts ready for the model.

    Attributes:
        packed: a group in each row; own tokens have weight 1, all others 0.
        rows_R: int64, for each own token the place in the flattened [B * T] of the state that predicts it.
        ids_R: int64, the own tokens.
        sampled_R: float32, their log-probabilities by the sampler.
        sequences_R: int64, number of the rollout that each belongs to, counted over all groups.
        num_sequences: rollouts.
        routes_BTLK: int64, the experts that the engine chose, -1 where it chose none; or None.
    """

    packed: PackedBatch
    rows_R: Tensor
    ids_R: Tensor
    sampled_R: Tensor
    sequences_R: Tensor
    num_sequences: int
    routes_BTLK: Tensor | None = None

    def to(self, device: torch.device) -> "PolicyBatch":
        """The same batch on another device."""
        return replace(
            self,
            packed=self.packed.to(device),
            rows_R=self.rows_R.to(device),
            ids_R=self.ids_R.to(device),
            sampled_R=self.sampled_R.to(device),
            sequences_R=self.sequences_R.to(device),
            routes_BTLK=None if self.routes_BTLK is None else self.routes_BTLK.to(device),
        )


@dataclass(frozen=True)
class Part:
    """A batch with what each of its own tokens deserves.

    Attributes:
        batch: the rollouts.
        advantages_R: float32.
        scales_R: float32, what each token counts in the loss; over all parts of a step they add up to 1.
    """

    batch: PolicyBatch
    advantages_R: Tensor
    scales_R: Tensor


@dataclass(frozen=True)
class PolicyStep:
    """What one optimiser step learns from, in parts that fit into memory.

    Attributes:
        parts: run one after another; their gradients add up.
    """

    parts: tuple[Part, ...]

    @property
    def num_tokens(self) -> int:
        """Real tokens, padding not counted."""
        return sum(part.batch.packed.num_tokens for part in self.parts)

    @property
    def has_targets(self) -> bool:
        """Whether there is anything to learn."""
        return any(len(part.batch.rows_R) for part in self.parts)

    def to(self, device: torch.device) -> "PolicyStep":
        """The same step on another device."""
        return PolicyStep(
            tuple(
                Part(part.batch.to(device), part.advantages_R.to(device), part.scales_R.to(device))
                for part in self.parts
            )
        )


def pack_rollouts(groups: Sequence[Sequence[Rollout]], pad_id: int, multiple: int = MULTIPLE) -> PolicyBatch:
    """Lay one group in each row: the prompt as its stem, each sample as a branch.

    The stem ends one token early: a branch predicts its own first token from the prompt's last.

    Args:
        groups: samples of one task each.
        pad_id: token that fills the gaps.
        multiple: as for `pack`.
    Returns:
        the batch.
    """
    trees, count = [], 0
    for group in groups:
        stem = group[0].prompt_length - 1
        branches = []
        for rollout in group:
            ids = rollout.ids[stem:]
            # Packing moves branches about; a number as the weight says which token has come to lie where.
            branches.append(Branch(ids, [float(number) for number in range(count + 1, count + 1 + len(ids))]))
            count += len(ids)
        trees.append(Tree(group[0].ids[:stem], branches))
    assert count < 2**24, "float32 counts no further"
    packed = pack(trees, pad_id, multiple)
    numbers_N = packed.weights_BT.flatten().long()
    places_N = torch.empty(count, dtype=torch.int64)
    found = numbers_N.nonzero().squeeze(-1)
    places_N[numbers_N[found] - 1] = found
    rollouts = [rollout for group in groups for rollout in group]
    is_own_N = torch.tensor([own for rollout in rollouts for own in rollout.is_own[rollout.prompt_length - 1 :]])
    places_R = places_N[is_own_N]
    weights_N = torch.zeros_like(numbers_N, dtype=torch.float32)
    weights_N[places_R] = 1.0
    sampled = [logprob for one in rollouts for logprob, own in zip(one.logprobs, one.is_own, strict=True) if own]
    return PolicyBatch(
        PackedBatch(packed.ids_BT, weights_N.view_as(packed.weights_BT), packed.layout),
        places_R - 1,
        packed.ids_BT.flatten()[places_R],
        torch.tensor(sampled, dtype=torch.float32),
        torch.arange(len(rollouts)).repeat_interleave(torch.tensor([rollout.num_own for rollout in rollouts])),
        len(rollouts),
        _place_routes(groups, places_N, packed),
    )


def _place_routes(groups: Sequence[Sequence[Rollout]], places_N: Tensor, packed: PackedBatch) -> Tensor | None:
    """The experts of every token, where the packing has laid it; -1 for padding and for tokens that were never run."""
    rollouts = [rollout for group in groups for rollout in group]
    known = next((rollout.routes_TLK for rollout in rollouts if rollout.routes_TLK is not None), None)
    if known is None:
        return None
    assert all(one.routes_TLK is not None or not one.num_own for one in rollouts), "replay is for all rollouts or none"
    layers, chosen = known.shape[1:]
    nothing = torch.full((1, layers, chosen), -1)
    routes = [
        nothing.expand(len(rollout.ids) - 1, -1, -1)  # a prompt that found no room was never run
        if rollout.routes_TLK is None
        else torch.from_numpy(rollout.routes_TLK.astype(np.int64))
        for rollout in rollouts
    ]
    pieces = [
        piece
        for rollout, route in zip(rollouts, routes, strict=True)
        for piece in (route[rollout.prompt_length - 1 :], nothing)
    ]
    routes_BTLK = torch.full((*packed.ids_BT.shape, layers, chosen), -1)
    routes_BTLK.view(-1, layers, chosen)[places_N] = torch.cat(pieces)
    end, first = packed.layout.stem_length, 0
    for row, group in enumerate(groups):
        stem = group[0].prompt_length - 1
        routes_BTLK[row, end - stem : end] = routes[first][:stem]
        first += len(group)
    return routes_BTLK


def split_groups(groups: Sequence[Sequence[Rollout]], max_tokens: int) -> list[list[int]]:
    """Share groups out over parts of at most a number of tokens, padding counted; groups of like length go together.

    Args:
        groups: samples of one task each.
        max_tokens: of a part; a group that is longer makes a part of its own.
    Returns:
        the groups' numbers, part by part.
    """
    sizes = [_row_length(group) for group in groups]
    parts: list[list[int]] = []
    for number in sorted(range(len(groups)), key=lambda n: sizes[n]):
        if not parts or (len(parts[-1]) + 1) * sizes[number] > max_tokens:
            parts.append([])
        parts[-1].append(number)
    return parts


def _row_length(group: Sequence[Rollout]) -> int:
    prompt, longest = group[0].prompt_length, max(len(rollout.ids) for rollout in group)
    rounded = [-(-length // MULTIPLE) * MULTIPLE for length in (prompt, longest - prompt + 1)]
    return rounded[0] + len(group) * rounded[1]


def own_logits(model: MiMo, batch: PolicyBatch, replays: bool = False) -> tuple[Tensor, Tensor]:
    """Run the trunk over a batch.

    Args:
        model: any mode.
        batch: rollouts.
        replays: send tokens to the experts that the engine chose, if the batch tells them. Only the model that sampled
            it does; others, such as a teacher, choose for themselves.
    Returns:
        trunk states [B, T, C], and float32 logits [R, V] that predict the own tokens.
    """
    hidden_BTC = model(batch.packed.ids_BT, batch.packed.layout, batch.routes_BTLK if replays else None)
    return hidden_BTC, on_grid(model.logits, hidden_BTC.flatten(0, 1)[batch.rows_R]).float()


@contextmanager
def shared_frozen(model: MiMo) -> Iterator[None]:
    """What the MTP heads compute inside gives no gradient to the embedding, output head and norm that the trunk owns.

    Source: heads on a detached trunk; a loss of theirs in the trunk inflates gradients and collapses entropy in RL.
    """
    shared = [p for name, p in model.named_parameters() if ".mtp" not in name and p.requires_grad]
    for parameter in shared:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in shared:
            parameter.requires_grad_(True)


def side_losses(
    model: MiMo, hidden_BTC: Tensor, packed: PackedBatch, weights: LossWeights, progress: float
) -> tuple[Tensor, HeadLosses]:
    """What is learnt beside the objective: the routers' balance, and the MTP heads on a detached trunk.

    Args:
        model: in training mode, after the pass that gave the states.
        hidden_BTC: states of the trunk.
        packed: what was run.
        weights: of both.
        progress: share of the run done, for weights that change.
    Returns:
        the weighted sum, and the heads' losses, none where they have no weight.
    """
    balance = weights.balance * balance_loss(model)
    mtp_weight = value_at(weights.mtp, progress)
    if not mtp_weight or not len(model.heads):
        return balance, HeadLosses(balance)
    with shared_frozen(model):
        heads = head_losses(model, hidden_BTC.detach(), packed)
    return balance + mtp_weight * heads.mean, heads


def keep_company(model: MiMo, batch: PolicyBatch, weights: LossWeights, progress: float) -> None:
    """Run a split model without learning, while another process learns: all must run it equally often.

    Args:
        model: split over processes.
        batch: any.
        weights: of what is learnt beside the objective.
        progress: share of the run done.
    """
    hidden_BTC, logits_RV = own_logits(model, batch, replays=True)
    beside, _ = side_losses(model, hidden_BTC, batch.packed, weights, progress)
    (0.0 * (logits_RV.sum() + beside)).backward()


def policy_losses(
    model: MiMo,
    step: PolicyStep,
    weights: LossWeights,
    progress: float,
    weigh: TokenWeights | None = None,
    start: MiMo | None = None,
    kl_weight: float = 0.0,
) -> Losses:
    """Run the model over a step's rollouts and leave the gradients of its loss in the parameters.

    Args:
        model: in training mode.
        step: rollouts with advantages.
        weights: of the MTP heads and of the routers' balance.
        progress: share of the run done, for weights that change.
        weigh: weights of tokens, see `openmimo.train.credit`; None for tokens that the very model sampled.
        start: the model that training began with, to measure how far this one went.
        kl_weight: weight of the KL divergence to `start`.
    Returns:
        the losses; `total` has no gradient left, it was followed part by part.
    Source: -sum of scale * w * A * log pi.
    """
    if not step.parts:  # no group had a signal
        return Losses(torch.zeros(()), 0.0, 0.0, (), ())
    runs = [_run_part(model, part, weights, progress, weigh, start, kl_weight) for part in step.parts]
    if is_sharded(model):
        for _ in range(max(from_all(len(runs))) - len(runs)):
            keep_company(model, step.parts[0].batch, weights, progress)
    shares = [part.scales_R.sum().item() for part in step.parts]

    def mean(values: Sequence[float]) -> float:
        return sum(share * value for share, value in zip(shares, values, strict=True)) / (sum(shares) or 1.0)

    return Losses(
        torch.stack([run.total for run in runs]).sum(),
        sum(run.trunk for run in runs),
        mean([run.accuracy for run in runs]),
        tuple(mean(values) for values in zip(*(run.mtp_K for run in runs), strict=True)),
        tuple(mean(values) for values in zip(*(run.agreement_K for run in runs), strict=True)),
        {name: mean([run.figures[name] for run in runs]) for name in runs[0].figures},
    )


def _run_part(
    model: MiMo,
    part: Part,
    weights: LossWeights,
    progress: float,
    weigh: TokenWeights | None,
    start: MiMo | None,
    kl_weight: float,
) -> Losses:
    batch, scales_R = part.batch, part.scales_R
    share = scales_R.sum()
    hidden_BTC, logits_RV = own_logits(model, batch, replays=True)
    scores_RV = logits_RV.log_softmax(-1)
    logprobs_R = scores_RV.gather(-1, batch.ids_R[:, None]).squeeze(-1)
    weights_R = torch.ones_like(scales_R) if weigh is None else weigh(logprobs_R, batch.sampled_R, part.advantages_R)
    policy = -((scales_R * weights_R * part.advantages_R).detach() * logprobs_R).sum()
    total = policy
    figures = _figures(scores_RV.detach(), logprobs_R.detach(), part, weights_R)
    if start is not None:
        with torch.no_grad():
            start_RV = own_logits(start, batch)[1].log_softmax(-1)
        with torch.set_grad_enabled(kl_weight != 0):  # it is mostly only measured
            kl_R = (scores_RV.exp() * (scores_RV - start_RV)).sum(-1)
        total = total + kl_weight * (scales_R * kl_R).sum()
        figures["kl"] = (scales_R * kl_R.detach()).sum().item() / share.item()
    beside, heads = side_losses(model, hidden_BTC, batch.packed, weights, progress)
    total = total + share * beside
    total.backward()
    is_first = scores_RV.argmax(-1) == batch.ids_R
    accuracy = (scales_R * is_first).sum().item() / share.item()
    return Losses(total.detach(), policy.item(), accuracy, heads.mtp_K, heads.agreement_K, figures)


def _figures(scores_RV: Tensor, logprobs_R: Tensor, part: Part, weights_R: Tensor) -> dict[str, float]:
    """Means over the tokens, each by its scale."""
    scales_R = part.scales_R / part.scales_R.sum()
    gap_R = (logprobs_R - part.batch.sampled_R).abs()
    entropy_R = -(scores_RV.exp() * scores_RV).sum(-1)
    return {
        "entropy": (scales_R * entropy_R).sum().item(),
        "sampler_gap": (scales_R * gap_R).sum().item(),
        "ratio_mean": (scales_R * weights_R).sum().item(),
        "unused": (scales_R * (weights_R == 0)).sum().item(),
    }
