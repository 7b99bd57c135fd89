"""A small map: places around home, how far they are, how long the drive takes, and where one can charge."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

__all__ = ["Place", "Roads", "sample_roads"]

DETOUR = 1.3


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere to drive to.

    Attributes:
        name: lower case, unique on its map.
        x_km: east of home.
        y_km: north of home.
        charger_kw: what its charging point gives; 0 where there is none.
        price_ct: what a kWh costs there.
    """

    name: str
    x_km: float
    y_km: float
    charger_kw: float = 0.0
    price_ct: int = 0


@dataclass(frozen=True, slots=True)
class Roads:
    """All places by name; roads are a third longer than the straight line.

    Attributes:
        places: by name; "home" is at the origin.
    """

    places: dict[str, Place] = field(default_factory=dict)

    def km(self, start: str, end: str) -> float:
        """Length of the drive.

        Args:
            start: a place.
            end: a place.
        Returns:
            km by road, 0 from a place to itself.
        """
        a, b = self.places[start], self.places[end]
        return DETOUR * math.hypot(a.x_km - b.x_km, a.y_km - b.y_km)

    def speed_kmh(self, start: str, end: str) -> float:
        """Mean speed of the drive: town, country road, or motorway.

        Args:
            start: a place.
            end: a place.
        Returns:
            km/h.
        """
        km = self.km(start, end)
        return 35.0 if km < 10 else 65.0 if km < 50 else 100.0

    def minutes(self, start: str, end: str) -> int:
        """Length of the drive in whole minutes.

        Args:
            start: a place.
            end: a place.
        Returns:
            Minutes, at least 1.
        """
        return max(1, round(60 * self.km(start, end) / self.speed_kmh(start, end)))


def sample_roads(
    rng: random.Random, names: list[str], chargers: list[str], nearest_km: float = 2.0, home_charger_kw: float = 11.0
) -> Roads:
    """Draw a map.

    Args:
        rng: source of randomness.
        names: places to drive to, without "home".
        chargers: public charging points.
        nearest_km: how near places may be.
        home_charger_kw: what the charger at home gives.
    Returns:
        A map with home at the origin and everything else up to 200 km away, near and far alike.
    """
    places = {"home": Place("home", 0.0, 0.0, home_charger_kw)}
    for name in names:
        places[name] = Place(name, *_somewhere(rng, nearest_km, 200))
    for name in chargers:
        places[name] = Place(name, *_somewhere(rng, 15, 150), rng.choice((50.0, 100.0, 150.0)), rng.randint(29, 79))
    return Roads(places)


def _somewhere(rng: random.Random, low_km: float, high_km: float) -> tuple[float, float]:
    km, angle = low_km * (high_km / low_km) ** rng.random() / DETOUR, rng.uniform(0, 2 * math.pi)
    return round(km * math.cos(angle), 2), round(km * math.sin(angle), 2)
