"""Work out the right replies to a request by doing it on a copy of the home."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from openmimo.chat import Message, ToolCall
from openmimo.environments.home.answers import Answer, after_tools, error_answer
from openmimo.environments.home.devices import Cover
from openmimo.environments.home.lookups import find
from openmimo.environments.home.tools import call_tool
from openmimo.environments.home.world import Home
from openmimo.environments.rounds import tool_messages

if TYPE_CHECKING:
    from openmimo.environments.home.kinds.base import Draft

__all__ = ["Worked", "settle", "work_out"]


class Worked(NamedTuple):
    """A request that has been done.

    Attributes:
        replies: assistant reply, tool results, last reply.
        home: the home afterwards; `touched` holds what was commanded.
        answer: what the last reply must say, or None where only the final state counts.
        told: what the tools said, line by line.
    """

    replies: tuple[Message, ...]
    home: Home
    answer: Answer | None
    told: tuple[str, ...]

    def history(self, request: str) -> tuple[Message, ...]:
        """The request and its replies as later turns see them: without the reasoning."""
        return (Message("user", request), *(replace(message, reasoning="") for message in self.replies))


def work_out(draft: Draft, home: Home, offered: Collection[str]) -> Worked:
    """Do what is right.

    Args:
        draft: the request.
        home: the home at that time; not changed.
        offered: names of the tools on offer.
    Returns:
        The replies and what came of them.
    """
    reasoning = "\n".join((*_thoughts(draft, draft.listed or home), *_tools(draft))) or "none"
    home = home.copy()
    if not draft.calls:
        assert draft.answer is not None
        return Worked((Message("assistant", draft.answer.text, reasoning=reasoning),), home, draft.answer, ())
    calls = tuple(ToolCall(call.name, call.arguments, f"call_{index}") for index, call in enumerate(draft.calls))
    results = [call_tool(home, call.name, call.arguments, offered) for call in calls]
    told = tool_messages(results, calls)
    failed = next((result for result in results if "error" in result), None)
    return Worked(
        (
            Message("assistant", reasoning=reasoning, tool_calls=calls),
            *told,
            Message("assistant", after_tools(results)),
        ),
        home,
        error_answer(failed) if failed else None,
        tuple(line for result in results for line in result.get("success", ())),
    )


def _thoughts(draft: Draft, home: Home) -> tuple[str, ...]:
    """The draft's own lines, or how its devices are found."""
    if draft.thoughts is not None:
        return draft.thoughts
    return sum((find(home, *pair) for pair in zip(draft.rows, draft.mentions, strict=True)), ())


def _tools(draft: Draft) -> tuple[str, ...]:
    """The tools that do it, named before they are called: one that is not on offer shows there."""
    if draft.lacking:
        return (f"{draft.lacking}: none",)
    return tuple(dict.fromkeys(call.name for call in draft.calls))


def settle(home: Home) -> Home:
    """The home some moments later: covers have arrived, nothing is touched, and no reading has changed.

    Args:
        home: not changed.
    Returns:
        A copy.
    """
    later = home.copy()
    for device in later.devices:
        if isinstance(device, Cover):
            device.position = float(device.target)
    return later
