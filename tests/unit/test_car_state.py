"""The simulated car: battery, cabin, charging, driving, and where the energy goes."""

import math
import random
import time

import pytest

from openmimo.environments.car import Car, Place, Roads, sample_roads
from openmimo.environments.car.physics import cabin_step_c, kwh_per_km


def small_car(**state) -> Car:
    roads = Roads({"home": Place("home", 0, 0, 11.0), "office": Place("office", 50 / 1.3, 0, 50.0, 40)})
    return Car(roads, **({"windows": {"driver window": 0}, "seats": {"driver seat": 0}} | state))


def balance(car: Car) -> float:
    account = car.account
    return account.wall - account.stored - account.driven - account.used - account.lost


def test_a_home_charger_fills_the_battery_at_its_power_and_stops_at_the_limit():
    car = small_car(is_plugged=True, battery_kwh=30.0)
    wall_kwh = car.advance(3600, 0.0, 15.0)
    assert wall_kwh == pytest.approx(11.0)
    assert car.battery_kwh == pytest.approx(30 + 11 * 0.92)
    car.advance(4 * 3600, 0.0, 15.0)
    assert (car.battery_kwh, car.percent, car.is_charging) == (pytest.approx(48.0), 80, False)


def test_fast_charging_approaches_full_exponentially_in_the_last_fifth():
    # Above 80 % the power is 120 kW (1 - s) / 0.2, so 1 - s = 0.2 exp(-t 120 / (0.2 60)) with t in hours.
    roads = Roads({"home": Place("home", 0, 0, 1000.0)})
    car = Car(roads, battery_kwh=48.0, limit_percent=100, is_plugged=True)
    car.advance(360, 0.0, 15.0)
    assert 1 - car.battery_kwh / 60 == pytest.approx(0.2 * math.exp(-0.1 * 10), rel=0.1)  # steps of a minute


def test_motorway_driving_in_mild_air_takes_what_the_road_load_says():
    # 186.4 N of rolling and 0.5 * 1.2045 * 0.62 * 27.78^2 = 288.1 N of drag at 100 km/h and 20 °C, over 0.85.
    assert kwh_per_km(100.0, 20.0) == pytest.approx((186.39 + 288.1) / 0.85 / 3600 + 0.004, rel=1e-3)
    assert kwh_per_km(100.0, -10.0) > 1.15 * kwh_per_km(100.0, 20.0)


def test_a_cabin_loses_heat_as_the_exponential_says_however_the_time_is_cut():
    whole = cabin_step_c(20.0, 0.0, 0.0, 0.0, 40.0, 5000.0)
    assert whole == pytest.approx(20 / math.e)
    halves = cabin_step_c(cabin_step_c(20.0, 0.0, 0.0, 0.0, 40.0, 2500.0), 0.0, 0.0, 0.0, 40.0, 2500.0)
    assert halves == pytest.approx(whole)


def test_the_climate_control_warms_and_cools_and_open_windows_undo_it():
    for outside_c in (-8.0, 34.0):
        car = small_car(cabin_c=outside_c, climate_on=True)
        car.advance(1800, 0.0, outside_c)
        assert car.cabin_c == pytest.approx(21.0, abs=0.8)
        opened = car.copy()
        opened.windows["driver window"] = 100
        opened.climate_on = False
        opened.advance(600, 0.0, outside_c)
        car.climate_on = False
        car.advance(600, 0.0, outside_c)
        assert abs(opened.cabin_c - outside_c) < abs(car.cabin_c - outside_c)


def test_the_climate_control_starts_by_itself_at_its_time():
    car = small_car(cabin_c=0.0, warm_at_s=3600.0)
    car.advance(3540, 0.0, 0.0)
    assert (car.climate_on, car.cabin_c) == (False, pytest.approx(0.0))
    car.advance(1800, 3540.0, 0.0)
    assert (car.climate_on, car.warm_at_s, car.cabin_c > 15) == (True, None, True)


def test_a_drive_takes_its_time_and_ends_at_the_destination_within_the_expected_charge():
    car = small_car(battery_kwh=48.0, route=["office"], is_plugged=True, doors_locked=False)
    expected = car.trip_percent("home", "office", 0.0)
    car.set_off()
    assert (car.is_driving, car.is_plugged, car.doors_locked) == (True, False, True)
    car.advance(29 * 60, 0.0, 0.0)  # 50 km at 100 km/h take half an hour
    assert (car.place, car.is_driving) == ("home", True)
    car.advance(60, 0.0, 0.0)
    assert (car.place, car.is_driving, car.route, car.is_plugged) == ("office", False, [], True)
    assert 0 <= 80 - expected <= car.percent <= 80


def test_an_empty_battery_ends_the_drive_and_never_goes_below_zero():
    car = small_car(battery_kwh=1.0, route=["office"], seats={"driver seat": 3})
    car.set_off()
    car.advance(3600, 0.0, 0.0)
    assert (car.is_driving, car.place) == (True, "home")
    assert car.battery_kwh == pytest.approx(0.0, abs=1e-9)
    assert balance(car) == pytest.approx(0.0, abs=1e-9)


def test_energy_from_the_wall_is_stored_driven_used_or_lost():
    for seed in range(30):
        rng = random.Random(seed)
        roads = sample_roads(rng, ["lake", "office"], ["oak charger"])
        car = Car(roads, battery_kwh=rng.uniform(2, 55), is_plugged=rng.random() < 0.5, climate_on=rng.random() < 0.5)
        car.switches, car.seats = {"front defroster": True}, {"driver seat": 3}
        before = car.battery_kwh
        car.advance(rng.uniform(0, 7200), 0.0, rng.uniform(-15, 35), rng.uniform(0, 600))
        car.route = ["lake", "office"]
        car.set_off()
        car.advance(rng.uniform(0, 7200), 0.0, rng.uniform(-15, 35))
        assert balance(car) == pytest.approx(0.0, abs=1e-9)
        assert car.battery_kwh - before == pytest.approx(car.account.stored, abs=1e-9)
        assert 0 <= car.battery_kwh <= car.capacity_kwh


def test_a_copy_is_independent_and_time_only_goes_forward():
    car = small_car()
    other = car.copy()
    other.windows["driver window"] = 100
    other.account.wall = 5.0
    assert (car.windows["driver window"], car.account.wall) == (0, 0.0)
    with pytest.raises(ValueError, match="seconds=-1"):
        car.advance(-1, 0.0, 10.0)
    with pytest.raises(ValueError, match="no route"):
        car.set_off()


def test_a_step_takes_under_a_millisecond():
    car = small_car(climate_on=True)
    start = time.perf_counter()
    for _ in range(100):
        car.advance(60, 0.0, 5.0)
    assert (time.perf_counter() - start) / 100 < 1e-3


def test_roads_are_symmetric_and_the_same_for_the_same_seed():
    roads = sample_roads(random.Random(1), ["lake", "office"], ["oak charger"])
    assert roads == sample_roads(random.Random(1), ["lake", "office"], ["oak charger"])
    assert roads.km("lake", "office") == roads.km("office", "lake") > 0
    assert all(2 <= roads.km("home", name) <= 200.1 for name in roads.places if name != "home")
