"""Energy tasks: gold scores 1.0, nothing else does; train and eval have nothing in common; the baseline's figure."""

import itertools
import random
from collections import Counter

import pytest

from openmimo.chat import Message, ToolCall
from openmimo.environments import make_environment
from openmimo.environments.acting import ActingTask
from openmimo.environments.energy import KIND_WEIGHTS, Appliance, Plant, greedy_plan, sample_board, sample_group
from openmimo.environments.energy.goals import PlanGoal
from openmimo.environments.energy.problem import Plan

ENVIRONMENT = make_environment("energy")
TASKS = list(ENVIRONMENT.tasks("train", 1, 160))


def play(task, replies) -> float:
    episode = ENVIRONMENT.start(task)
    for message in replies:
        if message.role == "assistant" and not episode.is_over:
            episode.step(message)
    return episode.reward()


def is_as_cheap(task: ActingTask, other: ActingTask) -> bool:
    """Whether the other task's hours for the car are as good a plan for this one: hours of sun cost the same."""
    goal, calls = task.goal, other.gold[0].tool_calls
    if not isinstance(goal, PlanGoal) or not goal.problem.car or [call.name for call in calls] != ["EnergyChargeCar"]:
        return False
    plan = Plan(car=frozenset(map(task.world.index, calls[0].arguments["hours"])))
    return len(plan.car) == goal.problem.car.hours and goal.problem.cost_ct(plan) == pytest.approx(goal.best_ct)


def test_gold_replies_score_one():
    for task in [*TASKS, *ENVIRONMENT.tasks("eval", 2, 60)]:
        assert play(task, task.gold) == 1.0, task.request


def test_doing_nothing_scores_less():
    for task in TASKS:
        assert ENVIRONMENT.start(task).reward() == 0.0
        assert play(task, [Message("assistant", "")]) == 0.0
        assert play(task, [Message("assistant", "Done.")]) == 0.0, task.request


def test_the_gold_of_another_task_scores_less():
    for task, other in itertools.pairwise(TASKS):
        if task.gold[-1].content != other.gold[-1].content:
            assert play(task, other.gold) < 1.0 or is_as_cheap(task, other), (task.request, other.request)


def test_a_late_plan_and_a_careless_one_score_nothing():
    for task in TASKS:
        if isinstance(task.goal, PlanGoal) and len(task.goal.problem.loads) == 1 and not task.goal.problem.car:
            load, board = task.goal.problem.loads[0], task.world
            for index in (0, load.by - load.hours + 1):
                if index + load.hours <= len(board.hours):
                    call = ToolCall("ScheduleAppliance", {"name": load.name, "start": board.hours[index]})
                    assert play(task, [Message("assistant", tool_calls=(call,)), Message("assistant", "ok")]) == 0.0


def test_a_plan_that_moves_something_else_scores_nothing():
    task = next(task for task in TASKS if task.kind == "plan_1" and len(task.world.appliances) > 1)
    other = next(name for name in task.world.appliances if name != task.goal.problem.loads[0].name)
    start = task.world.hours[1 if task.world.starts.get(other) == task.world.hours[0] else 0]
    extra = ToolCall("ScheduleAppliance", {"name": other, "start": start})
    assert play(task, [Message("assistant", tool_calls=(*task.gold[0].tool_calls, extra))]) == 0.0


def test_the_rule_based_baseline_is_nearly_optimal():
    goals = [task.goal for task in TASKS if isinstance(task.goal, PlanGoal)]
    shares = [
        (goal.naive_ct - goal.problem.cost_ct(greedy_plan(goal.problem))) / (goal.naive_ct - goal.best_ct)
        for goal in goals
    ]
    assert len(goals) > 60
    assert sum(shares) / len(shares) > 0.97
    assert max(shares) <= 1 + 1e-9


def test_the_same_seed_gives_the_same_tasks_and_another_one_others():
    again = list(ENVIRONMENT.tasks("train", 1, 20))
    assert [(task.id, task.messages, task.gold) for task in again] == [(t.id, t.messages, t.gold) for t in TASKS[:20]]
    assert {task.id for task in ENVIRONMENT.tasks("train", 2, 20)}.isdisjoint(task.id for task in again)


def test_eval_shares_no_board_and_no_phrasing_with_train():
    held_out = list(ENVIRONMENT.tasks("eval", 1, 40))
    assert {task.system for task in held_out}.isdisjoint(task.system for task in TASKS)
    assert {task.family for task in held_out}.isdisjoint(task.family for task in TASKS)
    known = {task.family for task in ENVIRONMENT.tasks("eval", 1, 40, phrasings="train")}
    assert known.isdisjoint(task.family for task in held_out)


def test_all_kinds_are_drawn_and_prompts_stay_short():
    tasks = [*TASKS, *ENVIRONMENT.tasks("train", 3, 160)]
    count = Counter(task.kind.replace("sun_", "plan_") for task in tasks)
    assert set(KIND_WEIGHTS) - set(count) <= {"plan_shared", "unsupported"}, count
    assert max(len(task.system) for task in tasks) < 700


def test_a_group_shares_system_message_and_tools():
    group = sample_group(random.Random(4), "train", "train", 8)
    assert len(group) == 8
    assert len({(task.system, str(task.tools)) for task in group}) == 1


def test_a_plan_is_carried_out_by_the_plant_and_costs_what_the_board_says():
    task = next(task for task in TASKS if task.kind == "plan_1" and not task.world.house_kw)
    episode = ENVIRONMENT.start(task)
    episode.step(task.gold[0])
    board, problem = episode.world, task.goal.problem
    load, clock_s = problem.loads[0], 3600.0 * board.first_hour
    prices = dict(zip(board.hours, board.prices, strict=True))
    plant = Plant(peak_kw=0, capacity_kwh=0, battery_kwh=0, tariff_ct=tuple(prices.get(h, 0) for h in range(24)))
    plant.appliances[load.name] = Appliance(load.name, load.hours, load.kw)
    board.carry_out(plant, clock_s)
    plant.advance(3600.0 * len(board.hours), clock_s, 0.0, 10.0)
    assert plant.meter.cost_ct == pytest.approx(problem.cost_ct(board.plan()))


def test_boards_are_read_in_one_layout():
    board = sample_board(random.Random(3), "train")
    lines = board.system_content().splitlines()
    assert lines[0].startswith("You plan the energy of a home. It is ")
    assert lines[1] == f"- {board.hours[0]:02d}:00, {board.prices[0]} ct" + (
        f", sun {board.sun[0]} kWh" if board.sun[0] else ""
    )
