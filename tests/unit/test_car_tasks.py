"""Tasks about cars: gold scores 1.0, nothing else does, and train and eval have nothing in common."""

import itertools
import random
from collections import Counter

import pytest

from openmimo.chat import Message
from openmimo.environments import make_environment
from openmimo.environments.car import KIND_WEIGHTS, sample_group

ENVIRONMENT = make_environment("car")
TASKS = list(ENVIRONMENT.tasks("train", 1, 120))
KINDS = {kind for weights in KIND_WEIGHTS.values() for kind in weights}


def play(task, replies) -> float:
    episode = ENVIRONMENT.start(task)
    for message in replies:
        if message.role == "assistant" and not episode.is_over:
            episode.step(message)
    return episode.reward()


def test_gold_replies_score_one():
    for split in ("train", "eval"):
        for task in TASKS if split == "train" else ENVIRONMENT.tasks("eval", 2, 60):
            assert play(task, task.gold) == 1.0, task.request


def test_doing_nothing_scores_less():
    for task in TASKS:
        assert ENVIRONMENT.start(task).reward() == 0.0
        assert play(task, [Message("assistant", "")]) < 1.0
        assert play(task, [Message("assistant", "Done.")]) < 1.0, task.request


def test_the_gold_of_another_task_scores_less():
    for task, other in itertools.pairwise(TASKS):
        if task.gold[-1].content != other.gold[-1].content:
            assert play(task, other.gold) < 1.0, (task.request, other.request)


def test_the_same_seed_gives_the_same_tasks_and_another_one_others():
    again = list(ENVIRONMENT.tasks("train", 1, 20))
    assert [(task.id, task.messages, task.gold) for task in again] == [(t.id, t.messages, t.gold) for t in TASKS[:20]]
    assert {task.id for task in ENVIRONMENT.tasks("train", 2, 20)}.isdisjoint(task.id for task in again)


def test_eval_shares_no_car_and_no_phrasing_with_train():
    held_out = list(ENVIRONMENT.tasks("eval", 1, 40))
    assert {task.system for task in held_out}.isdisjoint(task.system for task in TASKS)
    assert {task.family for task in held_out}.isdisjoint(task.family for task in TASKS)
    known = {task.family for task in ENVIRONMENT.tasks("eval", 1, 40, phrasings="train")}
    assert known.isdisjoint(task.family for task in held_out)


def test_all_kinds_are_drawn_and_prompts_stay_short():
    tasks = [*TASKS, *ENVIRONMENT.tasks("train", 3, 900)]
    count = Counter(task.kind for task in tasks)
    assert set(count) == KINDS, count
    assert all(len(task.tools) <= 8 for task in tasks)
    assert max(len(task.system) for task in tasks) < 1100


@pytest.mark.parametrize("situation", ["parked", "driving", "journey"])
def test_a_group_shares_system_message_and_tools(situation):
    group = sample_group(random.Random(4), "train", "train", 6, situation)
    assert len(group) == 6
    assert len({(task.system, str(task.tools)) for task in group}) == 1
    assert len({task.request for task in group}) > 1
