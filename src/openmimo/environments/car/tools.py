"""The tools of a car and its phone, named like Assist intents, and what each call does.

What a careful car would refuse is refused here: nothing is unlocked or opened on the road, the doors and the trunk only
after the user has confirmed, and no navigation where the battery does not reach.
"""

from __future__ import annotations

import re
from typing import Any

from openmimo.environments.car.cockpit import STOP_SUFFIX, Cockpit
from openmimo.environments.car.journeys import next_clock_s
from openmimo.environments.home.people import clock_text
from openmimo.environments.toolbox import Given, Tool, Toolbox, ToolError, boolean, shown, stepped, text

__all__ = ["CAR_TOOLS", "LIMIT_MIN_PERCENT", "SEAT_LEVELS", "SET_POINT_MAX_C", "SET_POINT_MIN_C", "next_time_s"]

SET_POINT_MIN_C, SET_POINT_MAX_C = 16, 28
LIMIT_MIN_PERCENT = 20
SEAT_LEVELS = 3
MESSAGE_MAX = 200


def _known(name: str, names: Any, what: str) -> str:
    if name not in names:
        raise ToolError("not_found", f"there is no {what} {shown(name)}")
    return name


def next_time_s(cockpit: Cockpit, given: Given, key: str) -> float:
    """Read a time of day at which a parked car is to do something.

    Args:
        cockpit: tells the time now.
        given: checked arguments; the parameter is required.
        key: the parameter.
    Returns:
        Clock seconds of the next such time.
    Raises:
        ToolError: it is no time of day, or the car is on the road.
    """
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text(given, key))
    if not match:
        raise ToolError("invalid_value", f"{key} must be a time such as 07:30")
    if cockpit.car.is_driving:
        raise ToolError("driving", "the car is on the road")
    return next_clock_s(cockpit, 60 * int(match[1]) + int(match[2]))


def _turn(cockpit: Cockpit, given: Given, is_on: bool) -> list[str]:
    car, name = cockpit.car, text(given, "name")
    state = "on" if is_on else "off"
    if name == "climate":
        car.climate_on, car.warm_at_s = is_on, None
    elif name == "charging":
        if is_on and not car.is_plugged:
            raise ToolError("unsupported", "the car is not plugged in")
        car.wants_charge = is_on
    elif name in car.seats:
        car.seats[name] = max(1, car.seats[name]) if is_on else 0
    else:
        car.switches[_known(name, car.switches, "switch")] = is_on
    return [f"{name}: {state}"]


def _turn_on(cockpit: Cockpit, given: Given) -> list[str]:
    return _turn(cockpit, given, True)


def _turn_off(cockpit: Cockpit, given: Given) -> list[str]:
    return _turn(cockpit, given, False)


def _set_temperature(cockpit: Cockpit, given: Given) -> list[str]:
    degrees = stepped(given, "temperature", SET_POINT_MIN_C, SET_POINT_MAX_C, 0.5)
    cockpit.car.climate_on, cockpit.car.set_point_c = True, degrees
    return [f"climate: set to {degrees:g} °C"]


def _set_seat(cockpit: Cockpit, given: Given) -> list[str]:
    name = _known(text(given, "name"), cockpit.car.seats, "seat")
    level = int(stepped(given, "level", 0, SEAT_LEVELS))
    cockpit.car.seats[name] = level
    return [f"{name}: at level {level}" if level else f"{name}: off"]


def _set_window(cockpit: Cockpit, given: Given) -> list[str]:
    windows = cockpit.car.windows
    names = [_known(text(given, "name"), windows, "window")] if "name" in given else list(windows)
    position = int(stepped(given, "position", 0, 100))
    windows.update(dict.fromkeys(names, position))
    return [f"{name}: open at {position}%" if position else f"{name}: closed" for name in names]


def _lock(cockpit: Cockpit, given: Given) -> list[str]:
    name = _known(text(given, "name"), ("doors", "trunk"), "lock")
    if name == "doors":
        cockpit.car.doors_locked = True
        return ["doors: locked"]
    cockpit.car.trunk_open = False
    return ["trunk: closed"]


def _unlock(cockpit: Cockpit, given: Given) -> list[str]:
    name = _known(text(given, "name"), ("doors", "trunk"), "lock")
    if cockpit.car.is_driving:
        raise ToolError("driving", f"the {name} cannot be opened while driving")
    if not boolean(given, "confirmed"):
        raise ToolError("needs_confirmation", "ask the user first, then call again with confirmed")
    if name == "doors":
        cockpit.car.doors_locked = False
        return ["doors: unlocked"]
    cockpit.car.trunk_open = True
    return ["trunk: open"]


def _set_charge(cockpit: Cockpit, given: Given) -> list[str]:
    limit = int(stepped(given, "limit", LIMIT_MIN_PERCENT, 100))
    cockpit.car.limit_percent = limit
    cockpit.car.wants_charge = True
    return [f"charge limit: {limit}%"]


def _precondition(cockpit: Cockpit, given: Given) -> list[str]:
    cockpit.car.warm_at_s = next_time_s(cockpit, given, "start")
    cockpit.car.climate_on = False
    return [f"climate: starting at {clock_text(cockpit.car.warm_at_s)}"]


def _navigate(cockpit: Cockpit, given: Given) -> list[str]:
    car, places = cockpit.car, cockpit.car.roads.places
    place = _known(text(given, "place"), [name for name in places if not name.endswith(STOP_SUFFIX)], "place")
    stop = text(given, "stop")
    if car.is_driving:
        raise ToolError("driving", "the route cannot be changed while driving")
    if place == car.place:
        raise ToolError("invalid_value", f"the car is at {place}")
    if stop:
        _known(stop, [name for name in places if name.endswith(STOP_SUFFIX)], "stop")
    _check_charge(cockpit, place, stop)
    car.route = [stop, place] if stop else [place]
    return [f"navigation: set to {place}{f' by {stop}' if stop else ''}"]


def _check_charge(cockpit: Cockpit, place: str, stop: str) -> None:
    car, outside_c = cockpit.car, cockpit.outside_c
    first = stop or place
    if car.trip_percent(car.place, first, outside_c) > car.percent:
        raise ToolError("battery_low", f"the battery is too low for {first}")
    if stop and car.trip_percent(stop, place, outside_c) > 100:
        raise ToolError("battery_low", f"{place} is too far from {stop}")


def _notify(cockpit: Cockpit, given: Given) -> list[str]:
    name, message = cockpit.phone.find(text(given, "name")), given["message"]
    if name is None:
        raise ToolError("not_found", f"there is no contact {shown(given['name'])}")
    if not isinstance(message, str) or len(message) > MESSAGE_MAX:
        raise ToolError("invalid_value", f"message must be text of at most {MESSAGE_MAX} characters")
    cockpit.phone.sent.append((name, _plain(message)))
    return [f"message: sent to {name}"]


def _plain(message: str) -> str:
    """A message as verifiers compare it: case, spaces and punctuation at the end do not matter."""
    return " ".join(message.lower().split()).rstrip(".!?,")


def _call(cockpit: Cockpit, given: Given) -> list[str]:
    name = cockpit.phone.find(text(given, "name"))
    if name is None:
        raise ToolError("not_found", f"there is no contact {shown(given['name'])}")
    cockpit.phone.calls.append(name)
    return [f"call: started with {name}"]


_TEXT = {"type": "string"}
_PERCENT = {"type": "integer", "minimum": 0, "maximum": 100, "description": "percent open"}
_LOCKS = {"type": "string", "enum": ["doors", "trunk"]}
_DEGREES = {"type": "number", "minimum": SET_POINT_MIN_C, "maximum": SET_POINT_MAX_C, "description": "°C"}
_YES = {"type": "boolean", "description": "true after the user has said yes"}

CAR_TOOLS = Toolbox(
    {
        "CarTurnOn": Tool("Turn on climate, charging, a seat or a switch", {"name": _TEXT}, _turn_on, ("name",)),
        "CarTurnOff": Tool("Turn off climate, charging, a seat or a switch", {"name": _TEXT}, _turn_off, ("name",)),
        "CarSetTemperature": Tool("Set the cabin temperature", {"temperature": _DEGREES}, _set_temperature,
                                  ("temperature",)),
        "CarSetSeat": Tool("Heat a seat",
                           {"name": _TEXT, "level": {"type": "integer", "minimum": 0, "maximum": SEAT_LEVELS}},
                           _set_seat, ("name", "level")),
        "CarSetWindow": Tool("Move a window, or all", {"name": _TEXT, "position": _PERCENT}, _set_window,
                             ("position",)),
        "CarLock": Tool("Lock the doors or close the trunk", {"name": _LOCKS}, _lock, ("name",)),
        "CarUnlock": Tool("Unlock the doors or open the trunk", {"name": _LOCKS, "confirmed": _YES}, _unlock,
                          ("name",)),
        "CarSetCharge": Tool("Charge up to a limit",
                             {"limit": {"type": "integer", "minimum": LIMIT_MIN_PERCENT, "maximum": 100}},
                             _set_charge, ("limit",)),
        "CarPrecondition": Tool("Start the climate later", {"start": {"type": "string", "description": "HH:MM"}},
                                _precondition, ("start",)),
        "CarNavigate": Tool("Drive to a place", {"place": _TEXT, "stop": _TEXT}, _navigate, ("place",)),
        "PhoneNotify": Tool("Send a message", {"name": _TEXT, "message": _TEXT}, _notify, ("name", "message")),
        "PhoneCall": Tool("Call somebody", {"name": _TEXT}, _call, ("name",)),
    }
)  # fmt: skip
