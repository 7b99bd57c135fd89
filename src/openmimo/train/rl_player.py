"""The first process of reinforcement learning: it rolls out, scores, and keeps what a resumed run needs."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from openmimo.engine import SamplingParams
from openmimo.environments import Environment
from openmimo.model.model import MiMo, published_tensors
from openmimo.train.best import BestWeights
from openmimo.train.collect import Collected, Draw, Group, collect
from openmimo.train.loss import Losses
from openmimo.train.rl_config import RLConfig
from openmimo.train.rl_memory import Memory
from openmimo.train.rollout import Rollout, percent_by_domain
from openmimo.train.workplace import Players, play_all

__all__ = ["Player"]


class Player:
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
        self.memory: Memory | None = None
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
            self.memory = Memory.from_run(self.folder, self.rl, [environment.name for environment in self.domains])
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
        """Score the model on held-out tasks; one that has forgotten too much gets its best weights back.

        Args:
            step: that was done last.
        Returns:
            percent by environment, greedy and sampled; in `restored` the step of the weights that came back.
        """
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

    def _roll_out(self, step: int, memory: Memory) -> None:
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

    def _draws(self, step: int, memory: Memory) -> Iterator[Draw]:
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


def hash_seed(seed: int, step: int) -> int:
    """A seed for each step of a run."""
    return random.Random(f"{seed}-{step}").getrandbits(31)


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
