"""Small planning problems: when to run what, given prices and sun by the hour. Costs, and plans that rules make."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

__all__ = ["BatteryJob", "CarJob", "Load", "Plan", "Problem", "greedy_plan", "is_proven", "naive_plan"]

BATTERY_EFFICIENCY = 0.9


@dataclass(frozen=True, slots=True)
class Load:
    """An appliance that runs once, without a break.

    Attributes:
        name: of the appliance.
        hours: how many.
        kw: what it draws.
        by: number of hours from now within which it must have run.
    """

    name: str
    hours: int
    kw: int
    by: int


@dataclass(frozen=True, slots=True)
class CarJob:
    """A car that needs some hours of charging, in any hours before its deadline.

    Attributes:
        hours: how many.
        kw: what it draws.
        by: number of hours from now within which it must be done.
    """

    hours: int
    kw: int
    by: int


@dataclass(frozen=True, slots=True)
class BatteryJob:
    """An empty home battery that may be filled in one hour and used in a later one.

    Attributes:
        kwh: what it gives back; filling takes a ninth more.
    """

    kwh: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Hours from now at which things happen.

    Attributes:
        starts: for each appliance.
        car: hours in which the car charges.
        battery: hours in which the battery is filled and used, or None.
    """

    starts: Mapping[str, int] = field(default_factory=dict)
    car: frozenset[int] = frozenset()
    battery: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """What must run by when, and what an hour costs.

    Attributes:
        prices: ct for a kWh from the grid, for each hour from now.
        sun: kWh from the roof in each hour.
        feed_in: ct for a kWh that is sold; not above any price.
        loads: appliances.
        car: the car's wish, or None.
        battery: the battery's offer, or None.
        house_kw: what the house uses all the time; a battery can save no more than that.
    """

    prices: tuple[int, ...]
    sun: tuple[int, ...]
    feed_in: int
    loads: tuple[Load, ...] = ()
    car: CarJob | None = None
    battery: BatteryJob | None = None
    house_kw: int = 0

    def use_kwh(self, plan: Plan) -> list[float]:
        """What is used in every hour under a plan."""
        use = [float(self.house_kw)] * len(self.prices)
        for load in self.loads:
            for hour in range(load.hours if load.name in plan.starts else 0):
                use[plan.starts[load.name] + hour] += load.kw
        for hour in plan.car if self.car else ():
            use[hour] += self.car.kw if self.car else 0
        if self.battery and plan.battery:
            use[plan.battery[0]] += self.battery.kwh / BATTERY_EFFICIENCY
            use[plan.battery[1]] -= self.battery.kwh
        return use

    def cost_ct(self, plan: Plan) -> float:
        """What the meter says at the end."""
        hours = zip(self.use_kwh(plan), self.sun, self.prices, strict=True)
        return sum((use - sun) * (price if use > sun else self.feed_in) for use, sun, price in hours)

    def is_met(self, plan: Plan) -> bool:
        """Whether everything runs, as long as it needs and in time."""
        is_run = all(
            load.name in plan.starts and 0 <= plan.starts[load.name] <= load.by - load.hours for load in self.loads
        )
        is_charged = self.car is None or sum(0 <= hour < self.car.by for hour in plan.car) >= self.car.hours
        is_ordered = plan.battery is None or 0 <= plan.battery[0] < plan.battery[1] < len(self.prices)
        return is_run and is_charged and is_ordered

    def price(self, plan: Plan, hour: int, kw: int) -> float:
        """What one more kWh of a further load would cost.

        Args:
            plan: what is planned already.
            hour: which hour.
            kw: power of the further load.
        Returns:
            ct for each of its kWh: the price, the feed-in that is given up for sun, or something between.
        """
        use, sun = self.use_kwh(plan)[hour], self.sun[hour]
        from_sun = max(0.0, min(float(kw), sun - use))
        return (from_sun * self.feed_in + (kw - from_sun) * self.prices[hour]) / kw


def naive_plan(problem: Problem) -> Plan:
    """Everything at once, as somebody does who never looks at prices.

    Args:
        problem: what must run.
    Returns:
        All appliances now, the car from now on, the battery idle.
    """
    starts = {load.name: 0 for load in problem.loads}
    return Plan(starts, frozenset(range(problem.car.hours)) if problem.car else frozenset())


def greedy_plan(problem: Problem, order: Iterable[str] | None = None) -> Plan:
    """One thing after another, each at its cheapest time that meets the deadline, given what is planned before it.

    Args:
        problem: what must run.
        order: names of the appliances; None takes them as they stand.
    Returns:
        The plan of the rule-based baseline; the car comes after the appliances.
    """
    loads, plan = {load.name: load for load in problem.loads}, Plan()
    for name in loads if order is None else order:
        load = loads[name]
        costs = [window_cost(problem, plan, load, start) for start in range(load.by - load.hours + 1)]
        plan = Plan({**plan.starts, name: costs.index(min(costs))})
    if problem.car:
        job = problem.car
        hours = sorted(range(job.by), key=lambda hour: problem.price(plan, hour, job.kw))[: job.hours]
        plan = Plan(plan.starts, frozenset(hours))
    if problem.battery:
        plan = Plan(plan.starts, plan.car, _best_swing(problem, plan))
    return plan


def window_cost(problem: Problem, plan: Plan, load: Load, start: int) -> float:
    """What an appliance costs at a start: the sum of its hours' prices, in ct for each kW."""
    return sum(problem.price(plan, start + hour, load.kw) for hour in range(load.hours))


def _best_swing(problem: Problem, plan: Plan) -> tuple[int, int] | None:
    """The pair of hours that saves most, None where none saves anything."""
    pairs = [None, *itertools.combinations(range(len(problem.prices)), 2)]
    return min(pairs, key=lambda pair: problem.cost_ct(Plan(plan.starts, plan.car, pair)))


def is_proven(problem: Problem, plan: Plan) -> bool:
    """Whether a plan is certainly the cheapest: as cheap as if nothing stood in the way of anything else.

    Sharing an hour's sun can only cost more, so the sum of what each thing costs alone is a bound that none can beat.

    Args:
        problem: without a battery.
        plan: meets all deadlines.
    Returns:
        True where the plan reaches the bound; False says nothing.
    """
    alone = [Problem(problem.prices, problem.sun, problem.feed_in, (load,), None, None, problem.house_kw)
             for load in problem.loads]  # fmt: skip
    if problem.car:
        alone.append(Problem(problem.prices, problem.sun, problem.feed_in, (), problem.car, None, problem.house_kw))
    nothing = problem.cost_ct(Plan())
    bound = sum(part.cost_ct(greedy_plan(part)) - nothing for part in alone)
    return problem.battery is None and problem.cost_ct(plan) - nothing <= bound + 1e-9
