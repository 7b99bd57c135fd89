"""People who live in a home: where each of them is at any time of the week."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["AWAY", "Person", "Stay", "clock_text", "sample_people"]

AWAY = "away"
DAY_S = 86400.0
WEEK_S = 7 * DAY_S
AWAKE_W, ASLEEP_W = 100.0, 70.0
AWAKE_KG_S, ASLEEP_KG_S = 0.05 / 3600, 0.03 / 3600
AT_DOOR_S = 120.0
SHOWER_L = 40.0


class Stay(NamedTuple):
    """One entry of a calendar.

    Attributes:
        start_s: seconds since Monday 00:00.
        place: an area of the home, or "away".
        doing: what the listing says: "awake", "asleep", "leaving" or "arriving", and away where: "at work".
        hot_water_l: litres at 40 °C that are used in this time.
    """

    start_s: float
    place: str
    doing: str = "awake"
    hot_water_l: float = 0.0

    @property
    def heat_w(self) -> float:
        """What the person gives to the room."""
        return ASLEEP_W if self.doing == "asleep" else AWAKE_W

    @property
    def vapour_kg_s(self) -> float:
        """Water that the person breathes out and sweats."""
        return ASLEEP_KG_S if self.doing == "asleep" else AWAKE_KG_S


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a calendar for the week, which repeats.

    Attributes:
        name: lower case.
        calendar: stays in order of their start; the last one goes on until the first begins again.
    """

    name: str
    calendar: tuple[Stay, ...]

    def now(self, clock_s: float) -> tuple[Stay, float]:
        """The current stay and when it ends, in the home's clock. Clock 0 is Monday 00:00."""
        in_week_s = clock_s % WEEK_S
        index = bisect_right(self.calendar, in_week_s, key=lambda stay: stay.start_s)
        stay = self.calendar[index - 1]
        end_s = self.calendar[index].start_s if index < len(self.calendar) else self.calendar[0].start_s + WEEK_S
        return stay, clock_s - in_week_s + end_s

    def row(self, clock_s: float) -> str:
        """The line of the listing: "person bedroom: maria, asleep", "person away: tom, at work until 17:30"."""
        stay, end_s = self.now(clock_s)
        until = f" until {clock_text(end_s)}" if stay.place == AWAY else ""
        return f"person {stay.place}: {self.name}, {stay.doing}{until}"

    def hot_water_l_s(self, clock_s: float) -> float:
        """Litres of water at 40 °C that the person uses a second now."""
        stay, end_s = self.now(clock_s)
        start_s = clock_s - clock_s % WEEK_S + stay.start_s
        return stay.hot_water_l / (end_s - start_s) if stay.hot_water_l else 0.0


def clock_text(clock_s: float) -> str:
    """Time of day as HH:MM."""
    minutes = int(clock_s // 60) % 1440
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def sample_people(rng: random.Random, names: Sequence[str], areas: Sequence[str]) -> list[Person]:
    """Draw the people of a home.

    Args:
        rng: source of randomness.
        names: one person each.
        areas: the indoor rooms; who has no bathroom or kitchen uses another room.
    Returns:
        People with calendars: nights, showers, meals, work from Monday to Friday, an errand on Saturdays.
    """
    return [Person(name, tuple(_week(rng, areas))) for name in names]


def _week(rng: random.Random, areas: Sequence[str]) -> list[Stay]:
    works = rng.random() < 0.75
    wake_h, leave_h, back_h = rng.uniform(6, 7.2), rng.uniform(7.6, 9), rng.uniform(15.5, 18.5)
    sleep_h = rng.uniform(22, 23.8)
    bed, bath = _room(rng, areas, "bedroom", "nursery", "guest room"), _room(rng, areas, "bathroom")
    kitchen, lounge = _room(rng, areas, "kitchen"), _room(rng, areas, "living room", "lounge", "office")
    door = _room(rng, areas, "hall", "corridor")
    stays = []
    for day in range(7):
        is_workday = works and day < 5
        late_h = 0.0 if is_workday else rng.uniform(0.5, 1.8)
        wake_s = _minute(day, wake_h + late_h)
        stays += [Stay(wake_s, bath, "awake", SHOWER_L), Stay(wake_s + 900, kitchen)]
        if is_workday:
            stays += _trip(day, leave_h, back_h, "at work", door, lounge)
        elif day == 5:
            leave = rng.uniform(10, 11)
            stays += _trip(day, leave, leave + rng.uniform(0.7, 2), "at the shops", door, lounge)
        else:
            stays.append(Stay(_minute(day, 10), lounge))
        stays += [Stay(_minute(day, max(18.6, back_h + 0.2)), kitchen), Stay(_minute(day, 19.5), lounge)]
        stays.append(Stay(_minute(day, sleep_h), bed, "asleep"))
    return stays


def _trip(day: int, leave_h: float, back_h: float, doing: str, door: str, lounge: str) -> list[Stay]:
    """Two minutes at the door on the way out and back."""
    leave_s, back_s = _minute(day, leave_h), _minute(day, back_h)
    out = [Stay(leave_s - AT_DOOR_S, door, "leaving"), Stay(leave_s, AWAY, doing)]
    return [*out, Stay(back_s, door, "arriving"), Stay(back_s + AT_DOOR_S, lounge)]


def _room(rng: random.Random, areas: Sequence[str], *wanted: str) -> str:
    found = [area for area in wanted if area in areas]
    return found[0] if found else rng.choice(sorted(areas))


def _minute(day: int, hour: float) -> float:
    return day * DAY_S + 60.0 * round(60 * hour)
