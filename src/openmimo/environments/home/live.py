"""A home that several threads may use, for the server and the terminal: its clouds drift, its robot cleans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openmimo.environments.days import Clouds
from openmimo.environments.home.demo import demo_home, floor_plan
from openmimo.environments.home.tools import TOOL_NAMES, pass_time, tool_dicts
from openmimo.environments.home.turns import Turn
from openmimo.environments.home.world import Home
from openmimo.environments.live import LiveWorld

__all__ = ["LIVE_TOOLS", "LiveHome"]

LIVE_TOOLS = (
    "HassTurnOn", "HassTurnOff", "HassLightSet", "HassSetPosition", "HassClimateSetTemperature", "GetLiveContext",
    "HassVacuumStart", "HassVacuumReturnToBase",
)  # fmt: skip
"""What the model is offered."""

CLOUD_STEP_S = 300.0


class LiveHome(LiveWorld):
    """A home behind a lock.

    Args:
        home: the home; None takes the demo home. Clouds drift over it, whatever its sky was like.
        offered: names of the tools on offer to a model.
    """

    name = "home"
    asked_turns = 3

    def __init__(self, home: Home | None = None, offered: Sequence[str] = LIVE_TOOLS):
        super().__init__()
        self._home = home or demo_home()
        self._offered, self._clouds = tuple(offered), Clouds.of(6)

    def tools(self) -> list[dict[str, Any]]:
        """The tools on offer to a model, in the OpenAI shape."""
        return tool_dicts(self._offered)

    def tools_by_hand(self) -> list[dict[str, Any]]:
        """All tools of homes, those too that no task is about."""
        return tool_dicts(TOOL_NAMES)

    def drawing(self) -> dict[str, Any]:
        """Where rooms and devices are drawn; see `floor_plan`."""
        with self._current():
            return floor_plan(self._home)

    def _advance(self, seconds: float) -> None:
        home, end_s = self._home, self._home.clock_s + seconds
        while (left_s := end_s - home.clock_s) > 1e-6:
            if home.sky:
                home.sky = self._clouds.over(home.sky, home.clock_s)
            pass_time(home, min(CLOUD_STEP_S, left_s))

    def _system_content(self) -> str:
        return self._home.system_content()

    def _state(self) -> dict[str, Any]:
        return {**self._home.state(), "cloud": round(self._clouds.at(self._home.clock_s), 2)}

    def _turn(self, is_by_hand: bool) -> Turn:
        return Turn(self._home, TOOL_NAMES if is_by_hand else self._offered)
