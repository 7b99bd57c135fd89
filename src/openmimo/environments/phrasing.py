"""Phrasings of the text environments: families written as patterns, a fifth of each intent held out by hash."""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

from openmimo.environments.base import Split

__all__ = ["Families", "fill", "split_families", "split_of"]

Families = Mapping[str, Mapping[Split, tuple[str, ...]]]

HELD_OUT_SHARE = 0.2
HELD_OUT_PROBLEMS = 10
_TOKEN = re.compile(r"\[([^\]]*)\]|\{(\w+)\}")


def split_of(problem: str) -> Split:
    """Say which split a problem belongs to: one in ten is for evaluation.

    Args:
        problem: the problem itself in one fixed spelling, whatever the words around it.
    Returns:
        "train" or "eval".
    """
    return "eval" if zlib.crc32(problem.encode()) % HELD_OUT_PROBLEMS == 0 else "train"


def split_families(intents: Mapping[str, str]) -> Families:
    """Hold out a fifth of each intent's families, at least one, but none with a word that the others do not teach.

    Families that were written later stand after an empty line, a generation of their own: writing them moves no older
    family between training and evaluation.

    Args:
        intents: for each intent its patterns, one a line; `[a|b]` picks one, `{slot}` is filled in.
    Returns:
        patterns by intent and split.
    """
    generations = {
        intent: [lines.splitlines() for lines in text.strip().split("\n\n")] for intent, text in intents.items()
    }
    families = {intent: ([], []) for intent in intents}
    count: Counter[str] = Counter()
    for number in range(max(map(len, generations.values()))):
        added = {intent: blocks[number] for intent, blocks in generations.items() if number < len(blocks)}
        count.update(word for lines in added.values() for line in lines for word in _words(line))
        for intent, lines in added.items():
            held_out = _hold_out(lines, count)
            families[intent][0].extend(line for line in lines if line not in held_out)
            families[intent][1].extend(held_out)
    return {intent: {"train": tuple(known), "eval": tuple(others)} for intent, (known, others) in families.items()}


def _hold_out(lines: Sequence[str], count: Counter[str]) -> list[str]:
    """A fifth of some lines, by hash; their words no longer count."""
    held_out: list[str] = []
    for line in sorted(lines, key=lambda line: zlib.crc32(line.encode())):
        is_wanted = len(held_out) < max(1, round(HELD_OUT_SHARE * len(lines)))
        if is_wanted and all(count[word] > 1 for word in _words(line)):
            count.subtract(_words(line))
            held_out.append(line)
    return held_out


def _words(pattern: str) -> set[str]:
    return set(re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", pattern.lower())))


def fill(rng: random.Random, pattern: str, slots: Mapping[str, object]) -> str:
    """Write a pattern out.

    Args:
        rng: picks among choices, and whether the first letter is a capital.
        pattern: one family.
        slots: a value for every slot.
    Returns:
        the text.
    """
    text = _TOKEN.sub(lambda m: str(slots[m[2]]) if m[2] else rng.choice(m[1].split("|")), pattern)
    # A single letter may be a name, as in "f(x)".
    return text[0].upper() + text[1:] if rng.random() < 0.5 and text[1:2].isalpha() else text
