"""Episodes in which a model calls tools and reads their results, for a few rounds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from openmimo.chat import Message, ToolCall
from openmimo.environments.base import Task
from openmimo.environments.toolbox import render_result

__all__ = ["ToolEpisode", "tool_messages"]

MAX_ROUNDS = 4

AnyTask = TypeVar("AnyTask", bound=Task)


class ToolEpisode(ABC, Generic[AnyTask]):
    """One attempt at a task; used once.

    Attributes:
        task: what is attempted.
        messages: all so far, the prompt first.
        tools: what is on offer, in the OpenAI shape.
        is_over: whether the last round has been played.
    """

    def __init__(self, task: AnyTask):
        self.task = task
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
        told = tool_messages(self.carry_out(reply.tool_calls), reply.tool_calls)
        self.is_over = not told or self._rounds == MAX_ROUNDS
        self.messages += told
        return [] if self.is_over else told

    @abstractmethod
    def carry_out(self, calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
        """Change the world by the calls of one reply.

        Args:
            calls: in the order in which the model made them.
        Returns:
            The result of each.
        """


def tool_messages(results: Sequence[dict[str, Any]], calls: Sequence[ToolCall]) -> list[Message]:
    """What the model reads of the results of its calls.

    Args:
        results: of each call.
        calls: as many.
    Returns:
        One tool message for each.
    """
    return [
        Message("tool", render_result(result), tool_call_id=call.id)
        for result, call in zip(results, calls, strict=True)
    ]
