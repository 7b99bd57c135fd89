"""The state of one home: rooms, devices in listing order, the clock, and how it is shown."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from openmimo.environments.home.devices import BinarySensor, Climate, Device
from openmimo.environments.home.thermal import HeatAccount, Room, Weather, advance_rooms

__all__ = ["Home"]

WEEK_S = 7 * 86400.0


@dataclass(slots=True)
class Home:
    """A home that tools act on and time changes. Nothing in it reads the wall clock.

    Attributes:
        devices: in listing order; row numbers are positions from 1.
        rooms: thermal nodes by area.
        weather: the outside.
        clock_s: seconds since the first midnight.
        heat: totals for the heat balance.
        timers_s: clock times at which timers end.
        vacuum: "docked" or "cleaning".
        touched: names of devices that a tool has commanded since the home was made or copied.
    """

    devices: list[Device]
    rooms: dict[str, Room]
    weather: Weather
    clock_s: float = 0.0
    heat: HeatAccount = field(default_factory=HeatAccount)
    timers_s: list[float] = field(default_factory=list)
    vacuum: str = "docked"
    touched: set[str] = field(default_factory=set)

    def copy(self) -> Home:
        """An independent home in the same state, with nothing touched yet."""
        return Home(
            [copy.copy(device) for device in self.devices],
            {area: copy.copy(room) for area, room in self.rooms.items()},
            self.weather,
            self.clock_s,
            copy.copy(self.heat),
            list(self.timers_s),
            self.vacuum,
        )

    def advance(self, seconds: float) -> None:
        """Let time pass: covers move, rooms warm or cool, timers end.

        Args:
            seconds: how long, not negative.
        Raises:
            ValueError: seconds is negative, or more than a week.
        """
        if not 0 <= seconds <= WEEK_S:
            raise ValueError(f"seconds={seconds} must be 0 to {WEEK_S:g}: time moves forward, a week at most at once")
        for device in self.devices:
            device.advance(seconds)
        set_points, open_windows = self._thermal_inputs()
        advance_rooms(self.rooms, self.weather, self.clock_s, seconds, set_points, open_windows, self.heat)
        self.clock_s += seconds
        self.timers_s = [end_s for end_s in self.timers_s if end_s > self.clock_s]

    def _thermal_inputs(self) -> tuple[dict[str, list[float]], dict[str, int]]:
        set_points: dict[str, list[float]] = {}
        open_windows: dict[str, int] = {}
        for device in self.devices:
            if isinstance(device, Climate) and device.is_heating:
                set_points.setdefault(device.area, []).append(device.set_point_c)
            elif isinstance(device, BinarySensor) and device.is_active and device.noun.head in ("window", "skylight"):
                open_windows[device.area] = open_windows.get(device.area, 0) + 1
        return set_points, open_windows

    @property
    def clock(self) -> str:
        """Time of day as HH:MM."""
        minutes = int(self.clock_s // 60) % 1440
        return f"{minutes // 60:02d}:{minutes % 60:02d}"

    @property
    def outside_c(self) -> float:
        """Outside temperature now."""
        return self.weather.temperature_c(self.clock_s)

    def row(self, device: Device) -> str:
        """The device's line of the listing: "hall lock: main door = front door, locked", an alias before its name.

        Whatever a request calls a device by stands before what is to be found out: a reader of the line that has
        matched the area and domain, the alias or the name only has to read on.
        """
        return f"{device.area} {device.domain}: {self.quote(device, 'alias')}"

    def quote(self, device: Device, naming: str) -> str:
        """The part of the device's row from where a request matches it to the end.

        Args:
            device: one of `devices`.
            naming: how the request says it, see `Mention`.
        Returns:
            From the area on where it is said by its area, from the alias on where it is said by that, else from the
            name on.
        """
        if naming in ("area", "house"):
            return self.row(device)
        alias = f"{device.alias} = " if device.alias and naming == "alias" else ""
        return f"{alias}{device.name}, {device.state_text(self.rooms[device.area])}"

    def listing(self) -> str:
        """Time, outside temperature and one row per device."""
        rows = "\n".join(f"- {self.row(device)}" for device in self.devices)
        return f"It is {self.clock}, {round(self.outside_c)} °C outside.\n{rows}"

    def system_content(self) -> str:
        """The system message of a chat about this home."""
        return f"You control a home. {self.listing()}"

    def named(self, name: str) -> Device | None:
        """The device with this name or alias, case ignored, or None."""
        wanted = name.strip().lower()
        return (
            next((device for device in self.devices if wanted in (device.name, device.alias)), None) if wanted else None
        )

    def commanded(self) -> dict[str, tuple[Any, ...]]:
        """What has been asked of every device, by name: all that tools can change and verifiers look at."""
        return {device.name: device.commanded() for device in self.devices}

    def state(self) -> dict[str, Any]:
        """Everything a page needs to draw the home, JSON-able."""
        return {
            "clock": self.clock,
            "clock_s": self.clock_s,
            "outside_c": round(self.outside_c, 1),
            "rooms": {area: round(room.temperature_c, 1) for area, room in self.rooms.items()},
            "devices": [self._device_state(device) for device in self.devices],
            "timers_s": list(self.timers_s),
            "vacuum": self.vacuum,
        }

    def _device_state(self, device: Device) -> dict[str, Any]:
        room = self.rooms[device.area]
        shared = {"name": device.name, "alias": device.alias, "area": device.area, "domain": device.domain}
        return {**shared, "state": device.state_text(room), **device.attributes(room)}
