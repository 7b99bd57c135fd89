"""The tools of the energy side: what they do, and that a bad call changes nothing (X10)."""

import random

import pytest

from openmimo.chat import ToolCall
from openmimo.environments.energy import ENERGY_TOOLS, Board, Chargeable, Runnable

NAMES = ENERGY_TOOLS.names


def small_board() -> Board:
    appliances = {"dishwasher": Runnable(2, 1), "oven": Runnable(1, 3)}
    return Board(
        22, (30, 20, 10, 12, 25, 40), (0,) * 6, 8, appliances, Chargeable(70, 10, 3), 2, 2, starts={"oven": 23}
    )


def call(board: Board, name: str, /, **arguments):
    return ENERGY_TOOLS.call(board, name, arguments, NAMES)


@pytest.mark.parametrize(
    ("name", "arguments", "changes", "said"),
    [
        ("ScheduleAppliance", {"name": "dishwasher", "start": 0}, {"starts": {"oven": 23, "dishwasher": 0}},
         "dishwasher: planned for 00:00"),
        ("ScheduleAppliance", {"name": "oven", "start": 3}, {"starts": {"oven": 3}}, "oven: planned for 03:00"),
        ("CancelAppliance", {"name": "oven"}, {"starts": {}}, "oven: not planned"),
        ("EnergyChargeCar", {"hours": [1, 22]}, {"car": (22, 1)}, "car: charging at 22:00, 01:00"),
        ("EnergyChargeCar", {"hours": []}, {}, "car: not charging"),
        ("EnergySetBattery", {"charge": 23, "use": 3}, {"battery": (23, 3)},
         "battery: charging at 23:00 and used at 03:00"),
        ("EnergySetReserve", {"percent": 35}, {"reserve": 35}, "battery reserve: 35%"),
    ],
)  # fmt: skip
def test_each_tool_changes_what_it_names_and_nothing_else(name, arguments, changes, said):
    board = small_board()
    before = board.commanded()
    assert call(board, name, **arguments) == {"success": [said]}
    assert board.commanded() == before | changes


@pytest.mark.parametrize(
    ("name", "arguments", "code"),
    [
        ("EnergySellHouse", {}, "unknown_tool"),
        ("ScheduleAppliance", {"name": "sauna", "start": 0}, "not_found"),
        ("ScheduleAppliance", {"name": "dishwasher"}, "missing_parameter"),
        ("ScheduleAppliance", {"name": "dishwasher", "start": 3}, "invalid_value"),
        ("ScheduleAppliance", {"name": "dishwasher", "start": 12}, "invalid_value"),
        ("ScheduleAppliance", {"name": "dishwasher", "start": "midnight"}, "invalid_value"),
        ("ScheduleAppliance", {"name": "dishwasher", "start": 0.5}, "invalid_value"),
        ("CancelAppliance", {"name": "dishwasher"}, "unsupported"),
        ("EnergyChargeCar", {"hours": 23}, "invalid_value"),
        ("EnergyChargeCar", {"hours": [23, 23]}, "contradiction"),
        ("EnergyChargeCar", {"hours": [22, 23, 0, 1]}, "invalid_value"),
        ("EnergyChargeCar", {"hours": [12]}, "invalid_value"),
        ("EnergySetBattery", {"charge": 3, "use": 23}, "contradiction"),
        ("EnergySetBattery", {"charge": 23, "use": 23}, "contradiction"),
        ("EnergySetReserve", {"percent": 101}, "invalid_value"),
        ("EnergySetReserve", {"percent": 10**400}, "invalid_value"),
    ],
)
def test_a_bad_call_returns_its_code_and_changes_nothing(name, arguments, code):
    board = small_board()
    before = board.commanded()
    assert call(board, name, **arguments)["error"] == code
    assert board.commanded() == before


def test_what_is_not_there_cannot_be_set():
    board = small_board()
    board.car, board.battery_kwh = None, 0
    for name, arguments in (
        ("EnergyChargeCar", {"hours": [23]}), ("EnergySetBattery", {"charge": 23, "use": 0}),
        ("EnergySetReserve", {"percent": 5}),
    ):  # fmt: skip
        assert call(board, name, **arguments)["error"] == "not_found"


def test_a_battery_that_holds_energy_is_shown_and_keeps_a_reserve_but_is_not_planned():
    board = small_board()
    board.battery_kwh, board.battery_percent = 0, 60
    assert board.system_content().endswith("- battery, 60%, reserve 10%")
    assert call(board, "EnergySetBattery", charge=23, use=0)["error"] == "unsupported"
    assert "success" in call(board, "EnergySetReserve", percent=5)
    assert board.reserve_percent == 5


def test_an_appliance_is_not_planned_twice_in_one_reply():
    board = small_board()
    calls = [ToolCall("ScheduleAppliance", {"name": "dishwasher", "start": start}) for start in (0, 1)]
    results = ENERGY_TOOLS.call_all(board, calls, NAMES)
    assert [result.get("error") for result in results] == [None, "contradiction"]
    assert board.starts["dishwasher"] == 0


def test_random_calls_never_break_the_board():
    rng, board = random.Random(5), small_board()
    values = ["dishwasher", "oven", "", None, -1, 0, 1, 22, 23, 1e9, True, [], [0, 1], [[]], {}, ["x"]]
    parameters = ["name", "start", "hours", "charge", "use", "percent"]
    for _ in range(3000):
        arguments = {rng.choice(parameters): rng.choice(values) for _ in range(rng.randint(0, 3))}
        before = board.commanded()
        result = call(board, rng.choice(NAMES), **arguments)
        assert "success" in result or board.commanded() == before
    assert set(board.car_hours) <= set(board.hours)
    assert all(start in board.hours for start in board.starts.values())


def test_the_system_message_lists_everything_in_a_fixed_layout():
    board = small_board()
    board.sun = (0, 0, 0, 0, 3, 0)
    assert board.system_content() == (
        "You plan the energy of a home. It is 22:00. Sun that is left sells at 8 ct.\n"
        "- 22:00, 30 ct\n- 23:00, 20 ct\n- 00:00, 10 ct\n- 01:00, 12 ct\n- 02:00, 25 ct, sun 3 kWh\n- 03:00, 40 ct\n"
        "- appliance: dishwasher, 2 h, 1 kW\n"
        "- appliance: oven, 1 h, 3 kW, starts 23:00\n"
        "- car, 70%, 10% an hour, 3 kW\n"
        "- battery, empty, 2 kWh, reserve 10%\n"
        "- house, 2 kW"
    )
