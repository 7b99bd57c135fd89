"""The recall environment: many short notes in the system message, questions about one or two of the early ones."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from openmimo.environments.base import Split
from openmimo.environments.phrasing import fill, split_of
from openmimo.environments.recall.facts import NAMES, PLACES, SORTS, WORDS, Fact, sample_fact
from openmimo.environments.text import TextEnvironment, TextTask, text_task

__all__ = ["KIND_WEIGHTS", "LENGTHS", "Notes", "RecallEnvironment", "sample_group", "sample_notes", "sample_questions"]

SYSTEM = "Answer from these notes. Say unknown if they do not tell."
UNKNOWN = "unknown"
LENGTHS: Mapping[str, int] = {"short": 25, "medium": 80, "long": 290}
"""Notes in a stem: about 450, 1,400 and 4,900 tokens of the default model."""
LENGTH_WEIGHTS: Mapping[str, float] = {"short": 50, "medium": 35, "long": 15}
KIND_WEIGHTS: Mapping[str, float] = {"one": 55, "pair": 15, "hop": 15, "unknown": 15}
MIN_NOTES_AFTER = 15
"""So many notes, more than 128 tokens, lie between what is asked for and the question."""


_VALUE = re.compile(rf"\b(?:\d+|{'|'.join((UNKNOWN, *NAMES, *PLACES))})\b".lower())


class Notes(NamedTuple):
    """A stem.

    Attributes:
        length: a key of LENGTHS.
        facts: in the order of their lines.
    """

    length: str
    facts: tuple[Fact, ...]

    @property
    def system(self) -> str:
        """System message that holds the notes."""
        return "\n".join([SYSTEM, *(fact.line for fact in self.facts)])

    @property
    def far(self) -> tuple[Fact, ...]:
        """Facts that lie far enough back to be asked for."""
        return self.facts[:-MIN_NOTES_AFTER]


def sample_notes(rng: random.Random, split: Split, length: str) -> Notes:
    """Draw notes in which no two tell of the same.

    Args:
        rng: source of randomness.
        split: of every single note, by its hash.
        length: a key of LENGTHS.
    Returns:
        the notes: codes for half of them, and for some things of which the owner is noted as well.
    """
    facts: dict[tuple[str, str], Fact] = {}
    owned: list[str] = []
    while len(facts) < LENGTHS[length]:
        fact = sample_fact(rng, rng.choices(tuple(SORTS), (4, 2, 3, 2))[0])
        if fact.sort == "code" and owned and rng.random() < 0.5:
            fact = SORTS["code"](rng, rng.choice(owned))
        if split_of(fact.line) == split and (fact.sort, fact.key) not in facts:
            facts[fact.sort, fact.key] = fact
            owned += [fact.key] if fact.sort == "owner" else []
    lines = list(facts.values())
    rng.shuffle(lines)
    return Notes(length, tuple(lines))


def sample_group(
    rng: random.Random,
    split: Split,
    phrasings: Split,
    count: int,
    length: str | None = None,
    weights: Mapping[str, float] = KIND_WEIGHTS,
) -> list[TextTask]:
    """Draw questions about the same notes.

    Args:
        rng: source of randomness.
        split: of the notes.
        phrasings: of the questions.
        count: how many.
        length: a key of LENGTHS; None draws one.
        weights: share of each kind.
    Returns:
        the tasks.
    """
    length = length or rng.choices(tuple(LENGTH_WEIGHTS), tuple(LENGTH_WEIGHTS.values()))[0]
    return sample_questions(rng, sample_notes(rng, split, length), phrasings, count, weights)


def sample_questions(
    rng: random.Random, notes: Notes, phrasings: Split, count: int, weights: Mapping[str, float] = KIND_WEIGHTS
) -> list[TextTask]:
    """Draw questions about given notes.

    Args:
        rng: source of randomness.
        notes: the stem.
        phrasings: of the questions.
        count: how many.
        weights: share of each kind.
    Returns:
        the tasks.
    """
    system = notes.system
    kinds = rng.choices(tuple(weights), tuple(weights.values()), k=count)
    return [_task(rng, notes, system, phrasings, kind) for kind in kinds]


def _task(rng: random.Random, notes: Notes, system: str, phrasings: Split, kind: str) -> TextTask:
    draw = {"one": _one, "pair": _pair, "hop": _hop, "unknown": _unknown}[kind]
    intent, slots, quoted, answer = draw(rng, notes)
    request = fill(rng, rng.choice(WORDS[intent][phrasings]), slots)
    kind = "one" if len(quoted) == 1 and answer != UNKNOWN else kind  # these notes had no pair or hop
    return text_task(f"{kind}-{notes.length}", system, request, "\n".join(quoted), answer)


Question = tuple[str, dict[str, str], Sequence[str], str]
"""Intent, slots, what is quoted, answer."""


def _one(rng: random.Random, notes: Notes) -> Question:
    fact = rng.choice(notes.far)
    return fact.sort, {"k": fact.key}, [fact.quote], fact.value


def _pair(rng: random.Random, notes: Notes) -> Question:
    codes = [fact for fact in notes.far if fact.sort == "code"]
    if len(codes) < 2:
        return _one(rng, notes)
    first, second = rng.sample(codes, 2)
    return "pair", {"k": first.key, "l": second.key}, [first.quote, second.quote], f"{first.value} and {second.value}"


def _hop(rng: random.Random, notes: Notes) -> Question:
    """The code of a thing that is told by its owner and sort only, where that is clear."""
    codes = {fact.key: fact for fact in notes.far if fact.sort == "code"}
    owned = [(fact.value, fact.key.split()[-1]) for fact in notes.facts if fact.sort == "owner"]
    links = [
        fact
        for fact in notes.far
        if fact.sort == "owner" and fact.key in codes and owned.count((fact.value, fact.key.split()[-1])) == 1
    ]
    if not links:
        return _one(rng, notes)
    link = rng.choice(links)
    code, noun = codes[link.key], link.key.split()[-1]
    return "hop", {"n": link.value, "c": noun}, [link.quote_by_owner, code.quote], code.value


def _unknown(rng: random.Random, notes: Notes) -> Question:
    noted = {(fact.sort, fact.key) for fact in notes.facts}
    while True:
        fact = sample_fact(rng, rng.choice(tuple(SORTS)))
        if (fact.sort, fact.key) not in noted:
            return fact.sort, {"k": fact.key}, [fact.quote_without_value], UNKNOWN


class RecallEnvironment(TextEnvironment):
    """Questions about notes that lie far beyond the attention window.

    Attributes:
        name: "recall".
        group: questions about the same notes.
    """

    name = "recall"
    group = 8

    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[TextTask]:
        """Draw tasks of all kinds and one length, as `sample_group` does."""
        return sample_group(rng, split, phrasings, count)

    def score(self, task: TextTask, content: str) -> float:
        """1.0 if the names, places and numbers in the reply are just those asked for; see `TextEnvironment.score`."""
        return float(_VALUE.findall(content.lower()) == _VALUE.findall(task.answer.lower()))
