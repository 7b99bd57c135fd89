"""How long and when: durations and times of day as people say them."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from openmimo.environments.home.values import NUMBER_WORDS

__all__ = ["Moment", "sample_duration", "sample_time"]


class Moment(NamedTuple):
    """A duration or a time of day.

    Attributes:
        text: how it is said.
        step: what it comes to, as the reasoning writes it.
        arguments: of the tool `Schedule`.
    """

    text: str
    step: str
    arguments: dict[str, Any]

    @property
    def minutes(self) -> int:
        """The length of a duration."""
        return self.arguments["minutes"]


_LENGTHS = {
    "half an hour": 30, "a quarter of an hour": 15, "an hour": 60, "one hour": 60, "an hour and a half": 90,
    "two hours": 120, "2 hours": 120, "three hours": 180, "3 hours": 180, "a minute": 1, "one minute": 1,
    "three quarters of an hour": 45,
}  # fmt: skip


def sample_duration(rng: random.Random) -> Moment:
    """Draw a duration.

    Args:
        rng: source of randomness.
    Returns:
        1 minute to 3 hours.
    """
    if rng.random() < 0.3:
        text, minutes = rng.choice(tuple(_LENGTHS.items()))
        return Moment(text, f"{text} = {minutes} minutes", {"minutes": minutes})
    minutes = rng.choice((5, 10, 15, 20, 30, 45, 60)) if rng.random() < 0.6 else rng.randint(2, 90)
    if minutes in NUMBER_WORDS and rng.random() < 0.3:
        text = f"{NUMBER_WORDS[minutes]} minutes"
        return Moment(text, f"{text} = {minutes} minutes", {"minutes": minutes})
    return Moment(f"{minutes} {rng.choice(('minutes', 'minutes', 'min'))}", f"{minutes} minutes", {"minutes": minutes})


def sample_time(rng: random.Random, now: str) -> Moment:
    """Draw a time of day, mostly in full or half hours.

    Args:
        rng: source of randomness.
        now: the clock, HH:MM; a time that does not say which half of the day it means is the next such time.
    Returns:
        The time.
    """
    hour, minute = rng.randint(1, 12), rng.choice((0, 0, 0, 30, 30, 15, 45, 5 * rng.randint(1, 11)))
    draw = rng.random()
    if draw < 0.3:
        is_evening = rng.random() < 0.5
        text = f"{_full(hour, is_evening)}:{minute:02d}"
        return Moment(text, text, {"time": text}) if text != now else sample_time(rng, now)
    if draw < 0.4:
        text, time = rng.choice((("noon", "12:00"), ("midnight", "00:00")))
        return Moment(text, f"{text} = {time}", {"time": time}) if time != now else sample_time(rng, now)
    said = _said(rng, hour, minute)
    if draw < 0.8:
        is_evening = rng.random() < 0.5
        time = f"{_full(hour, is_evening)}:{minute:02d}"
        text = f"{said} {_half(rng, hour, is_evening)}"
        return Moment(text, f"{text} = {time}", {"time": time}) if time != now else sample_time(rng, now)
    first, second = (f"{_full(hour, is_evening)}:{minute:02d}" for is_evening in (False, True))
    time = next((time for time in (first, second) if time > now), first)
    if now in (first, second):
        return sample_time(rng, now)
    return Moment(said, f"now {now}, {said} = {time}", {"time": time})


def _full(hour: int, is_evening: bool) -> str:
    return f"{hour % 12 + 12 * is_evening:02d}"


def _half(rng: random.Random, hour: int, is_evening: bool) -> str:
    if not is_evening:
        return rng.choice(("am", "in the morning")) if 4 <= hour <= 11 else "am"
    return rng.choice(("pm", "in the evening" if 5 <= hour <= 11 else "in the afternoon" if hour < 5 else "pm"))


def _said(rng: random.Random, hour: int, minute: int) -> str:
    number = f"{hour}" if rng.random() < 0.6 else NUMBER_WORDS[hour]
    if minute == 0:
        return number + rng.choice(("", "", " o'clock"))
    if minute == 30 and rng.random() < 0.5:
        return f"half past {number}"
    if minute == 15 and rng.random() < 0.6:
        return f"quarter past {number}"
    if minute == 45 and rng.random() < 0.6:
        return f"quarter to {NUMBER_WORDS[hour % 12 + 1]}"
    return f"{hour}:{minute:02d}"
