"""Drills: a few of the smallest steps of reasoning in a row, which ordinary replies train only now and then.

Looking things up in a home or in notes, copying words that are new, comparing and adding numbers: nearly every token of
a drill is one such step. A model that starts from nothing discovers them here; later they keep it exact.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial

from openmimo.chat import Message
from openmimo.environments.comparing import SIGNS, compared
from openmimo.environments.home import Home
from openmimo.environments.home.lookups import find, scan
from openmimo.environments.home.mentions import Mention, named_mention
from openmimo.environments.home.words import NOUNS, Noun, invent_word, noun_phrases
from openmimo.environments.recall import Fact, Notes

__all__ = ["home_drill", "note_drill", "number_drill"]

Item = tuple[str, Sequence[str]]
"""What is asked for, and the lines that tell."""


def home_drill(rng: random.Random, home: Home) -> list[Message]:
    """Look up several things of a home, or copy invented names."""
    draw = _invented if rng.random() < 0.25 else partial(_looked_up, home=home)
    return _told([draw(rng) for _ in range(rng.randint(1, 4))])


def note_drill(rng: random.Random, notes: Notes) -> list[Message]:
    """Look up several notes by what comes later in them: who said it, or which thing of a sort somebody has."""
    said = [(fact.key, (fact.quote,)) for fact in notes.facts if fact.sort == "message"]
    owned = [(f"{fact.key.split()[-1]} of {fact.value}", (fact.quote_by_owner,)) for fact in _owned_once(notes)]
    items: Sequence[Item] = said if (rng.random() < 0.5 and said) or not owned else owned
    return _told(rng.sample(items, min(len(items), rng.randint(2, 6))))


def number_drill(rng: random.Random) -> list[Message]:
    """Compare, add and subtract numbers as plans, traces and conditions do."""
    draw: Sequence[Callable[[random.Random], Item]] = (_comparison, _comparison, _sum)
    return _told([rng.choice(draw)(rng) for _ in range(rng.randint(3, 8))])


def _told(items: Sequence[Item]) -> list[Message]:
    told = "\n".join(line for _, lines in items for line in lines)
    return [Message("user", ", ".join(asked for asked, _ in items)), Message("assistant", told)]


def _owned_once(notes: Notes) -> list[Fact]:
    """Owners' notes that sort and owner find without doubt."""
    owners = [fact for fact in notes.facts if fact.sort == "owner"]
    pairs = [(fact.value, fact.key.split()[-1]) for fact in owners]
    return [fact for fact, pair in zip(owners, pairs, strict=True) if pairs.count(pair) == 1]


def _comparison(rng: random.Random) -> Item:
    """Half of the pairs are close."""
    first, sign = rng.randint(0, rng.choice((20, 60, 200))), rng.choice(tuple(SIGNS))
    second = max(0, first + rng.randint(-5, 5)) if rng.random() < 0.5 else rng.randint(0, rng.choice((20, 60, 200)))
    return f"{first}{sign}{second}", (compared(first, sign, second),)


def _sum(rng: random.Random) -> Item:
    first, second = rng.randint(0, rng.choice((20, 60, 150))), rng.randint(0, rng.choice((20, 60)))
    if rng.random() < 0.4:
        first, second = max(first, second), min(first, second)
        return f"{first}-{second}", (f"{first}-{second}={first - second}",)
    return f"{first}+{second}", (f"{first}+{second}={first + second}",)


def _invented(rng: random.Random) -> Item:
    return _absent(invent_word(rng), rng.choice(rng.choice(tuple(NOUNS.values()))))


def _absent(word: str, noun: Noun) -> Item:
    name = f"{word} {noun.head}"
    return name, (f"{name}: none",)


def _looked_up(rng: random.Random, home: Home) -> Item:
    """What is asked for, by a name of its own, a noun or a domain, there or not."""
    device = rng.choice(home.devices)
    if device.nick and rng.random() < 0.6:
        return device.name, find(home, device, named_mention(device))
    if rng.random() < 0.2:
        return _absent(invent_word(rng), device.noun)
    if rng.random() < 0.5:
        area = "" if rng.random() < 0.6 else device.area
        nouns = NOUNS.get(device.domain, [device.noun])
        noun = rng.choice(noun_phrases(device.noun if rng.random() < 0.75 else rng.choice(nouns)))
        said = f"{area} {noun}".strip()
        return said, find(home, device, Mention(said, "area", area=area, noun=noun))
    other = device if rng.random() < 0.6 else rng.choice(home.devices)
    area = "" if rng.random() < 0.25 else other.area
    return f"{device.domain} {area}".strip(), scan(home, device.domain, area, home.devices)
