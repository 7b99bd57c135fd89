"""Days that differ: drift and clouds are seeded, continuous, of the stated spread; the first day is as it was."""

import random
import statistics
from dataclasses import replace

import pytest

from openmimo.environments.days import Clouds, drift_k, walk_clouds
from openmimo.environments.home.thermal import Weather
from openmimo.environments.world import run_day, sample_world

MIDNIGHTS_S = [86400.0 * day for day in range(1, 1000)]


def test_the_first_day_is_as_it_was_and_the_next_ones_are_not():
    plain, seeded = Weather(7.0, 4.0), Weather(7.0, 4.0, seed=3)
    first = [minute * 60.0 for minute in range(1440)]
    assert [seeded.temperature_c(s) for s in first] == [plain.temperature_c(s) for s in first]
    assert seeded.temperature_c(2.5 * 86400) != seeded.temperature_c(1.5 * 86400)
    assert plain.temperature_c(2.5 * 86400) == pytest.approx(plain.temperature_c(1.5 * 86400))
    clouds = walk_clouds(random.Random(0))
    same, other = Clouds(clouds), Clouds(clouds, seed=3)
    assert [other.at(s) for s in first] == [same.at(s) for s in first]
    noons = [other.at(86400 * (day + 0.5)) for day in range(8)]
    assert len(set(noons)) == 8
    assert len({same.at(86400 * (day + 0.5)) for day in range(8)}) == 1


def test_nothing_jumps_at_midnight():
    clouds, weather = Clouds((0.2,) * 24, seed=5), Weather(7.0, 4.0, seed=5)
    for midnight_s in MIDNIGHTS_S[:20]:
        assert clouds.at(midnight_s - 1e-3) == pytest.approx(clouds.at(midnight_s), abs=1e-5)
        assert weather.temperature_c(midnight_s - 1e-3) == pytest.approx(weather.temperature_c(midnight_s), abs=1e-5)
    assert all(0 <= clouds.at(1800.0 * step) <= 1 for step in range(48 * 30))


def test_the_drift_is_an_autoregression_of_the_stated_spread():
    values = [drift_k(1, midnight_s) for midnight_s in MIDNIGHTS_S][30:]
    spread_k = statistics.stdev(values)
    assert spread_k == pytest.approx(2.0 / (1 - 0.7**2) ** 0.5, rel=0.1)  # 2.80 K
    assert abs(statistics.mean(values)) < 0.6
    assert statistics.correlation(values[:-1], values[1:]) == pytest.approx(0.7, abs=0.05)
    assert drift_k(1, 5e5) == drift_k(1, 5e5) != drift_k(2, 5e5)


def test_a_world_has_the_same_first_day_with_and_without_days_that_differ():
    world, repeating = sample_world(3), sample_world(3)
    repeating.home.weather = replace(repeating.home.weather, seed=None)
    repeating.clouds = replace(repeating.clouds, seed=None)
    assert list(run_day(world)) == list(run_day(repeating))
    assert world.state() == repeating.state()
    for each in (world, repeating):
        each.advance(2 * 3600)
    assert world.home.outside_c != repeating.home.outside_c


def test_energy_and_heat_balance_over_days_that_differ():
    world = sample_world(2)
    stored_before_kwh = world.plant.battery_kwh
    world.advance(2 * 86400)
    meter, heat = world.plant.meter, world.home.heat
    used_kwh = world.house_kwh + world.car_kwh
    assert meter.sun + meter.bought == pytest.approx(used_kwh + meter.sold + meter.stored + meter.lost)
    assert world.plant.battery_kwh == pytest.approx(stored_before_kwh + meter.stored)
    assert heat.heated_j + heat.gained_j == pytest.approx(heat.cooled_j + heat.lost_j + heat.stored_j)
