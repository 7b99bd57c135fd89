"""The tools of the car and the phone: what they do, and that a bad call changes nothing (X10)."""

import random

import pytest

from openmimo.chat import ToolCall
from openmimo.environments.car import CAR_TOOLS, Car, Cockpit, Phone, Place, Roads, sample_cockpit

NAMES = CAR_TOOLS.names


def small_cockpit(**state) -> Cockpit:
    places = (Place("home", 0, 0, 11), Place("lake", 60, 0), Place("moon", 400, 0), Place("oak charger", 30, 5, 100))
    car = Car(Roads({place.name: place for place in places}), is_plugged=True, **state)
    car.windows = {"driver window": 0, "passenger window": 50}
    car.seats, car.switches = {"driver seat": 0}, {"rear defroster": False}
    return Cockpit(car, Phone({"anna": "sister", "tom": ""}), 21 * 3600.0, 5.0)


def driving_cockpit() -> Cockpit:
    cockpit = small_cockpit(route=["lake"])
    cockpit.car.set_off()
    cockpit.advance(600)
    return cockpit


def call(cockpit: Cockpit, name: str, /, **arguments):
    return CAR_TOOLS.call(cockpit, name, arguments, NAMES)


@pytest.mark.parametrize(
    ("name", "arguments", "changes", "said"),
    [
        ("CarTurnOn", {"name": "climate"}, {"climate": (True, 21.0, None)}, "climate: on"),
        ("CarTurnOn", {"name": "rear defroster"}, {"rear defroster": True}, "rear defroster: on"),
        ("CarTurnOn", {"name": "driver seat"}, {"driver seat": 1}, "driver seat: on"),
        ("CarTurnOff", {"name": "charging"}, {"charging": False}, "charging: off"),
        ("CarSetTemperature", {"temperature": 22.5}, {"climate": (True, 22.5, None)}, "climate: set to 22.5 °C"),
        ("CarSetSeat", {"name": "Driver Seat", "level": 3}, {"driver seat": 3}, "driver seat: at level 3"),
        ("CarSetWindow", {"name": "driver window", "position": 30}, {"driver window": 30},
         "driver window: open at 30%"),
        ("CarUnlock", {"name": "doors", "confirmed": True}, {"doors": False}, "doors: unlocked"),
        ("CarUnlock", {"name": "trunk", "confirmed": True}, {"trunk": True}, "trunk: open"),
        ("CarSetCharge", {"limit": 65}, {"limit": 65}, "charge limit: 65%"),
        ("CarPrecondition", {"start": "07:40"}, {"climate": (False, None, (24 + 7) * 3600.0 + 2400)},
         "climate: starting at 07:40"),
        ("CarNavigate", {"place": "lake"}, {"route": ("lake",)}, "navigation: set to lake"),
        ("CarNavigate", {"place": "lake", "stop": "oak charger"}, {"route": ("oak charger", "lake")},
         "navigation: set to lake by oak charger"),
        ("PhoneCall", {"name": "sister"}, {"calls": ("anna",)}, "call: started with anna"),
        ("PhoneNotify", {"name": "anna", "message": "I am late."}, {"sent": (("anna", "i am late"),)},
         "message: sent to anna"),
    ],
)  # fmt: skip
def test_each_tool_changes_what_it_names_and_nothing_else(name, arguments, changes, said):
    cockpit = small_cockpit()
    before = cockpit.commanded()
    assert call(cockpit, name, **arguments) == {"success": [said]}
    assert cockpit.commanded() == before | changes


def test_all_windows_move_where_none_is_named():
    cockpit = small_cockpit()
    assert call(cockpit, "CarSetWindow", position=0) == {
        "success": ["driver window: closed", "passenger window: closed"]
    }
    assert set(cockpit.car.windows.values()) == {0}


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("HassTurnOn", {}, "unknown_tool"),
        ("CarTurnOn", {"name": "warp drive"}, "not_found"),
        ("CarTurnOn", {"name": "driver window"}, "not_found"),
        ("CarTurnOn", {}, "missing_parameter"),
        ("CarTurnOn", {"device": "climate"}, "unknown_parameter"),
        ("CarTurnOn", {"name": ["climate"]}, "invalid_value"),
        ("CarSetTemperature", {"temperature": 1e9}, "invalid_value"),
        ("CarSetTemperature", {"temperature": "70 F"}, "invalid_value"),
        ("CarSetTemperature", {"temperature": 21.3}, "invalid_value"),
        ("CarSetTemperature", {"temperature": True}, "invalid_value"),
        ("CarSetSeat", {"name": "driver seat", "level": 4}, "invalid_value"),
        ("CarSetSeat", {"name": "throne", "level": 1}, "not_found"),
        ("CarSetWindow", {"name": "driver window", "position": 101}, "invalid_value"),
        ("CarSetWindow", {"name": "sunroof", "position": 10}, "not_found"),
        ("CarLock", {"name": "glovebox"}, "not_found"),
        ("CarUnlock", {"name": "doors"}, "needs_confirmation"),
        ("CarUnlock", {"name": "trunk", "confirmed": False}, "needs_confirmation"),
        ("CarUnlock", {"name": "doors", "confirmed": "yes"}, "invalid_value"),
        ("CarSetCharge", {"limit": 10}, "invalid_value"),
        ("CarSetCharge", {"limit": 80.5}, "invalid_value"),
        ("CarPrecondition", {"start": "25:00"}, "invalid_value"),
        ("CarPrecondition", {"start": "soon"}, "invalid_value"),
        ("CarNavigate", {"place": "atlantis"}, "not_found"),
        ("CarNavigate", {"place": "oak charger"}, "not_found"),
        ("CarNavigate", {"place": "lake", "stop": "elm charger"}, "not_found"),
        ("CarNavigate", {"place": "home"}, "invalid_value"),
        ("CarNavigate", {"place": "moon"}, "battery_low"),
        ("CarNavigate", {"place": "moon", "stop": "oak charger"}, "battery_low"),
        ("PhoneCall", {"name": "elvis"}, "not_found"),
        ("PhoneNotify", {"name": "anna", "message": "x" * 201}, "invalid_value"),
        ("PhoneNotify", {"name": "anna", "message": 7}, "invalid_value"),
    ],
)
def test_a_bad_call_returns_its_code_and_changes_nothing(name, arguments, code):
    cockpit = small_cockpit()
    before = (cockpit.commanded(), cockpit.car.state())
    result = call(cockpit, name, **arguments)
    assert result["error"] == code
    assert len(result["message"]) < 100
    assert (cockpit.commanded(), cockpit.car.state()) == before


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CarUnlock", {"name": "doors", "confirmed": True}),
        ("CarUnlock", {"name": "trunk", "confirmed": True}),
        ("CarNavigate", {"place": "moon"}),
        ("CarPrecondition", {"start": "08:00"}),
    ],
)
def test_nothing_is_unlocked_opened_or_rerouted_on_the_road(name, arguments):
    cockpit = driving_cockpit()
    before = cockpit.commanded()
    assert call(cockpit, name, **arguments)["error"] == "driving"
    assert cockpit.commanded() == before


def test_a_tool_that_is_not_offered_does_not_exist():
    cockpit = small_cockpit()
    assert CAR_TOOLS.call(cockpit, "CarLock", {"name": "doors"}, ["CarTurnOn"])["error"] == "unknown_tool"
    assert CAR_TOOLS.call(cockpit, "CarLock", "doors", NAMES)["error"] == "invalid_value"


def test_contradictory_calls_of_one_reply_leave_the_first_one_standing():
    cockpit = small_cockpit()
    calls = [ToolCall("CarSetSeat", {"name": "driver seat", "level": level}) for level in (2, 2, 0)]
    results = CAR_TOOLS.call_all(cockpit, calls, NAMES)
    assert [result.get("error") for result in results] == [None, None, "contradiction"]
    assert cockpit.car.seats["driver seat"] == 2


def test_only_eight_calls_of_a_reply_are_carried_out():
    results = CAR_TOOLS.call_all(small_cockpit(), [ToolCall("CarLock", {"name": "doors"})] * 1000, NAMES)
    assert [result.get("error") for result in results[7:9]] == [None, "too_many_calls"]
    assert len(results) == 1000


def test_random_calls_never_break_the_car():
    rng = random.Random(5)
    values = [
        "climate",
        "doors",
        "trunk",
        "driver window",
        "lake",
        "anna",
        "",
        None,
        -1,
        0,
        1e9,
        50,
        True,
        [],
        {},
        "07:00",
    ]
    parameters = ["name", "level", "position", "confirmed", "limit", "start", "place", "stop", "message", "temperature"]
    cockpit = sample_cockpit(rng, "train", "parked")
    for _ in range(3000):
        arguments = {rng.choice(parameters): rng.choice(values) for _ in range(rng.randint(0, 3))}
        before = cockpit.commanded()
        result = call(cockpit, rng.choice(NAMES), **arguments)
        assert ("error" in result) != ("success" in result)
        assert "success" in result or cockpit.commanded() == before
    car = cockpit.car
    assert all(0 <= percent <= 100 for percent in car.windows.values())
    assert all(0 <= level <= 3 for level in car.seats.values())
    assert 20 <= car.limit_percent <= 100
    assert 16 <= car.set_point_c <= 28


def test_the_system_message_lists_everything_in_a_fixed_layout():
    cockpit = small_cockpit()
    assert cockpit.system_content() == (
        "You control a car. It is 21:00, 5 °C outside.\n"
        "- car, parked at home, charging\n"
        "- battery, 60%, range 304 km, limit 80%\n"
        "- climate, off, set to 21 °C, ready in 15 min\n"
        "- cabin, 15 °C\n"
        "- doors, locked\n"
        "- trunk, closed\n"
        "- window: driver window, closed\n"
        "- window: passenger window, open 50%\n"
        "- seat: driver seat, off\n"
        "- switch: rear defroster, off\n"
        "- place: lake, 78 km, 47 min, 23%\n"
        "- place: moon, 520 km, 312 min, 152%\n"
        "- contact: sister = anna\n"
        "- contact: tom"
    )
