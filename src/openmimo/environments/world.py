"""A home, its people and weather, its car and its energy: one clock for all of them."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from openmimo.environments.car.car import Car
from openmimo.environments.car.roads import Place, Roads
from openmimo.environments.days import Clouds, walk_clouds
from openmimo.environments.energy.plant import Plant, pv_kw
from openmimo.environments.home.appliances import Appliance, Vacuum
from openmimo.environments.home.devices import Cover, Light, OnOff
from openmimo.environments.home.generate import MAX_DEVICES, sample_home
from openmimo.environments.home.people import AWAY, DAY_S, Person
from openmimo.environments.home.thermal import HeatAccount
from openmimo.environments.home.tools import pass_time
from openmimo.environments.home.world import Home

__all__ = ["Chore", "Hour", "World", "run_day", "sample_world"]

STEP_S = 60.0
J_PER_KWH = 3.6e6
KEPT_PERCENT = 10
"""Charge that the driver wants left after a trip there and back."""


class Chore(NamedTuple):
    """What the people do with a device at a time of every day.

    Attributes:
        start_s: seconds after midnight.
        name: the device.
        turns_on: switches on, opens or starts it; else the opposite.
    """

    start_s: float
    name: str
    turns_on: bool


@dataclass(slots=True)
class World:
    """Everything, on the home's clock; nothing reads the wall clock.

    Attributes:
        home: rooms, devices, people, weather and sky.
        car: of the first person.
        plant: panels, battery, tariff and meter; it has no appliances of its own, they are devices of the home.
        clouds: covered share of the sky by the hour.
        chores: daily doings of the people, in order of their time.
        roof: tilt and azimuth of the panels in degrees.
        house_kwh: electricity that the home has used.
        car_kwh: electricity that the car has taken at home.
    """

    home: Home
    car: Car
    plant: Plant
    clouds: Clouds = field(default_factory=Clouds)
    chores: tuple[Chore, ...] = ()
    roof: tuple[float, float] = (35.0, 180.0)
    house_kwh: float = 0.0
    car_kwh: float = 0.0

    def copy(self) -> World:
        """An independent world in the same state."""
        other = copy.copy(self)
        other.home, other.car, other.plant = self.home.copy(), self.car.copy(), self.plant.copy()
        return other

    @property
    def clock_s(self) -> float:
        """Seconds since the first midnight, that of a Monday."""
        return self.home.clock_s

    @property
    def sun_w_m2(self) -> float:
        """What the panels receive now."""
        sky = self.home.sky
        return sky.irradiance_w_m2(self.clock_s, *self.roof) if sky else 0.0

    @property
    def sun_kw(self) -> float:
        """What the panels give now."""
        return pv_kw(self.sun_w_m2, self.home.outside_c, self.plant.peak_kw)

    def state(self) -> dict[str, Any]:
        """Everything that a page needs to draw the world, JSON-able."""
        return {
            "home": self.home.state(),
            "car": self.car.state(),
            "plant": self.plant.state(),
            "cloud": round(self.clouds.at(self.clock_s), 2),
            "sun_kw": round(self.sun_kw, 2),
            "price_ct": self.plant.price_ct(self.clock_s),
        }

    def advance(self, seconds: float) -> None:
        """Let time pass everywhere, a minute at a time.

        Args:
            seconds: how long, not negative, a week at most.
        Raises:
            ValueError: seconds is out of range.
        """
        if not 0 <= seconds <= 7 * DAY_S:
            raise ValueError(
                f"seconds={seconds} must be 0 to {7 * DAY_S:g}: time moves forward, a week at most at once"
            )
        end_s = self.clock_s + seconds
        while (left_s := end_s - self.clock_s) > 1e-6:
            self._step(min(STEP_S, left_s))

    def _step(self, step_s: float) -> None:
        clock_s, outside_c = self.clock_s, self.home.outside_c
        if self.home.sky:
            self.home.sky = self.clouds.over(self.home.sky, clock_s)
        self._do_chores(clock_s, step_s)
        self._drive(clock_s)
        sun_w_m2, before_j, is_home = self.sun_w_m2, self.home.electric_j, self.car.place == "home"
        pass_time(self.home, step_s)
        # At home it stands in a garage, elsewhere in the sun.
        taken_kwh = self.car.advance(step_s, clock_s, outside_c, 0.0 if is_home else self._level_sun_w_m2(clock_s))
        car_kwh, house_kwh = taken_kwh if is_home else 0.0, (self.home.electric_j - before_j) / J_PER_KWH
        self.plant.advance(step_s, clock_s, sun_w_m2, outside_c, house_kwh + car_kwh)
        self.house_kwh += house_kwh
        self.car_kwh += car_kwh

    def _level_sun_w_m2(self, clock_s: float) -> float:
        sky = self.home.sky
        return sky.sunlight(clock_s).level_w_m2 if sky else 0.0

    def _do_chores(self, clock_s: float, step_s: float) -> None:
        begin_s = clock_s % DAY_S
        for chore in self.chores:
            if begin_s <= chore.start_s < begin_s + step_s:
                _do(self.home, chore)

    def _drive(self, clock_s: float) -> None:
        """The first person takes the car to where the calendar says, and back in time, if the battery lasts."""
        if not self.home.people or self.car.is_driving:
            return
        stay, end_s = self.home.people[0].now(clock_s)
        goal, roads = stay.doing.split()[-1], self.car.roads
        if stay.place != AWAY or (goal in roads.places and end_s - clock_s <= 60 * roads.minutes(goal, "home")):
            goal = "home"
        if goal != self.car.place and goal in roads.places and self._lasts(self.car.place, goal):
            self.car.route = [goal]
            self.car.set_off()

    def _lasts(self, start: str, end: str) -> bool:
        trips = 2 if start == "home" else 1
        need = trips * self.car.trip_percent(start, end, self.home.outside_c)
        return self.car.percent >= need + (KEPT_PERCENT if trips == 2 else 0)


def _do(home: Home, chore: Chore) -> None:
    match home.named(chore.name):
        case OnOff() | Cover() as device:
            act = device.turn_on if chore.turns_on else device.turn_off
            act()
        case Appliance() as machine if chore.turns_on:
            machine.start()
        case Vacuum() as robot if chore.turns_on:
            robot.start()
        case _:
            pass


# ---- drawing one


def sample_world(seed: int) -> World:
    """Draw a world at midnight before a Monday.

    Args:
        seed: the same seed gives the same world.
    Returns:
        A lived-in home with panels, a battery and a car, which whoever is away most drives; no day has the weather of
        another.
    """
    rng = random.Random(f"world-{seed}")
    home = sample_home(rng, MAX_DEVICES, is_lived_in=True)
    while not {"bedroom", "kitchen"} <= home.rooms.keys():
        home = sample_home(rng, MAX_DEVICES, is_lived_in=True)
    home.people.sort(key=lambda person: -sum(stay.place == AWAY for stay in person.calendar))
    home.clock_s = home.electric_j = 0.0
    home.heat = HeatAccount()
    home.weather = replace(home.weather, seed=seed)
    home.advance(0.0)  # Places outdoors follow the new weather.
    for device in home.devices:
        if isinstance(device, OnOff):
            device.turn_off()
    return World(
        home=home,
        car=Car(_roads(rng, home.people), battery_kwh=rng.uniform(25, 45), cabin_c=home.outside_c, is_plugged=True),
        plant=_plant(rng),
        clouds=Clouds(walk_clouds(rng), seed),
        chores=tuple(sorted(_chores(rng, home))),
        roof=(rng.uniform(20, 45), rng.uniform(130, 230)),
    )


def _roads(rng: random.Random, people: list[Person]) -> Roads:
    """Home, and wherever the calendars lead to."""
    goals = {stay.doing.split()[-1] for person in people for stay in person.calendar if stay.place == AWAY}
    places = {"home": Place("home", 0.0, 0.0, 11.0)}
    for goal in sorted(goals):
        km, angle = rng.uniform(4, 30), rng.uniform(0, 2 * math.pi)
        places[goal] = Place(goal, round(km * math.cos(angle), 2), round(km * math.sin(angle), 2))
    return Roads(places)


def _plant(rng: random.Random) -> Plant:
    """Cheap nights and sunny noons, dear evenings."""
    base = rng.randint(24, 32)
    shape = [-6] * 6 + [2] * 3 + [0] * 2 + [-5] * 4 + [0] * 2 + [9] * 4 + [1] * 2 + [-4]
    capacity_kwh = rng.choice((5.0, 8.0, 10.0, 13.0))
    return Plant(
        peak_kw=round(rng.uniform(3, 10), 1),
        battery_kwh=capacity_kwh * rng.uniform(0.1, 0.6),
        capacity_kwh=capacity_kwh,
        tariff_ct=tuple(base + step for step in shape),
    )


def _chores(rng: random.Random, home: Home) -> Iterator[Chore]:
    """Lights and screens in the evening, covers by day, machines when there is time, a robot in the morning."""
    for device in home.devices:
        match device:
            case Light():
                yield from _span(device.name, rng.uniform(17, 20), rng.uniform(21, 23.5))
            case Cover() if device.noun.head != "door":
                yield from _span(device.name, rng.uniform(6.5, 8), rng.uniform(19, 22))
            case OnOff(domain="media_player"):
                yield from _span(device.name, rng.uniform(19, 20.5), rng.uniform(21, 23))
            case OnOff() if device.noun.text in ("kettle", "coffee maker", "toaster"):
                start_h = rng.uniform(6.5, 8)
                yield from _span(device.name, start_h, start_h + 0.2)
            case Appliance() if device.noun.text != "dryer":
                yield Chore(_minute(rng.choice((9.0, 13.0, 20.0)) + rng.uniform(0, 1)), device.name, True)
            case Vacuum():
                yield Chore(_minute(rng.uniform(9, 11)), device.name, True)
            case _:
                pass


def _span(name: str, on_h: float, off_h: float) -> tuple[Chore, Chore]:
    return Chore(_minute(on_h), name, True), Chore(_minute(off_h), name, False)


def _minute(hour: float) -> float:
    return 60.0 * round(60 * hour)


# ---- watching one


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour of the world looked like; powers are means over it, all else is as it was at its end.

    Attributes:
        clock: its end.
        outside_c: outside temperature.
        rooms_c: temperatures of indoor rooms by area.
        people: where everybody is, by name.
        sun_kw: from the panels.
        house_kw: used by the home.
        car_kw: taken by the car at home.
        grid_kw: bought, below 0 sold.
        battery_percent: of the home battery.
        price_ct: of a bought kWh.
        car_place: where it is, or where it drives to.
        car_percent: charge of its battery.
    """

    clock: str
    outside_c: float
    rooms_c: dict[str, float]
    people: dict[str, str]
    sun_kw: float
    house_kw: float
    car_kw: float
    grid_kw: float
    battery_percent: int
    price_ct: int
    car_place: str
    car_percent: int


def run_day(world: World, hours: int = 24) -> Iterator[Hour]:
    """Let a day pass.

    Args:
        world: changed in place.
        hours: how many.
    Yields:
        Each hour as it ends.
    """
    for _ in range(hours):
        before = _counters(world)
        price_ct = world.plant.price_ct(world.clock_s)
        world.advance(3600.0)
        sun, house, car, bought, sold = (now - then for now, then in zip(_counters(world), before, strict=True))
        home, places = world.home, {person.name: person.now(world.clock_s)[0] for person in world.home.people}
        yield Hour(
            clock=home.clock,
            outside_c=round(home.outside_c, 1),
            rooms_c={area: round(room.temperature_c, 1) for area, room in home.rooms.items() if room.capacity_j_k},
            people={name: stay.doing if stay.place == AWAY else stay.place for name, stay in places.items()},
            sun_kw=round(sun, 3),
            house_kw=round(house, 3),
            car_kw=round(car, 3),
            grid_kw=round(bought - sold, 3),
            battery_percent=world.plant.percent,
            price_ct=price_ct,
            car_place=f"to {world.car.route[0]}" if world.car.is_driving else world.car.place,
            car_percent=world.car.percent,
        )


def _counters(world: World) -> tuple[float, ...]:
    meter = world.plant.meter
    return meter.sun, world.house_kwh, world.car_kwh, meter.bought, meter.sold
