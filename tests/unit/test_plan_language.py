"""The phrasings of the car and energy environments: what is held out, and that training teaches every word of it."""

import random
import zlib
from itertools import product

import pytest

from openmimo.environments.car.environment import LANGUAGE as CAR
from openmimo.environments.energy.environment import LANGUAGE as ENERGY
from openmimo.environments.home.grammar import Family, words_of

INTENTS = [(language, intent) for language in (CAR, ENERGY) for intent in language.intents]
SLOTS = {slot: slot.upper() for slot in "bdeghmnprtuv"}


def sayings(family: Family) -> set[str]:
    options = [(part,) if isinstance(part, str) else part for part in family.parts]
    return {"".join(choice) for choice in product(*options)}


@pytest.mark.parametrize(("language", "intent"), INTENTS, ids=[intent for _, intent in INTENTS])
def test_every_intent_keeps_families_to_learn_and_holds_some_out_in_known_words(language, intent):
    train, held_out = language.families(intent, "train"), language.families(intent, "eval")
    assert len(train) >= 8
    assert len(held_out) >= 2
    assert set().union(*map(words_of, held_out)) <= set().union(*map(words_of, train))
    assert not set().union(*map(sayings, train)) & set().union(*map(sayings, held_out))


def test_the_held_out_families_are_pinned():
    # Another checksum means that families moved between the splits: train the default model anew before changing it.
    found = []
    for language in (CAR, ENERGY):
        ids = sorted(family.id for intent in language.intents for family in language.families(intent, "eval"))
        found.append((len(ids), zlib.crc32("\n".join(ids).encode())))
    assert found == [(179, 488276526), (85, 1862215577)]


@pytest.mark.parametrize(("language", "intent"), INTENTS, ids=[intent for _, intent in INTENTS])
def test_requests_are_one_line_without_unfilled_slots(language, intent):
    rng = random.Random(1)
    for split in ("train", "eval"):
        for _ in range(20):
            family, request = language.phrase(rng, intent, split, SLOTS)
            assert family.intent == intent
            assert not set(request) & set("[]{}|\n")
            assert "  " not in request
