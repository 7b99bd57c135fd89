"""Collecting a batch: groups are rolled out until enough of them say which samples are better.

Groups are taken in the order in which they were started, never in the one in which they end, so that long answers are
not selected against. The batch is therefore the same whatever the machine's speed, and only the waste depends on it.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Protocol

from openmimo.environments import Environment, Task
from openmimo.train.credit import Grading, graded_rewards, has_signal
from openmimo.train.rollout import Attempt, Rollout

__all__ = ["Collected", "Draw", "Group", "Pool", "collect"]

SOLVED = 1.0 - 1e-9
PRIOR = 8
"""Groups that the expected share of groups with a signal counts for beside those seen in this step."""


class Pool(Protocol):
    """What plays episodes, as far as collecting goes: `RolloutPool` in this process."""

    attempts: list[Attempt]

    def start(self, environment: Environment, task: Task, sample: int) -> Attempt:
        """Begin an attempt, as `RolloutPool.start` does."""
        ...

    def next_finished(self) -> Attempt:
        """Wait for the attempt that ends next."""
        ...


@dataclass(frozen=True)
class Draw:
    """A task to roll out.

    Attributes:
        environment: that it belongs to.
        task: the problem.
        key: what draws the same task again.
        is_easy: it comes from the pool of solved ones.
    """

    environment: Environment
    task: Task
    key: tuple[int, int]
    is_easy: bool = False


@dataclass
class Group:
    """The samples of one task.

    Attributes:
        draw: the task.
        attempts: its samples on their way.
        grading: how samples are paid that pass some of the task's tests; None leaves that to the environment.
        age: steps since it was started.
    """

    draw: Draw
    attempts: list[Attempt]
    grading: Grading | None = None
    age: int = 0

    @property
    def is_done(self) -> bool:
        """Whether all samples have ended."""
        return all(attempt.is_done for attempt in self.attempts)

    @cached_property
    def rollouts(self) -> list[Rollout]:
        """The samples of a group that is done; raises what one of them raised."""
        rollouts = [attempt.result() for attempt in self.attempts]
        if self.grading is None or not rollouts[0].passed:
            return rollouts
        rewards = graded_rewards([rollout.passed for rollout in rollouts], self.grading)
        return [replace(rollout, reward=reward) for rollout, reward in zip(rollouts, rewards, strict=True)]

    @property
    def has_signal(self) -> bool:
        """Whether the rewards of a group that is done differ."""
        return has_signal([rollout.reward for rollout in self.rollouts])

    @property
    def is_solved(self) -> bool:
        """Whether every sample of a group that is done has full reward."""
        return all(rollout.reward >= SOLVED for rollout in self.rollouts)


@dataclass(frozen=True)
class Collected:
    """A batch.

    Attributes:
        groups: those with a signal, in the order of their start.
        settled: all groups up to the last of these.
        rest: groups that were started after it; some are still running.
        rollout_s: seconds that it took.
    """

    groups: list[Group]
    settled: list[Group]
    rest: list[Group]
    rollout_s: float

    @property
    def valid(self) -> float:
        """Share of the settled groups that have a signal."""
        return len(self.groups) / max(len(self.settled), 1)

    @property
    def wasted(self) -> float:
        """Share of the groups that were started in vain, behind the last one of the batch."""
        return len(self.rest) / max(len(self.settled) + len(self.rest), 1)


def collect(
    pool: Pool,
    draws: Iterator[Draw],
    wanted: int,
    samples: int,
    likely: float,
    most: int,
    grading: Grading | None = None,
    carried: Sequence[Group] = (),
) -> Collected:
    """Roll out groups until `wanted` of them have a signal.

    A group is started only if those with a signal and those expected among the running ones fall short.

    Args:
        pool: plays the episodes; what it still plays in the end is for the caller to give up.
        draws: without end.
        wanted: groups of the batch.
        samples: of each group.
        likely: share of groups that are expected to have a signal, as far as this step has not shown.
        most: groups after which the batch is left smaller.
        grading: as for `Group`.
        carried: groups of an earlier step that go on, before all others.
    Returns:
        the batch.
    Raises:
        OpenMiMoError: an episode failed.
    Source: continuous rollout and first-in-first-out early termination of MiMo-7B.
    """
    started_s = time.perf_counter()
    groups = list(carried)
    signals = {number: group.has_signal for number, group in enumerate(groups) if group.is_done}
    owners = {attempt: number for number, group in enumerate(groups) for attempt in group.attempts}
    while True:
        rate = (sum(signals.values()) + max(likely, 0.05) * PRIOR) / (len(signals) + PRIOR)
        missing = wanted - sum(signals.values()) - rate * (len(groups) - len(signals))
        for number in range(len(groups), min(most, len(groups) + max(0, math.ceil(missing / rate - 1e-9)))):
            draw = next(draws)
            places = range(number * samples, (number + 1) * samples)
            group = Group(draw, [pool.start(draw.environment, draw.task, place) for place in places], grading)
            owners.update(dict.fromkeys(group.attempts, number))
            groups.append(group)
        settled = _settled(groups, signals, wanted)
        if settled is not None:
            break
        number = owners.get(pool.next_finished(), -1)  # a group given up earlier has none
        if number >= 0 and number not in signals and groups[number].is_done:
            signals[number] = groups[number].has_signal
    chosen = [group for number, group in enumerate(settled) if signals[number]]
    return Collected(chosen, settled, groups[len(settled) :], time.perf_counter() - started_s)


def _settled(groups: list[Group], signals: dict[int, bool], wanted: int) -> list[Group] | None:
    """The groups up to the one that fills the batch, once all of them are done; all, if no more are to be had."""
    count = 0
    for number in takewhile(signals.__contains__, range(len(groups))):
        count += signals[number]
        if count == wanted:
            return groups[: number + 1]
    return groups if groups and len(signals) == len(groups) else None
