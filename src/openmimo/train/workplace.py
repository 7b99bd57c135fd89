"""Where rollouts are played and teachers asked: in this process, unless a program has said otherwise.

`train_rl` and `distil` ask for their workplace, so a recipe is the same on one machine and on many.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

import numpy as np
import torch

from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.environments import Environment, Task
from openmimo.train.collect import Pool
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.policy import PolicyBatch
from openmimo.train.rollout import Rollout, RolloutPool
from openmimo.train.teachers import Opinion, Teachers

__all__ = ["Players", "Scorers", "ThisProcess", "Workplace", "play_all", "work_at", "workplace"]


class Players(Pool, Protocol):
    """Engines that play episodes, all with the same weights.

    Attributes:
        params: how to sample; they hold for attempts that are started from then on.
        engines: how many play side by side.
    """

    params: SamplingParams
    engines: int

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Play with other weights from here on, as `Engine.update`."""
        ...

    def engine_here(self, tensors: Mapping[str, np.ndarray]) -> Engine:
        """An engine of this process with such weights, to score it."""
        ...


class Scorers(Protocol):
    """Teachers at work."""

    def score(self, asked: Sequence[tuple[str, PolicyBatch]], is_full: bool) -> Iterator[Opinion]:
        """Ask teachers.

        Args:
            asked: batches, each with the domain whose teacher is asked.
            is_full: logits are wanted, too.
        Returns:
            what they think, in the order of the batches.
        """
        ...


class Workplace(Protocol):
    """Where the work beside the learner's is done."""

    def open_players(
        self, plan: EnginePlan, tensors: Mapping[str, np.ndarray], share: tuple[int, int] = (0, 1)
    ) -> AbstractContextManager[Players]:
        """Engines for a time.

        Args:
            plan: of each engine.
            tensors: first weights.
            share: number of this process and number of processes that have players at the same time.
        Returns:
            the players; leaving the context ends them.
        """
        ...

    def open_scorers(self, teachers: Teachers) -> AbstractContextManager[Scorers]:
        """Teachers for a time; leaving the context ends them."""
        ...


class ThisProcess:
    """The workplace of a program that has not said otherwise: one engine, teachers one after another."""

    @contextmanager
    def open_players(
        self, plan: EnginePlan, tensors: Mapping[str, np.ndarray], share: tuple[int, int] = (0, 1)
    ) -> Iterator[Players]:
        """Open one with as many threads as torch, as `Workplace.open_players`."""
        with (
            plan.open(tensors, torch.get_num_threads()) as engine,
            RolloutPool(engine, SamplingParams(), plan.max_replies) as pool,
        ):
            yield pool

    @contextmanager
    def open_scorers(self, teachers: Teachers) -> Iterator[Scorers]:
        """Let the teachers score themselves, as `Workplace.open_scorers`."""
        yield teachers


_WORKPLACE: ContextVar[Workplace] = ContextVar("workplace", default=ThisProcess())  # noqa: B039


def workplace() -> Workplace:
    """Where this program works."""
    return _WORKPLACE.get()


@contextmanager
def work_at(place: Workplace) -> Iterator[None]:
    """The time during which `train_rl` and `distil` work elsewhere."""
    token = _WORKPLACE.set(place)
    try:
        yield
    finally:
        _WORKPLACE.reset(token)


def play_all(
    players: Players, tasks: Sequence[tuple[Environment, Task]], samples: int, params: SamplingParams
) -> list[list[Rollout]]:
    """Play every task several times, all episodes at once, as `roll_out` does with an engine.

    Args:
        players: what they were doing before goes on.
        tasks: each with its environment.
        samples: attempts at each task.
        params: how to sample.
    Returns:
        a group of attempts for each task, in order.
    Raises:
        OpenMiMoError: an episode failed.
    """
    usual, before = players.params, len(players.attempts)
    players.params = params
    try:
        groups = [[players.start(environment, task, n) for n in range(samples)] for environment, task in tasks]
    finally:
        players.params = usual
    running = {attempt for group in groups for attempt in group}
    while running:
        attempt = players.next_finished()  # or one of an earlier batch, which nobody waits for
        if attempt in running:
            attempt.result()
            running.remove(attempt)
    del players.attempts[before:]
    return [[attempt.result() for attempt in group] for group in groups]
