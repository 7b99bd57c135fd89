"""The simulated home: heat, moving covers, the clock, the listing."""

import math
import random
import time

import pytest
from small_home import small_home

from openmimo.environments.home import Home, demo_home, sample_home
from openmimo.environments.home.thermal import HeatAccount, Room, RoomLoad, Weather, relative_humidity, step_rooms


def test_system_content_lists_every_device_in_the_fixed_layout():
    assert small_home().system_content() == (
        "You control a home. It is 07:40, 4 °C outside.\n"
        "- binary_sensor hall: hall window, closed\n"
        "- climate bedroom: maria radiator, heat 21 °C, now 19 °C\n"
        "- cover kitchen: kitchen blind, open 40%\n"
        "- light hall: led strip, off\n"
        "- light kitchen: ceiling light, on 80%\n"
        "- lock hall: main door = front door, locked\n"
        "- sensor kitchen: thermometer, 19 °C"
    )


def test_a_cover_takes_twenty_seconds_for_its_whole_travel_and_the_listing_shows_where_it_is():
    home = small_home()
    blind = home.named("kitchen blind")
    blind.move(100)
    home.advance(5)  # 5 s at 5 % a second: 40 + 25.
    assert home.row(blind) == "cover kitchen: kitchen blind, opening 65%"
    assert blind.commanded() == (100,)
    home.advance(60)
    assert home.row(blind) == "cover kitchen: kitchen blind, open 100%"
    blind.move(0)
    home.advance(19)
    assert home.row(blind).endswith("closing 5%")
    home.advance(1)
    assert home.row(blind).endswith("closed")


def pass_time(rooms: dict[str, Room], outside_c: float, seconds: float, **loads: RoomLoad) -> None:
    for _ in range(round(seconds / 60)):
        step_rooms(rooms, loads, outside_c, 60.0, HeatAccount())


def test_an_unheated_room_cools_as_the_exponential_says():
    # C = 1 MJ/K and 20 W/K give a time constant of 50,000 s; after it 1/e of the difference is left.
    rooms = {"attic": Room(20.0, capacity_j_k=1e6, loss_w_k=20.0)}
    pass_time(rooms, 0.0, 50_000.0)
    assert rooms["attic"].temperature_c == pytest.approx(20.0 / math.e, rel=1e-3)


def test_two_rooms_step_as_the_closed_form_of_their_network_says():
    """Two nodes C1, C2 with losses H to the outside, joined by K: the roots and modes of a 2 by 2 matrix.

    Rooms that share a massless node through 30 and 60 W/K are joined by 30 * 60 / 90 = 20 W/K. The step is 600 W into
    the first room from a uniform 10 °C: 1 MJ/K, 20 W/K there, 2 MJ/K, 30 W/K in the second.
    """
    rooms = {
        "office": Room(10.0, capacity_j_k=1e6, loss_w_k=20.0, neighbour_w_k=30.0, gains_w=600.0),
        "hall": Room(10.0, capacity_j_k=2e6, loss_w_k=30.0, neighbour_w_k=60.0),
    }
    a, b, c, d = -40e-6, 20e-6, 10e-6, -25e-6  # dT1/dt = a T1 + b T2 + 600e-6, dT2/dt = c T1 + d T2.
    # At rest 40 T1 - 20 T2 = 600 and 50 T2 = 20 T1: T1 = 18.75 K, T2 = 7.5 K above the outside.
    half, spread = (a + d) / 2, math.sqrt(((a - d) / 2) ** 2 + b * c)
    slow, fast = half + spread, half - spread
    # T(0) = 0 = rest + x (b, slow - a) + y (b, fast - a).
    y = (7.5 - 18.75 * (slow - a) / b) / (slow - fast)
    x = -18.75 / b - y
    for begin_h, end_h in ((0, 1), (1, 4), (4, 12), (12, 48)):
        seconds = 3600 * end_h
        pass_time(rooms, 10.0, 3600 * (end_h - begin_h))
        late, early = x * math.exp(slow * seconds), y * math.exp(fast * seconds)
        expected = (28.75 + b * (late + early), 17.5 + (slow - a) * late + (fast - a) * early)
        assert [room.temperature_c for room in rooms.values()] == pytest.approx(expected, abs=0.01)


def test_rooms_end_where_gains_and_losses_meet():
    # 300 W over 25 W/K: 12 K above the outside of 5 °C.
    rooms = {"office": Room(10.0, gains_w=300.0), "hall": Room(30.0, gains_w=300.0)}
    pass_time(rooms, 5.0, 6e5)
    assert [room.temperature_c for room in rooms.values()] == pytest.approx([17.0, 17.0], abs=1e-3)


def test_heat_in_equals_heat_lost_plus_heat_stored():
    for seed in range(20):
        home = sample_home(random.Random(seed), 12)
        before = {area: room.temperature_c for area, room in home.rooms.items()}
        home.advance(6 * 3600)
        stored_j = sum(room.capacity_j_k * (room.temperature_c - before[area]) for area, room in home.rooms.items())
        assert home.heat.stored_j == pytest.approx(stored_j, rel=1e-9, abs=1e-3)
        brought_j = home.heat.heated_j + home.heat.gained_j
        assert brought_j == pytest.approx(home.heat.lost_j + home.heat.stored_j, rel=1e-9, abs=1e-3)


def test_a_thermostat_brings_its_room_to_the_set_point_and_an_open_window_costs_heat():
    home = small_home()
    home.named("maria radiator").set_temperature(22.0)
    home.advance(12 * 3600)
    # The proportional thermostat needs (25 W/K * 18 K) / 800 W/K, about half a degree, plus what the colder rooms take.
    assert home.rooms["bedroom"].temperature_c == pytest.approx(21.5, abs=0.4)
    closed, opened = home.copy(), home.copy()
    opened.named("hall window").is_active = True
    closed.advance(3600)
    opened.advance(3600)
    # 60 W/K more over some 6 K for an hour out of 1.5 MJ/K: about 0.9 K.
    assert closed.rooms["hall"].temperature_c - opened.rooms["hall"].temperature_c == pytest.approx(0.9, abs=0.1)


def test_outside_is_warmest_at_three_in_the_afternoon_and_balconies_follow_it():
    weather = Weather(10.0, 5.0)
    assert weather.temperature_c(15 * 3600) == pytest.approx(15.0)
    assert weather.temperature_c(3 * 3600) == pytest.approx(5.0)
    home = Home([], {"balcony": Room(0.0, capacity_j_k=0.0)}, weather, 14 * 3600)
    home.advance(3600)
    assert home.rooms["balcony"].temperature_c == pytest.approx(15.0)


def test_humidity_follows_the_magnus_formula():
    assert relative_humidity(2339.0, 20.0) == pytest.approx(100.0, abs=0.5)  # Saturation at 20 °C is 2339 Pa.
    assert relative_humidity(1169.5, 20.0) == pytest.approx(50.0, abs=0.3)
    assert relative_humidity(9999.0, 20.0) == 100.0


def test_the_clock_wraps_at_midnight_and_timers_end():
    home = small_home()
    home.timers_s = [home.clock_s + 60, home.clock_s + 50_000]
    home.advance(17 * 3600)
    assert home.clock == "00:40"
    assert len(home.timers_s) == 0
    with pytest.raises(ValueError, match="must be 0 to 604800"):
        home.advance(-1)
    with pytest.raises(ValueError, match="must be 0 to 604800"):
        home.advance(float("nan"))


def test_one_long_step_equals_many_short_ones():
    one, many = demo_home(), demo_home()
    one.advance(3600)
    for _ in range(60):
        many.advance(60)
    assert one.state() == many.state()


def test_a_copy_shares_nothing_that_changes():
    home = small_home()
    before = home.state()
    copied = home.copy()
    for device in copied.devices:
        if hasattr(device, "turn_off"):
            device.turn_off()
    copied.advance(5000)
    assert home.state() == before
    assert copied.state() != before


def test_the_same_seed_gives_the_same_home_and_names_are_unique():
    for seed in range(200):
        home = sample_home(random.Random(seed), 3 + seed % 12, "eval" if seed % 2 else "train")
        again = sample_home(random.Random(seed), 3 + seed % 12, "eval" if seed % 2 else "train")
        assert home.system_content() == again.system_content()
        names = [text for device in home.devices for text in (device.name, device.alias) if text]
        assert len(names) == len(set(names))
        assert sum(device.domain != "vacuum" for device in home.devices) == 3 + seed % 12
        assert home.system_content() == home.system_content().replace("\t", "")


def test_a_step_takes_less_than_a_millisecond():
    home = sample_home(random.Random(1), 14)
    best_s = min(_timed(lambda: home.advance(60)) for _ in range(50))
    assert best_s < 1e-3


def _timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
