"""Reinforcement learning: on-policy GRPO with rollouts on the native engine.

A step hands the weights to the engine in memory, rolls out groups of samples until enough groups have a signal, and
updates the model once on them (or a few times, with a clipped ratio). All that a resumed run has to remember stands in
metrics.jsonl: which tasks are solved, how likely a group has a signal, how good the model was.
"""

import copy
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from openmimo.engine import SamplingParams
from openmimo.environments import Environment
from openmimo.errors import ConfigError
from openmimo.loading import Weights
from openmimo.model.model import MiMo, published_tensors
from openmimo.train.best import BestWeights
from openmimo.train.collect import Collected, Draw, Group, collect
from openmimo.train.credit import Grading, clipped_weights, group_advantages, group_scales, truncated_weights
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.log import METRICS, read_metrics
from openmimo.train.loss import Losses, LossWeights
from openmimo.train.memory import give_back_fragments
from openmimo.train.policy import Part, PolicyStep, TokenWeights, pack_rollouts, policy_losses, split_groups
from openmimo.train.processes import from_first, rank_and_world, training_device
from openmimo.train.rollout import Rollout, percent_by_domain
from openmimo.train.shards import whole
from openmimo.train.trainer import EndOfRun, TrainConfig, train
from openmimo.train.workplace import Players, play_all, workplace

__all__ = ["RLConfig", "make_step", "train_rl"]

EASY_TASKS = 4096
"""Solved tasks that are remembered, the latest ones."""


@dataclass(frozen=True)
class RLConfig:
    """Settings of reinforcement learning, beside those of every training run.

    Attributes:
        groups: tasks with a signal that make a batch.
        samples: rollouts of each task.
        max_new_tokens: longest reply.
        max_replies: most replies in an episode.
        updates: optimiser steps that share out one batch; 1 is fully on-policy, without ratio and clip. A run that is
            resumed within a batch rolls out a new one.
        clip: lower and upper bound of the ratio's distance from 1, if there are several updates.
        easy_share: share of the draws that come from the solved tasks, once there are some.
        kl_weight: weight of the KL divergence to the model at the start.
        max_kl: nats a token from the start at which the run ends; a teacher farther off is hard to learn from.
        max_fall: how much greedy accuracy may lie below its best; beyond it the run ends with its best scored weights.
        eval_tasks: held-out tasks of each environment that are scored.
        grading: rewards for a part of a task's tests, by difficulty; None leaves that to the environment.
        max_age: partial rollout: groups that still run when a batch is full go on with the new weights for at most so
            many steps, with truncated importance weights; 0 gives them up. Batches then depend on the machine's speed.
        most: groups that are started for a batch at most, as a multiple of `groups`.
        weights: number format of the engine.
        replays: the trainer sends every token to the experts that the engine chose for it.
        slots: rollouts that the engine runs at once.
        part_tokens: most tokens, padding counted, that go through the model at once.
        seed: of tasks and samples.
    Source: GRPO of MiMo-7B in its on-policy form; no KL term, no format reward; 10% of draws from solved tasks.
    """

    groups: int = 32
    samples: int = 8
    max_new_tokens: int = 64
    max_replies: int = 4
    updates: int = 1
    clip: tuple[float, float] = (0.2, 0.28)
    easy_share: float = 0.1
    kl_weight: float = 0.0
    max_kl: float = 0.2
    max_fall: float = 0.05
    eval_tasks: int = 200
    grading: Grading | None = None
    max_age: int = 0
    most: int = 4
    weights: Weights = "f32"
    replays: bool = True
    slots: int = 64
    part_tokens: int = 16384
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigError(
                f"samples={self.samples} must be at least 2: a sample is judged beside others of its task"
            )
        if self.updates < 1 or self.groups % self.updates:
            raise ConfigError(f"updates={self.updates} must divide groups={self.groups}, which they share out")


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
            player = _Player(model, players, Path(config.folder), rl, domains, watched, best)
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

    def __init__(self, model: MiMo, start: MiMo, rl: RLConfig, player: "_Player | None"):
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


class _Player:
    """What the first process does: it rolls out with the model as it is, scores it, and remembers."""

    def __init__(
        self,
        model: MiMo,
        players: Players,
        folder: Path,
        rl: RLConfig,
        domains: Mapping[str, Environment],
        watched: Sequence[Environment],
        best: BestWeights,
    ):
        self.model, self.pool, self.folder, self.rl = model, players, folder, rl
        self.best = best
        self.domains = list(domains.values())
        self.watched = [environment for environment in watched if environment not in self.domains]
        self.memory: _Memory | None = None
        self.waiting: list[list[list[Rollout]]] = []
        self.figures: dict[str, Any] = {}
        self.engine_is_current = False
        self.params = SamplingParams(max_new_tokens=rl.max_new_tokens)
        is_sparse = any(layer.is_sparse for layer in model.config.layers)
        self.pool.params = replace(self.params, routes=rl.replays and is_sparse)
        self.carried: list[Group] = []

    def play(self, step: int) -> list[list[Rollout]] | str:
        """The groups of a step, or why the run is over."""
        if self.memory is None:
            self.memory = _Memory.from_run(self.folder, self.rl, [environment.name for environment in self.domains])
            if step == 0:
                scores = self._score()
                self.figures = {f"start_{name}": values for name, values in scores.items()}
                self.memory.saw_scores(scores["greedy"])
                self.best.offer(self.model, 0, self._mean(scores))
        if self.memory.reason:
            return self.memory.reason
        if not self.waiting:
            self._roll_out(step, self.memory)
        self.engine_is_current = False
        return self.waiting.pop(0)

    def saw_losses(self, losses: Losses) -> Losses:
        """Take in the distance from the start, and add to the figures what the batch was like."""
        assert self.memory is not None
        self.memory.saw_kl(losses.figures.get("kl", 0.0))
        figures, self.figures = {**self.figures, **losses.figures}, {}
        return replace(losses, figures=figures)

    def evaluate(self, _: MiMo, step: int) -> dict[str, Any]:
        scores = self._score()
        assert self.memory is not None
        if not self.memory.saw_scores(scores["greedy"]):
            self.best.offer(self.model, step, self._mean(scores))
            return scores
        # At once, since a snapshot may follow before anybody asks for another batch.
        restored = self.best.restore(self.model)
        self.engine_is_current = False
        return scores if restored is None else {**scores, "restored": restored}

    def _mean(self, scores: Mapping[str, Mapping[str, float]]) -> float:
        """Greedy and sampled accuracy in one, over what is trained on: greedy alone hides what RL gains."""
        values = [table[environment.name] for table in scores.values() for environment in self.domains]
        return sum(values) / len(values)

    def _hand_over(self) -> None:
        if not self.engine_is_current:
            self.pool.update(published_tensors(self.model))
            self.engine_is_current = True

    def _roll_out(self, step: int, memory: "_Memory") -> None:
        rl = self.rl
        self._hand_over()
        pool = self.pool
        pool.params = replace(pool.params, seed=hash_seed(rl.seed, step))
        busy_s = -sum(attempt.busy_s for attempt in pool.attempts)
        draws, most = self._draws(step, memory), rl.most * rl.groups
        collected = collect(pool, draws, rl.groups, rl.samples, memory.likely, most, rl.grading, self.carried)
        self.carried = self._give_up_old(collected.rest)
        busy_s += sum(attempt.busy_s for attempt in pool.attempts)
        pool.attempts = [attempt for group in self.carried for attempt in group.attempts]
        self.figures |= _figures(collected, len(self.carried), busy_s / (rl.slots * pool.engines))
        self.figures |= memory.saw_groups(collected)
        groups = [group.rollouts for group in collected.groups]
        size = max(1, rl.groups // rl.updates)
        self.waiting = [groups[first : first + size] for first in range(0, len(groups), size)] or [[]]

    def _give_up_old(self, groups: Sequence[Group]) -> list[Group]:
        """The groups that may go on in the next step; the others end."""
        kept: list[Group] = []
        for group in groups:
            if group.age < self.rl.max_age:
                group.age += 1
                kept.append(group)
            else:
                for attempt in group.attempts:
                    attempt.cancel()
        return kept

    def _draws(self, step: int, memory: "_Memory") -> Iterator[Draw]:
        """Tasks of a step, without end: the same for the same step, memory and seed."""
        rng = random.Random(f"{self.rl.seed}:{step}")
        easy = list(memory.easy)
        while True:
            is_easy = bool(easy) and rng.random() < self.rl.easy_share
            key = rng.choice(easy) if is_easy else (rng.randrange(len(self.domains)), rng.getrandbits(31))
            environment = self.domains[key[0]]
            yield Draw(environment, next(environment.tasks("train", key[1], 1)), key, is_easy)

    def _score(self) -> dict[str, dict[str, float]]:
        """Percent of the reward on held-out tasks, greedy and sampled, by environment."""
        self._hand_over()
        environments, count = [*self.domains, *self.watched], self.rl.eval_tasks
        tasks = [(e, task) for e in environments for task in e.tasks("eval", self.rl.seed, count)]
        scores: dict[str, dict[str, float]] = {}
        for name, temperature in (("greedy", 0.0), ("sampled", 1.0)):
            params = replace(self.params, temperature=temperature, seed=self.rl.seed)
            scores[name] = percent_by_domain(play_all(self.pool, tasks, 1, params))
        return scores


class _Memory:
    """What a step needs to know of the steps before; read back from metrics.jsonl when a run is resumed.

    Attributes:
        easy: keys of solved tasks, in the order in which they were solved.
        likely: share of groups that had a signal, over the last steps.
        reason: why the run is to end, if it is.
    """

    def __init__(self, rl: RLConfig, domains: Sequence[str]):
        self.rl, self.domains = rl, domains
        self.easy: dict[tuple[int, int], None] = {}
        self.likely = 0.5
        self.reason = ""
        self._best = 0.0

    @classmethod
    def from_run(cls, folder: Path, rl: RLConfig, domains: Sequence[str]) -> "_Memory":
        """Go through what an interrupted run has logged; the trainer has cut off what will be done again."""
        memory = cls(rl, domains)
        path = folder / METRICS
        for record in read_metrics(path) if path.exists() else ():
            memory._update_easy(record.get("solved", ()), record.get("unsolved", ()))
            memory._update_likely(record.get("valid"))
            memory.saw_kl(record.get("kl") or 0.0)
            for name in ("start_greedy", "greedy"):
                if name in record:
                    memory.saw_scores(record[name])
        return memory

    def saw_groups(self, collected: Collected) -> dict[str, Any]:
        """Take in a batch; returns what has to be logged for `from_run`."""
        settled = collected.settled
        solved = [group.draw.key for group in settled if group.is_solved and not group.draw.is_easy]
        unsolved = [group.draw.key for group in settled if group.draw.is_easy and not group.is_solved]
        self._update_easy(solved, unsolved)
        self._update_likely(collected.valid)
        return {"valid": collected.valid, "solved": solved, "unsolved": unsolved}

    def saw_kl(self, kl: float) -> None:
        """Take in the distance from the start."""
        if kl > self.rl.max_kl:
            self.reason = f"KL to the start is {kl:.3g} nats a token, above {self.rl.max_kl:g}: the run ends here"

    def saw_scores(self, greedy: Mapping[str, float]) -> bool:
        """Take in percentages by environment; whether those that are trained on fell so far that the run ends."""
        mean = sum(greedy[name] for name in self.domains) / len(self.domains)
        self._best = max(self._best, mean)
        has_fallen = mean < self._best - 100 * self.rl.max_fall
        if has_fallen:
            self.reason = (
                f"greedy accuracy fell from {self._best:.1f}% to {mean:.1f}%: the run ends with its best weights"
            )
        return has_fallen

    def _update_easy(self, solved: Sequence[Sequence[int]], unsolved: Sequence[Sequence[int]]) -> None:
        for domain, seed in unsolved:
            self.easy.pop((domain, seed), None)
        for domain, seed in solved:
            self.easy[(domain, seed)] = None
        while len(self.easy) > EASY_TASKS:
            del self.easy[next(iter(self.easy))]

    def _update_likely(self, valid: float | None) -> None:
        if valid is not None:
            self.likely = 0.5 * self.likely + 0.5 * valid


def hash_seed(seed: int, step: int) -> int:
    """A seed for each step of a run."""
    return random.Random(f"{seed}-{step}").getrandbits(31)


def _clip(bounds: tuple[float, float]) -> TokenWeights:
    return lambda logprobs_R, sampled_R, advantages_R: clipped_weights(logprobs_R, sampled_R, advantages_R, bounds)


def _truncate(logprobs_R: torch.Tensor, sampled_R: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
    return truncated_weights(logprobs_R, sampled_R)


def _figures(collected: Collected, num_carried: int, busy_s: float) -> dict[str, float]:
    """What a batch was like: tasks drawn anew only for the reward, since solved ones would flatter it."""
    rollouts = [rollout for group in collected.settled for rollout in group.rollouts]
    fresh = [rollout.reward for group in collected.settled if not group.draw.is_easy for rollout in group.rollouts]
    stats = [reply for rollout in rollouts for reply in rollout.stats]
    return {
        "reward": _mean(fresh, float),
        "length": _mean(rollouts, lambda rollout: rollout.num_own),
        "truncated": _mean(rollouts, lambda rollout: rollout.is_truncated),
        "acceptance": sum(s.new_tokens - 1 for s in stats) / max(sum(s.steps for s in stats), 1),
        "wasted": collected.wasted * (1 - num_carried / max(len(collected.rest), 1)),
        "stale": _mean(collected.groups, lambda group: group.age > 0),
        "slots_idle": max(0.0, 1.0 - busy_s / max(collected.rollout_s, 1e-9)),
        "rollout_s": collected.rollout_s,
    }


def _mean(items: Sequence[Any], value: Callable[[Any], float]) -> float:
    return sum(map(value, items)) / max(len(items), 1)
