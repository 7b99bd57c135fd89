"""What a verifier looks at: what has been asked of a home, at some moments after the last reply."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from openmimo.chat import Message
from openmimo.environments.home.tools import call_tool, pass_time
from openmimo.environments.home.world import Home

__all__ = ["Seen", "look", "moments_of", "replay"]

SETTLE_S, EARLY_S = 60.0, 30.0


class Seen(NamedTuple):
    """What became of a home.

    Attributes:
        asked: at each moment what had been asked of the devices, how long each timer had left, and how many plans were
            open.
        touched: names of everything that was commanded up to the last moment.
    """

    asked: list[dict[str, tuple[Any, ...]]]
    touched: set[str]


def moments_of(home: Home) -> tuple[float, ...]:
    """Choose when to look.

    Args:
        home: the home after the last reply.
    Returns:
        A minute later; where something is planned, half a minute before and a minute after each plan instead.
    """
    delays = [plan[0] - home.clock_s for plan in home.plans]
    moments = {delay + offset for delay in delays for offset in (-EARLY_S, SETTLE_S)}
    return tuple(sorted(moments)) or (SETTLE_S,)


def look(home: Home, moments: Sequence[float]) -> Seen:
    """Let time pass on a copy, and look at some moments.

    Args:
        home: the home after the last reply; not changed.
        moments: seconds from then on, ascending.
    Returns:
        What was seen.
    """
    later = home.copy()
    later.touched |= home.touched
    asked = []
    for seconds in moments:
        pass_time(later, max(0.0, home.clock_s + seconds - later.clock_s))
        timers = tuple(sorted(round(end_s - later.clock_s) for end_s in later.timers_s))
        asked.append(later.commanded() | {"timers": timers, "plans": (len(later.plans),)})
    return Seen(asked, later.touched)


def replay(home: Home, replies: Sequence[Message], offered: Collection[str]) -> Home:
    """Carry out the calls of replies.

    Args:
        home: not changed.
        replies: messages with calls; the others do nothing.
        offered: names of the tools on offer.
    Returns:
        The home afterwards.
    """
    later = home.copy()
    for reply in replies:
        for call in reply.tool_calls:
            call_tool(later, call.name, call.arguments, offered)
    return later
