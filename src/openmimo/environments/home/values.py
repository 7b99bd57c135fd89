"""Values in requests: how people say percentages, degrees and colours, and whether they change anything."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, NamedTuple

from openmimo.environments.home.devices import Climate, Cover, Device, Light
from openmimo.environments.home.generate import sample_percent
from openmimo.environments.home.words import COLORS

__all__ = ["NO_VALUE", "NUMBER_WORDS", "Value", "sample_value", "say_percent", "say_temperature", "would_change"]


class Value(NamedTuple):
    """A value in words and as tool arguments."""

    text: str
    arguments: dict[str, Any]


NO_VALUE = Value("", {})

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
NUMBER_WORDS = dict(enumerate(_ONES)) | {10 * number: word for number, word in enumerate(_TENS, 2)}
NUMBER_WORDS |= {number: f"{NUMBER_WORDS[number - number % 10]}-{_ONES[number % 10]}" for number in range(21, 30)}
"""How some whole numbers are written out."""


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
        return say_temperature(rng, rng.randint(15, 25) if rng.random() < 0.8 else rng.randint(5, 30))
    return NO_VALUE


def say_percent(rng: random.Random, percent: int, words: Mapping[int, str]) -> str:
    """Write a percentage.

    Args:
        rng: source of randomness.
        percent: the number.
        words: words that may stand for some numbers.
    Returns:
        "half", "40%", "40 percent" or "40".
    """
    if percent in words and rng.random() < 0.3:
        return words[percent]
    return f"{percent}{rng.choice(('%', '%', ' percent', ''))}"


def say_temperature(rng: random.Random, degrees: int) -> Value:
    """Write a set point.

    Args:
        rng: source of randomness.
        degrees: whole °C.
    Returns:
        The value, its text such as "21 degrees" or "21".
    """
    return Value(f"{degrees}{rng.choice((' degrees', ' degrees', '', ' °C'))}", {"temperature": degrees})


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
