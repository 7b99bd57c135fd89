"""Draw random homes: rooms, devices, names, states. Homes are split into train and eval by a hash of their devices."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable
from typing import Any, Literal

from openmimo.environments.home.appliances import APPLIANCE_NOUNS, make_appliance
from openmimo.environments.home.devices import Device, make_device
from openmimo.environments.home.living import move_in, sample_machines
from openmimo.environments.home.thermal import Room, Weather
from openmimo.environments.home.words import (
    ADJECTIVES,
    AREAS,
    COLORS,
    NOUNS,
    OUTDOOR_AREAS,
    PEOPLE,
    Noun,
    invent_word,
    is_held_out_pair,
)
from openmimo.environments.home.world import Home

__all__ = ["Split", "sample_home", "split_of"]

Split = Literal["train", "eval"]
EVAL_PERCENT = 10
ASKS_FIRST_SHARE = 0.3
ROBOT_SHARE = 0.3
MIN_DEVICES, MAX_DEVICES = 3, 14

_DOMAIN_WEIGHTS = {
    "light": 32, "switch": 14, "fan": 8, "media_player": 8, "cover": 12, "lock": 8, "climate": 8, "sensor": 6,
    "binary_sensor": 5,
}  # fmt: skip
_DOMAINS = tuple(_DOMAIN_WEIGHTS)
_WEIGHTS = tuple(_DOMAIN_WEIGHTS.values())


def split_of(devices: Iterable[Device]) -> Split:
    """Say to which split a home belongs.

    Args:
        devices: its devices, in any order.
    Returns:
        "eval" for 10% of homes, by a hash of areas, domains, names and aliases.
    """
    text = "\n".join(sorted(f"{device.area}|{device.domain}|{device.name}|{device.alias}" for device in devices))
    return "eval" if zlib.crc32(text.encode()) % 100 < EVAL_PERCENT else "train"


def sample_home(rng: random.Random, num_devices: int, split: Split = "train", is_lived_in: bool = False) -> Home:
    """Draw a home of the given split.

    Args:
        rng: source of all randomness.
        num_devices: 3 to 14; a vacuum robot, which some homes have, comes on top.
        split: training homes also avoid the held-out "area noun" names.
        is_lived_in: adds one to six machines, people with calendars, volumes, windows to the sun and a season.
    Returns:
        A home in which nothing has been touched; at rest unless it is lived in.
    Raises:
        ValueError: num_devices or split is out of range.
    """
    if not MIN_DEVICES <= num_devices <= MAX_DEVICES:
        raise ValueError(f"num_devices={num_devices} must be {MIN_DEVICES} to {MAX_DEVICES}")
    if split not in ("train", "eval"):
        raise ValueError(f"split={split!r} must be 'train' or 'eval'")
    while True:
        devices = _sample_devices(rng, num_devices, split)
        if is_lived_in:
            devices += sample_machines(rng, devices, split)
        elif rng.random() < ROBOT_SHARE:
            devices.append(_sample_robot(rng, devices))
        if split_of(devices) == split:
            home = _furnish(rng, devices)
            return move_in(rng, home) if is_lived_in else home


def _sample_devices(rng: random.Random, num_devices: int, split: Split) -> list[Device]:
    areas = rng.sample(AREAS, max(2, min(8, round(num_devices * rng.uniform(0.35, 0.7)))))
    taken: set[str] = set()
    single: set[tuple[str, str]] = set()
    devices: list[Device] = []
    while len(devices) < num_devices:
        area = rng.choice(areas)
        noun = rng.choice(NOUNS[rng.choices(_DOMAINS, _WEIGHTS)[0]])
        # One thermostat and one of each sensor per room, so that "how warm is it there" has one answer.
        kind = (area, noun.measures or noun.domain)
        if kind in single or not _may_stand(noun, area):
            continue
        name, nick = _sample_name(rng, area, noun, split)
        if name in taken:
            continue
        if noun.domain in ("climate", "sensor", "binary_sensor"):
            single.add(kind)
        taken.add(name)
        devices.append(make_device(noun, name, area, nick=nick))
    for device in devices:
        if rng.random() < 0.25:
            device.alias = _sample_alias(rng, device.noun, taken)
    return devices


def _may_stand(noun: Noun, area: str) -> bool:
    if area in OUTDOOR_AREAS and (noun.domain == "climate" or noun.measures == "temperature"):
        return False
    # "the garage door" must mean one thing.
    return not (area == "garage" and noun.head == "door" and noun.domain == "lock")


def _sample_name(rng: random.Random, area: str, noun: Noun, split: Split) -> tuple[str, str]:
    """A name and its nickname part: 45% "area noun", 25% the noun, 30% a person or invented word and a noun."""
    draw = rng.random()
    if draw < 0.45 and not (split == "train" and is_held_out_pair(area, noun.text)):
        return f"{area} {noun.text}", ""
    if draw < 0.70 and not noun.is_plain:
        return noun.text, ""
    nick = rng.choice(PEOPLE) if rng.random() < 0.4 else invent_word(rng)
    return f"{nick} {noun.text}", nick


def _sample_alias(rng: random.Random, noun: Noun, taken: set[str]) -> str:
    while True:
        draw = rng.random()
        word = rng.choice(ADJECTIVES) if draw < 0.5 else rng.choice(PEOPLE) if draw < 0.7 else invent_word(rng)
        alias = f"{word} {noun.head}"
        if alias not in taken:
            taken.add(alias)
            return alias


def _sample_robot(rng: random.Random, devices: list[Device]) -> Device:
    """A vacuum robot, in its dock or at work."""
    rooms = sorted({device.area for device in devices} - OUTDOOR_AREAS) or ["hall"]
    noun = rng.choice(APPLIANCE_NOUNS["vacuum"]).text
    todo = tuple(rng.sample(rooms, rng.randint(1, len(rooms)))) if rng.random() < 0.4 else ()
    doing = {"todo": todo, "is_wanted": bool(todo), "is_docked": not todo, "battery": rng.randint(25, 100)}
    return make_appliance("vacuum", noun, noun, rng.choice(rooms), rooms=tuple(rooms), **doing)


def _furnish(rng: random.Random, devices: list[Device]) -> Home:
    """Give rooms their air and devices their states, in any order."""
    weather = Weather(mean_c=rng.uniform(-6, 24), swing_c=rng.uniform(2, 7))
    clock_s = 60.0 * rng.randrange(1440)
    rooms: dict[str, Room] = {}
    for device in devices:
        if device.area not in rooms:
            rooms[device.area] = _sample_room(rng, device.area, weather.temperature_c(clock_s))
        for name, value in _sample_state(rng, device).items():
            setattr(device, name, value)
    rng.shuffle(devices)
    asks_first = any(device.domain == "lock" for device in devices) and rng.random() < ASKS_FIRST_SHARE
    return Home(devices, rooms, weather, clock_s, asks_first=asks_first)


def _sample_room(rng: random.Random, area: str, outside_c: float) -> Room:
    if area in OUTDOOR_AREAS:
        return Room(outside_c, capacity_j_k=0.0, vapour_pa=rng.uniform(300, 600))
    return Room(
        temperature_c=rng.uniform(14.5, 25.5),
        capacity_j_k=rng.uniform(0.8e6, 3e6),
        loss_w_k=rng.uniform(10, 40),
        heater_w=rng.uniform(800, 2500),
        gains_w=rng.uniform(50, 350),
        vapour_pa=rng.uniform(650, 1350),
    )


def _sample_state(rng: random.Random, device: Device) -> dict[str, Any]:
    is_on = rng.random() < 0.5
    match device.domain:
        case "light":
            color = rng.choice(COLORS) if rng.random() < 0.35 else ""
            return {"is_on": is_on, "brightness": sample_percent(rng), "color": color}
        case "cover":
            draw = rng.random()
            position = 0 if draw < 0.35 else 100 if draw < 0.55 else sample_percent(rng)
            return {"position": float(position), "target": position}
        case "lock":
            return {"is_locked": is_on}
        case "climate":
            return {"is_heating": rng.random() < 0.7, "set_point_c": float(rng.randint(15, 25))}
        case "binary_sensor":
            return {"is_active": is_on}
        case "sensor" | "appliance" | "water_heater" | "vacuum":
            return {}
        case _:
            return {"is_on": is_on}


def sample_percent(rng: random.Random) -> int:
    """A percentage people would say: mostly tens, some fives, some any number from 1 to 100."""
    draw = rng.random()
    if draw < 0.55:
        return 10 * rng.randint(1, 10)
    return 5 * rng.randint(1, 20) if draw < 0.75 else rng.randint(1, 100)
