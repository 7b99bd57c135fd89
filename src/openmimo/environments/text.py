"""What the text environments share: one question, one reply, an answer that is checked."""

from __future__ import annotations

import random
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from openmimo.chat import Message
from openmimo.environments.base import Split, Task

__all__ = ["TextEnvironment", "TextEpisode", "TextTask", "text_task"]


@dataclass(frozen=True, slots=True)
class TextTask(Task):
    """A question with one reply.

    Attributes:
        answer: the right answer in its canonical spelling.
    """

    answer: str


def text_task(kind: str, system: str, request: str, reasoning: str, answer: str) -> TextTask:
    """Put a task together.

    Args:
        kind: label for score tables.
        system: system message.
        request: what the user asks.
        reasoning: the working of the gold reply.
        answer: its content, and what is compared.
    Returns:
        the task, without tools.
    """
    name = f"{zlib.crc32(system.encode()):08x}{zlib.crc32(request.encode()):08x}"
    messages = (Message("system", system), Message("user", request))
    return TextTask(name, kind, messages, (), (Message("assistant", answer, reasoning=reasoning),), answer)


class TextEpisode:
    """One attempt: the first reply counts and ends it."""

    def __init__(self, environment: TextEnvironment, task: TextTask):
        self.task = task
        self.messages = list(task.messages)
        self.tools = task.tools
        self.is_over = False
        self._environment = environment
        self._reward = 0.0

    def step(self, reply: Message) -> list[Message]:
        """Take the reply.

        Args:
            reply: the assistant's message.
        Returns:
            nothing: no tools are offered.
        Raises:
            ValueError: the episode is over.
        """
        if self.is_over:
            raise ValueError("this episode is over: start the task again for another attempt")
        self.messages.append(reply)
        self.is_over = True
        if not reply.tool_calls:
            self._reward = self._score(reply.content)
        return []

    def reward(self) -> float:
        """Score of the reply; 0.0 before there is one."""
        return self._reward

    def _score(self, content: str) -> float:
        return self._environment.score(self.task, content)


class TextEnvironment(ABC):
    """Tasks of one question and one reply.

    Attributes:
        name: as registered.
        group: tasks of a stream that share one system message.
    """

    name: str
    group = 1

    @abstractmethod
    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[TextTask]:
        """Draw tasks that share their system message.

        Args:
            rng: source of randomness.
            split: of the problems.
            phrasings: of the words around them.
            count: how many.
        Returns:
            the tasks.
        """

    @abstractmethod
    def score(self, task: TextTask, content: str) -> float:
        """Judge an answer.

        Args:
            task: what was asked.
            content: the visible text of the reply.
        Returns:
            0.0 to 1.0.
        """

    def tasks(self, split: Split, seed: int, count: int, phrasings: Split | None = None) -> Iterator[TextTask]:
        """Yield tasks.

        Args:
            split: "eval" uses problems and phrasings that "train" never has.
            seed: the same seed gives the same tasks.
            count: how many.
            phrasings: phrasings of another split than the problems; None takes the same.
        Returns:
            Iterator over the tasks.
        """
        rng = random.Random(f"{self.name}-{split}-{phrasings or split}-{seed}")
        for first in range(0, count, self.group):
            yield from self.sample_group(rng, split, phrasings or split, min(self.group, count - first))

    def start(self, task: TextTask) -> TextEpisode:
        """Begin an attempt at a task."""
        return TextEpisode(self, task)

    def gold(self, task: TextTask) -> tuple[Message, ...]:
        """The right reply."""
        return task.gold
