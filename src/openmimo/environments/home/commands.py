"""Commands for later: one short form for each action, written and read."""

from __future__ import annotations

import re
from typing import Any

from openmimo.environments.home.devices import Device
from openmimo.environments.home.values import Value

__all__ = ["read_command", "write_command"]

_VERBS = {
    "turn_on": "turn on", "turn_off": "turn off", "open": "open", "close": "close", "lock": "lock", "unlock": "unlock",
}  # fmt: skip
_TOOLS = {
    "turn on": "HassTurnOn", "turn off": "HassTurnOff", "open": "HassTurnOn", "close": "HassTurnOff",
    "lock": "HassTurnOn", "unlock": "HassTurnOff",
}  # fmt: skip
_DOMAINS = {"open": ("cover",), "close": ("cover",), "lock": ("lock",), "unlock": ("lock",)}
_SETTERS = {
    "light": ("HassLightSet", "brightness"),
    "cover": ("HassSetPosition", "position"),
    "climate": ("HassClimateSetTemperature", "temperature"),
}
_SWITCHED = ("light", "switch", "fan", "media_player", "climate")


def write_command(device: Device, intent: str, value: Value) -> str:
    """Write what is to be done later.

    Args:
        device: the device.
        intent: a single action; a colour cannot be set later.
        value: its value.
    Returns:
        Such as "turn off office fan", or "set office lamp to 40".
    """
    if intent in _VERBS:
        return f"{_VERBS[intent]} {device.name}"
    return f"set {device.name} to {next(iter(value.arguments.values()))}"


def read_command(text: str, devices: list[Device]) -> tuple[str, dict[str, Any], str] | None:
    """Read what is to be done later.

    Args:
        text: as `write_command` writes it, with a name or an alias.
        devices: those of the home.
    Returns:
        The tool, its arguments, and what the device is "to be", such as "turned off"; None where the text is no
        command for one of the devices.
    """
    text = " ".join(text.lower().split())
    setting = re.fullmatch(r"set (.+) to (\d+(?:\.\d+)?) ?(?:%|percent|degrees|°c)?", text)
    acting = re.fullmatch(rf"({'|'.join(_TOOLS)}) (.+)", text)
    name = setting[1] if setting else acting[2] if acting else ""
    device = next((device for device in devices if name and name in (device.name, device.alias)), None)
    if device is None:
        return None
    if setting:
        if device.domain not in _SETTERS:
            return None
        tool, key = _SETTERS[device.domain]
        return tool, {"name": device.name, key: float(setting[2])}, f"set to {setting[2]}"
    assert acting is not None
    if device.domain not in _DOMAINS.get(acting[1], _SWITCHED):
        return None
    return _TOOLS[acting[1]], {"name": device.name}, _done(acting[1])


def _done(verb: str) -> str:
    word, _, particle = verb.partition(" ")
    return f"{word}{'d' if word.endswith('e') else 'ed'} {particle}".strip()
