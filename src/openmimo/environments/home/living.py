"""What makes a sampled home lived in: machines, people with calendars, windows to the sun, a season."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from openmimo.environments.home.appliances import (
    APPLIANCE_NOUNS,
    AirConditioner,
    Appliance,
    Vacuum,
    WaterHeater,
    make_appliance,
)
from openmimo.environments.home.devices import BinarySensor, Cover, Device, MediaPlayer
from openmimo.environments.home.people import sample_people
from openmimo.environments.home.thermal import Room, Weather
from openmimo.environments.home.words import OUTDOOR_AREAS, PEOPLE, is_held_out_pair
from openmimo.environments.home.world import Home
from openmimo.environments.sky import Sky

__all__ = ["move_in", "sample_machines"]

WEEK_MINUTES = 7 * 1440
# Domain, noun, how many homes have it, and rooms that it may stand in; any room will do where there is none of them.
_MACHINES = (
    ("appliance", "washing machine", 0.7, ("laundry", "bathroom", "cellar")),
    ("appliance", "dishwasher", 0.6, ("kitchen", "pantry")),
    ("appliance", "dryer", 0.3, ("laundry", "cellar", "bathroom")),
    ("water_heater", "", 0.5, ("cellar", "bathroom", "laundry", "garage")),
    ("vacuum", "", 0.5, ("hall", "corridor", "living room")),
    ("climate", "air conditioner", 0.35, ("bedroom", "living room", "office", "studio")),
    ("binary_sensor", "door sensor", 0.4, ("hall", "corridor")),
)


def sample_machines(rng: random.Random, devices: Sequence[Device], split: str) -> list[Device]:
    """Draw the machines of a home, at least one.

    Args:
        rng: source of randomness.
        devices: what the home has already; names and thermostats stay single.
        split: training homes avoid the held-out "area noun" names.
    Returns:
        New devices in rooms of the home.
    """
    areas = sorted({device.area for device in devices} - OUTDOOR_AREAS) or ["hall"]
    found: list[Device] = []
    while not found:
        for domain, text, share, places in _MACHINES:
            if rng.random() < share:
                noun = text or rng.choice(APPLIANCE_NOUNS[domain]).text
                area = next((place for place in places if place in areas), rng.choice(areas))
                if not _is_second([*devices, *found], domain, noun, area):
                    is_bare = rng.random() < 0.7 or (split == "train" and is_held_out_pair(area, noun))
                    found.append(make_appliance(domain, noun, noun if is_bare else f"{area} {noun}", area))
    return found


def _is_second(devices: Sequence[Device], domain: str, noun: str, area: str) -> bool:
    """Whether the home has one already, or the room has a thermostat."""
    known = {word for device in devices for word in (device.name, device.alias, device.noun.text)}
    has_thermostat = any(device.area == area and device.domain == "climate" for device in devices)
    return noun in known or f"{area} {noun}" in known or (domain == "climate" and has_thermostat)


def move_in(rng: random.Random, home: Home) -> Home:
    """Let people live in a home.

    Args:
        rng: source of randomness.
        home: a sampled home; changed in place.
    Returns:
        The same home, on some day of a week that begins on Monday, with everything that has a rate on its way.
    """
    inside = [area for area, room in home.rooms.items() if room.capacity_j_k]
    day_of_year = rng.randint(1, 365)
    home.sky = Sky(rng.uniform(36, 60), day_of_year, rng.random())
    home.weather = _season(rng, day_of_year)
    home.clock_s = 60.0 * rng.randrange(WEEK_MINUTES)
    home.standby_w = rng.uniform(60, 180)
    home.people = sample_people(rng, rng.sample(PEOPLE, rng.randint(1, 4)), inside)
    for area in inside:
        _refit(rng, home.rooms[area])
    for device in home.devices:
        _set_going(rng, device, inside)
    home.advance(60.0)  # Motion sensors see who is there, robots leave their dock.
    return home


def _season(rng: random.Random, day_of_year: int) -> Weather:
    """Coldest at the end of January."""
    mean_c = 10.0 - 10.0 * math.cos(2 * math.pi * (day_of_year - 25) / 365) + rng.gauss(0, 3)
    return Weather(mean_c, rng.uniform(2, 6))


def _refit(rng: random.Random, room: Room) -> None:
    room.gains_w = rng.uniform(0, 30)  # People, machines and the sun are there by themselves now.
    room.temperature_c = rng.uniform(17.5, 23.0)
    room.window_m2 = rng.uniform(0.8, 4.0)
    room.window_azimuth_deg = rng.choice((0.0, 90.0, 180.0, 270.0))
    room.kept_c = rng.uniform(17.0, 20.5)
    room.volume_m3 = rng.uniform(20, 70)


def _set_going(rng: random.Random, device: Device, inside: Sequence[str]) -> None:
    match device:
        case Appliance():
            if rng.random() < 0.5:
                device.start()
                device.elapsed_s = 60.0 * rng.randrange(0, 100)
        case WaterHeater():
            device.set_point_c = float(rng.randrange(45, 61))
            device.temperature_c = device.set_point_c - rng.uniform(0, 12)
            device.is_heating = rng.random() < 0.8
        case Vacuum():
            device.rooms = tuple(rng.sample(sorted(inside), min(len(inside), 4)))
            device.battery = rng.uniform(20, 100)
            if rng.random() < 0.4:
                device.start()
        case AirConditioner():
            device.set_point_c = float(rng.randrange(19, 27))
            device.set_mode(rng.choice(("heat", "cool", "off")))
        case Cover() if device.noun.head == "door" and rng.random() < 0.9:
            device.position, device.target = 0.0, 0
        case BinarySensor() if device.noun.measures == "opening":
            device.is_active = rng.random() < 0.1  # Who lives here closes windows.
        case MediaPlayer():
            device.volume = 5 * rng.randint(1, 18)
        case _:
            pass
