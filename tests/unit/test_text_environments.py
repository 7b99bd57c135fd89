"""Maths, programs and recall: gold is right and nothing else is, splits are apart, a seed repeats."""

import random
import re
from itertools import pairwise

import pytest

from openmimo.chat import Message, ToolCall
from openmimo.environments import make_environment
from openmimo.environments.maths import MathsEnvironment
from openmimo.environments.maths.environment import KIND_WEIGHTS as MATHS_KINDS
from openmimo.environments.maths.environment import last_number
from openmimo.environments.maths.working import calculate, work_out
from openmimo.environments.phrasing import fill, split_families
from openmimo.environments.programs import ProgramsEnvironment
from openmimo.environments.programs.prints import LEVELS, sample_program
from openmimo.environments.programs.tracing import run_traced
from openmimo.environments.programs.writing import function_source
from openmimo.environments.recall import LENGTHS, RecallEnvironment
from openmimo.environments.recall.environment import MIN_NOTES_AFTER
from openmimo.environments.recall.facts import NAMES as PEOPLE
from openmimo.environments.text import TextEnvironment, TextTask
from openmimo.errors import SandboxError

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


def test_gold_is_short(environment):
    longest = max(len(t.gold[0].reasoning) + len(t.answer) for t in environment.tasks("train", 6, 300))
    assert longest <= 200  # most characters of a sum are a token of their own


# ---- programs


@pytest.fixture(scope="module")
def programs():
    made = ProgramsEnvironment()
    try:
        made.sandbox.run("")
    except SandboxError as error:
        pytest.skip(str(error))
    yield made
    made.sandbox.close()


@pytest.mark.parametrize("level", LEVELS)
def test_traced_programs_print_what_python_prints(programs, level):
    rng = random.Random(7)
    for _ in range(60):
        source = sample_program(rng, level)
        assert programs.sandbox.run(source).output == run_traced(source).output + "\n", source


def test_a_trace_shows_every_value():
    source = "a = 7\nfor i in range(2):\n    if a > 7:\n        a += i\n    else:\n        a = a * 2\nprint(a + 1)"
    lines = ["a=7", "i=0 | 1", "7>7 no", "a=7*2=14", "i=1 | end", "14>7 yes", "a=14+1=15", "15+1=16"]
    assert (run_traced(source).lines, run_traced(source).output) == (lines, "16")


@pytest.mark.parametrize("reply", ["x + 3", "return x + 3", "def f(x):\n    return x + 3", "```python\nx + 3\n```"])
def test_a_function_may_be_written_in_several_ways(programs, reply):
    assert programs.sandbox.run(function_source(reply), "f", [4]).values == (7,)


def test_a_soft_reward_is_the_share_of_tests(programs):
    task = next(task for task in programs.tasks("train", 2, 300) if task.answer.startswith("max(x,"))
    soft = ProgramsEnvironment(is_soft=True, sandbox=programs.sandbox)
    met = sum(value == argument for argument, value in task.tests) / len(task.tests)
    assert 0.0 < met < 1.0
    assert (programs.score(task, "x"), soft.score(task, "x")) == (0.0, met)
    assert programs.score(task, "True if x else True") == 0.0


def test_an_attempt_at_a_function_tells_which_tests_pass(programs):
    task = next(task for task in programs.tasks("train", 2, 300) if task.answer.startswith("max(x,"))
    episode = programs.start(task)
    assert episode.passed == (False,) * 8
    episode.step(Message("assistant", "x"))
    assert episode.passed == tuple(value == argument for argument, value in task.tests)
    assert episode.reward() == 0.0


# ---- recall


def test_what_is_asked_lies_far_back():
    for task in RecallEnvironment().tasks("eval", 3, 64):
        notes = task.system.splitlines()[1:]
        assert len(notes) in LENGTHS.values()
        for line in task.gold[0].reasoning.splitlines():
            said = set(re.findall(r"\w+", line))
            known = [said - {"none"} <= set(re.findall(r"\w+", note)) for note in notes]
            assert "none" in said and not any(known) if task.answer == "unknown" else any(known[:-MIN_NOTES_AFTER])
        assert (
            len(re.findall(r"\w+|[.:]", " ".join(notes[-MIN_NOTES_AFTER:]))) > 115
        )  # and as many line breaks as notes


def test_naming_everyone_is_no_answer():
    environment = RecallEnvironment()
    task = next(task for task in environment.tasks("eval", 3, 64) if task.answer in PEOPLE)
    assert environment.score(task, f"It is {task.answer}.") == 1.0
    assert environment.score(task, " ".join(PEOPLE)) == 0.0
    assert environment.score(task, "unknown") == 0.0


# ---- maths


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("478+56", ["4 7 8 + 0 5 6", "8+6=14", "7+5+1=13", "4+0+1=5", "5 3 4"]),
        ("502-37", ["5 0 2 - 0 3 7", "12-7=5", "10-3-1=6", "5-0-1=4", "4 6 5"]),
        ("47*6", ["4 7 * 6", "7*6=42", "4*6=24+4=28", "2 8 2"]),
        ("6*47", ["4 7 * 6", "7*6=42", "4*6=24+4=28", "2 8 2"]),
        ("12*31", ["1 2 * 3 1", "2*1=2", "1*1=1", "2*3=6", "1*3=3", *work_out("12+360")]),
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


@pytest.mark.parametrize("split", ["train", "eval"])
def test_sums_and_long_products_are_worked_out_in_the_order_of_the_request(split):
    for task in MathsEnvironment().tasks(split, 8, 400):
        if task.kind.startswith("sum") or task.kind == "times-4":
            head = task.gold[0].reasoning.splitlines()[0].replace(" ", "")
            assert re.findall(r"\d+", head) == re.findall(r"\d+", task.request), task


def test_the_last_number_counts():
    assert [last_number(text) for text in ("12 and 7", "it is 1,250 kWh.", "-3", "none", "2.5", "8.0")] == [
        7, 1250, -3, None, None, 8,
    ]  # fmt: skip
