"""Planning problems: costs by hand, the optimum against a search of all plans, the rule-based baseline."""

import itertools
import random
import sys

import pytest

from openmimo.environments import make_environment
from openmimo.environments.energy import BatteryJob, CarJob, Load, Plan, Problem, best_plan, greedy_plan, naive_plan
from openmimo.environments.energy.problem import is_proven
from openmimo.errors import OpenMiMoError


def all_plans(problem: Problem):
    """Every plan that meets the deadlines, charges no more than asked and cycles the battery at most once."""
    starts = [range(load.by - load.hours + 1) for load in problem.loads]
    cars = itertools.combinations(range(problem.car.by), problem.car.hours) if problem.car else [()]
    swings = [None, *(itertools.combinations(range(len(problem.prices)), 2) if problem.battery else ())]
    for chosen, car, swing in itertools.product(itertools.product(*starts), list(cars), swings):
        yield Plan({load.name: start for load, start in zip(problem.loads, chosen, strict=True)}, frozenset(car), swing)


def sample_problem(rng: random.Random) -> Problem:
    hours = rng.randint(4, 6)
    loads = tuple(
        Load(name, rng.randint(1, 3), rng.randint(1, 3), rng.randint(3, hours))
        for name in ("a", "b")[: rng.randint(0, 2)]
    )
    car = CarJob(rng.randint(1, 2), 3, rng.randint(2, hours)) if rng.random() < 0.6 else None
    prices = tuple(rng.randint(9, 45) for _ in range(hours))
    sun = tuple(rng.choice((0, 0, 1, 3, 5)) for _ in range(hours))
    return Problem(prices, sun, 8, loads, car, BatteryJob(2) if rng.random() < 0.4 else None, 2)


def test_costs_by_hand():
    problem = Problem((30, 20, 10), (0, 4, 0), 5, (Load("washer", 2, 3, 3),), CarJob(1, 3, 3))
    # Washer in hours 1 and 2, car in hour 2: 3 of 4 kWh of sun used and 1 sold, then 6 kWh bought at 10 ct.
    assert problem.cost_ct(Plan({"washer": 1}, frozenset({2}))) == -1 * 5 + 6 * 10
    # Both in hour 1 need 6 kWh: 2 are bought.
    assert problem.cost_ct(Plan({"washer": 0}, frozenset({1}))) == 3 * 30 + 2 * 20
    assert problem.price(Plan(), 1, 3) == 5
    assert problem.price(Plan({"washer": 1}), 1, 3) == pytest.approx((1 * 5 + 2 * 20) / 3)


def test_a_battery_costs_a_ninth_more_than_it_gives_back():
    problem = Problem((10, 40), (0, 0), 5, battery=BatteryJob(2), house_kw=2)
    assert problem.cost_ct(Plan()) == 20 + 80
    assert problem.cost_ct(Plan(battery=(0, 1))) == pytest.approx(20 + 10 * 2 / 0.9)
    assert greedy_plan(problem).battery == best_plan(problem).battery == (0, 1)
    assert not problem.is_met(Plan(battery=(1, 0)))


def test_the_optimum_is_the_best_of_all_plans():
    for seed in range(25):
        problem = sample_problem(random.Random(seed))
        best = best_plan(problem)
        assert problem.is_met(best)
        least = min(problem.cost_ct(plan) for plan in all_plans(problem))
        assert problem.cost_ct(best) == pytest.approx(least, abs=1e-6), problem


def test_no_rule_beats_the_optimum_and_a_proven_plan_reaches_it():
    num_proven = 0
    for seed in range(25):
        problem = sample_problem(random.Random(100 + seed))
        best, greedy = problem.cost_ct(best_plan(problem)), problem.cost_ct(greedy_plan(problem))
        assert best - 1e-6 <= greedy <= problem.cost_ct(naive_plan(problem)) + 1e-6
        if is_proven(problem, greedy_plan(problem)):
            num_proven += 1
            assert greedy == pytest.approx(best, abs=1e-6)
    assert num_proven > 3


def test_greedy_can_lose_where_two_want_the_same_sun():
    # The short load takes the only sunny hour, which the other one has no choice but to want.
    problem = Problem((30, 29, 30), (0, 0, 3), 5, (Load("long", 1, 3, 3), Load("late", 1, 3, 3)), None)
    assert is_proven(problem, greedy_plan(problem)) is False
    assert problem.cost_ct(greedy_plan(problem)) == problem.cost_ct(best_plan(problem))
    tight = Problem((30, 29), (3, 0), 5, (Load("free", 1, 3, 2), Load("early", 1, 3, 1)), None)
    assert problem.is_met(greedy_plan(problem))
    assert tight.cost_ct(greedy_plan(tight)) == 90  # "free" takes the sun, "early" pays 30 ct in the same hour
    assert tight.cost_ct(best_plan(tight)) == 15 - 15 + 3 * 29


def test_deadlines_that_cannot_be_met_are_refused():
    with pytest.raises(ValueError, match="no plan"):
        best_plan(Problem((10, 20), (0, 0), 5, (Load("washer", 2, 1, 1),)))


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(OpenMiMoError, match=r"pip install 'openmimo\[plans\]'"):
        best_plan(Problem((10, 20), (0, 0), 5, (Load("washer", 1, 1, 2),)))
    with pytest.raises(OpenMiMoError, match="scipy, which is not installed"):
        make_environment("energy")
