"""Maths, programs and recall: gold is right and nothing else is, splits are apart, a seed repeats."""

import random
from itertools import pairwise

import pytest

from openmimo.chat import Message, ToolCall
from openmimo.environments import make_environment
from openmimo.environments.maths import MathsEnvironment
from openmimo.environments.maths.environment import KIND_WEIGHTS as MATHS_KINDS
from openmimo.environments.maths.environment import last_number
from openmimo.environments.maths.working import calculate, work_out
from openmimo.environments.phrasing import fill, split_families
from openmimo.environments.text import TextEnvironment, TextTask

NAMES = ("maths", "programs", "recall")


@pytest.fixture(params=NAMES)
def environment(request: pytest.FixtureRequest) -> TextEnvironment:
    made = make_environment(request.param)
    assert isinstance(made, TextEnvironment)
    return made


def score(environment: TextEnvironment, task: TextTask, reply: Message | None) -> float:
    episode = environment.start(task)
    if reply is not None:
        assert episode.step(reply) == []
    return episode.reward()


@pytest.mark.parametrize("split", ["train", "eval"])
def test_gold_scores_one_and_silence_scores_nothing(environment, split):
    for task in environment.tasks(split, 1, 150):
        assert score(environment, task, task.gold[-1]) == 1.0, task
        assert score(environment, task, None) == 0.0
        assert score(environment, task, Message("assistant")) == 0.0
        assert score(environment, task, Message("assistant", tool_calls=(ToolCall("f", {}),))) == 0.0


def test_gold_of_a_task_with_another_answer_scores_nothing(environment):
    pairs = [pair for pair in pairwise(environment.tasks("eval", 2, 150)) if pair[0].answer != pair[1].answer]
    assert len(pairs) > 60
    wrong = [score(environment, task, other.gold[-1]) for task, other in pairs]
    # A program's tests may be met by another program, and in part by many.
    assert sum(share == 1.0 for share in wrong) <= len(wrong) * 0.02


def test_a_seed_repeats_and_another_differs(environment):
    first, again = list(environment.tasks("train", 3, 30)), list(environment.tasks("train", 3, 30))
    assert first == again
    assert first != list(environment.tasks("train", 4, 30))


def test_no_request_is_in_both_splits(environment):
    train = {(task.system, task.request.lower()) for task in environment.tasks("train", 5, 1500)}
    for phrasings in ("train", "eval"):
        found = {(task.system, task.request.lower()) for task in environment.tasks("eval", 5, 300, phrasings)}
        assert not found & train


def test_a_group_shares_its_system_message(environment):
    tasks = environment.sample_group(random.Random(1), "train", "train", 12)
    assert len(tasks) == 12
    assert len({(task.system, task.tools) for task in tasks}) == 1


def test_an_episode_is_used_once(environment):
    task = next(environment.tasks("train", 1, 1))
    episode = environment.start(task)
    episode.step(task.gold[-1])
    with pytest.raises(ValueError, match="start the task again"):
        episode.step(task.gold[-1])


def test_families_are_held_out_only_where_the_others_teach_their_words():
    families = split_families({"a": "add {x} to {y}\n[sum|total] of {x}\nadd {x}\nsum of {y}\nof {x} to {y} add"})["a"]
    assert len(families["eval"]) == 1
    assert "[sum|total] of {x}" in families["train"]
    assert fill(random.Random(1), "add {x}", {"x": "[7|8]"}).lower() == "add [7|8]"


# ---- maths


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("478+56", ["4 7 8 + 0 5 6", "8+6=14", "7+5+1=13", "4+0+1=5", "5 3 4"]),
        ("502-37", ["5 0 2 - 0 3 7", "12-7=5", "10-3-1=6", "5-0-1=4", "4 6 5"]),
        ("47*6", ["4 7 * 6", "7*6=42", "4*6=24+4=28", "2 8 2"]),
        ("56/7", ["56/7=8"]),
    ],
)
def test_working_is_done_in_columns_from_the_right(expression, lines):
    assert work_out(expression) == lines


def test_working_ends_with_the_digits_of_the_result():
    rng = random.Random(0)
    for _ in range(300):
        a, b = rng.randint(1, 9999), rng.randint(1, 9999)
        for expression in (f"{a}+{b}", f"{max(a, b)}-{min(a, b)}", f"{a % 90 + 10}*{b % 90 + 10}"):
            assert work_out(expression)[-1].replace(" ", "") == str(calculate(expression))


def test_every_kind_of_maths_is_drawn():
    assert {task.kind for task in MathsEnvironment().tasks("train", 1, 600)} == set(MATHS_KINDS)


def test_the_last_number_counts():
    assert [last_number(text) for text in ("12 and 7", "it is 1,250 kWh.", "-3", "none", "2.5", "8.0")] == [
        7, 1250, -3, None, None, 8,
    ]  # fmt: skip
