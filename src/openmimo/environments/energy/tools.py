"""The tools of the energy side, and what each call does to the board."""

from __future__ import annotations

from openmimo.environments.energy.board import Board
from openmimo.environments.toolbox import Given, Tool, Toolbox, ToolError, shown, stepped, text

__all__ = ["ENERGY_TOOLS"]


def _hour(board: Board, value: object, what: str) -> int:
    """An hour of the day that the board covers."""
    hour = int(stepped({what: value}, what, 0, 23))
    if hour not in board.hours:
        raise ToolError("invalid_value", f"{what} must be from {board.hours[0]} to {board.hours[-1]}")
    return hour


def _appliance(board: Board, given: Given) -> str:
    name = text(given, "name")
    if name not in board.appliances:
        raise ToolError("not_found", f"there is no appliance {shown(name)}")
    return name


def _schedule(board: Board, given: Given) -> list[str]:
    name, start = _appliance(board, given), _hour(board, given["start"], "start")
    hours = board.appliances[name].hours
    if board.index(start) + hours > len(board.hours):
        raise ToolError("invalid_value", f"the {name} runs {hours} h and would end after the last hour")
    board.starts[name] = start
    return [f"{name}: planned for {start:02d}:00"]


def _cancel(board: Board, given: Given) -> list[str]:
    name = _appliance(board, given)
    if name not in board.starts:
        raise ToolError("unsupported", f"the {name} is not planned")
    del board.starts[name]
    return [f"{name}: not planned"]


def _charge_car(board: Board, given: Given) -> list[str]:
    hours = given["hours"]
    if board.car is None:
        raise ToolError("not_found", "there is no car")
    if not isinstance(hours, list) or len(hours) > len(board.hours):
        raise ToolError("invalid_value", "hours must be a list of hours such as [2, 3]")
    chosen = [_hour(board, hour, "hours") for hour in hours]
    if len(set(chosen)) < len(chosen):
        raise ToolError("contradiction", "each hour can be given only once")
    if board.car.percent + len(chosen) * board.car.per_hour >= 100 + board.car.per_hour:
        raise ToolError("invalid_value", "the car would be more than full")
    board.car_hours = tuple(sorted(chosen, key=board.index))
    at = ", ".join(f"{hour:02d}:00" for hour in board.car_hours)
    return [f"car: charging at {at}" if at else "car: not charging"]


def _set_battery(board: Board, given: Given) -> list[str]:
    if not board.has_battery:
        raise ToolError("not_found", "there is no battery")
    if not board.battery_kwh:
        raise ToolError("unsupported", "the battery can be planned only while it is empty and no sun is coming")
    fill, use = _hour(board, given["charge"], "charge"), _hour(board, given["use"], "use")
    if board.index(use) <= board.index(fill):
        raise ToolError("contradiction", "the battery must be charged before it is used")
    board.battery_hours = fill, use
    return [f"battery: charging at {fill:02d}:00 and used at {use:02d}:00"]


def _set_reserve(board: Board, given: Given) -> list[str]:
    if not board.has_battery:
        raise ToolError("not_found", "there is no battery")
    board.reserve_percent = int(stepped(given, "percent", 0, 100))
    return [f"battery reserve: {board.reserve_percent}%"]


_NAME = {"type": "string"}
_HOUR = {"type": "integer", "minimum": 0, "maximum": 23}
_PERCENT = {"type": "integer", "minimum": 0, "maximum": 100}

ENERGY_TOOLS = Toolbox(
    {
        "ScheduleAppliance": Tool("Start an appliance at an hour", {"name": _NAME, "start": _HOUR}, _schedule,
                                  ("name", "start")),
        "CancelAppliance": Tool("Take an appliance off the plan", {"name": _NAME}, _cancel, ("name",)),
        "EnergyChargeCar": Tool("Charge the car in these hours", {"hours": {"type": "array", "items": _HOUR}},
                                _charge_car, ("hours",)),
        "EnergySetBattery": Tool("Fill the battery in one hour, use it in another",
                                 {"charge": _HOUR, "use": _HOUR}, _set_battery, ("charge", "use")),
        "EnergySetReserve": Tool("Keep a share of the battery back", {"percent": _PERCENT}, _set_reserve,
                                 ("percent",)),
    }
)  # fmt: skip
