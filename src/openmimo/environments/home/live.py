"""A home that several threads may use, for the server."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from openmimo.environments.home.demo import demo_home, floor_plan
from openmimo.environments.home.tools import call_tool, pass_time, tool_dicts
from openmimo.environments.home.world import Home

__all__ = ["LIVE_TOOLS", "LiveHome"]

LIVE_TOOLS = (
    "HassTurnOn", "HassTurnOff", "HassLightSet", "HassSetPosition", "HassClimateSetTemperature", "GetLiveContext",
)  # fmt: skip


class LiveHome:
    """A home behind a lock; every method may be called from any thread.

    Args:
        home: the home; None takes the demo home.
        offered: names of the tools on offer.
    """

    def __init__(self, home: Home | None = None, offered: Sequence[str] = LIVE_TOOLS):
        self._home = home or demo_home()
        self._offered = tuple(offered)
        self._lock = threading.Lock()

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out a tool call; see `call_tool` for the result."""
        with self._lock:
            return call_tool(self._home, name, arguments, self._offered)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self._lock:
            pass_time(self._home, seconds)

    def system_content(self) -> str:
        """The system message for a chat about the home as it is now."""
        with self._lock:
            return self._home.system_content()

    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer, in the OpenAI shape."""
        return tool_dicts(self._offered)

    def state(self) -> dict[str, Any]:
        """All devices, rooms and the clock, JSON-able; see `Home.state`."""
        with self._lock:
            return self._home.state()

    def floor_plan(self) -> dict[str, Any]:
        """Where rooms and devices are drawn; see `floor_plan`."""
        with self._lock:
            return floor_plan(self._home)
