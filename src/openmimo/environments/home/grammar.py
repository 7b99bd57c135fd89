"""Turn a family of the language tables into one request as a person would type it; hold some families out."""

from __future__ import annotations

import random
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Literal, NamedTuple

from openmimo.environments.home.families import FAMILIES, LISTS, Generations

__all__ = ["Family", "families_of", "fill", "sample_family", "say", "split_tables"]

HELD_OUT_SHARE = 0.2
MIN_HELD_OUT = 2
TYPO_SHARE = 0.05


class Family(NamedTuple):
    """One arrangement of words.

    Attributes:
        id: intent and a hash of the pattern, stable when other families come and go.
        intent: what it asks for.
        is_question: True when it may end with a question mark.
        parts: literal choices and slots in order; a slot is a `str`, a choice a tuple of texts.
    """

    id: str
    intent: str
    is_question: bool
    parts: tuple[str | tuple[str, ...], ...]


def _compile(intent: str, pattern: str) -> Family:
    parts: list[str | tuple[str, ...]] = []
    for token in re.findall(r"\[[^\]]*\]|\{\w+\}|[^\[{]+", pattern.removeprefix("?")):
        if token[0] == "{":
            parts.append(token[1:-1])
        else:
            parts.append(tuple(token[1:-1].split("|")) if token[0] == "[" else (token,))
    return Family(f"{intent}-{zlib.crc32(pattern.encode()):08x}", intent, pattern.startswith("?"), tuple(parts))


def words_of(family: Family) -> set[str]:
    """Every literal word that the family can produce."""
    return set(re.findall(r"[a-z']+", " ".join(" ".join(part) for part in family.parts if isinstance(part, tuple))))


def split_families(intent: str, generations: Generations) -> dict[str, list[Family]]:
    """Hold out a fifth of each generation by hash; later ones cannot move the families of earlier ones.

    Args:
        intent: what they ask for.
        generations: their patterns, oldest first.
    Returns:
        The families to train on and those held out, under "train" and "eval".
    """
    split: dict[str, list[Family]] = {"train": [], "eval": []}
    for generation in generations:
        families = [_compile(intent, line) for line in generation]
        wanted = round(HELD_OUT_SHARE * len(families))
        held_out = _hold_out(families, split["train"], wanted if split["train"] else max(MIN_HELD_OUT, wanted))
        split["eval"] += held_out
        split["train"] += [family for family in families if family not in held_out]
    return split


def _hold_out(families: list[Family], taught: list[Family], wanted: int) -> list[Family]:
    """Choose by hash, skipping any family with a word or slot that the rest would no longer teach."""
    count = Counter(word for family in families + taught for word in words_of(family))
    slots = Counter(slot for family in families + taught for slot in _slots_of(family))
    held_out: list[Family] = []
    for family in sorted(families, key=lambda family: zlib.crc32(family.id.encode())):
        words, used = words_of(family), _slots_of(family)
        if len(held_out) < wanted and all(count[w] > 1 for w in words) and all(slots[s] > 1 for s in used):
            count.subtract(words)
            slots.subtract(used)
            held_out.append(family)
    return held_out


def _slots_of(family: Family) -> set[str]:
    return {part for part in family.parts if isinstance(part, str)}


def split_tables(tables: Mapping[str, Generations]) -> dict[str, dict[str, list[Family]]]:
    """Hold some families of every intent out for evaluation.

    Args:
        tables: families by intent, as `read_tables` gives them.
    Returns:
        For each intent its families by split, "train" and "eval".
    """
    return {intent: split_families(intent, generations) for intent, generations in tables.items()}


_FAMILIES = split_tables(FAMILIES)


def families_of(intent: str, split: str) -> list[Family]:
    """List the families of one intent in one split.

    Args:
        intent: a key of FAMILIES.
        split: "train", or "eval" for the held-out ones.
    Returns:
        The families, in a fixed order.
    """
    return _FAMILIES[intent][split]


def sample_family(rng: random.Random, intent: str, split: Literal["train", "eval"]) -> Family:
    """Draw a family of an intent.

    Args:
        rng: source of randomness.
        intent: a key of FAMILIES.
        split: "train", or "eval" for the held-out ones.
    Returns:
        One family, all equally likely.
    """
    return rng.choice(_FAMILIES[intent][split])


def say(rng: random.Random, family: Family, slots: Mapping[str, str]) -> str:
    """Write a request: pick the words, fill the slots, add fillers, politeness, sometimes a typo and punctuation.

    Args:
        rng: source of randomness.
        family: the arrangement.
        slots: text for every slot of the family.
    Returns:
        The request, on one line.
    """
    pieces = _pick_words(rng, family, slots)
    if rng.random() < TYPO_SHARE:
        _misspell(rng, family, pieces)
    return _dress(rng, _join(pieces), family)


def fill(rng: random.Random, family: Family, slots: Mapping[str, str]) -> str:
    """Write only what the family says, to stand inside another request.

    Args:
        rng: source of randomness.
        family: the arrangement.
        slots: text for every slot of the family.
    Returns:
        Words without fillers, typos or punctuation at the end.
    """
    return _join(_pick_words(rng, family, slots))


def _pick_words(rng: random.Random, family: Family, slots: Mapping[str, str]) -> list[str]:
    return [slots[part] if isinstance(part, str) else rng.choice(part) for part in family.parts]


def _join(pieces: list[str]) -> str:
    # A slot may be empty, such as "by 20%" where no amount is said.
    text = "".join(pieces)
    return " ".join(text.split()).replace(" ,", ",") if "" in pieces else text


def _misspell(rng: random.Random, family: Family, pieces: list[str]) -> None:
    """Drop or swap an inner letter of one literal word; names, areas and values stay as they are."""
    spots = [
        (index, match.start(), match.end())
        for index, part in enumerate(family.parts)
        if not isinstance(part, str)
        for match in re.finditer(r"[a-z]{4,}", pieces[index])
    ]
    if not spots:
        return
    index, start, end = rng.choice(spots)
    text, at = pieces[index], rng.randrange(start + 1, end - 1)
    pieces[index] = text[:at] + (text[at + 1] + text[at] + text[at + 2 :] if rng.random() < 0.5 else text[at + 1 :])


def _dress(rng: random.Random, text: str, family: Family) -> str:
    is_ask = family.intent.startswith("ask")
    kind = "question" if is_ask else "action"
    if rng.random() < 0.2:
        text = rng.choice(LISTS[f"fillers_{kind}"]) + rng.choice((", ", " ")) + text
    if rng.random() < (0.08 if is_ask else 0.2) and "please" not in text:
        text += rng.choice((", ", " ", " ")) + rng.choice(LISTS[f"suffixes_{kind}"])
    draw = rng.random()
    if family.is_question:
        text += "?" if draw < 0.6 else ""
    elif draw < 0.25:
        text += "." if draw < 0.2 else "!"
    return text[0].upper() + text[1:] if rng.random() < 0.2 else text
