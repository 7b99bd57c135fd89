"""The cheapest plan, exactly: a mixed-integer linear program solved by HiGHS."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from openmimo.environments.energy.problem import BATTERY_EFFICIENCY, Plan, Problem
from openmimo.errors import OpenMiMoError

__all__ = ["best_plan", "check_solver"]


def check_solver() -> None:
    """Make sure that the solver is there, without importing it: that takes a second.

    Raises:
        OpenMiMoError: scipy is not installed.
    """
    if importlib.util.find_spec("scipy") is None:
        raise OpenMiMoError(
            "the cheapest energy plan needs scipy, which is not installed: pip install 'openmimo[plans]'"
        )


class _Program:
    """Columns and rows of a linear program, collected one by one."""

    def __init__(self) -> None:
        self.costs: list[float] = []
        self.upper: list[float] = []
        self.integral: list[int] = []
        self.rows: list[tuple[dict[int, float], float, float]] = []

    def add(self, cost: float = 0.0, is_binary: bool = True) -> int:
        self.costs.append(cost)
        self.upper.append(1.0 if is_binary else np.inf)
        self.integral.append(int(is_binary))
        return len(self.costs) - 1

    def row(self, terms: dict[int, float], low: float, high: float) -> None:
        self.rows.append((terms, low, high))

    def solve(self) -> np.ndarray[Any, Any]:
        check_solver()
        from scipy import optimize

        matrix = np.zeros((len(self.rows), len(self.costs)))
        for index, (terms, _, _) in enumerate(self.rows):
            for column, value in terms.items():
                matrix[index, column] += value
        lows, highs = np.array([row[1:] for row in self.rows]).T
        limits = optimize.LinearConstraint(matrix, lows, highs)
        upper: Any = np.array(self.upper)  # scipy has no types, and its default looks like a float
        bounds = optimize.Bounds(0, upper)
        found = optimize.milp(self.costs, constraints=limits, bounds=bounds, integrality=self.integral)
        if found.x is None:
            raise ValueError(f"this problem has no plan that meets all deadlines: {found.message}")
        return found.x


def best_plan(problem: Problem) -> Plan:
    """Find the cheapest plan that meets all deadlines.

    Args:
        problem: what must run by when, and what an hour costs.
    Returns:
        A plan of least cost.
    Raises:
        OpenMiMoError: scipy is not installed.
        ValueError: no plan meets all deadlines.
    Source: binary start times, binary charging hours, and for each hour bought - sold = used - sun.
    """
    program, hours = _Program(), range(len(problem.prices))
    use: list[dict[int, float]] = [{} for _ in hours]
    starts = {load.name: [program.add() for _ in range(max(0, load.by - load.hours + 1))] for load in problem.loads}
    for load in problem.loads:
        program.row(dict.fromkeys(starts[load.name], 1.0), 1, 1)
        for start, column in enumerate(starts[load.name]):
            for hour in range(start, start + load.hours):
                use[hour][column] = load.kw
    car = [program.add() for _ in range(problem.car.by)] if problem.car else []
    if problem.car:
        program.row(dict.fromkeys(car, 1.0), problem.car.hours, problem.car.hours)
        for hour, column in enumerate(car):
            use[hour][column] = problem.car.kw
    fill, give = _add_battery(program, problem, use)
    for hour in hours:
        bought, sold = program.add(problem.prices[hour], False), program.add(-problem.feed_in, False)
        balance = problem.sun[hour] - problem.house_kw
        program.row({bought: 1.0, sold: -1.0} | {column: -kw for column, kw in use[hour].items()}, -balance, -balance)
    found = program.solve() > 0.5
    swing = next(
        ((i, j) for i in range(len(fill)) for j in range(len(give)) if found[fill[i]] and found[give[j]]), None
    )
    chosen = {name: next(at for at, column in enumerate(columns) if found[column]) for name, columns in starts.items()}
    return Plan(chosen, frozenset(hour for hour, column in enumerate(car) if found[column]), swing)


def _add_battery(program: _Program, problem: Problem, use: list[dict[int, float]]) -> tuple[list[int], list[int]]:
    """Columns of the hours in which the battery is filled and used: once at most, and filled before it is used."""
    if not problem.battery:
        return [], []
    fill, give = [program.add() for _ in use], [program.add() for _ in use]
    program.row(dict.fromkeys(fill, 1.0), 0, 1)
    program.row(dict.fromkeys(fill, 1.0) | dict.fromkeys(give, -1.0), 0, 0)
    for hour, (filled, given) in enumerate(zip(fill, give, strict=True)):
        program.row({given: 1.0} | dict.fromkeys(fill[:hour], -1.0), -np.inf, 0)
        use[hour][filled] = problem.battery.kwh / BATTERY_EFFICIENCY
        use[hour][given] = -problem.battery.kwh
    return fill, give
