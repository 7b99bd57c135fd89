"""A home that several threads may use, for the server and the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openmimo.environments.home.demo import demo_home, floor_plan
from openmimo.environments.home.tools import pass_time, tool_dicts
from openmimo.environments.home.turns import Turn
from openmimo.environments.home.world import Home
from openmimo.environments.live import LiveWorld

__all__ = ["LIVE_TOOLS", "LiveHome"]

LIVE_TOOLS = (
    "HassTurnOn", "HassTurnOff", "HassLightSet", "HassSetPosition", "HassClimateSetTemperature", "GetLiveContext",
)  # fmt: skip


class LiveHome(LiveWorld):
    """A home behind a lock.

    Args:
        home: the home; None takes the demo home.
        offered: names of the tools on offer.
    """

    name = "home"
    asked_turns = 3

    def __init__(self, home: Home | None = None, offered: Sequence[str] = LIVE_TOOLS):
        super().__init__()
        self._home = home or demo_home()
        self._offered = tuple(offered)

    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer, in the OpenAI shape."""
        return tool_dicts(self._offered)

    def drawing(self) -> dict[str, Any]:
        """Where rooms and devices are drawn; see `floor_plan`."""
        with self._current():
            return floor_plan(self._home)

    def _advance(self, seconds: float) -> None:
        pass_time(self._home, seconds)

    def _system_content(self) -> str:
        return self._home.system_content()

    def _state(self) -> dict[str, Any]:
        return self._home.state()

    def _turn(self) -> Turn:
        return Turn(self._home, self._offered)
