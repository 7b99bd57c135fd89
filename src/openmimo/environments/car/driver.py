"""Whoever drives a live car: leaves when it is time, charges on the way, saves energy where it runs short."""

from __future__ import annotations

from openmimo.environments.car.cockpit import STOP_SUFFIX, Cockpit
from openmimo.environments.car.physics import kwh_per_km
from openmimo.environments.car.tools import CAR_TOOLS, next_time_s
from openmimo.environments.home.people import clock_text
from openmimo.environments.toolbox import Given, Tool, ToolError

__all__ = ["TOOLS_BY_HAND", "arrive", "drive", "trip_text"]

SET_OFF_S = 60.0
"""How long after the navigation has been set the driver leaves, where no time is given."""

SPARE_PERCENT = 10
"""What is charged at a stop beyond what the way ahead takes."""

PATIENT_PERCENT = 95
"""The last few percent take long: they are charged at a stop only where the way ahead takes them."""

LAST_KWH = 0.5


def drive(cockpit: Cockpit) -> None:
    """Do what the driver does now: leave, wait, or save energy. To be called at least once a minute.

    Args:
        cockpit: changed in place.
    """
    car, now_s = cockpit.car, cockpit.clock_s
    if car.is_driving:
        _save_energy(cockpit)
    elif not car.route:
        if cockpit.leaves_s is not None and now_s > cockpit.leaves_s + SET_OFF_S:
            cockpit.leaves_s = None
    elif cockpit.leaves_s is None:
        cockpit.leaves_s = now_s + SET_OFF_S
    elif now_s >= cockpit.leaves_s and _is_charged(cockpit):
        car.set_off()
        cockpit.leaves_s = None


def arrive(cockpit: Cockpit) -> None:
    """Do what the driver does on arrival: at a charging stop, charge for the way ahead, over the limit if need be.

    Args:
        cockpit: has just come to where it is; changed in place.
    """
    car = cockpit.car
    if _is_at_stop(cockpit):
        car.wants_charge, car.limit_percent = True, max(car.limit_percent, _stop_percent(cockpit))


def trip_text(cockpit: Cockpit) -> str:
    """What the driver is about to do.

    Args:
        cockpit: the car.
    Returns:
        Such as "leaves for lake at 07:41", "charging to 58% for beach", or "" while nothing is planned or on the road.
    """
    car = cockpit.car
    if car.is_driving or not (car.route or cockpit.leaves_s):
        return ""
    is_later = cockpit.leaves_s is not None and cockpit.leaves_s > cockpit.clock_s
    when = f"at {clock_text(cockpit.leaves_s)}" if cockpit.leaves_s and is_later else "now"
    if not car.route:
        return f"to be ready {when}"
    goal = car.route[-1]
    if _is_charged(cockpit):
        return f"leaves for {goal} {when}"
    if not car.is_charging:
        return f"battery too low for {car.route[0]}"
    return f"charging to {_stop_percent(cockpit) if _is_at_stop(cockpit) else _need_percent(cockpit)}% for {goal}"


def _need_percent(cockpit: Cockpit) -> int:
    """What the way to the next place of the route takes."""
    return cockpit.percent_to(cockpit.car.route[0])


def _is_at_stop(cockpit: Cockpit) -> bool:
    return bool(cockpit.car.route) and cockpit.car.place.endswith(STOP_SUFFIX)


def _stop_percent(cockpit: Cockpit) -> int:
    need = _need_percent(cockpit)
    return min(100, max(need, min(need + SPARE_PERCENT, PATIENT_PERCENT)))


def _is_charged(cockpit: Cockpit) -> bool:
    """Whether the battery is enough for the way to the next place; while it charges at a stop, with some to spare."""
    car = cockpit.car
    wanted = _stop_percent(cockpit) if _is_at_stop(cockpit) and car.is_charging else _need_percent(cockpit)
    return car.percent >= wanted


def _save_energy(cockpit: Cockpit) -> None:
    """Turn off all comfort where the battery would not last otherwise: nobody is left on the road."""
    car = cockpit.car
    left_km = car.roads.km(car.place, car.route[0]) - car.driven_km
    need_kwh = left_km * kwh_per_km(car.roads.speed_kmh(car.place, car.route[0]), cockpit.outside_c)
    if car.battery_kwh < need_kwh + LAST_KWH:
        car.climate_on = False
        car.seats, car.switches = dict.fromkeys(car.seats, 0), dict.fromkeys(car.switches, False)


# ---- tools for people; tasks do not offer them


def _leave_at(cockpit: Cockpit, given: Given) -> list[str]:
    car = cockpit.car
    leave_s = next_time_s(cockpit, given, "time")
    start_s = leave_s - 60.0 * cockpit.ready_minutes()
    cockpit.leaves_s = leave_s
    if car.climate_on or start_s <= cockpit.clock_s:
        car.climate_on, car.warm_at_s = True, None
        climate = "on"
    else:
        car.warm_at_s = start_s
        climate = f"starting at {clock_text(start_s)}"
    return [f"departure: at {clock_text(leave_s)}", f"climate: {climate}"]


def _cancel_trip(cockpit: Cockpit, given: Given) -> list[str]:
    car = cockpit.car
    if car.is_driving:
        raise ToolError("driving", "the route cannot be changed while driving")
    if not car.route and cockpit.leaves_s is None:
        raise ToolError("not_found", "there is no trip")
    car.route, car.warm_at_s, cockpit.leaves_s = [], None, None
    return ["trip: cancelled"]


_TIME = {"type": "string", "description": "HH:MM"}

TOOLS_BY_HAND = CAR_TOOLS.extended(
    {
        "CarLeaveAt": Tool("Leave at a time, with the cabin ready", {"time": _TIME}, _leave_at, ("time",)),
        "CarCancelTrip": Tool("Forget route and departure", {}, _cancel_trip),
    }
)
