"""A home of seven devices whose every row and number is known."""

from openmimo.environments.home import Home
from openmimo.environments.home.devices import make_device
from openmimo.environments.home.thermal import Room, Weather
from openmimo.environments.home.words import NOUNS


def noun(domain: str, text: str):
    return next(known for known in NOUNS[domain] if known.text == text)


def small_home() -> Home:
    devices = [
        make_device(noun("light", "ceiling light"), "ceiling light", "kitchen", is_on=True, brightness=80),
        make_device(noun("cover", "blind"), "kitchen blind", "kitchen", position=40.0, target=40),
        make_device(noun("lock", "front door"), "front door", "hall", alias="main door", is_locked=True),
        make_device(noun("climate", "radiator"), "maria radiator", "bedroom", nick="maria", set_point_c=21.0),
        make_device(noun("sensor", "thermometer"), "thermometer", "kitchen"),
        make_device(noun("binary_sensor", "window"), "hall window", "hall"),
        make_device(noun("light", "led strip"), "led strip", "hall", color="red", brightness=5),
    ]
    rooms = {"kitchen": Room(19.2), "hall": Room(17.0), "bedroom": Room(18.6)}
    return Home(devices, rooms, Weather(4.0, 0.0), clock_s=7 * 3600 + 40 * 60)
