"""The facts of the recall tasks: how each is noted, and how it is asked for."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from openmimo.environments.phrasing import split_families

__all__ = ["NAMES", "PLACES", "SORTS", "WORDS", "Fact", "sample_fact"]

NAMES = (
    "Mia", "Tom", "Ada", "Leo", "Nora", "Sam", "Eva", "Ben", "Ida", "Max", "Lena", "Paul", "Zoe", "Finn",
    "Anna", "Otto", "Rosa", "Karl", "Lily", "Hugo", "Ruth", "Emil", "Nina", "Theo", "Clara", "Jonas", "Maya",
    "Felix", "Iris", "Oscar",
)  # fmt: skip
COLOURS = (
    "red", "blue", "green", "black", "white", "grey", "brown", "yellow", "small", "large", "old", "new",
    "round", "long", "short", "heavy", "light", "wooden", "plastic", "metal", "paper", "glass", "spare",
    "narrow", "wide", "square",
)  # fmt: skip
NOUNS = (
    "box", "bag", "key", "lamp", "book", "chair", "table", "clock", "jar", "bottle", "ladder", "hammer", "tent",
    "bike", "coat", "drill", "rope", "mirror", "basket", "bucket", "blanket", "pillow", "suitcase", "umbrella",
    "torch", "guitar", "kettle", "camera", "radio", "brush", "saw", "broom", "folder", "safe", "trunk", "crate",
    "chest", "cabinet",
)  # fmt: skip
PLACES = tuple(
    f"{where} {what}"
    for where in ("under the", "behind the", "next to the", "on top of the", "inside the", "in front of the")
    for what in ("stairs", "sofa", "bed", "fridge", "desk", "shelf", "door", "window", "bench", "oven", "piano", "shed")
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DEEDS = ("bring", "fetch", "clean", "fix", "sell", "paint", "buy", "pack", "return", "borrow", "hide", "wash")


class Fact(NamedTuple):
    """One line of the notes.

    Attributes:
        sort: one of SORTS.
        key: what it is about, once in the notes for each sort.
        value: what is noted about it.
        line: the note itself.
    """

    sort: str
    key: str
    value: str
    line: str

    @property
    def quote(self) -> str:
        """The note as it is thought of when its key is known: that comes first, for a reader finds a line by how it
        goes on and not by what stands before."""
        return f"I will {self.key}: {self.value}" if self.sort == "message" else self.line


def _code(rng: random.Random, thing: str) -> Fact:
    code = f"{rng.randint(1000, 9999)}"
    return Fact("code", thing, code, f"The code of the {thing} is {code}.")


def _place(rng: random.Random, thing: str) -> Fact:
    place = rng.choice(PLACES)
    return Fact("place", thing, place, f"The {thing} is {place}.")


def _owner(rng: random.Random, thing: str) -> Fact:
    name = rng.choice(NAMES)
    return Fact("owner", thing, name, f"The {thing} belongs to {name}.")


def _message(rng: random.Random, thing: str) -> Fact:
    name, deed = rng.choice(NAMES), rng.choice(DEEDS)
    return Fact("message", f"{deed} the {thing}", name, f"{name}: I will {deed} the {thing} on {rng.choice(DAYS)}.")


SORTS: dict[str, Callable[[random.Random, str], Fact]] = {
    "code": _code,
    "place": _place,
    "owner": _owner,
    "message": _message,
}


def sample_fact(rng: random.Random, sort: str) -> Fact:
    """Draw one fact.

    Args:
        rng: source of randomness.
        sort: a key of SORTS.
    Returns:
        the fact.
    """
    return SORTS[sort](rng, f"{rng.choice(COLOURS)} {rng.choice(NOUNS)}")


WORDS = split_families(
    {
        "code": """
what is the code of the {k}?
which code does the {k} have?
[tell|give] me the code of the {k}
the code of the {k}
code of the {k}?
i need the code of the {k}
what code belongs to the {k}?
{k}, what code?
do you know the code of the {k}?
what is the code for the {k}?
which code opens the {k}?
what do i need to open the {k}?
""",
        "place": """
where is the {k}?
where can i find the {k}?
tell me where the {k} is
i need the {k}, where is it?
do you know where the {k} is?
where do i find the {k}?
find the {k}
{k}, where is it?
where did you see the {k}?
i can not find the {k}
i can not see the {k}, where is it?
""",
        "owner": """
whose is the {k}?
who does the {k} belong to?
who is the owner of the {k}?
who owns the {k}?
tell me who owns the {k}
who has the {k}?
do you know whose the {k} is?
give me the owner of the {k}
does the {k} belong to somebody?
whom does the {k} belong to?
{k}, whose is it?
""",
        "message": """
who will {k}?
who said they will {k}?
who wants to {k}?
who is going to {k}?
who wrote they will {k}?
tell me who will {k}
do you know who will {k}?
who said they want to {k}?
which of them will {k}?
find out who wants to {k}
find who is going to {k}
""",
        "pair": """
what are the codes of the {k} and the {l}?
[tell|give] me the codes of the {k} and the {l}
i need the codes of the {k} and of the {l}
codes of the {k} and the {l}?
what is the code of the {k}, and what is the code of the {l}?
which codes do the {k} and the {l} have?
which codes belong to the {k} and the {l}?
do you know the codes of the {k} and the {l}?
the codes of the {k} and then of the {l}
which code does the {k} have, and then the {l}?
""",
        "hop": """
what is the code of the {c} that belongs to {n}?
what is the code of {n}'s {c}?
which code does {n}'s {c} have?
{n} owns a {c}. what is the code of it?
[tell|give] me the code of the {c} that {n} owns
i need the code of {n}'s {c}
code of the {c} of {n}?
do you know the code of {n}'s {c}?
which code does the {c} of {n} have?
{n} owns a {c}, which code does it have?
""",
    }
)
"""Patterns by intent and split; {k} and {l} are keys, {n} a name, {c} a thing without its colour."""
