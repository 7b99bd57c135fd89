"""Amounts that people add or take away: how they are said, and the sum that a reasoning shows."""

from __future__ import annotations

import random
from typing import NamedTuple

from openmimo.environments.home.devices import SET_POINT_MAX_C, SET_POINT_MIN_C, Climate, Cover, Device, Light
from openmimo.environments.home.families import LISTS
from openmimo.environments.home.values import Value, say_percent

__all__ = ["Change", "change_of", "sample_amount"]

SMALL = {"light": 10, "cover": 10, "climate": 1}
LARGE = {"light": 30, "cover": 30, "climate": 3}


class Change(NamedTuple):
    """A new value that was worked out from the present one.

    Attributes:
        intent: the action that sets it.
        value: the new value.
        step: the sum as the reasoning writes it, such as "40 + 10 = 50".
    """

    intent: str
    value: Value
    step: str


def sample_amount(rng: random.Random, domain: str) -> tuple[dict[str, str], float]:
    """Draw an amount.

    Args:
        rng: source of randomness.
        domain: "light", "cover" or "climate".
    Returns:
        The slots m ("a bit", "much" or nothing) and by ("by 20%" or nothing), and the amount in percent or degrees.
    """
    draw = rng.random()
    if draw < 0.3:
        return {"m": "", "by": ""}, SMALL[domain]
    if draw < 0.55:
        return {"m": rng.choice(LISTS["small_amount"]), "by": ""}, SMALL[domain]
    if draw < 0.75:
        return {"m": rng.choice(LISTS["large_amount"]), "by": ""}, LARGE[domain]
    if domain == "climate":
        return _exact_degrees(rng)
    percent = 5 * rng.randint(1, 4) if rng.random() < 0.4 else 10 * rng.randint(1, 5)
    return {"m": "", "by": "by " + say_percent(rng, percent, {})}, percent


def _exact_degrees(rng: random.Random) -> tuple[dict[str, str], float]:
    texts = {0.5: ("half a degree", "0.5 degrees"), 1: ("one degree", "1 degree", "a degree"), 2: ("two degrees",)}
    amount = rng.choice((0.5, 1, 2, 2, 3, 4))
    text = rng.choice((*texts.get(amount, ()), f"{amount:g} degrees" if amount > 1 else texts[amount][0]))
    return {"m": "", "by": f"by {text}"}, amount


def change_of(device: Device, sign: int, amount: float) -> Change | None:
    """Work out the new value.

    Args:
        device: what is changed.
        sign: 1 for more, -1 for less.
        amount: how much, in percent or degrees.
    Returns:
        The change, or None where it makes no sense: less of what is off, or already at the limit.
    """
    match device:
        case Light():
            present = device.brightness if device.is_on else 0
            return _change("set_brightness", "brightness", present, sign * amount, 1, 100)
        case Cover():
            return _change("set_position", "position", device.target, sign * amount, 0, 100)
        case Climate() if device.is_heating:
            present = device.set_point_c
            return _change(
                "set_temperature", "temperature", present, sign * amount, int(SET_POINT_MIN_C), int(SET_POINT_MAX_C)
            )
    return None


def _change(intent: str, key: str, present: float, amount: float, low: int, high: int) -> Change | None:
    total = present + amount
    new = min(max(total, low), high)
    if new == present or (present < low and amount < 0):
        return None
    limit = f", at most {high}" if total > high else f", at least {low}" if total < low else ""
    step = f"{present:g} {'+' if amount > 0 else '-'} {abs(amount):g} = {total:g}{limit}"
    number = int(new) if new == int(new) else new
    return Change(intent, Value(f"{new:g}", {key: number}), step)
