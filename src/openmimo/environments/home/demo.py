"""The home that the web page shows: six rooms, thirteen devices, and where they stand."""

from __future__ import annotations

from typing import Any

from openmimo.environments.home.appliances import make_appliance
from openmimo.environments.home.devices import Device, make_device
from openmimo.environments.home.thermal import Room, Weather
from openmimo.environments.home.words import NOUNS
from openmimo.environments.home.world import Home
from openmimo.environments.sky import Sky

__all__ = ["demo_home", "floor_plan"]

# Area: x, y, width, height in metres from the top left corner.
_ROOMS = {
    "living room": (0.0, 0.0, 5.0, 4.2),
    "kitchen": (5.0, 0.0, 3.4, 4.2),
    "office": (8.4, 0.0, 3.0, 4.2),
    "hall": (0.0, 4.2, 11.4, 1.6),
    "bedroom": (0.0, 5.8, 7.0, 3.4),
    "bathroom": (7.0, 5.8, 4.4, 3.4),
}
# Name: x and y in metres.
_PLACES = {
    "kitchen light": (6.7, 2.1),
    "coffee maker": (7.8, 0.6),
    "floor lamp": (0.7, 3.4),
    "living room blind": (2.5, 0.2),
    "tv": (4.6, 2.1),
    "bedroom lamp": (1.0, 7.5),
    "bedroom radiator": (3.5, 9.0),
    "front door": (11.2, 5.0),
    "desk lamp": (10.6, 1.2),
    "office fan": (9.0, 3.4),
    "office window": (9.9, 0.2),
    "humidity sensor": (9.2, 8.2),
    "vacuum": (3.0, 5.0),
}


def demo_home() -> Home:
    """Build the fixed home of the web page: a cool morning, the kitchen light is on.

    Returns:
        A new home, always in the same state.
    """
    devices = [
        _device("light", "light", "kitchen light", "kitchen", is_on=True, brightness=80),
        _device("switch", "coffee maker", "coffee maker", "kitchen"),
        _device(
            "light", "floor lamp", "floor lamp", "living room", "big lamp", is_on=True, brightness=40, color="orange"
        ),
        _device("cover", "blind", "living room blind", "living room", position=100.0, target=100),
        _device("media_player", "tv", "tv", "living room"),
        _device("light", "lamp", "bedroom lamp", "bedroom", "maria lamp", brightness=30, color="white"),
        _device("climate", "radiator", "bedroom radiator", "bedroom", is_heating=True, set_point_c=19.0),
        _device("lock", "front door", "front door", "hall", "main door", is_locked=True),
        _device("light", "desk lamp", "desk lamp", "office", brightness=60),
        _device("fan", "fan", "office fan", "office"),
        _device("binary_sensor", "window", "office window", "office", is_active=True),
        _device("sensor", "humidity sensor", "humidity sensor", "bathroom"),
        make_appliance("vacuum", "vacuum", "vacuum", "hall", rooms=tuple(_ROOMS)),
    ]
    rooms = {
        area: Room(temperature, gains_w=260.0, window_m2=_WINDOWS[area][0], window_azimuth_deg=_WINDOWS[area][1])
        for area, temperature in _TEMPERATURES_C.items()
    }
    weather, sky = Weather(mean_c=7.0, swing_c=4.0, seed=1), Sky(latitude_deg=48.0, day_of_year=90, cloud=0.5)
    return Home(devices, rooms, weather, clock_s=(7 * 60 + 40) * 60.0, sky=sky, standby_w=90.0)


_TEMPERATURES_C = {
    "kitchen": 20.5, "living room": 21.0, "bedroom": 18.0, "hall": 18.5, "office": 17.0, "bathroom": 21.5,
}  # fmt: skip
# Area: square metres of glass, and where it faces; the plan's top is south.
_WINDOWS = {
    "living room": (0.8, 180.0), "kitchen": (0.5, 180.0), "office": (0.5, 180.0), "hall": (0.3, 90.0),
    "bedroom": (0.6, 0.0), "bathroom": (0.3, 0.0),
}  # fmt: skip


def _device(domain: str, noun: str, name: str, area: str, alias: str = "", **state: Any) -> Device:
    found = next(known for known in NOUNS[domain] if known.text == noun)
    return make_device(found, name, area, alias=alias, **state)


def floor_plan(home: Home) -> dict[str, Any]:
    """Say where rooms and devices are drawn.

    Args:
        home: the demo home, or any other; others get rooms of one size in rows of three.
    Returns:
        JSON-able: width_m, height_m, rooms with area, x_m, y_m, width_m, height_m, and devices with name, x_m, y_m;
        (0, 0) is the top left corner.
    """
    areas = sorted(home.rooms)
    is_demo = set(areas) == set(_ROOMS) and all(device.name in _PLACES for device in home.devices)
    boxes = _ROOMS if is_demo else {area: (i % 3 * 4.0, i // 3 * 4.0, 4.0, 4.0) for i, area in enumerate(areas)}
    places = _PLACES if is_demo else _spread(home, boxes)
    return {
        "width_m": max(x + width for x, _, width, _ in boxes.values()),
        "height_m": max(y + height for _, y, _, height in boxes.values()),
        "rooms": [
            {"area": area, "x_m": x, "y_m": y, "width_m": width, "height_m": height}
            for area, (x, y, width, height) in boxes.items()
        ],
        "devices": [
            {"name": device.name, "x_m": places[device.name][0], "y_m": places[device.name][1]}
            for device in home.devices
        ],
    }


def _spread(home: Home, boxes: dict[str, tuple[float, float, float, float]]) -> dict[str, tuple[float, float]]:
    """Put the devices of each room on a grid of four columns inside it."""
    places: dict[str, tuple[float, float]] = {}
    for area, (x, y, width, height) in boxes.items():
        for index, device in enumerate(device for device in home.devices if device.area == area):
            places[device.name] = (x + width * (index % 4 + 0.5) / 4, y + height * (index // 4 + 0.5) / 4)
    return places
