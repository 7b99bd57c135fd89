"""The energy side of a home: panels, battery, tariff, meter."""

import random
import time

import pytest

from openmimo.environments.energy import Appliance, Plant, pv_kw


@pytest.mark.parametrize(
    ("irradiance", "outside_c", "expected_kw"), [(200, 5, 1.20744), (800, 25, 4.2048), (1000, 35, 4.9284)]
)
def test_panels_give_what_pvlib_says(irradiance, outside_c, expected_kw):
    # pvlib 0.16.1: 0.96 * pvsystem.pvwatts_dc(g, temperature.ross(g, t, noct=45), 6, -0.0035)
    assert pv_kw(irradiance, outside_c, 6.0) == pytest.approx(expected_kw)


def test_a_battery_that_is_filled_and_emptied_gives_nine_tenths_back():
    plant = Plant(peak_kw=0.0, battery_kwh=0.0, reserve_percent=0, mode="charge")
    plant.advance(3600, 0.0, 0.0, 10.0)
    assert plant.meter.bought == pytest.approx(5.0)
    plant.mode = "auto"
    plant.advance(3600, 3600.0, 0.0, 10.0, load_kwh=4.0)
    plant.advance(3600, 7200.0, 0.0, 10.0, load_kwh=4.0)
    assert plant.meter.bought == pytest.approx(5.0 + 8.0 - 0.9 * 5.0)
    assert plant.battery_kwh == pytest.approx(0.0, abs=1e-9)


def test_the_battery_keeps_its_reserve_and_its_power_limit():
    plant = Plant(peak_kw=0.0, battery_kwh=5.0, capacity_kwh=10.0, battery_max_kw=2.0, reserve_percent=40)
    plant.advance(900, 0.0, 0.0, 10.0, load_kwh=1.0)  # 4 kW wanted, 2 given
    assert plant.meter.bought == pytest.approx(0.5)
    plant.advance(7200, 900.0, 0.0, 10.0, load_kwh=8.0)
    assert plant.percent == 40


def test_surplus_sun_goes_into_the_battery_and_then_to_the_grid():
    plant = Plant(peak_kw=6.0, battery_kwh=9.0, feed_in_ct=8)
    plant.advance(3600, 12 * 3600.0, 800.0, 25.0, load_kwh=1.0)
    stored_in = 1.0 / 0.9**0.5
    assert plant.battery_kwh == pytest.approx(10.0)
    assert plant.meter.sold == pytest.approx(4.2048 - 1.0 - stored_in)
    assert plant.meter.cost_ct == pytest.approx(-8 * plant.meter.sold)


def test_an_appliance_runs_once_at_its_time_and_pays_the_price_of_its_hours():
    tariff = tuple([40] * 6 + [10] * 18)
    plant = Plant(peak_kw=0.0, capacity_kwh=0.0, battery_kwh=0.0, tariff_ct=tariff)
    plant.appliances["dishwasher"] = Appliance("dishwasher", 2.0, 1.5, start_s=5 * 3600.0)
    plant.advance(86400, 0.0, 0.0, 10.0)
    assert plant.meter.used == pytest.approx(3.0)
    assert plant.meter.cost_ct == pytest.approx(1.5 * 40 + 1.5 * 10)


def test_energy_in_equals_energy_out_and_limits_hold():
    for seed in range(30):
        rng = random.Random(seed)
        plant = Plant(battery_kwh=rng.uniform(1, 10), mode=rng.choice(("auto", "charge", "hold")))
        plant.appliances["washer"] = Appliance("washer", rng.uniform(0.5, 3), rng.uniform(0.5, 3), rng.uniform(0, 9e4))
        before, clock_s = plant.battery_kwh, 0.0
        for _ in range(40):
            seconds = rng.uniform(0, 3600)
            plant.advance(seconds, clock_s, rng.uniform(0, 1000), rng.uniform(-10, 35), rng.uniform(0, 4))
            clock_s += seconds
            assert 0 <= plant.battery_kwh <= plant.capacity_kwh
        meter = plant.meter
        assert meter.sun + meter.bought == pytest.approx(meter.used + meter.sold + meter.stored + meter.lost, abs=1e-9)
        assert plant.battery_kwh - before == pytest.approx(meter.stored, abs=1e-9)
        assert meter.lost >= 0


def test_time_only_goes_forward_loads_are_no_sources_and_copies_are_independent():
    plant = Plant()
    for arguments, match in (((-1, 0, 0, 0), "seconds=-1"), ((60, 0, 0, 0, -1), "load_kwh=-1")):
        with pytest.raises(ValueError, match=match):
            plant.advance(*arguments)
    other = plant.copy()
    other.meter.bought = 5.0
    assert plant.meter.bought == 0.0


def test_a_minute_takes_under_a_millisecond():
    plant = Plant()
    start = time.perf_counter()
    for minute in range(100):
        plant.advance(60, 60.0 * minute, 500.0, 20.0, 0.01)
    assert (time.perf_counter() - start) / 100 < 1e-3
