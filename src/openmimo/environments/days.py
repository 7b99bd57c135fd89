"""How days differ: clouds by the hour, and a temperature that drifts. The first day is as it was drawn."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache

from openmimo.environments.sky import Sky

__all__ = ["Clouds", "drift_k", "walk_clouds"]

DAY_S = 86400.0
PERSISTENCE = 0.7
"""How much of a day's departure from the mean is left on the next one."""

SHOCK_K = 2.0
TERMS = 12
"""Days that are looked back on; what is left of an earlier one is 0.7^12, about a hundredth."""


def drift_k(seed: int, clock_s: float) -> float:
    """How much warmer it is than on the first day.

    Args:
        seed: the same seed gives the same days.
        clock_s: seconds since the first midnight.
    Returns:
        Kelvin: 0 throughout the first day, then evenly from each midnight's value to the next; their standard deviation
        is 2.8 after some days.
    Source: autoregressive process of order 1, as of daily temperatures: persistence 0.7, shocks of 2 K.
    """
    day, part = divmod(clock_s / DAY_S, 1)
    if day < 1:
        return 0.0
    before_k, after_k = _departure_k(seed, int(day) - 1), _departure_k(seed, int(day))
    return before_k + part * (after_k - before_k)


@lru_cache(maxsize=4096)
def _departure_k(seed: int, day: int) -> float:
    shocks = (random.Random(f"drift-{seed}-{day - back}").gauss(0, SHOCK_K) for back in range(min(day, TERMS)))
    return sum(PERSISTENCE**back * shock for back, shock in enumerate(shocks))


def walk_clouds(rng: random.Random) -> tuple[float, ...]:
    """Draw the clouds of a day: a walk that stays between clear and covered.

    Args:
        rng: source of randomness.
    Returns:
        Covered share of the sky at each hour.
    """
    cloud, found = rng.random(), []
    for _ in range(24):
        cloud = min(1.0, max(0.0, cloud + rng.gauss(0, 0.15)))
        found.append(round(cloud, 2))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Clouds:
    """Covered share of the sky; between the hours it changes evenly.

    Attributes:
        first: at each hour of the first day; at midnight it is always as at the first one.
        seed: of the later days, or None where every day is like the first.
    """

    first: tuple[float, ...] = (0.0,) * 24
    seed: int | None = None

    @classmethod
    def of(cls, seed: int) -> Clouds:
        """The clouds of a seed, the first day's as well."""
        return cls(_drawn_day(seed, 0), seed)

    def over(self, sky: Sky, clock_s: float) -> Sky:
        """Put the clouds of a moment into a sky.

        Args:
            sky: any; its own clouds do not matter.
            clock_s: seconds since the first midnight.
        Returns:
            The sky then.
        """
        return replace(sky, cloud=self.at(clock_s))

    def at(self, clock_s: float) -> float:
        """The covered share at a clock time, 0.0 to 1.0."""
        day, rest_s = divmod(clock_s, DAY_S)
        hour, part = divmod(rest_s / 3600, 1)
        hours = self._day(int(day))
        return (1 - part) * hours[int(hour)] + part * hours[(int(hour) + 1) % 24]

    def _day(self, day: int) -> tuple[float, ...]:
        if self.seed is None or day < 1:
            return self.first
        return (self.first[0], *_drawn_day(self.seed, day)[1:])


@lru_cache(maxsize=256)
def _drawn_day(seed: int, day: int) -> tuple[float, ...]:
    return walk_clouds(random.Random(f"clouds-{seed}-{day}"))
