"""The state of one home: rooms, devices in listing order, the clock, and how it is shown."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from openmimo.environments.home.appliances import WaterHeater
from openmimo.environments.home.devices import BinarySensor, Climate, Device
from openmimo.environments.home.people import AWAY, Person, clock_text
from openmimo.environments.home.thermal import (
    STEP_S,
    WINDOW_GAIN,
    HeatAccount,
    Room,
    RoomLoad,
    Weather,
    cooling_efficiency,
    heat_pump_w,
    heating_efficiency,
    step_rooms,
)
from openmimo.environments.sky import Sky

__all__ = ["Home"]

WEEK_S = 7 * 86400.0
AIRING_C, AIRING_W_K = 25.0, 60.0
SHOWER_KG_L = 0.006


@dataclass(slots=True)
class Home:
    """A home that tools act on and time changes. Nothing in it reads the wall clock.

    Attributes:
        devices: in listing order, which puts those of a domain, and in it those of an area, next to one another.
        rooms: thermal nodes by area.
        weather: the outside.
        clock_s: seconds since the first midnight.
        heat: totals for the heat balance.
        timers_s: clock times at which timers end.
        touched: names of devices that a tool has commanded since the home was made or copied.
        sky: sun and clouds, or None for a home without windows to the sun. Day 0 of the clock is its day of the year.
        people: who lives here, in listing order.
        standby_w: what is drawn all the time by things that are not listed.
        electric_j: electric energy that everything in the home has drawn so far.
        plans: tool calls to make later, each with the clock time at which it is due.
        asks_first: whether the owner wants to be asked before a lock is opened.
    """

    devices: list[Device]
    rooms: dict[str, Room]
    weather: Weather
    clock_s: float = 0.0
    heat: HeatAccount = field(default_factory=HeatAccount)
    timers_s: list[float] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    sky: Sky | None = None
    people: list[Person] = field(default_factory=list)
    standby_w: float = 0.0
    electric_j: float = 0.0
    plans: list[tuple[float, str, dict[str, Any]]] = field(default_factory=list)
    asks_first: bool = False

    def __post_init__(self) -> None:
        self.devices = sorted(self.devices, key=lambda device: (device.domain, device.area))

    def copy(self) -> Home:
        """An independent home in the same state, with nothing touched yet."""
        other = copy.copy(self)
        other.devices = [copy.copy(device) for device in self.devices]
        other.rooms = {area: copy.copy(room) for area, room in self.rooms.items()}
        other.heat = copy.copy(self.heat)
        other.timers_s = list(self.timers_s)
        other.plans = list(self.plans)
        other.touched = set()
        return other

    # ---- time

    def advance(self, seconds: float) -> None:
        """Let time pass: covers move, machines run, rooms warm or cool, people come and go, timers end.

        Args:
            seconds: how long, not negative.
        Raises:
            ValueError: seconds is negative, or more than a week.
        """
        if not 0 <= seconds <= WEEK_S:
            raise ValueError(f"seconds={seconds} must be 0 to {WEEK_S:g}: time moves forward, a week at most at once")
        end_s = self.clock_s + seconds
        while (left_s := end_s - self.clock_s) > 0:
            step_s = min(STEP_S, left_s)
            self._step(step_s)
            self.clock_s = self.clock_s + step_s if step_s < left_s else end_s
        for room in self.rooms.values():
            if not room.capacity_j_k:
                room.temperature_c = self.outside_c
        self.timers_s = [end_s for end_s in self.timers_s if end_s > self.clock_s]

    def _step(self, step_s: float) -> None:
        """One step of everything that has a rate."""
        loads = {area: RoomLoad.of(room) for area, room in self.rooms.items()}
        self._live(step_s, loads)
        used_j = self.standby_w * step_s
        for device in self.devices:
            used_j += device.advance(step_s, self.rooms[device.area], loads[device.area])
        self._shine(step_s, loads)
        outside_c, heat = self.outside_c, self.heat
        heated_j, cooled_j = heat.heated_j, heat.cooled_j
        step_rooms(self.rooms, loads, outside_c, step_s, heat)
        used_j += (heat.heated_j - heated_j) / heating_efficiency(outside_c)
        used_j += (heat.cooled_j - cooled_j) / cooling_efficiency(outside_c)
        self.electric_j += used_j

    def _live(self, step_s: float, loads: dict[str, RoomLoad]) -> None:
        """People warm and moisten rooms, air them when it is hot, use hot water and are seen by sensors."""
        if not self.people:
            return
        stays = [person.now(self.clock_s)[0] for person in self.people]
        taps_l_s = [person.hot_water_l_s(self.clock_s) for person in self.people]
        for stay, tap_l_s in zip(stays, taps_l_s, strict=True):
            if stay.place in loads:
                loads[stay.place].gains_j += stay.heat_w * step_s
                loads[stay.place].vapour_kg_s += stay.vapour_kg_s + SHOWER_KG_L * tap_l_s
        self._air({stay.place for stay in stays}, loads)
        awake = {stay.place for stay in stays if stay.doing != "asleep"}
        at_door = {stay.place for stay in stays if stay.doing in ("leaving", "arriving")}
        flow_l_s = sum(taps_l_s)
        for device in self.devices:
            if isinstance(device, BinarySensor) and device.noun.measures == "motion":
                device.is_active = device.area in awake
            elif isinstance(device, BinarySensor) and device.noun.text == "door sensor":
                device.is_active = device.area in at_door
            elif isinstance(device, WaterHeater):
                device.flow_l_s, flow_l_s = flow_l_s, 0.0  # The first tank feeds all taps.

    def _air(self, places: set[str], loads: dict[str, RoomLoad]) -> None:
        """While somebody is at home, windows are tilted where it is too hot and the outside is cooler."""
        if places <= {AWAY}:
            return
        for area, room in self.rooms.items():
            if room.temperature_c > max(AIRING_C, self.outside_c):
                loads[area].opening_w_k += AIRING_W_K * min(1.0, room.temperature_c - AIRING_C)

    def _shine(self, step_s: float, loads: dict[str, RoomLoad]) -> None:
        """The sun comes through the windows, less what covers keep out."""
        if self.sky is None:
            return
        sunlight = self.sky.sunlight(self.clock_s)
        if sunlight.elevation_deg <= 0:
            return
        for area, room in self.rooms.items():
            if room.window_m2:
                load = loads[area]
                sun_w = WINDOW_GAIN * room.window_m2 * sunlight.on_plane(90.0, room.window_azimuth_deg)
                load.gains_j += load.sun_share * sun_w * step_s

    def power_w(self) -> float:
        """Electric power that everything in the home draws now."""
        loads = {area: RoomLoad.of(room) for area, room in self.rooms.items()}
        power_w = self.standby_w
        for device in self.devices:
            power_w += device.power_w()
            if isinstance(device, Climate):
                device.add_set_point(loads[device.area])
        for area, load in loads.items():
            heating_w, cooling_w = heat_pump_w(self.rooms[area], load)
            power_w += heating_w / heating_efficiency(self.outside_c) + cooling_w / cooling_efficiency(self.outside_c)
        return power_w

    # ---- what is shown

    @property
    def clock(self) -> str:
        """Time of day as HH:MM."""
        return clock_text(self.clock_s)

    @property
    def outside_c(self) -> float:
        """Outside temperature now."""
        return self.weather.temperature_c(self.clock_s)

    def row(self, device: Device) -> str:
        """The device's line of the listing: "lock hall: main door = front door, locked", an alias before its name.

        Whatever a request calls a device by stands before what is to be found out: a reader of the line that has
        matched the domain and area, the alias or the name only has to read on.
        """
        return f"{device.domain} {device.area}: {self.quote(device, by_alias=True)}"

    def quote(self, device: Device, by_alias: bool = False) -> str:
        """The part of the device's row from where a request matches it to the end.

        Args:
            device: one of `devices`.
            by_alias: whether the request says it by its alias.
        Returns:
            From the alias on, if it is said by that and has one, else from the name on.
        """
        alias = f"{device.alias} = " if device.alias and by_alias else ""
        asks = ", ask first" if self.asks_first and device.domain == "lock" else ""
        return f"{alias}{device.name}, {device.state_text(self.rooms[device.area])}{asks}"

    def listing(self) -> str:
        """Time, outside temperature and one row per device, then one per person."""
        lines = [self.row(device) for device in self.devices] + [person.row(self.clock_s) for person in self.people]
        rows = "\n".join(f"- {line}" for line in lines)
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
            "plans": [{"due_s": due_s, "tool": tool, "arguments": dict(given)} for due_s, tool, given in self.plans],
            "people": {person.name: person.row(self.clock_s) for person in self.people},
            "power_w": round(self.power_w(), 1),
        }

    def _device_state(self, device: Device) -> dict[str, Any]:
        room = self.rooms[device.area]
        shared = {"name": device.name, "alias": device.alias, "area": device.area, "domain": device.domain}
        return {**shared, "state": device.state_text(room), **device.attributes(room)}
