"""Builders of journey tasks: prepare the car for a departure, or choose where to charge on the way."""

from __future__ import annotations

from collections.abc import Callable

from openmimo.chat import ToolCall
from openmimo.environments.acting import Draft
from openmimo.environments.car.answers import too_far_answer
from openmimo.environments.car.cockpit import Cockpit
from openmimo.environments.car.generate import place_phrase
from openmimo.environments.car.journeys import (
    JourneyGoal,
    StopGoal,
    best_stop,
    latest_start_s,
    next_clock_s,
    reachable_stops,
)
from openmimo.environments.car.kinds import Scene, say_percent, say_time
from openmimo.environments.car.tools import CAR_TOOLS, LIMIT_MIN_PERCENT
from openmimo.environments.comparing import compared
from openmimo.environments.home.answers import Answer
from openmimo.environments.home.people import clock_text

__all__ = ["JOURNEY_KINDS"]

LEAVE_MINUTES = (360, 600)
EARLY_S = 3600.0
LEAST_GAIN_KWH = 0.1


def _draw(scene: Scene, is_charge: bool, is_warm: bool) -> Draft | None:
    rng, cockpit = scene.rng, scene.cockpit
    minutes = rng.randrange(*LEAVE_MINUTES, 30)
    leave_s, reserve = next_clock_s(cockpit, minutes), 10 * rng.randint(1, 3)
    place = rng.choice(
        [name for kind, name in cockpit.names() if kind == "place" and name not in ("home", cockpit.far)]
    )
    slots = {"t": say_time(rng, minutes), "p": place_phrase(place), "r": say_percent(rng, reserve)}
    thought: list[str] = []
    calls: list[ToolCall] = []
    if is_charge:
        limit = _think_charge(cockpit, place, reserve, thought)
        if not max(cockpit.car.percent, LIMIT_MIN_PERCENT - 1) < limit <= 100:
            return None
        calls.append(ToolCall("CarSetCharge", {"limit": limit}))
    if is_warm:
        if not 0 < cockpit.ready_minutes() < 60:
            return None
        start = _think_warm(cockpit, leave_s, thought)
        calls.append(ToolCall("CarPrecondition", {"start": start}))
    goal = _goal(cockpit, calls, leave_s, place if is_charge else "", reserve, is_warm)
    intent = "journey" if is_charge and is_warm else "charge_for" if is_charge else "warm_for"
    return Draft(intent, slots, thought, tuple(calls), goal=goal) if goal else None


def _think_charge(cockpit: Cockpit, place: str, reserve: int, thought: list[str]) -> int:
    need = cockpit.percent_to(place)
    total, percent = need + reserve, cockpit.car.percent
    verdict = "enough" if total <= percent else "charge"
    thought += [cockpit.quote(place), f"{need}+{reserve}={compared(total, '<=', percent)}, {verdict}"]
    return total


def _think_warm(cockpit: Cockpit, leave_s: float, thought: list[str]) -> str:
    start = clock_text(latest_start_s(cockpit, leave_s))
    ready = f"{clock_text(leave_s)}-{cockpit.ready_minutes()}={start}"
    thought += [cockpit.quote("climate"), ready]
    return start


def _goal(
    cockpit: Cockpit, calls: list[ToolCall], leave_s: float, place: str, reserve: int, is_warm: bool
) -> JourneyGoal | None:
    """What is wanted, with the energy of the best and of the careless preparation; None where they are alike."""
    start, set_point_c = cockpit.commanded(), cockpit.car.set_point_c
    goal = JourneyGoal(leave_s, place, reserve, is_warm, set_point_c, start)
    best_kwh = goal.wall_kwh(_after(cockpit, calls))
    naive_kwh = None if is_warm else goal.wall_kwh(cockpit)
    if naive_kwh is None:
        naive_kwh = goal.wall_kwh(_after(cockpit, _careless(cockpit, calls, leave_s)))
    if best_kwh is None or naive_kwh is None or naive_kwh - best_kwh < LEAST_GAIN_KWH:
        return None
    return JourneyGoal(leave_s, place, reserve, is_warm, set_point_c, start, best_kwh, naive_kwh)


def _careless(cockpit: Cockpit, calls: list[ToolCall], leave_s: float) -> list[ToolCall]:
    """Charge to the brim, and warm an hour longer than it takes."""
    early = {"start": clock_text(latest_start_s(cockpit, leave_s) - EARLY_S)}
    arguments = {"CarSetCharge": {"limit": 100}, "CarPrecondition": early}
    return [ToolCall(call.name, arguments[call.name]) for call in calls]


def _after(cockpit: Cockpit, calls: list[ToolCall]) -> Cockpit:
    trial = cockpit.copy()
    CAR_TOOLS.call_all(trial, calls, CAR_TOOLS.names)
    return trial


def _charge(scene: Scene) -> Draft | None:
    return _draw(scene, True, False)


def _warm(scene: Scene) -> Draft | None:
    return _draw(scene, False, True)


def _both(scene: Scene) -> Draft | None:
    return _draw(scene, True, True)


def _enough(scene: Scene) -> Draft | None:
    """The battery reaches as it is: nothing to do but say so."""
    rng, cockpit = scene.rng, scene.cockpit
    place = rng.choice(
        [name for kind, name in cockpit.names() if kind == "place" and name not in ("home", cockpit.far)]
    )
    reserve, minutes, thought = 10 * rng.randint(1, 3), rng.randrange(*LEAVE_MINUTES, 30), list[str]()
    if _think_charge(cockpit, place, reserve, thought) > cockpit.car.percent:
        return None
    said = place_phrase(place)
    slots = {"t": say_time(rng, minutes), "p": said, "r": say_percent(rng, reserve)}
    answer = Answer(f"The battery is enough for {said}.", (r"enough|no need|already|sufficient",), ("not enough",))
    return Draft("charge_for", slots, thought, answer=answer)


def _stop(scene: Scene) -> Draft | None:
    cockpit = scene.cockpit
    said, percent = place_phrase(cockpit.far), cockpit.car.percent
    if cockpit.car.trip_percent("home", cockpit.far, cockpit.outside_c) <= percent:
        return None
    costs = reachable_stops(cockpit)
    thought = [f"battery {percent}%", *_think_stops(cockpit, costs)]
    if not costs:
        return Draft("stop_for", {"p": said}, thought, answer=too_far_answer(said))
    call = ToolCall("CarNavigate", {"place": cockpit.far, "stop": best_stop(costs)})
    return Draft("stop_for", {"p": said}, thought, (call,), goal=StopGoal(cockpit.far, cockpit.commanded(), costs))


def _think_stops(cockpit: Cockpit, costs: dict[str, int]) -> list[str]:
    """Every charger on the way: whether the battery reaches it, what it takes in all, and the best so far."""
    lines, best = list[str](), ""
    for name in cockpit.stops():
        first, second = cockpit.stop_percents(name)
        text = compared(first, "<=", cockpit.car.percent)
        if name in costs:
            total = compared(costs[name], "<", costs[best]) if best else str(costs[name])
            text += f", {first}+{second}={total}"
            best = name if not best or costs[name] < costs[best] else best
        lines.append(f"stop to {cockpit.far}: {cockpit.quote(name)}: {text} | {f'{costs[best]} {best}' if best else 0}")
    return lines


JOURNEY_KINDS: dict[str, Callable[[Scene], Draft | None]] = {
    "journey_charge": _charge,
    "journey_warm": _warm,
    "journey": _both,
    "journey_enough": _enough,
    "journey_stop": _stop,
}
