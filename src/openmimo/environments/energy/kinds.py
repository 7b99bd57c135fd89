"""One builder for each kind of energy task: what is asked, what is right to do, and the thought before it."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from openmimo.chat import ToolCall
from openmimo.environments.acting import Draft
from openmimo.environments.car.answers import cannot_find, no_tool, number_answer
from openmimo.environments.energy.board import Board
from openmimo.environments.energy.generate import APPLIANCES
from openmimo.environments.energy.goals import PlanGoal
from openmimo.environments.energy.optimum import best_plan
from openmimo.environments.energy.problem import (
    BatteryJob,
    CarJob,
    Load,
    Plan,
    Problem,
    greedy_plan,
    is_proven,
    naive_plan,
)
from openmimo.environments.energy.thoughts import (
    battery_lines,
    car_lines,
    deadline_line,
    extreme_lines,
    load_lines,
    widest_swing,
)
from openmimo.environments.home.answers import Answer

__all__ = ["KINDS", "Scene", "draw_draft"]

LEAST_SAVING = 0.1
MOST_WINDOWS = 8
MOST_CAR_HOURS, MOST_KEPT, MOST_KEPT_OF_TWO = 4, 24, 16
"""Hours of charging, and these times the hours that they are searched in, alone and after an appliance, so that the
thought stays short."""


class Scene(NamedTuple):
    """What a builder draws from."""

    rng: random.Random
    board: Board
    offered: tuple[str, ...]


def draw_draft(scene: Scene, kind: str) -> Draft | None:
    """Draw a request of one kind.

    Args:
        scene: the board, tools on offer and randomness.
        kind: one of KINDS.
    Returns:
        The draft, or None where this draw does not fit; draw again.
    """
    return KINDS[kind](scene)


def _say_hour(rng: random.Random, hour: int) -> str:
    """An hour of the day: "22:00", "10 pm"."""
    if rng.random() < 0.7:
        return f"{hour:02d}:00"
    if hour == 0 and rng.random() < 0.5:
        return "midnight"
    return f"{(hour - 1) % 12 + 1} {'am' if hour < 12 else 'pm'}"


def _the(name: str) -> str:
    return f"the {name}"


def _at(board: Board, index: int) -> int:
    return (board.first_hour + index) % 24


# ---- plans


def _problem(board: Board, **wishes: Any) -> Problem:
    return Problem(board.prices, board.sun, board.feed_in_ct, house_kw=board.house_kw, **wishes)


def _draw_loads(scene: Scene, count: int, by: int = 0) -> tuple[Load, ...] | None:
    """Appliances that are not planned yet, with that deadline, or each with one that leaves a choice."""
    rng, board = scene.rng, scene.board
    names = [name for name in board.appliances if name not in board.starts]
    if len(names) < count:
        return None
    last, loads = len(board.hours), []
    for name in rng.sample(names, count):
        appliance = board.appliances[name]
        own = by or rng.randint(min(last, appliance.hours + 1), last)
        loads.append(Load(name, appliance.hours, appliance.kw, own))
    return tuple(loads) if all(load.hours < load.by for load in loads) else None


def _plan_loads(scene: Scene, problem: Problem, order: tuple[str, ...]) -> tuple[list[str], Plan] | None:
    """Think through the appliances in an order; None where sun covers an hour only in part."""
    loads, plan, thought = {load.name: load for load in problem.loads}, Plan(), []
    for name in order:
        lines = load_lines(scene.board, problem, plan, loads[name])
        if lines is None:
            return None
        thought += lines
        only = Problem(
            problem.prices, problem.sun, problem.feed_in, (*(loads[done] for done in plan.starts), loads[name])
        )
        plan = greedy_plan(only, order[: len(plan.starts) + 1])
    return thought, plan


def _schedule(board: Board, plan: Plan) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall("ScheduleAppliance", {"name": name, "start": _at(board, start)}) for name, start in plan.starts.items()
    )


def _goal(board: Board, problem: Problem, best: Plan) -> PlanGoal | None:
    """The goal, or None where hardly anything can be saved."""
    naive_ct, best_ct = problem.cost_ct(naive_plan(problem)), problem.cost_ct(best)
    base_ct = abs(problem.cost_ct(Plan()) - naive_ct) or max(1.0, problem.prices[0])
    if naive_ct - best_ct < LEAST_SAVING * base_ct:
        return None
    return PlanGoal(problem, best_ct, board.commanded())


def _finish(scene: Scene, intent: str, slots: dict[str, str], problem: Problem, thought: list[str],
            plan: Plan, calls: tuple[ToolCall, ...]) -> Draft | None:  # fmt: skip
    """A plan whose gold is certainly the cheapest: proven by its bound."""
    goal = _goal(scene.board, problem, plan) if is_proven(problem, plan) else None
    return Draft(intent, slots, thought, calls, goal=goal) if goal else None


def _load_slots(scene: Scene, loads: tuple[Load, ...]) -> dict[str, str]:
    times = [_say_hour(scene.rng, _at(scene.board, load.by)) for load in loads]
    return {"d": _the(loads[0].name), "e": _the(loads[-1].name), "t": times[0], "u": times[-1]}


def _plan_1(scene: Scene, is_open: bool = False) -> Draft | None:
    """An open plan has no deadline but the end of the board."""
    loads = _draw_loads(scene, 1, len(scene.board.hours) if is_open else 0)
    if not loads:
        return None
    problem = _problem(scene.board, loads=loads)
    worked = _plan_loads(scene, problem, (problem.loads[0].name,))
    if not worked:
        return None
    slots = _load_slots(scene, loads)
    intent = "plan_1_open" if is_open else "plan_1"
    return _finish(scene, intent, slots, problem, worked[0], worked[1], _schedule(scene.board, worked[1]))


def _plan_2(scene: Scene) -> Draft | None:
    loads = _draw_two(scene)
    if not loads:
        return None
    problem = _problem(scene.board, loads=loads)
    worked = _plan_loads(scene, problem, tuple(load.name for load in problem.loads))
    if not worked:
        return None
    slots = _load_slots(scene, loads)
    return _finish(scene, _pair_intent(loads), slots, problem, worked[0], worked[1], _schedule(scene.board, worked[1]))


def _draw_two(scene: Scene) -> tuple[Load, ...] | None:
    """Two appliances, half of the time with one deadline; few windows, so that the thought stays short."""
    shared = scene.rng.randint(3, len(scene.board.hours)) if scene.rng.random() < 0.5 else 0
    loads = _draw_loads(scene, 2, shared)
    windows = sum(load.by - load.hours + 1 for load in loads or ())
    return loads if windows <= MOST_WINDOWS else None


def _pair_intent(loads: tuple[Load, ...]) -> str:
    return "plan_2_same" if loads[0].by == loads[1].by else "plan_2"


def _plan_shared(scene: Scene) -> Draft | None:
    """Two appliances that want the same sun: not every order of thinking finds the cheapest plan."""
    loads = _draw_two(scene) if any(scene.board.sun) else None
    if not loads:
        return None
    problem = _problem(scene.board, loads=loads)
    if is_proven(problem, greedy_plan(problem)):
        return None
    best = best_plan(problem)
    for order in itertools.permutations([load.name for load in loads]):
        worked = _plan_loads(scene, problem, order)
        if worked and problem.cost_ct(worked[1]) <= problem.cost_ct(best) + 1e-6:
            goal = _goal(scene.board, problem, best)
            calls = _schedule(scene.board, worked[1])
            slots = _load_slots(scene, loads)
            return Draft(_pair_intent(loads), slots, worked[0], calls, goal=goal) if goal else None
    return None


def _draw_car(scene: Scene, is_open: bool = False) -> tuple[CarJob, int] | None:
    rng, car, last = scene.rng, scene.board.car, len(scene.board.hours)
    if car is None or car.percent >= 90:
        return None
    hours = rng.randint(1, min(MOST_CAR_HOURS, (100 - car.percent) // car.per_hour))
    by = last if is_open else rng.randint(hours + 1, min(last, MOST_KEPT // hours))
    if hours * by > MOST_KEPT:
        return None
    return CarJob(hours, car.kw, by), car.percent + hours * car.per_hour


def _car_slots(scene: Scene, job: CarJob, target: int) -> dict[str, str]:
    percent = f"{target}{scene.rng.choice(('%', '%', ' percent'))}"
    return {"r": percent, "t": _say_hour(scene.rng, _at(scene.board, job.by))}


def _plan_car(scene: Scene, is_open: bool = False) -> Draft | None:
    drawn = _draw_car(scene, is_open)
    problem = drawn and _problem(scene.board, car=drawn[0])
    worked = drawn and problem and car_lines(scene.board, problem, Plan(), drawn[1])
    if not drawn or not problem or not worked:
        return None
    plan, call = greedy_plan(problem), ToolCall("EnergyChargeCar", {"hours": worked[1]})
    intent = "plan_car_open" if is_open else "plan_car"
    return _finish(scene, intent, _car_slots(scene, *drawn), problem, worked[0], plan, (call,))


def _plan_both(scene: Scene) -> Draft | None:
    drawn, loads = _draw_car(scene), _draw_loads(scene, 1)
    if not drawn or not loads or loads[0].by - loads[0].hours > 5 or drawn[0].hours * drawn[0].by > MOST_KEPT_OF_TWO:
        return None
    problem = _problem(scene.board, loads=loads, car=drawn[0])
    first = _plan_loads(scene, problem, (loads[0].name,))
    second = first and car_lines(scene.board, problem, first[1], drawn[1])
    if not first or not second:
        return None
    plan, call = greedy_plan(problem), ToolCall("EnergyChargeCar", {"hours": second[1]})
    slots = _car_slots(scene, *drawn) | {
        "d": _the(loads[0].name),
        "u": _say_hour(scene.rng, _at(scene.board, loads[0].by)),
    }
    calls = (*_schedule(scene.board, Plan(plan.starts)), call)
    return _finish(scene, "plan_both", slots, problem, [*first[0], *second[0]], plan, calls)


def _plan_battery(scene: Scene) -> Draft | None:
    board = scene.board
    if not board.battery_kwh or "EnergySetBattery" not in scene.offered:
        return None
    problem = _problem(board, battery=BatteryJob(board.battery_kwh))
    plan = Plan(battery=widest_swing(board.prices))
    # Filling loses a ninth, so that the widest gap between two prices is not always the best one.
    if plan.battery is None or problem.cost_ct(plan) > problem.cost_ct(greedy_plan(problem)) + 1e-9:
        return None
    call = ToolCall("EnergySetBattery", {"charge": _at(board, plan.battery[0]), "use": _at(board, plan.battery[1])})
    goal = _goal(board, problem, plan)
    return Draft("plan_battery", {}, battery_lines(board), (call,), goal=goal) if goal else None


# ---- plain requests


def _free_and_planned(board: Board) -> tuple[list[str], list[str]]:
    return [name for name in board.appliances if name not in board.starts], list(board.starts)


def _run(scene: Scene) -> Draft | None:
    rng, board = scene.rng, scene.board
    name = rng.choice(list(board.appliances))
    hour = _at(board, rng.randint(0, len(board.hours) - board.appliances[name].hours))
    if board.starts.get(name) == hour:
        return None
    slots = {"d": _the(name), "t": _say_hour(rng, hour)}
    return Draft(
        "run", slots, [board.appliance_row(name)], (ToolCall("ScheduleAppliance", {"name": name, "start": hour}),)
    )


def _cancel(scene: Scene) -> Draft | None:
    planned = _free_and_planned(scene.board)[1]
    if not planned or "CancelAppliance" not in scene.offered:
        return None
    name = scene.rng.choice(planned)
    call = ToolCall("CancelAppliance", {"name": name})
    return Draft("cancel", {"d": _the(name)}, [scene.board.appliance_row(name)], (call,))


def _reserve(scene: Scene) -> Draft | None:
    percent = 5 * scene.rng.randint(1, 19)
    if not scene.board.has_battery or "EnergySetReserve" not in scene.offered:
        return None
    if percent == scene.board.reserve_percent:
        return None
    slots = {"v": f"{percent}{scene.rng.choice(('%', '%', ' percent'))}"}
    return Draft("reserve", slots, [scene.board.battery_row()], (ToolCall("EnergySetReserve", {"percent": percent}),))


def _unsupported(scene: Scene) -> Draft | None:
    board, (_, planned) = scene.board, _free_and_planned(scene.board)
    if board.battery_percent is not None and scene.rng.random() < 0.5:
        return Draft("plan_battery", {}, [board.battery_row(), "not empty"], answer=_cannot_plan_battery())
    if board.has_battery and "EnergySetReserve" not in scene.offered:
        slots, thought = {"v": f"{5 * scene.rng.randint(1, 19)}%"}, [board.battery_row(), "EnergySetReserve: none"]
        return Draft("reserve", slots, thought, answer=no_tool())
    if planned and "CancelAppliance" not in scene.offered:
        name = scene.rng.choice(planned)
        thought = [board.appliance_row(name), "CancelAppliance: none"]
        return Draft("cancel", {"d": _the(name)}, thought, answer=no_tool())
    return None


def _cannot_plan_battery() -> Answer:
    """It holds energy, or sun is coming: when it fills and empties follows from that."""
    text = "I cannot plan the battery now."
    return Answer(text, (r"cannot|can't|not|no", "battery"), ("find", "there is no", "tool", "charging at"))


def _missing(scene: Scene) -> Draft | None:
    rng, board = scene.rng, scene.board
    hour = _say_hour(rng, rng.choice(board.hours))
    if not board.car and rng.random() < 0.3:
        percent = 10 * rng.randint(4, 9)
        return Draft("plan_car", {"r": f"{percent}%", "t": hour}, ["car: none"], answer=cannot_find("the car"))
    if not board.has_battery and rng.random() < 0.4:
        intent = rng.choice(("plan_battery", "ask_battery"))
        return Draft(intent, {}, ["battery: none"], answer=cannot_find("the battery"))
    name = rng.choice([name for name in APPLIANCES if name not in board.appliances])
    intent = rng.choice(("run", "plan_1", "plan_1_open", "ask_hours"))
    return Draft(intent, {"d": _the(name), "t": hour}, [f"{name}: none"], answer=cannot_find(_the(name)))


def _too_late(scene: Scene) -> Draft | None:
    rng, board = scene.rng, scene.board
    names = [name for name in _free_and_planned(board)[0] if board.appliances[name].hours > 1]
    if not names:
        return None
    name = rng.choice(names)
    hours = board.appliances[name].hours
    by = _at(board, rng.randint(1, hours - 1))
    thought = f"{deadline_line(board, Load(name, hours, board.appliances[name].kw, board.index(by)))} too late"
    text = f"The {name} cannot be done by {by:02d}:00."
    answer = Answer(
        text, (r"cannot|can't|not|no|impossible|too", r"done|late|finish\w*|time|possible"), ("tool", *_others(name))
    )
    return Draft("plan_1", {"d": _the(name), "t": _say_hour(rng, by)}, [thought], answer=answer)


# ---- questions


def _ask_price(scene: Scene) -> Draft:
    board, hour = scene.board, scene.rng.choice(scene.board.hours)
    price = board.prices[board.index(hour)]
    answer = _with_number(f"At {hour:02d}:00 power costs {price} ct.", price)
    return Draft("ask_price", {"t": _say_hour(scene.rng, hour)}, [board.hour_row(hour)], answer=answer)


def _ask_now(scene: Scene) -> Draft:
    board = scene.board
    answer = _with_number(f"Power costs {board.prices[0]} ct now.", board.prices[0])
    return Draft("ask_now", {}, [board.hour_row(board.first_hour)], answer=answer)


def _with_number(text: str, value: int) -> Answer:
    """An answer that may name an hour beside its number."""
    return Answer(text, (rf"(?<![-\d.:]){value}(?!:)",), ("no tool", "cannot", "planned", "charging"))


def _hour_answer(text: str, hours: Sequence[int], forbidden: tuple[str, ...]) -> Answer:
    """An answer that names one of some hours; its digits after a colon are minutes."""
    return Answer(text, (rf"(?<!:)(?:{'|'.join(f'{hour:02d}' for hour in hours)})",), ("charging", *forbidden))


def _extreme(intent: str, is_lowest: bool, word: str) -> Callable[[Scene], Draft | None]:
    def draw(scene: Scene) -> Draft | None:
        board = scene.board
        best = (min if is_lowest else max)(board.prices)
        hours = [hour for hour, price in zip(board.hours, board.prices, strict=True) if price == best]
        answer = _hour_answer(f"Power is {word} at {hours[0]:02d}:00.", hours, ("planned", *_others("")))
        return Draft(intent, {}, extreme_lines(board, is_lowest), answer=answer)

    return draw


def _ask_sun(scene: Scene) -> Draft | None:
    board, hour = scene.board, scene.rng.choice(scene.board.hours)
    if not any(board.sun):
        return None
    kwh, at = board.sun[board.index(hour)], f"{hour:02d}:00"
    if kwh:
        answer = _with_number(f"At {at} the sun gives {kwh} kWh.", kwh)
    else:
        answer = Answer(
            f"At {at} there is no sun.",
            (r"no|not|0|nothing|none", r"sun|panels?|roof|it|nothing|none"),
            ("tool", "cannot", "planned"),
        )
    return Draft("ask_sun", {"t": _say_hour(scene.rng, hour)}, [board.hour_row(hour)], answer=answer)


def _ask_start(scene: Scene) -> Draft | None:
    board, rng = scene.board, scene.rng
    name = rng.choice(list(board.appliances))
    if name in board.starts:
        at = board.starts[name]
        answer = _hour_answer(f"The {name} starts at {at:02d}:00.", [at], _others(name))
    else:
        answer = Answer(f"The {name} is not planned.", (r"not|no|isn't",), ("tool", "find", *_others(name)))
    return Draft("ask_start", {"d": _the(name)}, [board.appliance_row(name)], answer=answer)


def _others(name: str) -> tuple[str, ...]:
    """Names that an answer about one appliance must not hold."""
    return tuple(re.escape(other) for other in APPLIANCES if other not in name)


def _ask_hours(scene: Scene) -> Draft:
    board, name = scene.board, scene.rng.choice(list(scene.board.appliances))
    hours = board.appliances[name].hours
    return Draft("ask_hours", {"d": _the(name)}, [board.appliance_row(name)],
                 answer=number_answer(f"The {name} runs {hours} h.", hours, _others(name)))  # fmt: skip


def _ask_car(scene: Scene) -> Draft | None:
    car = scene.board.car
    if not car:
        return None
    answer = number_answer(f"The car is at {car.percent}%.", car.percent)
    return Draft("ask_car", {}, [scene.board.car_row()], answer=answer)


def _ask_battery(scene: Scene) -> Draft | None:
    board = scene.board
    if not board.has_battery:
        return None
    if board.battery_kwh:
        answer = Answer("The battery is empty.", ("empty|0",), ("tool", "cannot", "find"))
    else:
        answer = number_answer(f"The battery is at {board.battery_percent}%.", board.battery_percent or 0)
    return Draft("ask_battery", {}, [board.battery_row()], answer=answer)


_QUESTIONS: tuple[Callable[[Scene], Draft | None], ...] = (
    _ask_price,
    _ask_now,
    _extreme("ask_cheapest", True, "cheapest"),
    _extreme("ask_dearest", False, "most expensive"),
    _ask_sun,
    _ask_start,
    _ask_hours,
    _ask_car,
    _ask_battery,
)


def _state(scene: Scene) -> Draft | None:
    return scene.rng.choice(_QUESTIONS)(scene)


KINDS: dict[str, Callable[[Scene], Draft | None]] = {
    "plan_1": _plan_1,
    "plan_1_open": partial(_plan_1, is_open=True),
    "plan_2": _plan_2,
    "plan_car": _plan_car,
    "plan_car_open": partial(_plan_car, is_open=True),
    "plan_both": _plan_both,
    "plan_battery": _plan_battery,
    "plan_shared": _plan_shared,
    "run": _run,
    "cancel": _cancel,
    "reserve": _reserve,
    "state": _state,
    "missing": _missing,
    "unsupported": _unsupported,
    "too_late": _too_late,
}
