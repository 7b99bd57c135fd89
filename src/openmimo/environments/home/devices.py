"""The devices of a home, one class per Home Assistant domain: what they hold, show, and how time changes them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from openmimo.environments.home.thermal import Room, RoomLoad, relative_humidity
from openmimo.environments.home.words import Noun

__all__ = [
    "BinarySensor",
    "Climate",
    "Cover",
    "Device",
    "Fan",
    "Light",
    "Lock",
    "MediaPlayer",
    "Sensor",
    "Switch",
    "make_device",
]

COVER_TRAVEL_S = 20.0
COVER_MOTOR_W = 150.0
COVER_SHADE = 0.8
OPEN_GATE_W_K = 200.0
OPEN_W_K = {"window": 60.0, "roof window": 60.0, "skylight": 60.0, "door sensor": 150.0}
FAN_W = 35.0
EXHAUST_W_K = 30.0
LIGHT_W = {"chandelier": 40.0, "led strip": 15.0, "spotlight": 12.0, "night light": 1.0}
MEDIA_W = {"tv": 100.0, "projector": 250.0, "stereo": 60.0, "soundbar": 30.0}
# Power and how long it lasts: a kettle that stays switched on has boiled after a few minutes.
SWITCH_LOADS = {
    "kettle": (2000.0, 240.0), "coffee maker": (900.0, 480.0), "toaster": (850.0, 150.0), "pump": (60.0, math.inf),
    "fountain": (25.0, math.inf), "printer": (15.0, math.inf), "oven": (1100.0, math.inf), "charger": (20.0, 7200.0),
    "dishwasher": (600.0, 7200.0), "washing machine": (550.0, 5400.0), "dryer": (700.0, 6000.0),
    "router": (10.0, math.inf),
}  # fmt: skip
SET_POINT_MIN_C, SET_POINT_MAX_C = 5.0, 30.0


@dataclass(slots=True)
class Device:
    """Anything in the listing.

    Attributes:
        name: unique in its home, lower case.
        area: the room it stands in.
        noun: what sort of thing it is.
        alias: second name, or "".
        nick: the person or invented word before the noun in a nickname, or "".
    """

    name: str
    area: str
    noun: Noun
    alias: str = ""
    nick: str = ""
    domain: ClassVar[str] = ""

    def state_text(self, room: Room) -> str:
        """The state as the listing shows it."""
        raise NotImplementedError

    def said(self, room: Room) -> str:
        """The state as a sentence says it after "is"."""
        return self.state_text(room)

    def word(self) -> str:
        """The state as one word, for yes-or-no questions."""
        return ""

    def commanded(self) -> tuple[Any, ...]:
        """What has been asked of the device; tools change nothing else."""
        return ()

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        """Let time pass, a minute at most.

        Args:
            seconds: how long.
            room: the air around it, as it was at the start.
            load: what works on that air; the device adds its part.
        Returns:
            Electric energy drawn, in joules.
        """
        used_j = self.power_w() * seconds
        load.gains_j += used_j
        return used_j

    def power_w(self) -> float:
        """Electric power that it draws now."""
        return 0.0

    def attributes(self, room: Room) -> dict[str, Any]:
        """The state for programs, JSON-able."""
        return {}


@dataclass(slots=True)
class OnOff(Device):
    """A device that is on or off."""

    is_on: bool = False

    def state_text(self, room: Room) -> str:
        return self.word()

    def word(self) -> str:
        return "on" if self.is_on else "off"

    def commanded(self) -> tuple[Any, ...]:
        return (self.is_on,)

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"on": self.is_on}

    def turn_on(self) -> str:
        """Switch on; returns the new state as tools report it."""
        self.is_on = True
        return "on"

    def turn_off(self) -> str:
        """Switch off; returns the new state as tools report it."""
        self.is_on = False
        return "off"


@dataclass(slots=True)
class Switch(OnOff):
    """A plug, or an appliance that ends by itself what it was switched on for.

    Attributes:
        on_s: how long it has been on.
    """

    on_s: float = 0.0
    domain: ClassVar[str] = "switch"

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        if not self.is_on:
            self.on_s = 0.0
            return 0.0
        power_w, lasts_s = self._load()
        used_j = power_w * max(0.0, min(seconds, lasts_s - self.on_s))
        self.on_s += seconds
        load.gains_j += used_j
        return used_j

    def power_w(self) -> float:
        power_w, lasts_s = self._load()
        return power_w if self.is_on and self.on_s < lasts_s else 0.0

    def _load(self) -> tuple[float, float]:
        return SWITCH_LOADS.get(self.noun.text, (40.0, math.inf))


@dataclass(slots=True)
class Fan(OnOff):
    """A fan with one speed. An exhaust fan blows air out, and as much comes in from outside."""

    domain: ClassVar[str] = "fan"

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        if self.is_on and self.noun.text == "exhaust fan":
            load.opening_w_k += EXHAUST_W_K
        return Device.advance(self, seconds, room, load)

    def power_w(self) -> float:
        return FAN_W if self.is_on else 0.0


@dataclass(slots=True)
class MediaPlayer(OnOff):
    """A television, radio or speaker.

    Attributes:
        volume: percent, or None where it cannot be set from here.
    """

    volume: int | None = None
    domain: ClassVar[str] = "media_player"

    def state_text(self, room: Room) -> str:
        return f"on {self.volume}%" if self.is_on and self.volume is not None else self.word()

    def said(self, room: Room | None = None) -> str:
        return f"on at volume {self.volume}%" if self.is_on and self.volume is not None else self.word()

    def commanded(self) -> tuple[Any, ...]:
        return (True, self.volume) if self.is_on and self.volume is not None else (self.is_on,)

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"on": self.is_on} | ({} if self.volume is None else {"volume": self.volume})

    def power_w(self) -> float:
        return MEDIA_W.get(self.noun.text, 10.0) if self.is_on else 0.0

    def set_volume(self, volume: int) -> str:
        """Set the volume in percent and switch on; returns the new state as tools report it."""
        self.is_on, self.volume = True, volume
        return self.said()


@dataclass(slots=True)
class Light(OnOff):
    """A light with brightness in percent and, where it has colours, one of the eight colour words."""

    brightness: int = 100
    color: str = ""
    domain: ClassVar[str] = "light"

    def state_text(self, room: Room) -> str:
        return f"on {self.brightness}%{' ' + self.color if self.color else ''}" if self.is_on else "off"

    def said(self, room: Room | None = None) -> str:
        return f"on at {self.brightness}%{' in ' + self.color if self.color else ''}" if self.is_on else "off"

    def commanded(self) -> tuple[Any, ...]:
        return (True, self.brightness, self.color) if self.is_on else (False,)

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"on": self.is_on, "brightness": self.brightness, "color": self.color or None}

    def power_w(self) -> float:
        return LIGHT_W.get(self.noun.text, 8.0) * self.brightness / 100 if self.is_on else 0.0

    def turn_on(self) -> str:
        """Switch on; returns the new state as tools report it."""
        self.is_on = True
        return self.said()

    def set(self, brightness: int | None, color: str | None) -> str:
        """Set what is given and switch on.

        Args:
            brightness: percent; None leaves it.
            color: one of the colour words; None leaves it.
        Returns: the new state as tools report it.
        """
        self.is_on = True
        self.brightness = self.brightness if brightness is None else brightness
        self.color = self.color if color is None else color
        return self.said()


@dataclass(slots=True)
class Cover(Device):
    """A blind, curtain, shutter, awning or garage door; position 0 is closed, 100 fully open."""

    position: float = 0.0
    target: int = 0
    domain: ClassVar[str] = "cover"

    def state_text(self, room: Room) -> str:
        shown = round(self.position)
        if shown != self.target:
            return f"{'opening' if self.target > shown else 'closing'} {shown}%"
        return f"open {shown}%" if shown else "closed"

    def said(self, room: Room) -> str:
        state, _, percent = self.state_text(room).partition(" ")
        return f"{state} at {percent}" if percent else state

    def word(self) -> str:
        return "open" if round(self.position) else "closed"

    def commanded(self) -> tuple[Any, ...]:
        return (self.target,)

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        reach = 100.0 * seconds / COVER_TRAVEL_S
        way = max(-reach, min(reach, self.target - self.position))
        self.position += way
        if self.noun.head == "door":
            load.opening_w_k += OPEN_GATE_W_K * self.position / 100.0
        else:
            load.sun_share = min(load.sun_share, 1 - COVER_SHADE * (1 - self.position / 100.0))
        return COVER_MOTOR_W * abs(way) / 100.0 * COVER_TRAVEL_S  # The motor's heat stays in the outer wall.

    def power_w(self) -> float:
        return COVER_MOTOR_W if self.position != self.target else 0.0

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"position": round(self.position), "target": self.target}

    def turn_on(self) -> str:
        """Open; returns the new state as tools report it."""
        return self.move(100)

    def turn_off(self) -> str:
        """Close; returns the new state as tools report it."""
        return self.move(0)

    def move(self, target: int) -> str:
        """Start moving to a position; returns the new state as tools report it."""
        self.target = target
        if abs(self.position - target) < 0.5:
            return f"open at {target}%" if target else "closed"
        return {0: "closing", 100: "opening"}.get(target, f"moving to {target}%")


@dataclass(slots=True)
class Lock(Device):
    """A door lock. In the Assist tools, turning on locks and turning off unlocks."""

    is_locked: bool = True
    domain: ClassVar[str] = "lock"

    def state_text(self, room: Room) -> str:
        return self.word()

    def word(self) -> str:
        return "locked" if self.is_locked else "unlocked"

    def commanded(self) -> tuple[Any, ...]:
        return (self.is_locked,)

    def attributes(self, room: Room) -> dict[str, Any]:
        return {"locked": self.is_locked}

    def turn_on(self) -> str:
        """Lock; returns the new state as tools report it."""
        self.is_locked = True
        return "locked"

    def turn_off(self) -> str:
        """Unlock; returns the new state as tools report it."""
        self.is_locked = False
        return "unlocked"


@dataclass(slots=True)
class Climate(Device):
    """A heater with a thermostat: mode heat or off, set point 5 to 30 °C in steps of 0.5."""

    is_heating: bool = True
    set_point_c: float = 20.0
    domain: ClassVar[str] = "climate"

    def state_text(self, room: Room) -> str:
        mode = f"heat {degrees(self.set_point_c)}" if self.is_heating else "off"
        return f"{mode}, now {round(room.temperature_c)} °C"

    def said(self, room: Room) -> str:
        return f"set to {degrees(self.set_point_c)}" if self.is_heating else "off"

    def word(self) -> str:
        return "on" if self.is_heating else "off"

    def commanded(self) -> tuple[Any, ...]:
        return (True, self.set_point_c) if self.is_heating else (False,)

    def attributes(self, room: Room) -> dict[str, Any]:
        mode = "heat" if self.is_heating else "off"
        return {"mode": mode, "set_point_c": self.set_point_c, "temperature_c": round(room.temperature_c, 1)}

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        self.add_set_point(load)
        return 0.0  # The heat pump of the home draws for it.

    def add_set_point(self, load: RoomLoad) -> None:
        """Say what it heats its room to, if it is on."""
        if self.is_heating:
            load.heat_to_c.append(self.set_point_c)

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
        self.is_heating = True
        self.set_point_c = temperature_c
        return f"set to {degrees(temperature_c)}"


@dataclass(slots=True)
class Sensor(Device):
    """A thermometer or a hygrometer; it reads its room."""

    domain: ClassVar[str] = "sensor"

    def state_text(self, room: Room) -> str:
        return f"{round(room.temperature_c)} °C" if self.noun.measures == "temperature" else f"{humidity_of(room)}%"

    def said(self, room: Room) -> str:
        return f"at {self.state_text(room)}"

    def attributes(self, room: Room) -> dict[str, Any]:
        if self.noun.measures == "temperature":
            return {"temperature_c": round(room.temperature_c, 1)}
        return {"humidity": humidity_of(room)}


@dataclass(slots=True)
class BinarySensor(Device):
    """A window, door or motion contact. `is_active` means open, or motion seen."""

    is_active: bool = False
    domain: ClassVar[str] = "binary_sensor"

    def state_text(self, room: Room) -> str:
        return self.word()

    def word(self) -> str:
        if self.noun.measures == "motion":
            return "detected" if self.is_active else "clear"
        return "open" if self.is_active else "closed"

    def advance(self, seconds: float, room: Room, load: RoomLoad) -> float:
        if self.is_active:
            load.opening_w_k += OPEN_W_K.get(self.noun.text, 0.0)
        return 0.0

    def attributes(self, room: Room) -> dict[str, Any]:
        return {self.noun.measures: self.is_active}


def degrees(temperature_c: float) -> str:
    """Write a set point; whole degrees lose their ".0"."""
    return f"{temperature_c:g} °C"


def humidity_of(room: Room) -> int:
    """Relative humidity of the room's air in whole percent."""
    return round(relative_humidity(room.vapour_pa, room.temperature_c))


_CLASSES: dict[str, type[Device]] = {
    kind.domain: kind for kind in (Light, Switch, Fan, MediaPlayer, Cover, Lock, Climate, Sensor, BinarySensor)
}


def make_device(noun: Noun, name: str, area: str, **state: Any) -> Device:
    """Make the device that belongs to a noun.

    Args:
        noun: the sort of thing; its domain chooses the class.
        name: the unique name.
        area: the room it stands in.
        state: fields of that class.
    Returns:
        The new device.
    """
    return _CLASSES[noun.domain](name=name, area=area, noun=noun, **state)
