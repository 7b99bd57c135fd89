"""The calls of one reply, carried out in order: a later one cannot ask for the opposite of an earlier one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from openmimo.environments.home.devices import Cover, Device
from openmimo.environments.home.tools import call_tool
from openmimo.environments.home.world import Home
from openmimo.environments.toolbox import MAX_CALLS

__all__ = ["Turn"]


class Turn:
    """Carries out the calls of one reply.

    "Turn the lamp on" and "turn the lamp off" side by side are a mistake, not a wish: the second is refused. Only calls
    that name the device count; "all lights off, but the lamp on" is a wish. No more than MAX_CALLS are carried out.

    Args:
        home: changed in place by each call that succeeds.
        offered: names of the tools on offer; None means all.
    """

    def __init__(self, home: Home, offered: Collection[str] | None = None):
        self._home = home
        self._offered = offered
        self._asked: dict[str, Any] = {}
        self._count = 0

    def call(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out the next call.

        Args:
            name: tool name.
            arguments: its arguments, as the model gave them.
        Returns:
            As `call_tool`; the error of a call that contradicts an earlier one is "contradiction".
        """
        self._count += 1
        if self._count > MAX_CALLS:
            return {"error": "too_many_calls", "message": f"only {MAX_CALLS} calls fit in one reply"}
        device = self._named(arguments)
        if device is not None and self._is_opposite(device, name, arguments):
            message = f"{device.name}: an earlier call of this reply asked for the opposite"
            return {"error": "contradiction", "message": message}
        result = call_tool(self._home, name, arguments, self._offered)
        if device is not None and "success" in result:
            self._asked[device.name] = _direction(device)
        return result

    def _named(self, arguments: Mapping[str, Any]) -> Device | None:
        name = arguments.get("name") if isinstance(arguments, Mapping) else None
        return self._home.named(" ".join(name.split())) if isinstance(name, str) else None

    def _is_opposite(self, device: Device, name: str, arguments: Mapping[str, Any]) -> bool:
        if device.name not in self._asked:
            return False
        trial = self._home.copy()
        call_tool(trial, name, arguments, self._offered)
        after = trial.named(device.name)
        return after is not None and _direction(after) != self._asked[device.name]


def _direction(device: Device) -> Any:
    """On or off, locked or not, open or closed; how much of it may be corrected."""
    first = device.commanded()[:1]
    return any(first) if isinstance(device, Cover) else first
