"""What environments with tools share: a task with a goal for the world, and an episode that carries out calls."""

from __future__ import annotations

import random
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from openmimo.chat import Message, ToolCall
from openmimo.environments.base import Split, Task
from openmimo.environments.home.answers import Answer, after_tools
from openmimo.environments.rounds import ToolEpisode, tool_messages
from openmimo.environments.toolbox import Toolbox, ToolWorld

__all__ = ["ActingEnvironment", "ActingEpisode", "ActingTask", "Draft", "Goal", "StateGoal", "task_id", "work_out"]


class Goal(Protocol):
    """What a task wants."""

    def score(self, world: Any, last: Message) -> float:
        """Judge an attempt.

        Args:
            world: as the attempt left it.
            last: the last reply.
        Returns:
            0.0 to 1.0.
        """
        ...


@dataclass(frozen=True, slots=True)
class StateGoal:
    """Exactly this state, and, where it is asked for, an answer.

    Attributes:
        wanted: `commanded()` of the world when all is done.
        answer: what the last reply must say, or None.
    """

    wanted: Mapping[str, Any]
    answer: Answer | None = None

    def score(self, world: ToolWorld, last: Message) -> float:
        """1.0 where state and answer are right, else 0.0.

        Args:
            world: as the episode left it.
            last: the last reply.
        Returns:
            The score.
        """
        if world.commanded() != self.wanted:
            return 0.0
        return float(self.answer is None or (not last.tool_calls and self.answer.accepts(last.content)))


@dataclass(frozen=True, slots=True)
class ActingTask(Task):
    """A task about a world that tools act on.

    Attributes:
        intent: what the request asks for.
        family: id of its arrangement of words.
        world: at the start; never changed, episodes work on copies.
        goal: what is wanted.
    """

    intent: str
    family: str
    world: Any = field(repr=False)
    goal: Goal = field(repr=False)


@dataclass(slots=True)
class Draft:
    """A request and what is right to do about it.

    Attributes:
        intent: what is asked for; also names the phrasings.
        slots: texts for the phrasing.
        thought: lines of reasoning.
        calls: tool calls to make; empty where the answer is all.
        answer: what must be said, or None where only the final state counts.
        before: intent of a request that the assistant has already asked back about, or "".
        goal: for journeys and plans what is wanted; else the state after the calls.
    """

    intent: str
    slots: dict[str, str] = field(default_factory=dict)
    thought: list[str] = field(default_factory=list)
    calls: tuple[ToolCall, ...] = ()
    answer: Answer | None = None
    before: str = ""
    goal: Any = None


class ActingEpisode(ToolEpisode[ActingTask]):
    """One attempt at a task, on its own copy of the world."""

    def __init__(self, toolbox: Toolbox, task: ActingTask):
        super().__init__(task)
        self.world = task.world.copy()
        self._toolbox = toolbox

    def carry_out(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        """Change the world by the calls of one reply, as `Toolbox.call_all` does."""
        return self._toolbox.call_all(self.world, calls, self._offered)

    def reward(self) -> float:
        """Score of the world as it stands and of the last reply; before there is one, 0.0."""
        return self.task.goal.score(self.world, self._last) if self._rounds else 0.0


def work_out(
    toolbox: Toolbox, world: Any, offered: Sequence[str], reasoning: str, calls: Sequence[ToolCall], said: str = ""
) -> tuple[tuple[Message, ...], Any]:
    """Do what is right on a copy of the world.

    Args:
        toolbox: the tools.
        world: not changed.
        offered: names of the tools on offer.
        reasoning: lines of thought before the first reply; the names of the tools to call come after them.
        calls: calls to make; none where the answer is all.
        said: the answer where no call is made.
    Returns:
        The gold replies with tool results between them, and the world afterwards.
    """
    if not calls:
        return (Message("assistant", said, reasoning=reasoning),), world
    after = world.copy()
    calls = tuple(ToolCall(call.name, call.arguments, f"call_{index}") for index, call in enumerate(calls))
    results = toolbox.call_all(after, calls, offered)
    reasoning = "\n".join((reasoning, *dict.fromkeys(call.name for call in calls)))
    acting = Message("assistant", reasoning=reasoning, tool_calls=calls)
    return (acting, *tool_messages(results, calls), Message("assistant", after_tools(results))), after


def task_id(messages: Sequence[Message]) -> str:
    """A name for a task from its system message and the rest of what the model sees."""
    rest = "\n".join(message.content for message in messages[1:])
    return f"{zlib.crc32(messages[0].content.encode()):08x}{zlib.crc32(rest.encode()):08x}"


class ActingEnvironment(ABC):
    """An environment whose tasks are drawn in groups that share system message and tools.

    Attributes:
        name: as registered.
        toolbox: its tools.
        group: how many tasks of a stream share one world.
    """

    name: str
    toolbox: Toolbox
    group = 1

    @abstractmethod
    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[ActingTask]:
        """Draw tasks that share system message and tools.

        Args:
            rng: source of randomness.
            split: of the worlds.
            phrasings: of the words.
            count: how many.
        Returns:
            The tasks.
        """

    def tasks(self, split: Split, seed: int, count: int, phrasings: Split | None = None) -> Iterator[ActingTask]:
        """Yield tasks.

        Args:
            split: "eval" uses worlds and arrangements of words that "train" never has.
            seed: the same seed gives the same tasks.
            count: how many.
            phrasings: arrangements of words of another split than the worlds; None takes the same.
        Returns:
            Iterator over the tasks.
        """
        rng = random.Random(f"{self.name}-{split}-{phrasings or split}-{seed}")
        for first in range(0, count, self.group):
            yield from self.sample_group(rng, split, phrasings or split, min(self.group, count - first))

    def start(self, task: ActingTask) -> ActingEpisode:
        """Begin an attempt at a task."""
        return ActingEpisode(self.toolbox, task)

    def gold(self, task: ActingTask) -> tuple[Message, ...]:
        """The right replies with the tool results between them."""
        return task.gold
