"""Devices with a will of their own: machines with a programme, hot water, a vacuum robot, an air conditioner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from openmimo.environments.home.devices import BinarySensor, Climate, Device, degrees
from openmimo.environments.home.thermal import Room, RoomLoad
from openmimo.environments.home.words import Noun

__all__ = ["APPLIANCE_NOUNS", "AirConditioner", "Appliance", "Vacuum", "WaterHeater", "make_appliance"]

APPLIANCE_NOUNS: dict[str, list[Noun]] = {
    "appliance": [Noun(text, "appliance") for text in ("washing machine", "dishwasher", "dryer")],
    "water_heater": [Noun(text, "water_heater") for text in ("boiler", "water heater")],
    "vacuum": [Noun(text, "vacuum") for text in ("vacuum", "robot vacuum")],
    "climate": [Noun("air conditioner", "climate")],
    "binary_sensor": [Noun("door sensor", "binary_sensor", "opening")],
}

# Phases of a programme as minutes and watts. Washing 1.0 kWh, dishes 0.9 kWh, drying 1.1 kWh.
PROGRAMMES: dict[str, tuple[tuple[float, float], ...]] = {
    "washing machine": ((5, 80), (25, 1900), (45, 120), (15, 350)),
    "dishwasher": ((10, 60), (18, 1900), (40, 60), (9, 1900), (28, 10)),
    "dryer": ((85, 750), (5, 150)),
}
ROOM_SHARE = 0.5
"""Share of a machine's energy that warms its room; the rest leaves with the water or the damp air."""

WATER_J_L_K = 4186.0
COLD_C, SHOWER_C = 10.0, 40.0
TANK_MIN_C, TANK_MAX_C = 30.0, 65.0
TANK_GAIN_W_K = 1000.0

CLEAN_S = 900.0
DRIVE_HOME_S = 60.0
CLEAN_PERCENT_S, CHARGE_PERCENT_S = 1 / 90, 1 / 120
LOW_PERCENT, RESUME_PERCENT = 15.0, 80.0
DOCK_W = 30.0


@dataclass(slots=True)
class Appliance(Device):
    """A machine that runs through a programme once it is started.

    Attributes:
        is_started: it has been told to run; stays True when it is done.
        elapsed_s: how much of the programme is behind it.
    """

    is_started: bool = False
    elapsed_s: float = 0.0
    domain: ClassVar[str] = "appliance"

    def state_text(self, room: Room) -> str:
        left = self.minutes_left
        return f"running {left} min left" if left else "done" if self.is_started else "off"

    def word(self) -> str:
        return "running" if self.minutes_left else "done" if self.is_started else "off"

    def commanded(self) -> tuple[Any, ...]:
        return (self.is_started,)

    @property
    def minutes_left(self) -> int:
        """Minutes until it is done, rounded up; 0 when it does not run."""
        return math.ceil((self._length_s() - self.elapsed_s) / 60 - 1e-9) if self.is_started else 0

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"running": self.minutes_left > 0, "minutes_left": self.minutes_left}

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        if not self.minutes_left:
            return 0.0
        before_j = _energy_j(self._phases(), self.elapsed_s)
        self.elapsed_s = min(self.elapsed_s + seconds, self._length_s())
        used_j = _energy_j(self._phases(), self.elapsed_s) - before_j
        load.gains_j += ROOM_SHARE * used_j
        return used_j

    def power_w(self) -> float:
        if not self.minutes_left:
            return 0.0
        ends_s = 0.0
        for minutes, power_w in self._phases():
            ends_s += 60 * minutes
            if self.elapsed_s < ends_s:
                return power_w
        return 0.0

    def turn_on(self) -> str:
        """Start; returns the new state as tools report it."""
        return self.start()

    def turn_off(self) -> str:
        """Stop; returns the new state as tools report it."""
        return self.stop()

    def start(self) -> str:
        """Run the programme from its beginning, or go on where it runs; returns the new state as tools report it."""
        if not self.minutes_left:
            self.is_started, self.elapsed_s = True, 0.0
        return f"running {self.minutes_left} min left"

    def stop(self) -> str:
        """Stop; the next start begins anew. Returns the new state as tools report it."""
        self.is_started, self.elapsed_s = False, 0.0
        return "off"

    def _phases(self) -> tuple[tuple[float, float], ...]:
        return PROGRAMMES[self.noun.text]

    def _length_s(self) -> float:
        return 60 * sum(minutes for minutes, _ in self._phases())


def _energy_j(phases: tuple[tuple[float, float], ...], elapsed_s: float) -> float:
    """Energy of a programme's first seconds."""
    used_j = 0.0
    for minutes, power_w in phases:
        used_j += power_w * min(60 * minutes, elapsed_s)
        elapsed_s = max(0.0, elapsed_s - 60 * minutes)
    return used_j


@dataclass(slots=True)
class WaterHeater(Device):
    """A hot-water tank, mixed evenly, with an electric heater.

    Attributes:
        is_heating: whether the heater may run.
        set_point_c: 30 to 65 °C.
        temperature_c: of the water.
        volume_l: what it holds.
        loss_w_k: heat lost to the room per kelvin.
        heater_w: what the heater draws at most.
        drawn_j: heat that has left with the water, in all.
        flow_l_s: litres at 40 °C that are being drawn now.
    """

    is_heating: bool = True
    set_point_c: float = 55.0
    temperature_c: float = 55.0
    volume_l: float = 200.0
    loss_w_k: float = 1.7
    heater_w: float = 2000.0
    drawn_j: float = 0.0
    flow_l_s: float = 0.0
    domain: ClassVar[str] = "water_heater"

    def state_text(self, room: Room) -> str:
        mode = f"heat {degrees(self.set_point_c)}" if self.is_heating else "off"
        return f"{mode}, now {round(self.temperature_c)} °C"

    def said(self, room: Room) -> str:
        return f"set to {degrees(self.set_point_c)}" if self.is_heating else "off"

    def word(self) -> str:
        return "on" if self.is_heating else "off"

    def commanded(self) -> tuple[Any, ...]:
        return (True, self.set_point_c) if self.is_heating else (False,)

    def attributes(self, room: Room) -> dict[str, Any]:
        mode = "heat" if self.is_heating else "off"
        return {"mode": mode, "set_point_c": self.set_point_c, "temperature_c": round(self.temperature_c, 1)}

    def power_w(self) -> float:
        wanted_w = TANK_GAIN_W_K * (self.set_point_c - self.temperature_c)
        return max(0.0, min(self.heater_w, wanted_w)) if self.is_heating else 0.0

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        used_j = self.power_w() * seconds
        lost_j = self.loss_w_k * (self.temperature_c - room.temperature_c) * seconds
        # Cold water mixed in makes the flow: warm enough, its heat is the same however hot the tank is.
        wanted_j = self.flow_l_s * seconds * WATER_J_L_K * (min(SHOWER_C, self.temperature_c) - COLD_C)
        drawn_j = max(0.0, wanted_j)
        self.drawn_j += drawn_j
        self.temperature_c += (used_j - lost_j - drawn_j) / (self.volume_l * WATER_J_L_K)
        load.gains_j += lost_j
        return used_j

    def turn_on(self) -> str:
        """Heat; returns the new state as tools report it."""
        self.is_heating = True
        return "on"

    def turn_off(self) -> str:
        """Stop heating; returns the new state as tools report it."""
        self.is_heating = False
        return "off"

    def set_temperature(self, temperature_c: float) -> str:
        """Set the set point and heat; returns the new state as tools report it."""
        self.is_heating, self.set_point_c = True, temperature_c
        return f"set to {degrees(temperature_c)}"


@dataclass(slots=True)
class Vacuum(Device):
    """A robot that cleans room after room and charges at its dock.

    Attributes:
        rooms: areas that it cleans, in this order.
        is_wanted: it has been sent out; stays True when it has come home by itself.
        todo: areas still to clean.
        done_s: time spent in the first of them.
        home_s: seconds until it reaches its dock; 0 in the dock or at work.
        battery: percent.
    """

    rooms: tuple[str, ...] = ()
    is_wanted: bool = False
    todo: tuple[str, ...] = ()
    done_s: float = 0.0
    home_s: float = 0.0
    is_docked: bool = True
    battery: float = 100.0
    domain: ClassVar[str] = "vacuum"

    def state_text(self, room: Room) -> str:
        return f"{self.said(room)} {round(self.battery)}%"

    def said(self, room: Room | None = None) -> str:
        return f"cleaning {self.todo[0]}" if self.word() == "cleaning" else self.word()

    def word(self) -> str:
        return "docked" if self.is_docked else "returning" if self.home_s else "cleaning"

    def commanded(self) -> tuple[Any, ...]:
        return (self.is_wanted,)

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"doing": self.word(), "todo": list(self.todo), "battery": round(self.battery)}

    def power_w(self) -> float:
        return DOCK_W if self.is_docked and self.battery < 100 else 0.0

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        if self.is_docked:
            used_j = self._charge(seconds)
            load.gains_j += used_j
            return used_j
        if self.home_s:
            self._use(seconds)
            self.home_s = max(0.0, self.home_s - seconds)
            self.is_docked = not self.home_s
        else:
            self._clean(seconds)
        return 0.0

    def start(self) -> str:
        """Clean all rooms, or go on; returns the new state as tools report it."""
        self.is_wanted = True
        self.todo = self.todo or self.rooms
        if self.todo and self.battery > LOW_PERCENT:
            self.is_docked, self.home_s = False, 0.0
        return self.said()

    def return_home(self) -> str:
        """Forget what is left and drive to the dock; returns the new state as tools report it."""
        self.is_wanted, self.todo = False, ()
        self._leave()
        return self.said()

    def _charge(self, seconds: float) -> float:
        missing_s = (100.0 - self.battery) / CHARGE_PERCENT_S
        used_j = DOCK_W * min(seconds, missing_s)
        self.battery = min(100.0, self.battery + seconds * CHARGE_PERCENT_S)
        if self.todo and self.is_wanted and self.battery >= RESUME_PERCENT:
            self.is_docked = False
        return used_j

    def _clean(self, seconds: float) -> None:
        self._use(seconds)
        self.done_s += seconds
        if self.done_s >= CLEAN_S:
            self.todo, self.done_s = self.todo[1:], 0.0
        if not self.todo or self.battery <= LOW_PERCENT:
            self._leave()

    def _use(self, seconds: float) -> None:
        self.battery = max(0.0, self.battery - seconds * CLEAN_PERCENT_S)

    def _leave(self) -> None:
        if not self.is_docked:
            self.home_s, self.done_s = self.home_s or DRIVE_HOME_S, 0.0


@dataclass(slots=True)
class AirConditioner(Climate):
    """A climate device that heats or cools.

    Attributes:
        is_cooling: cools; `is_heating` is False then.
        mode: "heat" or "cool": what it does when it is on.
    """

    is_cooling: bool = False
    mode: str = "cool"

    def state_text(self, room: Room) -> str:
        if not self.is_cooling:
            return Climate.state_text(self, room)
        return f"cool {degrees(self.set_point_c)}, now {round(room.temperature_c)} °C"

    def said(self, room: Room) -> str:
        return f"set to {degrees(self.set_point_c)}" if self.is_cooling else Climate.said(self, room)

    def word(self) -> str:
        return "on" if self.is_cooling else Climate.word(self)

    def commanded(self) -> tuple[Any, ...]:
        return ("cool", self.set_point_c) if self.is_cooling else Climate.commanded(self)

    def attributes(self, room: Room) -> dict[str, Any]:
        return Climate.attributes(self, room) | ({"mode": "cool"} if self.is_cooling else {})

    def add_set_point(self, load: RoomLoad) -> None:
        if self.is_cooling:
            load.cool_to_c.append(self.set_point_c)
        Climate.add_set_point(self, load)

    def turn_on(self) -> str:
        return self.set_mode(self.mode)

    def turn_off(self) -> str:
        return self.set_mode("off")

    def set_temperature(self, temperature_c: float) -> str:
        """Set the set point and switch on; returns the new state as tools report it."""
        self.set_mode(self.mode)
        self.set_point_c = temperature_c
        return f"set to {degrees(temperature_c)}"

    def set_mode(self, mode: str) -> str:
        """Choose what it does.

        Args:
            mode: "heat", "cool" or "off".
        Returns: the new state as tools report it.
        Raises:
            ValueError: there is no such mode.
        """
        if mode not in ("heat", "cool", "off"):
            raise ValueError(f"mode={mode!r} must be heat, cool or off")
        self.is_heating, self.is_cooling = mode == "heat", mode == "cool"
        self.mode = self.mode if mode == "off" else mode
        return "off" if mode == "off" else f"on, to {mode}"


_CLASSES: dict[str, type[Device]] = {
    "appliance": Appliance, "water_heater": WaterHeater, "vacuum": Vacuum, "climate": AirConditioner,
    "binary_sensor": BinarySensor,
}  # fmt: skip


def make_appliance(domain: str, text: str, name: str, area: str, **state: Any) -> Device:
    """Make one of these devices.

    Args:
        domain: a key of APPLIANCE_NOUNS.
        text: one of its nouns.
        name: the unique name.
        area: the room it stands in.
        state: fields of its class.
    Returns:
        The new device.
    """
    noun = next(known for known in APPLIANCE_NOUNS[domain] if known.text == text)
    return _CLASSES[domain](name=name, area=area, noun=noun, **state)
