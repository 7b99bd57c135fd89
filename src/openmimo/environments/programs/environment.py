"""The programs environment: say what a small program prints, or write a function as one expression."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openmimo.environments.base import Split
from openmimo.environments.phrasing import fill, split_families, split_of
from openmimo.environments.programs.prints import sample_program
from openmimo.environments.programs.tracing import run_traced
from openmimo.environments.programs.writing import Exercise, function_source, sample_exercise
from openmimo.environments.sandbox import Sandbox
from openmimo.environments.text import TextEnvironment, TextEpisode, TextTask, text_task

__all__ = ["KIND_WEIGHTS", "ProgramsEnvironment", "WritingTask", "sample_group"]

SYSTEM = "You know Python. Say what a program prints, or write f(x) as one expression."
KIND_WEIGHTS: Mapping[str, float] = {
    "prints-1": 15, "prints-2": 18, "prints-3": 15, "prints-4": 10, "write-1": 18, "write-2": 14, "write-3": 10,
}  # fmt: skip

WORDS = split_families(
    {
        "prints": """
what does this print?
what does this program print?
what is printed?
what does it print?
what will this print?
say what this prints
tell me what this program prints
run this
what is the output?
what is the output of this program?
tell me the output
run this program and tell me what it prints
which output does this have?

this program, what does it print?
i run this program. what is printed?
if i run this, what does it print?
what is printed if i run this program?
run it and say what is printed
output of this program?
output, please
i need the output of this
say what the output is
tell me what this will print
what output does this program have, please?
the output of this program, please
""",
        "write": """
write f(x): {w}
write f(x), {w}
f(x) is {w}
f(x) should be {w}
f(x) gives {w}. write it
write an expression for {w}
i need f(x): {w}
write f so that f(x) is {w}
which expression gives {w}?
f should give {w}
i need an expression that gives {w}
tell me an expression for {w}

{w}: write f(x)
{w}, please, as f(x)
{w}, that is what f(x) should give
{w}. write f so that it gives this
{w}: which expression gives it?
f(x): {w}
i need {w} as an expression
i need f(x) so that it is {w}
write {w} as an expression
for {w}, what is f(x)?
what is f(x) if it should give {w}?
tell me f(x) so that it gives {w}
an expression for {w}, please
""",
        "tests": """
write f(x)
write f(x) so that these are true
find f(x)
what is f(x)?
i need f(x) with these tests
write an expression that gives this
which expression gives this?
find an expression for f(x)

f(x), please
f(x) with these tests?
these tests are true for f(x). find it
this is true for f(x), what is it?
what is f(x) if these are true?
which f(x) gives this?
i need an expression that gives this
write f so that these tests are true
with these tests, what is f(x)?
tell me what f(x) is
""",
    }
)


@dataclass(frozen=True, slots=True)
class WritingTask(TextTask):
    """A function to write.

    Attributes:
        tests: argument and value of every test, those that the request shows first.
    """

    tests: tuple[tuple[Any, Any], ...]


def sample_group(
    rng: random.Random, split: Split, phrasings: Split, count: int, weights: Mapping[str, float] = KIND_WEIGHTS
) -> list[TextTask]:
    """Draw tasks; all share one short system message.

    Args:
        rng: source of randomness.
        split: of the programs, by a hash of their text, and of the functions, by one of expression and tests.
        phrasings: of the words around them.
        count: how many.
        weights: share of each kind.
    Returns:
        the tasks.
    """
    kinds = rng.choices(tuple(weights), tuple(weights.values()), k=count)
    return [(_prints if kind.startswith("prints") else _write)(rng, split, phrasings, kind) for kind in kinds]


def _prints(rng: random.Random, split: Split, phrasings: Split, kind: str) -> TextTask:
    program = sample_program(rng, kind[-1])
    while split_of(program) != split:
        program = sample_program(rng, kind[-1])
    trace = run_traced(program)
    request = f"{fill(rng, rng.choice(WORDS['prints'][phrasings]), {})}\n{program}"
    return text_task(kind, SYSTEM, request, "\n".join(trace.lines), trace.output)


def _write(rng: random.Random, split: Split, phrasings: Split, kind: str) -> WritingTask:
    exercise = sample_exercise(rng, kind[-1], phrasings)
    while split_of(_spelling(exercise)) != split:
        exercise = sample_exercise(rng, kind[-1], phrasings)
    intent = "write" if exercise.words else "tests"
    request = f"{fill(rng, rng.choice(WORDS[intent][phrasings]), {'w': exercise.words})}\n{exercise.tests}"
    task = text_task(kind, SYSTEM, request, exercise.reasoning, exercise.expression)
    tests = (*exercise.shown, *exercise.hidden)
    return WritingTask(task.id, task.kind, task.messages, task.tools, task.gold, task.answer, tests)


def _spelling(exercise: Exercise) -> str:
    return f"{exercise.expression}\n{exercise.tests}"


class ProgramsEnvironment(TextEnvironment):
    """Small programs to read, and small functions to write, which are run in a sandbox.

    Args:
        is_soft: a written function earns its share of the tests; else all or nothing.
        sandbox: where written functions run; None makes one when the first is judged.
    Attributes:
        name: "programs".
    """

    name = "programs"

    def __init__(self, is_soft: bool = False, sandbox: Sandbox | None = None):
        self.is_soft = is_soft
        self.sandbox = sandbox or Sandbox()

    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[TextTask]:
        """Draw tasks of all kinds, as `sample_group` does."""
        return sample_group(rng, split, phrasings, count)

    def score(self, task: TextTask, content: str) -> float:
        """Judge a reply, see `TextEnvironment.score`: printed text by comparison, a function by its tests.

        Raises:
            SandboxError: this system cannot isolate a program, so a function cannot be judged.
        """
        if not isinstance(task, WritingTask):
            return float(_lines(content) == _lines(task.answer))
        return self.pay(self.passed(task, content))

    def start(self, task: TextTask) -> TextEpisode:
        """Begin an attempt; one at a function to write tells which tests pass, too."""
        return _WritingEpisode(self, task) if isinstance(task, WritingTask) else super().start(task)

    def passed(self, task: WritingTask, content: str) -> tuple[bool, ...]:
        """Run a written function.

        Args:
            task: what was asked.
            content: the visible text of the reply.
        Returns:
            whether it passes each of the task's tests.
        Raises:
            SandboxError: this system cannot isolate a program.
        """
        nothing = (False,) * len(task.tests)
        if not content.strip():
            return nothing
        outcome = self.sandbox.run(function_source(content), "f", [argument for argument, _ in task.tests])
        if outcome.status != "done" or outcome.error:
            return nothing
        pairs = zip(outcome.values, outcome.errors, task.tests, strict=True)
        # As JSON, 1 and True differ.
        return tuple(not error and json.dumps(value) == json.dumps(test[1]) for value, error, test in pairs)

    def pay(self, passed: Sequence[bool]) -> float:
        """Reward of a function: its share of the tests, or all or nothing."""
        return sum(passed) / len(passed) if self.is_soft else float(all(passed))


class _WritingEpisode(TextEpisode):
    """An attempt at a function, which keeps the outcome of every test."""

    def __init__(self, environment: ProgramsEnvironment, task: WritingTask):
        super().__init__(environment, task)
        self.passed = (False,) * len(task.tests)
        self._programs, self._writing = environment, task

    def _score(self, content: str) -> float:
        self.passed = self._programs.passed(self._writing, content)
        return self._programs.pay(self.passed)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().strip("`").strip().splitlines()]
