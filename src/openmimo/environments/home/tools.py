"""The tools of a home, shaped like Home Assistant's Assist API, and what each call does to the world.

A call that cannot be carried out changes nothing and returns `{"error": code, "message": text}`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from openmimo.environments.home.appliances import APPLIANCE_NOUNS, Appliance, Vacuum, WaterHeater
from openmimo.environments.home.commands import read_command
from openmimo.environments.home.devices import (
    SET_POINT_MAX_C,
    SET_POINT_MIN_C,
    Climate,
    Cover,
    Device,
    Light,
    Lock,
    MediaPlayer,
    OnOff,
)
from openmimo.environments.home.words import COLORS, NOUNS
from openmimo.environments.home.world import Home
from openmimo.environments.toolbox import Given, ToolError, number, shown, text

__all__ = ["DISTRACTORS", "TOOL_NAMES", "call_tool", "pass_time", "tool_dicts"]

MAX_TIMERS = 20
MAX_PLANS = 20
DAY_MINUTES = 24 * 60
TIMER_MAX_MINUTES = 24 * 60


def call_tool(
    home: Home, name: str, arguments: Mapping[str, Any], offered: Collection[str] | None = None
) -> dict[str, Any]:
    """Carry out one tool call.

    Args:
        home: the world; changed in place only when the call succeeds.
        name: tool name.
        arguments: its arguments, as the model gave them.
        offered: names of the tools on offer; None means all.
    Returns:
        `{"success": [...]}` with one "name: state" per device, `{"listing": text}` for GetLiveContext, or
        `{"error": code, "message": text}`.
    """
    try:
        if name not in _TOOLS or (offered is not None and name not in offered):
            raise ToolError("unknown_tool", f"there is no tool {shown(name)}")
        if not isinstance(arguments, Mapping):
            raise ToolError("invalid_value", "arguments must be an object")
        tool = cast(dict[str, Any], _TOOLS[name])
        unknown = [key for key in arguments if key not in tool["properties"]]
        if unknown:
            raise ToolError("unknown_parameter", f"{name} has no parameter {shown(unknown[0])}")
        given = {key: value for key, value in arguments.items() if value is not None and value != ""}
        return tool["run"](home, given)
    except ToolError as error:
        return {"error": error.code, "message": str(error)}


def tool_dicts(names: Collection[str]) -> list[dict[str, Any]]:
    """Describe tools in the OpenAI shape.

    Args:
        names: which tools; their order does not matter.
    Returns:
        One dict per tool in the fixed order of TOOL_NAMES.
    """
    return [_DICTS[name] for name in TOOL_NAMES if name in names]


# ---- which devices a call means


def _select(home: Home, given: Mapping[str, Any], fits: Callable[[Device], bool], what: str) -> list[Device]:
    """Filter by name (or alias), area and domain; at least one of them must be given."""
    if not any(key in given for key in ("name", "area", "domain")):
        raise ToolError("missing_parameter", "give a name, an area or a domain")
    name, area, domain = (text(given, key) for key in ("name", "area", "domain"))
    if domain and domain not in NOUNS and domain not in APPLIANCE_NOUNS:
        raise ToolError("invalid_value", f"there is no domain {shown(domain)}")
    found = [
        device
        for device in home.devices
        if (not name or name in (device.name, device.alias))
        and (not area or area == device.area)
        and (not domain or domain == device.domain)
    ]
    if not found:
        raise ToolError(
            "not_found", f"there is no {shown(name or domain or 'device')}{' in ' + shown(area) if area else ''}"
        )
    able = [device for device in found if fits(device)]
    if not able:
        raise ToolError("unsupported", f"{found[0].name} cannot {what}")
    return able


def _number(given: Given, key: str, low: float, high: float) -> float | None:
    return number(given, key, low, high) if key in given else None


def _percent(given: Mapping[str, Any], key: str, low: int) -> int | None:
    percent = _number(given, key, low, 100)
    if percent is not None and percent != int(percent):
        raise ToolError("invalid_value", f"{key} must be a whole number")
    return None if percent is None else int(percent)


def _done(home: Home, devices: Sequence[Device], act: Callable[[Any], str]) -> dict[str, Any]:
    home.touched.update(device.name for device in devices)
    return {"success": [f"{device.name}: {act(device)}" for device in devices]}


# ---- the tools


_SWITCHABLE = (OnOff, Cover, Lock, Climate, Appliance, WaterHeater)


def _switchable(home: Home, given: Mapping[str, Any], what: str) -> list[Device]:
    """Devices for HassTurnOn and HassTurnOff; covers and locks only by name or by domain, locks one at a time."""
    by_area_only = "area" in given and not ("name" in given or "domain" in given)
    kinds: tuple[type[Device], ...] = (OnOff,) if by_area_only else _SWITCHABLE
    devices = _select(home, given, lambda device: isinstance(device, kinds), what)
    if len(devices) > 1 and isinstance(devices[0], Lock):
        raise ToolError("ambiguous", "locks must be named one by one")
    return devices


def _turn_on(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    return _done(home, _switchable(home, given, "be turned on"), lambda device: device.turn_on())


def _turn_off(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    return _done(home, _switchable(home, given, "be turned off"), lambda device: device.turn_off())


def _light_set(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    lights = _select(home, given, lambda device: isinstance(device, Light), "be dimmed")
    brightness, color = _percent(given, "brightness", 1), text(given, "color") or None
    if brightness is None and color is None:
        raise ToolError("missing_parameter", "give a brightness or a color")
    if color is not None and color not in COLORS:
        raise ToolError("invalid_value", f"color must be one of {', '.join(COLORS)}")
    if color is not None:
        plain = next((light for light in lights if isinstance(light, Light) and not light.color), None)
        if plain is not None:
            raise ToolError("unsupported", f"{plain.name} has no colours")
    return _done(home, lights, lambda light: light.set(brightness, color))


def _set_position(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    covers = _select(home, given, lambda device: isinstance(device, Cover), "be moved")
    position = _percent(given, "position", 0)
    if position is None:
        raise ToolError("missing_parameter", "give a position")
    return _done(home, covers, lambda cover: cover.move(position))


def _set_temperature(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    heaters = _select(home, given, lambda device: isinstance(device, Climate), "be set to a temperature")
    temperature_c = _number(given, "temperature", SET_POINT_MIN_C, SET_POINT_MAX_C)
    if temperature_c is None:
        raise ToolError("missing_parameter", "give a temperature")
    if temperature_c * 2 != int(temperature_c * 2):
        raise ToolError("invalid_value", "temperature must be in steps of 0.5")
    if len(heaters) > 1:
        raise ToolError("ambiguous", f"which one: {', '.join(heater.name for heater in heaters)}")
    return _done(home, heaters, lambda heater: heater.set_temperature(temperature_c))


def _live_context(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    return {"listing": home.listing()}


def _start_vacuum(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    return _done(home, _robots(home), lambda robot: robot.start())


def _return_vacuum(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    return _done(home, _robots(home), lambda robot: robot.return_home())


def _robots(home: Home) -> list[Device]:
    return _select(home, {"domain": "vacuum"}, lambda device: isinstance(device, Vacuum), "clean floors")[:1]


def _set_volume(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    def fits(device: Device) -> bool:
        return isinstance(device, MediaPlayer) and device.volume is not None

    players = _select(home, {"domain": "media_player", **given}, fits, "be made louder or quieter")
    volume = _percent(given, "volume_level", 0)
    if volume is None:
        raise ToolError("missing_parameter", "give a volume_level")
    if len(players) > 1:
        raise ToolError("ambiguous", f"which one: {', '.join(player.name for player in players)}")
    return _done(home, players, lambda player: player.set_volume(volume))


def _pause_media(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    # There is no paused state in this world, so pausing something that plays turns it off.
    players = _select(
        home, {"domain": "media_player", **given}, lambda device: device.domain == "media_player", "pause"
    )
    return _done(home, players, lambda player: player.turn_off())


def _start_timer(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    minutes = _number(given, "minutes", 1, TIMER_MAX_MINUTES)
    if minutes is None:
        raise ToolError("missing_parameter", "give the minutes")
    if len(home.timers_s) >= MAX_TIMERS:
        raise ToolError("unsupported", f"there are already {MAX_TIMERS} timers")
    home.timers_s.append(home.clock_s + 60 * minutes)
    home.touched.add("timer")
    return {"success": [f"timer: set for {minutes:g} minutes"]}


def _schedule(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    command = read_command(text(given, "command"), home.devices)
    if "command" not in given:
        raise ToolError("missing_parameter", "give a command, such as: turn off NAME")
    if command is None:
        raise ToolError("invalid_value", f"no command for a device here: {shown(given['command'])}")
    if len(home.plans) >= MAX_PLANS:
        raise ToolError("unsupported", f"there are already {MAX_PLANS} plans")
    minutes = _minutes_from_now(home, given)
    tool, arguments, done = command
    tried = call_tool(home.copy(), tool, arguments)
    if "error" in tried:
        raise ToolError(tried["error"], tried["message"])
    home.plans.append((home.clock_s + 60 * minutes, tool, arguments))
    home.touched.add("plan")
    due = int(home.clock_s // 60 + minutes) % DAY_MINUTES
    return {"success": [f"{arguments['name']}: to be {done} at {due // 60:02d}:{due % 60:02d}"]}


def _minutes_from_now(home: Home, given: Mapping[str, Any]) -> float:
    minutes, time = _number(given, "minutes", 1, TIMER_MAX_MINUTES), text(given, "time")
    if (minutes is None) == (not time):
        raise ToolError("missing_parameter", "give either minutes or a time")
    if minutes is not None:
        return minutes
    hour, _, minute = time.partition(":")
    if not (hour.isdigit() and minute.isdigit() and len(time) <= 5 and int(hour) < 24 and int(minute) < 60):
        raise ToolError("invalid_value", "time must be HH:MM")
    now = int(home.clock_s // 60) % DAY_MINUTES
    return (60 * int(hour) + int(minute) - now - 1) % DAY_MINUTES + 1 - home.clock_s % 60 / 60


def _cancel_timer(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    if not home.timers_s and not home.plans:
        raise ToolError("not_found", "there is no timer")
    what, items = ("plan", home.plans) if home.plans else ("timer", home.timers_s)
    items.pop()
    home.touched.add(what)
    return {"success": [f"{what}: cancelled"]}


def pass_time(home: Home, seconds: float) -> None:
    """Let time pass and carry out plans when they are due.

    Args:
        home: changed in place.
        seconds: how long, not negative, a week at most.
    Raises:
        ValueError: seconds is out of range.
    """
    end_s = home.clock_s + seconds
    while due := [plan for plan in home.plans if plan[0] <= end_s]:
        plan = min(due, key=lambda plan: plan[0])
        home.advance(max(0.0, plan[0] - home.clock_s))
        home.plans.remove(plan)
        call_tool(home, plan[1], plan[2])
    home.advance(max(0.0, end_s - home.clock_s))


def _date_time(home: Home, given: Mapping[str, Any]) -> dict[str, Any]:
    return {"success": [f"time: {home.clock}"]}


_NAME = {"type": "string", "description": "device name"}
_AREA = {"type": "string", "description": "room"}
_DOMAIN = {"type": "string", "description": "kind of device, such as light"}

# name: (description, properties, required, function); the order here is the order on offer.
_SPECS: dict[str, tuple[str, dict[str, Any], list[str], Callable[[Home, Mapping[str, Any]], Any]]] = {
    "HassTurnOn": ("Turn on, open or lock", {"name": _NAME, "area": _AREA, "domain": _DOMAIN}, [], _turn_on),
    "HassTurnOff": ("Turn off, close or unlock", {"name": _NAME, "area": _AREA, "domain": _DOMAIN}, [], _turn_off),
    "HassLightSet": (
        "Set a light's brightness or color",
        {
            "name": _NAME,
            "area": _AREA,
            "brightness": {"type": "integer", "minimum": 1, "maximum": 100, "description": "percent"},
            "color": {"type": "string", "enum": list(COLORS)},
        },
        [],
        _light_set,
    ),
    "HassSetPosition": (
        "Move a cover",
        {
            "name": _NAME,
            "area": _AREA,
            "position": {"type": "integer", "minimum": 0, "maximum": 100, "description": "percent open"},
        },
        ["position"],
        _set_position,
    ),
    "HassClimateSetTemperature": (
        "Set the temperature to heat to",
        {
            "name": _NAME,
            "area": _AREA,
            "temperature": {"type": "number", "minimum": 5, "maximum": 30, "description": "°C"},
        },
        ["temperature"],
        _set_temperature,
    ),
    "GetLiveContext": ("Read all devices now", {}, [], _live_context),
    "HassVacuumStart": ("Start the vacuum robot", {}, [], _start_vacuum),
    "HassMediaPause": ("Pause music or films", {"name": _NAME, "area": _AREA}, [], _pause_media),
    "HassStartTimer": (
        "Start a timer",
        {"minutes": {"type": "number", "minimum": 1, "maximum": TIMER_MAX_MINUTES}},
        ["minutes"],
        _start_timer,
    ),
    "GetDateTime": ("Read the clock", {}, [], _date_time),
    "Schedule": (
        "Carry out a command later: in minutes, or at a time HH:MM",
        {
            "minutes": {"type": "number", "minimum": 1, "maximum": TIMER_MAX_MINUTES},
            "time": {"type": "string", "description": "HH:MM"},
            "command": {"type": "string", "description": "such as: turn off NAME, open NAME, set NAME to 40"},
        },
        ["command"],
        _schedule,
    ),
    "HassCancelTimer": ("Cancel the newest command for later, or the newest timer", {}, [], _cancel_timer),
    "HassVacuumReturnToBase": ("Send the vacuum robot home", {}, [], _return_vacuum),
    "HassSetVolume": (
        "Set the volume of a media player",
        {
            "name": _NAME,
            "area": _AREA,
            "volume_level": {"type": "integer", "minimum": 0, "maximum": 100, "description": "percent"},
        },
        ["volume_level"],
        _set_volume,
    ),
}
TOOL_NAMES = tuple(_SPECS)
DISTRACTORS = (
    "GetLiveContext",
    "HassMediaPause",
    "GetDateTime",
)
_TOOLS = {name: {"properties": properties, "run": run} for name, (_, properties, _, run) in _SPECS.items()}
_DICTS = {
    name: {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": properties, "required": required},
        },
    }
    for name, (description, properties, required, _) in _SPECS.items()
}
