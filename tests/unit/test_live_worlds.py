"""Worlds to talk to: time that follows a clock, the calls of one reply, trips of the car, plans carried out."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest

from openmimo.cli import WORLDS
from openmimo.environments import LIVE_WORLDS
from openmimo.environments.car import LiveCar, demo_cockpit
from openmimo.environments.car.cockpit import Cockpit
from openmimo.environments.energy import LiveEnergy, demo_household
from openmimo.environments.home import LiveHome, demo_home
from openmimo.environments.live import LiveWorld

every_world = pytest.mark.parametrize("make", LIVE_WORLDS.values(), ids=LIVE_WORLDS)


def test_the_program_knows_every_world():
    assert tuple(LIVE_WORLDS) == WORLDS


@every_world
def test_a_world_shows_a_state_tools_and_a_clock(make: Callable[[], LiveWorld]):
    world = make()
    state = json.loads(json.dumps(world.state()))
    assert state["clock"] == "07:40"
    assert -10 < state["outside_c"] < 20
    assert json.dumps(world.drawing())
    assert 5 <= len(world.tools()) <= 10
    names = [[tool["function"]["name"] for tool in tools] for tools in (world.tools(), world.tools_by_hand())]
    assert set(names[0]) <= set(names[1])
    world.advance(3600)
    assert world.state()["clock"] == "08:40"
    for seconds in (-1, 86401):
        with pytest.raises(ValueError, match="must be 0 to 86400"):
            world.advance(seconds)
    assert make().state() == state  # always the same, and nothing is shared


@every_world
def test_time_follows_a_clock_but_a_day_at_most(make: Callable[[], LiveWorld]):
    world, now = make(), [100.0]
    world.follow(lambda: now[0])
    start_s = world.state()["clock_s"]
    now[0] += 90
    assert world.state()["clock_s"] - start_s == pytest.approx(90)
    assert world.state()["clock_s"] - start_s == pytest.approx(90)
    now[0] -= 50  # a clock that was set back
    assert world.state()["clock_s"] - start_s == pytest.approx(90)
    world = LiveEnergy()
    world.follow(lambda: now[0])
    now[0] += 30 * 86400
    assert world.state()["clock_s"] - start_s == pytest.approx(86400)


@every_world
def test_clouds_drift_within_a_day_the_same_in_every_run(make):
    def day() -> list[float]:
        world, found = make(), []
        for _ in range(48):
            found.append(world.state()["cloud"])
            world.advance(1800)
        return found

    clouds = day()
    assert day() == clouds
    assert max(clouds) - min(clouds) > 0.3
    assert all(abs(after - before) < 0.4 for before, after in pairwise(clouds))


def test_a_live_home_gets_the_sun_of_its_clouds_and_its_heat_balances():
    home, still = demo_home(), demo_home()
    live = LiveHome(home)
    live.advance(86400)
    still.advance(86400)
    heat = home.heat
    assert heat.heated_j + heat.gained_j == pytest.approx(heat.cooled_j + heat.lost_j + heat.stored_j)
    assert home.sky is not None
    assert home.sky.cloud == pytest.approx(live.state()["cloud"], abs=0.02)  # that of the last five minutes
    assert abs(heat.gained_j - still.heat.gained_j) > 1e6


CONTRADICTIONS = {
    LiveHome: (("HassTurnOff", {"name": "kitchen light"}), ("HassTurnOn", {"name": "kitchen light"})),
    LiveCar: (
        ("CarSetWindow", {"name": "sunroof", "position": 0}),
        ("CarSetWindow", {"name": "sunroof", "position": 50}),
    ),
    LiveEnergy: (
        ("ScheduleAppliance", {"name": "sauna", "start": 9}),
        ("ScheduleAppliance", {"name": "sauna", "start": 10}),
    ),
}


@every_world
def test_a_reply_that_contradicts_itself_is_refused_and_the_next_is_not(make):
    world, (first, second) = make(), CONTRADICTIONS[make]
    turn = world.turn()
    assert "success" in turn(*first)
    before = world.state()
    assert turn(*second)["error"] == "contradiction"
    assert world.state() == before
    assert "success" in world.turn()(*second)
    assert world.state() != before
    turn = world.turn()
    assert [turn(*second).get("error") for _ in range(10)] == [None] * 8 + ["too_many_calls"] * 2


@every_world
@pytest.mark.parametrize("arguments", [{"name": "x" * 10**5}, {"name": ["sauna"]}, {"hours": 7}, {"\x00": {}}])
def test_odd_calls_change_nothing(make, arguments):
    world = make()
    before = world.state()
    for tool in (*(tool["function"]["name"] for tool in world.tools()), "NoTool"):
        result = world.call(tool, arguments)
        assert "error" in result or "listing" in result
    assert world.state() == before


# ---- the car


def test_the_car_leaves_a_minute_after_the_navigation_is_set_and_arrives():
    cockpit = demo_cockpit()
    live = LiveCar(cockpit)
    assert live.system_content() == cockpit.system_content()
    assert live.call("CarNavigate", {"place": "office"}) == {"success": ["navigation: set to office"]}
    live.advance(60)
    assert (live.state()["driving"], live.state()["place"]) == (False, "home")
    live.advance(120)
    state = live.state()
    assert (state["driving"], state["plugged"], state["leg_km"]) == (True, False, 13.2)
    assert 0 < state["driven_km"] < 3
    assert live.call("CarUnlock", {"name": "doors", "confirmed": True})["error"] == "driving"
    live.advance(20 * 60)
    state = live.state()
    assert (state["driving"], state["place"], state["route"]) == (False, "office", [])
    account = cockpit.car.account
    assert account.wall == pytest.approx(account.stored + account.driven + account.used + account.lost)
    assert account.driven > 1


def test_a_trip_that_is_cancelled_in_time_is_not_driven():
    live = LiveCar()
    live.call("CarNavigate", {"place": "office"})
    live.advance(30)
    assert live.state()["trip"] == "leaves for office at 07:41"
    assert live.call("CarCancelTrip", {}) == {"success": ["trip: cancelled"]}
    assert live.call("CarCancelTrip", {})["error"] == "not_found"
    live.advance(3600)
    assert (live.state()["place"], live.state()["trip"]) == ("home", "")


def check_account(cockpit: Cockpit) -> None:
    account = cockpit.car.account
    assert account.wall == pytest.approx(account.stored + account.driven + account.used + account.lost)


def advance_until(live: LiveCar, fits: Callable[[dict], bool]) -> dict:
    for _ in range(600):
        if fits(live.state()):
            return live.state()
        live.advance(60)
    raise AssertionError(live.state())


def test_a_far_trip_charges_on_the_way_with_some_to_spare_and_goes_on():
    cockpit = demo_cockpit()
    cockpit.car.limit_percent, cockpit.car.wants_charge = 40, False
    live = LiveCar(cockpit)
    assert "- place: beach, 299 km, 179 min, 87%" in live.system_content()
    assert "- stop to beach: belmo charger, 38%, then 54%" in live.system_content()
    assert live.turn()("CarNavigate", {"place": "beach"})["error"] == "battery_low"
    said = live.turn()("CarNavigate", {"place": "beach", "stop": "belmo charger"})
    assert said == {"success": ["navigation: set to beach by belmo charger"]}
    state = advance_until(live, lambda state: state["place"] == "belmo charger")
    assert (state["driving"], state["plugged"], state["route"]) == (False, True, ["beach"])
    assert 22 <= state["battery_percent"] <= 28  # 62 less 38, no climate, up to a minute at 120 kW
    need = cockpit.car.trip_percent("belmo charger", "beach", cockpit.outside_c)
    assert state["limit_percent"] == need + 10  # it was 40
    assert state["trip"] == f"charging to {need + 10}% for beach"
    assert "belmo" not in live.system_content().partition("- stop")[2]
    state = advance_until(live, lambda state: state["driving"])
    assert need + 9 <= state["battery_percent"] <= need + 12
    state = advance_until(live, lambda state: state["place"] == "beach")
    assert (state["route"], state["trip"], state["stops"]) == ([], "", {})
    assert cockpit.car.account.paid_ct == pytest.approx(49 * (need + 10 - 23) * 0.6 / 0.92, rel=0.08)
    check_account(cockpit)


def test_whoever_stops_the_charging_on_the_way_is_obeyed():
    cockpit = demo_cockpit()
    live = LiveCar(cockpit)
    live.call("CarNavigate", {"place": "beach", "stop": "belmo charger"})
    advance_until(live, lambda state: state["charging"] and state["place"] == "belmo charger")
    live.call("CarTurnOff", {"name": "charging"})
    live.advance(3600)
    assert (live.state()["driving"], live.state()["trip"]) == (False, "battery too low for beach")
    live.call("CarTurnOn", {"name": "charging"})
    assert advance_until(live, lambda state: state["driving"])["route"] == ["beach"]


def test_who_leaves_at_a_time_finds_the_cabin_ready():
    cockpit = demo_cockpit()
    cockpit.car.windows["sunroof"] = 0
    live = LiveCar(cockpit)
    assert live.turn()("CarLeaveAt", {"time": "09:00"})["error"] == "unknown_tool"  # no model has learnt it
    said = live.call("CarLeaveAt", {"time": "09:00"})
    assert said == {"success": ["departure: at 09:00", "climate: starting at 08:45"]}
    assert "- climate, off, set to 21 °C, ready in 15 min, starts 08:45" in live.system_content()
    live.call("CarNavigate", {"place": "office"})
    live.advance(79 * 60)
    state = live.state()
    assert (state["clock"], state["place"], state["trip"]) == ("08:59", "home", "leaves for office at 09:00")
    live.advance(61)
    assert live.state()["driving"]
    assert abs(cockpit.car.cabin_c - 21) <= 1.0
    assert live.call("CarLeaveAt", {"time": "10:00"})["error"] == "driving"


def test_a_model_warms_the_cabin_and_the_seats_with_the_tools_of_tasks():
    live = LiveCar()
    turn = live.turn()
    assert turn("CarPrecondition", {"start": "08:00"}) == {"success": ["climate: starting at 08:00"]}
    assert turn("CarSetSeat", {"name": "driver seat", "level": 2}) == {"success": ["driver seat: at level 2"]}
    assert turn("PhoneCall", {"name": "anna"})["error"] == "unknown_tool"
    assert live.call("PhoneCall", {"name": "anna"}) == {"success": ["call: started with anna"]}
    live.advance(21 * 60)
    assert (live.state()["climate_on"], live.state()["seats"]["driver seat"]) == (True, 2)


def test_nobody_is_left_on_the_road():
    cockpit = demo_cockpit()
    car = cockpit.car
    car.wants_charge, car.climate_on = False, True
    car.seats, car.switches = dict.fromkeys(car.seats, 3), dict.fromkeys(car.switches, True)
    car.battery_kwh = 0.01 * car.capacity_kwh * car.trip_percent("home", "belmo charger", cockpit.outside_c)
    live = LiveCar(cockpit)
    live.call("CarNavigate", {"place": "beach", "stop": "belmo charger"})
    live.advance(59)
    car.battery_kwh = 0.01 * car.capacity_kwh * car.trip_percent("home", "belmo charger", cockpit.outside_c)
    state = advance_until(live, lambda state: state["place"] == "belmo charger")
    assert not any(state["switches"].values())
    assert state["battery_percent"] >= 0
    check_account(cockpit)


@pytest.mark.parametrize("start", ["home", "office", "lake", "anna's place", "airport", "beach"])
def test_the_demo_car_can_get_home_from_everywhere(start):
    cockpit = demo_cockpit()
    cockpit.car.place, cockpit.car.battery_kwh, cockpit.car.limit_percent = start, 0.0, 100
    cockpit.car.is_plugged = cockpit.car.roads.places[start].charger_kw > 0
    live = LiveCar(cockpit)
    live.advance(86400)
    live.call("CarNavigate", {"place": "home"})
    assert advance_until(live, lambda state: state["place"] == "home")["route"] == []


def test_the_trunk_opens_only_after_a_yes():
    live = LiveCar()
    assert live.call("CarUnlock", {"name": "trunk"})["error"] == "needs_confirmation"
    assert not live.state()["trunk_open"]
    assert live.call("CarUnlock", {"name": "trunk", "confirmed": True}) == {"success": ["trunk: open"]}
    assert live.state()["trunk_open"]


# ---- energy


def dark_household():
    """Without sun, so that everything that is used is bought."""
    home = demo_household()
    home.plant.peak_kw = 0.0
    return home


def test_plans_run_and_the_meter_pays_each_hour_its_price():
    home = dark_household()
    live = LiveEnergy(home)
    prices = [home.price_ct(3600.0 * hour) for hour in range(24)]
    live.call("ScheduleAppliance", {"name": "washing machine", "start": 9})
    live.call("EnergyChargeCar", {"hours": [8, 11]})
    live.advance((12 * 60 - 7 * 60 - 40) * 60)
    kwh = {7: 1 / 3, 8: 1 + 3, 9: 1 + 2, 10: 1 + 2, 11: 1 + 3}
    meter = home.plant.meter
    assert meter.bought == pytest.approx(sum(kwh.values()))
    assert meter.cost_ct == pytest.approx(sum(prices[hour] * used for hour, used in kwh.items()))
    assert home.car_percent == pytest.approx(60.0)
    assert live.system_content() == home.board().system_content()
    assert "- car, 60%, 10% an hour, 3 kW" in live.system_content()


def test_what_is_planned_for_the_hour_that_has_begun_starts_at_once_and_runs_its_time():
    home = dark_household()
    live = LiveEnergy(home)
    live.call("ScheduleAppliance", {"name": "dishwasher", "start": 7})
    assert "- appliance: dishwasher, 2 h, 1 kW, starts 07:00" in live.system_content()
    live.advance(30 * 60)
    assert "- appliance: dishwasher, 2 h, 1 kW\n" in live.system_content()
    live.advance(3 * 3600)
    assert home.plant.meter.used == pytest.approx(3.5 * 1 + 2 * 1)


def test_a_plan_stays_at_its_time_when_the_hour_changes_within_a_reply():
    home = dark_household()
    live = LiveEnergy(home)
    turn = live.turn()
    turn("ScheduleAppliance", {"name": "sauna", "start": 10})
    live.advance(30 * 60)
    turn("ScheduleAppliance", {"name": "pool pump", "start": 12})
    assert home.planned == {"sauna": 10 * 3600.0, "pool pump": 12 * 3600.0}
    live.call("CancelAppliance", {"name": "sauna"})
    assert home.planned == {"pool pump": 12 * 3600.0}


def test_the_battery_is_filled_and_used_and_gives_nine_tenths_back():
    home = dark_household()
    live = LiveEnergy(home)
    assert "- battery, empty, 1 kWh, reserve 10%\n- house, 1 kW" in live.system_content()
    live.call("EnergySetBattery", {"charge": 8, "use": 10})
    stored_kwh = home.plant.battery_kwh
    live.advance(80 * 60)
    assert live.system_content().endswith("- battery, 100%, reserve 10%")
    live.advance(120 * 60)
    meter = home.plant.meter
    assert meter.bought == pytest.approx(1 / 3 + (1 + 1 / 0.9) + 1 + 0)
    assert home.plant.battery_kwh == pytest.approx(stored_kwh)
    live.advance(60)
    assert "- battery, empty, 1 kWh, reserve 10%" in live.system_content()


def test_energy_balances_in_a_sunny_week():
    home = demo_household()
    for day in range(7):
        hour = 9 + day
        home.take(home.board())
        LiveEnergy(home).call("EnergyChargeCar", {"hours": [hour]})
        home.advance(86400)
    meter = home.plant.meter
    assert meter.sun > 30
    assert meter.sun + meter.bought == pytest.approx(meter.used + meter.sold + meter.stored + meter.lost)
    with pytest.raises(ValueError, match="must not be negative"):
        home.advance(-1)
