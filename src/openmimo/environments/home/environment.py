"""The home environment: streams of tasks, episodes that carry out calls, and the verifier of the final state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from openmimo.chat import Message, ToolCall
from openmimo.environments.base import Split
from openmimo.environments.home.checks import look, replay
from openmimo.environments.home.generate import MAX_DEVICES, sample_home
from openmimo.environments.home.tasks import KIND_WEIGHTS, HomeTask, check_kinds, sample_task
from openmimo.environments.home.turns import Turn
from openmimo.environments.rounds import ToolEpisode

__all__ = ["HomeEnvironment", "HomeEpisode"]


class HomeEpisode(ToolEpisode[HomeTask]):
    """One attempt at a task, on its own copy of the home."""

    def __init__(self, task: HomeTask):
        super().__init__(task)
        self.home = task.home.copy()

    def carry_out(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        """Change the home by the calls of one reply, as a `Turn` does."""
        turn = Turn(self.home, self._offered)
        return [turn.call(call.name, call.arguments) for call in calls]

    def reward(self) -> float:
        """Score what has been done so far.

        Returns:
            1.0 when at each of the task's moments exactly the right devices have been commanded, all of them as asked
            by then and the rest as before, and, where the task asks for an answer, the last reply gives it; else 0.0.
        """
        goal = replay(self.task.home, self.task.gold, self._offered)
        is_right = look(self.home, self.task.moments) == look(goal, self.task.moments)
        if self.task.answer is not None:
            is_right = is_right and not self._last.tool_calls and self.task.answer.accepts(self._last.content)
        return float(is_right)


class HomeEnvironment:
    """Homes with 3 to `max_devices` devices, each task in a home of its own.

    Attributes:
        name: "home".
    Raises:
        ValueError: a kind in `weights` is unknown.
    """

    name = "home"

    def __init__(
        self, min_devices: int = 3, max_devices: int = MAX_DEVICES, weights: Mapping[str, float] = KIND_WEIGHTS
    ):
        self.min_devices = min_devices
        self.max_devices = max_devices
        self.weights = dict(weights)
        check_kinds(weights)

    def tasks(self, split: Split, seed: int, count: int, phrasings: Split | None = None) -> Iterator[HomeTask]:
        """Yield tasks.

        Args:
            split: "eval" uses homes and arrangements of words that "train" never has.
            seed: the same seed gives the same tasks.
            count: how many.
            phrasings: arrangements of words of another split than the homes; None takes the same.
        Returns:
            Iterator over the tasks.
        """
        phrasings = phrasings or split
        rng = random.Random(f"home-{split}-{phrasings}-{seed}")
        for _ in range(count):
            kind = rng.choices(tuple(self.weights), tuple(self.weights.values()))[0]
            yield self._task(rng, split, kind, phrasings)

    def _task(self, rng: random.Random, split: Split, kind: str, phrasings: Split) -> HomeTask:
        while True:
            home = sample_home(rng, rng.randint(self.min_devices, self.max_devices), split)
            home.asks_first = home.asks_first or kind == "confirm"  # else most homes would be drawn in vain
            try:
                return sample_task(rng, home, kind, phrasings)
            except ValueError:
                continue  # This home has no such task, for example no two lights that could be mixed up.

    def start(self, task: HomeTask) -> HomeEpisode:
        """Begin an attempt at a task."""
        return HomeEpisode(task)

    def gold(self, task: HomeTask) -> tuple[Message, ...]:
        """The right replies with the tool results between them."""
        return task.gold
