"""Journeys: how good a preparation is, as a share of the cheapest one that keeps what was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from openmimo.chat import Message
from openmimo.environments.car.cockpit import COMFORT_K, Cockpit

__all__ = ["JourneyGoal", "StopGoal", "best_stop", "latest_start_s", "next_clock_s", "reachable_stops"]


def next_clock_s(cockpit: Cockpit, minutes: int) -> float:
    """The next time at which the clock shows this.

    Args:
        cockpit: tells the time now.
        minutes: minutes of the day.
    Returns:
        Clock seconds, later than now.
    """
    day_s = cockpit.clock_s // 86400 * 86400
    at_s = day_s + 60.0 * minutes
    return at_s if at_s > cockpit.clock_s else at_s + 86400


def latest_start_s(cockpit: Cockpit, leave_s: float) -> float:
    """When the climate control must start at the latest.

    Args:
        cockpit: the car, its cabin as cold or warm as the air.
        leave_s: clock time of the departure.
    Returns:
        Clock seconds.
    """
    return leave_s - 60.0 * cockpit.ready_minutes()


@dataclass(frozen=True, slots=True)
class JourneyGoal:
    """Leave with enough in the battery and, where asked, a comfortable cabin, for as little energy as possible.

    Attributes:
        leave_s: clock time of the departure.
        place: destination, or "" where only the cabin matters.
        reserve: percent that must be left on arrival.
        is_warm: whether the cabin must be comfortable.
        set_point_c: what comfortable means, within `COMFORT_K`.
        start: commanded state at the beginning; whatever the wishes do not concern must stay as it is.
        best_kwh: what the cheapest preparation takes from the wall.
        naive_kwh: what the careless one takes: nothing changed, or, where that is not enough, full and an hour early.
    """

    leave_s: float
    place: str
    reserve: int
    is_warm: bool
    set_point_c: float
    start: dict[str, object] = field(repr=False)
    best_kwh: float = 0.0
    naive_kwh: float = 1.0

    def score(self, world: Cockpit, last: Message) -> float:
        """Share of the optimum.

        Args:
            world: as the episode left it.
            last: the last reply; its wording does not matter.
        Returns:
            1.0 for the least energy, falling to 0.0 at the careless preparation; 0.0 where a wish is not met.
        """
        free = {*(("limit", "charging") if self.place else ()), *(("climate",) if self.is_warm else ())}
        now = world.commanded()
        if any(now[name] != value for name, value in self.start.items() if name not in free):
            return 0.0
        used_kwh = self.wall_kwh(world)
        if used_kwh is None:
            return 0.0
        return max(0.0, min(1.0, (self.naive_kwh - used_kwh) / (self.naive_kwh - self.best_kwh)))

    def wall_kwh(self, cockpit: Cockpit) -> float | None:
        """Let the night pass on a copy.

        Args:
            cockpit: after the preparation.
        Returns:
            kWh from the wall until the departure, or None where the departure is not as wished.
        """
        later = cockpit.copy()
        wall_kwh = later.advance(self.leave_s - later.clock_s)
        car = later.car
        if self.is_warm and abs(car.cabin_c - self.set_point_c) > COMFORT_K + 1e-6:
            return None
        if self.place and car.percent - car.trip_percent(car.place, self.place, later.outside_c) < self.reserve:
            return None
        return wall_kwh


@dataclass(frozen=True, slots=True)
class StopGoal:
    """Drive to a place by the charger that makes the least of a detour.

    Attributes:
        place: destination.
        start: commanded state at the beginning; nothing but the route may change.
        costs: percent of the battery that the whole drive takes, by charger in reach.
    """

    place: str
    start: dict[str, object] = field(repr=False)
    costs: dict[str, int] = field(repr=False)

    def score(self, world: Cockpit, last: Message) -> float:
        """Share of the optimum.

        Args:
            world: as the episode left it.
            last: the last reply; its wording does not matter.
        Returns:
            1.0 for the best charger, 0.0 for the worst one in reach, out of reach, or elsewhere.
        """
        now, route = world.commanded(), world.car.route
        if any(now[name] != value for name, value in self.start.items() if name != "route"):
            return 0.0
        if len(route) != 2 or route[1] != self.place or route[0] not in self.costs:
            return 0.0
        best, worst = min(self.costs.values()), max(self.costs.values())
        return 1.0 if best == worst else (worst - self.costs[route[0]]) / (worst - best)


def reachable_stops(cockpit: Cockpit) -> dict[str, int]:
    """Chargers on the way to `far` that the battery reaches, and what the whole drive takes.

    Args:
        cockpit: has a `far` destination.
    Returns:
        Percent by charger, in the order of the rows.
    """
    stops = {name: cockpit.stop_percents(name) for name in cockpit.stops()}
    return {name: first + second for name, (first, second) in stops.items() if first <= cockpit.car.percent}


def best_stop(costs: dict[str, int]) -> str:
    """The charger of the shortest drive, the first of equals.

    Args:
        costs: percent by charger.
    Returns:
        Its name.
    """
    return min(costs, key=lambda name: costs[name])
