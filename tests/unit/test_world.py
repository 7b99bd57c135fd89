"""The whole world: one clock, a car that follows a calendar, and an energy balance that closes."""

import json
import random
import time

import pytest

from openmimo.environments.home import KIND_WEIGHTS, HomeEpisode, sample_home, sample_task
from openmimo.environments.home.generate import split_of
from openmimo.environments.home.people import AWAY
from openmimo.environments.world import run_day, sample_world


@pytest.mark.parametrize("seed", range(4))
def test_energy_of_a_day_balances_at_the_meter_and_in_the_house(seed):
    world = sample_world(seed)
    stored_before_kwh = world.plant.battery_kwh
    world.advance(86400)
    meter = world.plant.meter
    battery_kwh = meter.stored + meter.lost  # Charge less discharge, at the battery's terminals.
    assert meter.sun + meter.bought == pytest.approx(world.house_kwh + world.car_kwh + meter.sold + battery_kwh)
    assert meter.used == pytest.approx(world.house_kwh + world.car_kwh)
    assert world.house_kwh == pytest.approx(world.home.electric_j / 3.6e6)
    assert world.plant.battery_kwh == pytest.approx(stored_before_kwh + meter.stored)
    account = world.car.account
    assert account.wall == pytest.approx(account.stored + account.driven + account.used + account.lost)
    heat = world.home.heat
    assert heat.heated_j + heat.gained_j == pytest.approx(heat.cooled_j + heat.lost_j + heat.stored_j)
    assert 1 < world.house_kwh < 60


def test_a_week_keeps_every_limit_and_nothing_jumps():
    for seed in range(3):
        world = sample_world(seed)
        for _ in range(7 * 24 * 4):
            battery_kwh, car_kwh = world.plant.battery_kwh, world.car.battery_kwh
            temperatures = {area: room.temperature_c for area, room in world.home.rooms.items()}
            world.advance(900)
            for area, room in world.home.rooms.items():
                assert abs(room.temperature_c - temperatures[area]) < 8  # A garage that stands open in winter.
            assert abs(world.plant.battery_kwh - battery_kwh) <= 5 * 0.25 / 0.9**0.5 + 1e-9  # Its losses come on top.
            assert abs(world.car.battery_kwh - car_kwh) < 11 * 0.25
            assert 0 <= world.plant.battery_kwh <= world.plant.capacity_kwh
            assert 0 <= world.car.battery_kwh <= world.car.capacity_kwh
            assert all(5 < room.temperature_c < 45 for room in world.home.rooms.values() if room.capacity_j_k)
        assert world.home.clock == "00:00"


def test_the_car_is_where_its_driver_is_and_home_in_time():
    world = next(
        world for world in map(sample_world, range(20)) if world.home.people[0].now(12 * 3600)[0].place == AWAY
    )
    places = {hour.clock: hour.car_place for hour in run_day(world)}
    assert places["12:00"] == "work"
    assert places["21:00"] == places["05:00"] == "home"
    assert world.car.account.driven > 0.5


def test_the_same_seed_gives_the_same_day_and_a_copy_goes_its_own_way():
    one, other = sample_world(5), sample_world(5)
    assert list(run_day(one, 6)) == list(run_day(other, 6))
    kept = one.copy()
    before = json.dumps(kept.state())
    one.advance(3600)
    assert json.dumps(kept.state()) == before
    kept.advance(3600)
    assert kept.state() == one.state()
    assert sample_world(6).state() != sample_world(5).state()


def test_one_long_step_of_the_world_equals_many_short_ones():
    one, many = sample_world(1), sample_world(1)
    one.advance(7200)
    for _ in range(120):
        many.advance(60)
    assert one.state() == many.state()
    with pytest.raises(ValueError, match="must be 0 to 604800"):
        one.advance(-1)


def test_chores_are_done_by_the_people():
    world = sample_world(0)
    chore = next(chore for chore in world.chores if chore.turns_on and world.home.named(chore.name).domain == "light")
    assert world.home.named(chore.name).word() == "off"
    world.advance(chore.start_s + 60)
    assert world.home.named(chore.name).word() == "on"
    assert not world.home.touched  # People use switches, not tools.


def test_clouds_move_evenly_from_hour_to_hour():
    world = sample_world(2)
    world.advance(12.25 * 3600)
    now = 0.75 * world.clouds.first[12] + 0.25 * world.clouds.first[13]
    assert world.state()["cloud"] == pytest.approx(now, abs=0.0051)  # It is shown in hundredths.


def test_a_lived_in_home_keeps_to_its_split_and_has_machines_people_and_sun():
    for seed in range(40):
        split = "eval" if seed % 2 else "train"
        home = sample_home(random.Random(seed), 3 + seed % 12, split, is_lived_in=True)
        assert split_of(home.devices) == split
        assert home.people
        assert home.sky is not None
        assert {device.domain for device in home.devices} & {"appliance", "water_heater", "vacuum", "climate"}
        names = [text for device in home.devices for text in (device.name, device.alias) if text]
        assert len(names) == len(set(names))
        again = sample_home(random.Random(seed), 3 + seed % 12, split, is_lived_in=True)
        assert again.listing() == home.listing()


def test_every_kind_of_task_can_be_drawn_and_solved_in_lived_in_homes():
    drawn = set()
    for seed in range(12):
        rng = random.Random(seed)
        home = sample_home(rng, 10, is_lived_in=True)
        for kind in KIND_WEIGHTS:
            try:
                task = sample_task(rng, home, kind)
            except ValueError:
                continue  # No such task in this home.
            episode = HomeEpisode(task)
            for message in task.gold:
                if message.role == "assistant":
                    episode.step(message)
            assert episode.reward() == 1.0
            drawn.add(kind)
    assert len(drawn) >= len(KIND_WEIGHTS) - 1


def test_how_long_a_minute_of_the_world_takes(capsys):
    world, start = sample_world(0), time.perf_counter()
    world.advance(6 * 3600)
    with capsys.disabled():
        print(f" [{(time.perf_counter() - start) / 360 * 1e6:.0f} us a minute] ", end="")
