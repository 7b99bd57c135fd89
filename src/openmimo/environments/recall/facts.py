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
NOT_FOUND = "none"
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

    @property
    def quote_without_value(self) -> str:
        """The same where there is no such note: a reader sees that only where it would go on."""
        return self.quote.replace(self.value, NOT_FOUND)

    @property
    def quote_by_owner(self) -> str:
        """A thing as it is found by its sort and whose it is."""
        colour, noun = self.key.split()
        return f"{noun} belongs to {self.value}: {colour} {noun}"


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

for the {k}, what is the code?
the {k}, which code opens it?
{k} code?
i want to open the {k}, what code do i need?
to open the {k}, which code do i need?
what code opens the {k}?
what code does the {k} have?
[find|find out] the code of the {k}
do you know what code the {k} has?
tell me which code the {k} has
which code belongs to the {k}?
the {k} has a code, what is it?
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

the {k} is where?
where is it, the {k}?
tell me where to find the {k}
tell me where i can find the {k}
do you know where i can find the {k}?
i want to find the {k}, where is it?
where can i see the {k}?
find out where the {k} is
i need to know where the {k} is
the {k}, do you know where it is?
i can not find the {k}, tell me where it is
i want to know where the {k} is
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

the {k}, who owns it?
the {k} belongs to whom?
{k}, who is the owner?
owner of the {k}?
to whom does the {k} belong?
tell me whose the {k} is
find out who owns the {k}
do you know who owns the {k}?
i want to know whose the {k} is
i need to know who owns the {k}
do you know the owner of the {k}?
who is it that owns the {k}?
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

{k}, who will do it?
{k}, who said they will do it?
somebody will {k}, who is it?
somebody wants to {k}, do you know who?
who is it that will {k}?
which of them said they will {k}?
which of them wants to {k}?
do you know who is going to {k}?
tell me who wants to {k}
find out who will {k}
i need to know who will {k}
i want to know who is going to {k}
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

the {k} and the {l}, what are the codes?
the {k} and then the {l}, which codes do they have?
{k} and {l}, which codes?
for the {k} and the {l}, what are the codes?
[find|find out] the codes of the {k} and the {l}
what codes do the {k} and the {l} have?
which codes open the {k} and the {l}?
i want to open the {k} and the {l}, which codes do i need?
to open the {k} and the {l}, what codes do i need?
tell me the code of the {k} and then the code of the {l}
i need the code of the {k} and the code of the {l}
do you know which codes the {k} and the {l} have?
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

{n}'s {c}, what is the code?
{n}'s {c}, which code does it have?
{n} has a {c}, what is the code of it?
{n} owns a {c}, which code opens it?
a {c} belongs to {n}. what is the code of it?
which code opens {n}'s {c}?
which code opens the {c} of {n}?
[find|find out] the code of {n}'s {c}
i want to open {n}'s {c}, what code do i need?
do you know the code of the {c} that {n} owns?
tell me which code {n}'s {c} has
the code of the {c} that belongs to {n}
""",
    }
)
"""Patterns by intent and split; {k} and {l} are keys, {n} a name, {c} a thing without its colour."""
