"""The maths environment: problems drawn by kind, held out by the problem itself, judged by the last number."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

from openmimo.environments.base import Split
from openmimo.environments.maths.stories import NAMES, STORIES, THINGS, WORDS, Story
from openmimo.environments.maths.working import calculate, work_out
from openmimo.environments.phrasing import fill, split_of
from openmimo.environments.text import TextEnvironment, TextTask, text_task

__all__ = ["KIND_WEIGHTS", "MathsEnvironment", "last_number", "sample_group"]

SYSTEM = "You solve problems. Answer with the number."
KIND_WEIGHTS: Mapping[str, float] = {
    "sum-2": 8, "sum-3": 8, "sum-4": 8, "difference-2": 8, "difference-3": 8, "difference-4": 8,
    "times-2": 8, "times-3": 6, "times-4": 4, "equation-1": 8, "equation-2": 8, "word-1": 12, "word-2": 10, "word-3": 6,
}  # fmt: skip
_TIMES = {"2": ((11, 99), (2, 9)), "3": ((101, 999), (2, 9)), "4": ((11, 99), (11, 99))}
_OPERATORS = {"sum": "+", "difference": "-"}


def last_number(text: str) -> int | None:
    """The last whole number in a text.

    Args:
        text: such as "that makes 1,250 cents".
    Returns:
        its value, or None if there is no number, or the last one is not whole.
    """
    found = re.findall(r"-?\d+(?:\.\d+)?", re.sub(r"(?<=\d),(?=\d{3}\b)", "", text))
    return int(float(found[-1])) if found and float(found[-1]).is_integer() else None


def sample_group(
    rng: random.Random, split: Split, phrasings: Split, count: int, weights: Mapping[str, float] = KIND_WEIGHTS
) -> list[TextTask]:
    """Draw problems; all share one short system message.

    Args:
        rng: source of randomness.
        split: of the problems, by a hash of their operations.
        phrasings: of the words around them.
        count: how many.
        weights: share of each kind.
    Returns:
        the tasks.
    """
    kinds = rng.choices(tuple(weights), tuple(weights.values()), k=count)
    return [_task(rng, split, phrasings, kind) for kind in kinds]


def _task(rng: random.Random, split: Split, phrasings: Split, kind: str) -> TextTask:
    topic, _, level = kind.partition("-")
    draw = {"word": _word, "equation": _equation}.get(topic, _bare)
    while True:
        intent, slots, steps = draw(rng, topic, level)
        if split_of(_spelling(steps)) == split:
            break
    pattern = rng.choice(WORDS[intent][phrasings])
    request = fill(rng, pattern, slots)
    lines = [line for step in _in_text_order(steps, pattern) for line in work_out(step)]
    return text_task(kind, SYSTEM, request, "\n".join(lines), str(calculate(steps[-1])))


def _spelling(steps: list[str]) -> str:
    """The operations in one spelling, so that 3+5 and 5+3 are one problem."""
    return " ".join("".join(sorted(re.split(r"([+*])", step))) if re.search("[+*]", step) else step for step in steps)


def _in_text_order(steps: list[str], pattern: str) -> list[str]:
    """The operations; a sum or product of the first two numbers takes them in the order in which the request does."""
    left, operator, right = re.split(r"([-+*/])", steps[0])
    is_turned = operator in "+*" and pattern.find("{b}") < pattern.find("{a}")
    return [f"{right}{operator}{left}", *steps[1:]] if is_turned else steps


def _bare(rng: random.Random, topic: str, level: str) -> tuple[str, dict[str, object], list[str]]:
    if topic == "times":
        a, b = (rng.randint(*bounds) for bounds in _TIMES[level])
        return "*", {"a": a, "b": b}, [f"{a}*{b}"]
    low, high = 10 ** (int(level) - 1) + 1, 10 ** int(level) - 1
    a, b = rng.randint(low, high), rng.randint(low, high)
    if topic == "difference":
        a, b = max(a, b), min(a, b)
    operator = _OPERATORS[topic]
    return operator, {"a": a, "b": b}, [f"{a}{operator}{b}"]


def _equation(rng: random.Random, topic: str, level: str) -> tuple[str, dict[str, object], list[str]]:
    if level == "1":
        x, b = rng.randint(2, 99), rng.randint(2, 99)
        equations = {f"x + {b} = {x + b}": f"{x + b}-{b}", f"{b} + x = {x + b}": f"{x + b}-{b}"}
        if x > b:
            equations[f"x - {b} = {x - b}"] = f"{x - b}+{b}"
        else:
            equations[f"{b} - x = {b - x}"] = f"{b}-{b - x}"
        equation = rng.choice(tuple(equations))
        return "equation", {"e": equation}, [equations[equation]]
    k, x, b = rng.randint(2, 9), rng.randint(2, 10), rng.randint(2, 60)
    if k * x > b and rng.random() < 0.5:
        return "equation", {"e": f"{k} * x - {b} = {k * x - b}"}, [f"{k * x - b}+{b}", f"{k * x}/{k}"]
    return "equation", {"e": f"{k} * x + {b} = {k * x + b}"}, [f"{k * x + b}-{b}", f"{k * x}/{k}"]


def _word(rng: random.Random, topic: str, level: str) -> tuple[str, dict[str, object], list[str]]:
    name = rng.choice([name for name, story in STORIES.items() if story.kind == f"{topic}-{level}"])
    story = STORIES[name]
    while True:
        numbers = {letter: rng.randint(*bounds) for letter, bounds in story.ranges.items()}
        steps = _fill_in(story, numbers)
        if steps is not None:
            break
    first, second = rng.sample(NAMES, 2)
    return name, {**numbers, "n": first, "m": second, "t": rng.choice(THINGS)}, steps


def _fill_in(story: Story, numbers: dict[str, int]) -> list[str] | None:
    """The story's operations in numbers; None where one is below 1, long or beyond the tables."""
    steps, result = [], 0
    for pattern in story.steps:
        left, operator, right = pattern
        a, b = result if left == "_" else numbers[left], numbers[right]
        is_long = operator == "*" and min(a, b) > 9
        if is_long or (operator == "-" and a <= b) or (operator == "/" and (a % b or not 2 <= a // b <= 10)):
            return None
        steps.append(f"{a}{operator}{b}")
        result = calculate(steps[-1])
    return steps


class MathsEnvironment(TextEnvironment):
    """Sums, differences, products, equations of one line, and word problems from a home.

    Attributes:
        name: "maths".
    """

    name = "maths"

    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[TextTask]:
        """Draw tasks of all kinds, as `sample_group` does."""
        return sample_group(rng, split, phrasings, count)

    def score(self, task: TextTask, content: str) -> float:
        """1.0 if the last number of the reply is the answer, else 0.0; see `last_number`."""
        return float(last_number(content) == int(task.answer))
