"""Values in requests: how people say percentages, degrees and colours, and whether they change anything."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from openmimo.environments.home.devices import Climate, Cover, Device, Light
from openmimo.environments.home.families import LISTS
from openmimo.environments.home.generate import sample_percent
from openmimo.environments.home.words import COLORS

__all__ = ["NO_VALUE", "NUMBER_WORDS", "Value", "sample_value", "say_percent", "say_temperature", "would_change"]


class Value(NamedTuple):
    """A value in words and as tool arguments."""

    text: str
    arguments: dict[str, Any]


NO_VALUE = Value("", {})
WRITTEN_SHARE, HALF_SHARE = 0.12, 0.06

NUMBER_WORDS = dict(enumerate(LISTS["ones"])) | {10 * number: word for number, word in enumerate(LISTS["tens"], 2)}
NUMBER_WORDS |= {
    tens + ones: f"{NUMBER_WORDS[tens]}-{NUMBER_WORDS[ones]}" for tens in range(20, 100, 10) for ones in range(1, 10)
}
"""How the numbers from 0 to 99 are written out."""


def sample_value(rng: random.Random, intent: str) -> Value:
    """Draw a value for an intent, with the words people use for it.

    Args:
        rng: source of randomness.
        intent: any intent; those without a value get an empty one.
    Returns:
        The value.
    """
    if intent == "set_brightness":
        percent = sample_percent(rng)
        return Value(say_percent(rng, percent, {50: "half", 100: "full"}), {"brightness": percent})
    if intent == "set_position":
        percent = min(99, sample_percent(rng))
        return Value(say_percent(rng, percent, {50: "half"}), {"position": percent})
    if intent == "set_color":
        color = rng.choice(COLORS)
        return Value(color, {"color": color})
    if intent == "set_temperature":
        degrees = rng.randint(15, 25) if rng.random() < 0.8 else rng.randint(5, 30)
        return say_temperature(rng, degrees + 0.5 if degrees < 30 and rng.random() < HALF_SHARE else degrees)
    return NO_VALUE


def say_percent(rng: random.Random, percent: int, words: Mapping[int, str]) -> str:
    """Write a percentage.

    Args:
        rng: source of randomness.
        percent: the number.
        words: words that may stand for some numbers.
    Returns:
        "half", "40%", "40 percent", "40" or "forty percent".
    """
    if percent in words and rng.random() < 0.3:
        return words[percent]
    if percent in NUMBER_WORDS and rng.random() < WRITTEN_SHARE:
        return NUMBER_WORDS[percent] + rng.choice((" percent", " percent", ""))
    return f"{percent}{rng.choice(('%', '%', ' percent', ''))}"


def say_temperature(rng: random.Random, degrees: float) -> Value:
    """Write a set point.

    Args:
        rng: source of randomness.
        degrees: °C, whole or with a half.
    Returns:
        The value, its text such as "21 degrees", "21", "minus 3 degrees" or "nineteen and a half degrees".
    """
    whole, is_half = int(abs(degrees)), degrees != int(degrees)
    is_written = whole in NUMBER_WORDS and rng.random() < WRITTEN_SHARE
    number = NUMBER_WORDS[whole] if is_written else str(whole)
    if is_half:
        number = f"{number} and a half" if is_written or rng.random() < 0.3 else f"{whole}.5"
    if degrees < 0:
        number = f"minus {number}" if is_written or rng.random() < 0.5 else f"-{number}"
    unit = rng.choice((" degrees", " degrees", "") if is_written else (" degrees", " degrees", "", " °C"))
    return Value(number + unit, {"temperature": degrees if is_half else int(degrees)})


def would_change(device: Device, intent: str, value: Value) -> bool:
    """Tell whether a request would alter what the device has been asked to do.

    Args:
        device: a device that the intent fits.
        intent: a single action.
        value: its value.
    Returns:
        False where the device is that way already.
    """
    match device:
        case Light() if intent == "set_brightness":
            return not device.is_on or device.brightness != value.arguments["brightness"]
        case Light() if intent == "set_color":
            return not device.is_on or device.color != value.arguments["color"]
        case Climate() if intent == "set_temperature":
            return not device.is_heating or device.set_point_c != value.arguments["temperature"]
        case Cover():
            wanted = {"open": 100, "close": 0}.get(intent, value.arguments.get("position"))
            return device.target != wanted
    return device.word() == {"turn_on": "off", "turn_off": "on", "lock": "unlocked", "unlock": "locked"}[intent]
