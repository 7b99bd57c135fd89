"""The home environment: streams of tasks, episodes that carry out calls, and the verifier of the final state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping

from openmimo.chat import Message, ToolCall
from openmimo.environments.base import Split
from openmimo.environments.home.checks import look, replay
from openmimo.environments.home.generate import MAX_DEVICES, sample_home
from openmimo.environments.home.tasks import KIND_WEIGHTS, HomeTask, sample_task
from openmimo.environments.home.tools import render_result
from openmimo.environments.home.turns import Turn

__all__ = ["HomeEnvironment", "HomeEpisode"]

MAX_ROUNDS = 4
MAX_CALLS_PER_REPLY = 8


class HomeEpisode:
    """One attempt at a task, on its own copy of the home; used once."""

    def __init__(self, task: HomeTask):
        self.task = task
        self.home = task.home.copy()
        self.messages = list(task.messages)
        self.tools = task.tools
        self.is_over = False
        self._offered = [tool["function"]["name"] for tool in task.tools]
        self._last = Message("assistant")
        self._rounds = 0

    def step(self, reply: Message) -> list[Message]:
        """Take a reply and carry out its calls in order.

        Args:
            reply: the assistant's message.
        Returns:
            One tool message per call; nothing when the reply calls nothing or the rounds are used up.
        Raises:
            ValueError: the episode is over.
        """
        if self.is_over:
            raise ValueError("this episode is over: start the task again for another attempt")
        self.messages.append(reply)
        self._last = reply
        self._rounds += 1
        turn = Turn(self.home, self._offered)
        results = [self._carry_out(turn, index, call) for index, call in enumerate(reply.tool_calls)]
        self.is_over = not results or self._rounds == MAX_ROUNDS
        self.messages += results
        return [] if self.is_over else results

    def _carry_out(self, turn: Turn, index: int, call: ToolCall) -> Message:
        if index < MAX_CALLS_PER_REPLY:
            result = turn.call(call.name, call.arguments)
        else:
            result = {"error": "too_many_calls", "message": f"only {MAX_CALLS_PER_REPLY} calls fit in one reply"}
        return Message("tool", render_result(result), tool_call_id=call.id)

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
    """

    name = "home"

    def __init__(
        self, min_devices: int = 3, max_devices: int = MAX_DEVICES, weights: Mapping[str, float] = KIND_WEIGHTS
    ):
        self.min_devices = min_devices
        self.max_devices = max_devices
        self.weights = dict(weights)

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
