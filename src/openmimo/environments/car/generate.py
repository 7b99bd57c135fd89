"""Draw cars with their maps and phones: parts, names, places and contacts differ, so that a model has to read them."""

from __future__ import annotations

import random
import zlib
from typing import Literal

from openmimo.environments.base import Split
from openmimo.environments.car.car import Car
from openmimo.environments.car.cockpit import STOP_SUFFIX, Cockpit, Phone
from openmimo.environments.car.roads import Place, Roads, sample_roads
from openmimo.environments.home.words import PEOPLE, invent_word
from openmimo.environments.phrasing import split_of

__all__ = ["COMMON_PLACES", "SEATS", "SWITCHES", "WINDOWS", "Situation", "place_phrase", "sample_cockpit"]

Situation = Literal["parked", "driving", "journey"]

WINDOWS = (
    ("driver window", "passenger window", "rear left window", "rear right window"),
    ("front left window", "front right window", "back left window", "back right window"),
    ("left window", "right window"),
)
ROOFS = ("sunroof", "roof window")
SEATS = (
    ("driver seat", "passenger seat", "rear left seat", "rear right seat"),
    ("front left seat", "front right seat", "back seat"),
    ("left seat", "right seat"),
)
SWITCHES = ("front defroster", "rear defroster", "wheel heater", "fog lights", "cabin light", "mirror heater")
COMMON_PLACES = (
    "office", "school", "gym", "airport", "lake", "supermarket", "beach", "station", "hospital", "library", "market",
    "museum", "stadium", "harbour", "cinema", "bakery", "clinic", "park", "castle", "theatre",
)  # fmt: skip
RELATIONS = ("sister", "brother", "mum", "dad", "wife", "husband", "boss", "neighbour", "daughter", "son")
MAX_DRAWS = 200


def sample_cockpit(rng: random.Random, split: Split, situation: Situation) -> Cockpit:
    """Draw a cockpit that belongs to a split.

    Args:
        rng: source of randomness.
        split: "eval" is a tenth of all cockpits, by a hash of what the model reads, with towns of its own.
        situation: "parked", "driving", or "journey": at home in the evening with a far destination on the map.
    Returns:
        The cockpit.
    """
    while True:
        cockpit = _journey(rng, split) if situation == "journey" else _general(rng, split, situation)
        if cockpit is not None and split_of(cockpit.system_content()) == split:
            return cockpit


def place_phrase(name: str) -> str:
    """A place as people say it: "the lake", "anna's place", "zwikel"."""
    return f"the {name}" if name in COMMON_PLACES else name


def _town(rng: random.Random, split: Split) -> str:
    """An invented name; a tenth of them, by hash, are for evaluation only."""
    while True:
        name = invent_word(rng)
        if (zlib.crc32(f"town {name}".encode()) % 10 == 0) == (split == "eval"):
            return name


def _place_names(rng: random.Random, split: Split, count: int) -> list[str]:
    names: set[str] = set()
    while len(names) < count:
        draw = rng.random()
        if draw < 0.5:
            names.add(rng.choice(COMMON_PLACES))
        else:
            names.add(_town(rng, split) if draw < 0.85 else f"{rng.choice(PEOPLE)}'s place")
    return sorted(names, key=lambda name: zlib.crc32(name.encode()))


def _chargers(rng: random.Random, split: Split, count: int) -> list[str]:
    return [f"{_town(rng, split)}{STOP_SUFFIX}" for _ in range(count)]


def _phone(rng: random.Random) -> Phone:
    names = rng.sample(PEOPLE, rng.randint(2, 4))
    relations = rng.sample(RELATIONS, 2)
    return Phone({name: relations[index] if index < len(names) - 2 else "" for index, name in enumerate(names)})


def _parts(rng: random.Random, car: Car) -> None:
    windows = list(rng.choice(WINDOWS)) + ([rng.choice(ROOFS)] if rng.random() < 0.3 else [])
    seats = rng.choice(SEATS)
    car.windows = {name: rng.choice((0, 0, 0, 20, 30, 50, 70, 100)) for name in windows}
    car.seats = {name: rng.choice((0, 0, 1, 2, 3)) for name in seats[: rng.randint(1, len(seats))]}
    car.switches = {name: rng.random() < 0.3 for name in rng.sample(SWITCHES, rng.randint(1, 3))}
    car.doors_locked, car.trunk_open = rng.random() < 0.6, rng.random() < 0.2


def _order(rng: random.Random) -> tuple[str, ...]:
    order = list(Cockpit.__dataclass_fields__["order"].default)
    rng.shuffle(order)
    return tuple(order)


def _general(rng: random.Random, split: Split, situation: Situation) -> Cockpit:
    roads = sample_roads(rng, _place_names(rng, split, rng.randint(2, 4)), [])
    outside_c = rng.randint(-10, 35)
    car = Car(roads, battery_kwh=0.6 * rng.randint(8, 95), limit_percent=rng.choice((60, 70, 80, 90, 100)))
    car.is_plugged, car.wants_charge = rng.random() < 0.6, rng.random() < 0.8
    car.climate_on, car.set_point_c = rng.random() < 0.3, float(rng.randint(18, 24))
    car.cabin_c = car.set_point_c if car.climate_on else outside_c + rng.uniform(0, 8)
    _parts(rng, car)
    cockpit = Cockpit(car, _phone(rng), 60.0 * rng.randint(0, 1439), float(outside_c), _order(rng))
    if situation == "driving":
        _send_off(rng, car, outside_c)
    elif rng.random() < 0.3:
        car.place, car.is_plugged = rng.choice([name for name in roads.places if name != "home"]), False
    return cockpit


def _send_off(rng: random.Random, car: Car, outside_c: float) -> None:
    car.battery_kwh = max(car.battery_kwh, 0.6 * rng.randint(60, 95))
    car.route = [rng.choice([name for name in car.roads.places if name != "home"])]
    car.set_off()
    minutes = car.roads.minutes("home", car.route[0])
    car.windows = dict.fromkeys(car.windows, 0) if minutes > 10 else car.windows
    car.advance(60.0 * rng.randint(0, max(0, minutes - 2)), 0.0, outside_c)


def _journey(rng: random.Random, split: Split) -> Cockpit | None:
    """Home in the evening, cabin as cold or warm as the air; one place so far that a charging stop helps."""
    *near, far = _place_names(rng, split, rng.randint(3, 4))
    outside_c = rng.choice((*range(-12, 13), *range(27, 36)))
    roads = _with_far(rng, sample_roads(rng, near, [], nearest_km=30.0), far, _chargers(rng, split, rng.randint(2, 3)))
    car = Car(roads, battery_kwh=0.6 * rng.randint(12, 55), limit_percent=rng.choice((40, 50, 80, 90, 100)))
    car.is_plugged, car.set_point_c, car.cabin_c = True, float(rng.randint(19, 23)), float(outside_c)
    _parts(rng, car)
    car.windows, car.seats = dict.fromkeys([*car.windows][:1], 0), dict.fromkeys([*car.seats][:1], 0)
    car.switches, car.trunk_open = {}, False
    clock_s = 900.0 * rng.randint(4 * 17, 4 * 23)
    order = tuple(kind for kind in _order(rng) if kind not in ("contact", "seat", "window"))
    return Cockpit(car, Phone(), clock_s, float(outside_c), order, far)


def _with_far(rng: random.Random, roads: Roads, far: str, chargers: list[str]) -> Roads:
    """Add a place 150 to 230 km away, and chargers at 25 to 75 % of the way, up to 30 km to the side."""
    km = rng.uniform(150, 230) / 1.3
    places = {**roads.places, far: Place(far, round(km, 2), 0.0)}
    for name in chargers:
        x_km, y_km = km * rng.uniform(0.25, 0.75), rng.uniform(-30, 30)
        places[name] = Place(name, round(x_km, 2), round(y_km, 2), rng.choice((50.0, 100.0, 150.0)), 49)
    return Roads(places)
