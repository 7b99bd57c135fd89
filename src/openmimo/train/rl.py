"""Reinforcement learning: on-policy GRPO with rollouts on the native engine.

A step hands the weights to the engine in memory, rolls out groups of samples until enough groups have a signal, and
updates the model once on them (or a few times, with a clipped ratio). All that a resumed run has to remember stands in
metrics.jsonl: which tasks are solved, how likely a group has a signal, how good the model was.
"""

import copy
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import torch

from openmimo.environments import Environment
from openmimo.errors import ConfigError
from openmimo.model.model import MiMo, published_tensors
from openmimo.train.best import BestWeights
from openmimo.train.credit import clipped_weights, group_advantages, group_scales, truncated_weights
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.loss import Losses, LossWeights
from openmimo.train.memory import give_back_fragments
from openmimo.train.policy import Part, PolicyStep, TokenWeights, pack_rollouts, policy_losses, split_groups
from openmimo.train.processes import from_first, rank_and_world, training_device
from openmimo.train.rl_config import RLConfig
from openmimo.train.rl_player import Player
from openmimo.train.rollout import Rollout
from openmimo.train.shards import whole
from openmimo.train.trainer import EndOfRun, TrainConfig, train
from openmimo.train.workplace import workplace

__all__ = ["RLConfig", "make_step", "train_rl"]


def train_rl(
    model: MiMo,
    config: TrainConfig,
    rl: RLConfig,
    domains: Mapping[str, Environment],
    files: dict[str, str],
    evaluate_every: int = 0,
    watched: Sequence[Environment] = (),
) -> Path:
    """Train, or resume training, and return the final snapshot.

    Args:
        model: the start, usually from SFT.
        config: the run; its weights of MTP heads and balance count, and the trunk learns from rewards alone.
        rl: how to roll out and what to learn from it.
        domains: tasks are drawn from all in equal shares; by name.
        files: text files that make a snapshot a complete checkpoint, with a tokenizer and a chat template.
        evaluate_every: steps between two scorings on held-out tasks; 0 for never.
        watched: further environments that are scored, to see what is forgotten.
    Returns:
        folder of the last snapshot. If greedy accuracy fell by `max_fall`, it has the weights with the highest mean of
        greedy and sampled accuracy in their place.
    Raises:
        ConfigError: settings do not fit together, or there is no tokenizer.
        TrainingError: as `train`.
        SystemExit: as `train`.
    """
    if not domains:
        raise ConfigError("train rl needs at least one environment to draw tasks from")
    rank, world = rank_and_world()
    if rl.groups // rl.updates < world:
        raise ConfigError(f"{rl.groups // rl.updates} groups a step are too few for {world} processes: each needs one")
    config = replace(config, data=f"{rl!r} on {', '.join(domains)}")
    start = copy.deepcopy(model).eval().requires_grad_(False).to(training_device())
    with ExitStack() as stack:
        player = None
        if rank == 0:
            plan = EnginePlan(dict(model.config.published), files, rl.weights, rl.slots, rl.max_replies)
            players = stack.enter_context(workplace().open_players(plan, published_tensors(model)))
            best = BestWeights(Path(config.folder), files)
            player = Player(model, players, Path(config.folder), rl, domains, watched, best)
        learner = _Learner(model, start, rl, player)
        evaluate = player and player.evaluate
        return train(model, config, learner.batch, files, evaluate, evaluate_every, learner.losses)


def make_step(
    groups: Sequence[Sequence[Rollout]], pad_id: int, part_tokens: int, share: tuple[int, int] = (0, 1)
) -> PolicyStep:
    """Judge the samples of each group by one another.

    Args:
        groups: samples of one task each.
        pad_id: token that fills gaps.
        part_tokens: most tokens that go through the model at once.
        share: number of this process and number of processes, which share the groups out and average their gradients;
            too few groups for that make an empty step on each.
    Returns:
        the step: group-relative advantages, mean over groups of the mean over a group's tokens.
    """
    rank, world = share
    scales = group_scales([sum(rollout.num_own for rollout in group) for group in groups])
    scales = [world * scale for scale in scales[rank::world]]
    groups = groups[rank::world] if len(groups) >= world else ()
    parts = []
    for numbers in split_groups(groups, part_tokens):
        members = [groups[number] for number in numbers]
        batch = pack_rollouts(members, pad_id)
        advantages_N = [a for group in members for a in group_advantages([rollout.reward for rollout in group])]
        scales_N = [scales[number] for number in numbers for _ in groups[number]]
        advantages_R, scales_R = (torch.tensor(values)[batch.sequences_R] for values in (advantages_N, scales_N))
        parts.append(Part(batch, advantages_R, scales_R))
    return PolicyStep(tuple(parts))


class _Learner:
    """What every process does: its share of a batch that the first one has played."""

    def __init__(self, model: MiMo, start: MiMo, rl: RLConfig, player: Player | None):
        self.model, self.start, self.rl, self.player = model, start, rl, player
        self.pad_id = int(model.config.published.get("pad_token_id") or 0)

    def batch(self, index: int) -> PolicyStep:
        share = rank_and_world()
        step = index // share[1]
        give_back_fragments(step)
        with whole(self.model):
            groups = from_first(lambda: self.player and self.player.play(step))
        if isinstance(groups, str):
            raise EndOfRun(groups)
        return make_step(groups or (), self.pad_id, self.rl.part_tokens, share)

    def losses(self, model: MiMo, step: PolicyStep, weights: LossWeights, progress: float) -> Losses:
        weigh: TokenWeights | None = None
        if self.rl.updates > 1:
            weigh = _clip(self.rl.clip)
        elif self.rl.weights != "f32" or self.rl.max_age:
            weigh = _truncate
        losses = policy_losses(model, step, weights, progress, weigh, self.start, self.rl.kl_weight)
        return self.player.saw_losses(losses) if self.player else losses


def _clip(bounds: tuple[float, float]) -> TokenWeights:
    return lambda logprobs_R, sampled_R, advantages_R: clipped_weights(logprobs_R, sampled_R, advantages_R, bounds)


def _truncate(logprobs_R: torch.Tensor, sampled_R: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return truncated_weights(logprobs_R, sampled_R)
