"""The closed vocabulary of the simulated homes: areas, device nouns, people, colours and invented words."""

from __future__ import annotations

import random
import zlib
from typing import NamedTuple

__all__ = ["AREAS", "COLORS", "NOUNS", "Noun", "in_area", "invent_word", "is_held_out_pair", "noun_phrases"]

AREAS = (
    "kitchen", "hall", "bedroom", "office", "bathroom", "living room", "dining room", "guest room", "garage", "cellar",
    "attic", "nursery", "balcony", "terrace", "garden", "pantry", "laundry", "library", "studio", "workshop", "gym",
    "corridor", "porch", "lounge",
)  # fmt: skip
OUTDOOR_AREAS = frozenset({"balcony", "terrace", "garden", "porch"})
COLORS = ("white", "red", "green", "blue", "yellow", "purple", "orange", "pink")
PEOPLE = (
    "maria", "tom", "anna", "peter", "lena", "omar", "nina", "paul", "sofia", "jack", "emma", "luis", "mei", "ravi",
    "clara", "max", "olga", "ben", "aisha", "leo", "julia", "sam", "tina", "hugo", "zoe", "karl", "ines", "david",
    "yuki", "marco", "eva", "noah",
)  # fmt: skip
ADJECTIVES = (
    "main", "big", "small", "old", "new", "left", "right", "tall", "round", "fancy", "spare", "second", "upper",
    "lower", "cute", "rusty", "good", "favourite", "tiny", "heavy",
)  # fmt: skip


class Noun(NamedTuple):
    """What people call one sort of device.

    Attributes:
        text: the noun, such as "desk lamp".
        domain: Home Assistant domain of the device.
        measures: for sensors the quantity or the thing watched, else "".
        is_plain: True when a name needs an area or a nickname before it ("light"), since alone it says too little.
    """

    text: str
    domain: str
    measures: str = ""
    is_plain: bool = False

    @property
    def head(self) -> str:
        """The word that a nickname goes with: "lamp" for "desk lamp", but "coffee maker" stays whole."""
        return self.text if self.text.endswith(("maker", "machine", "strip")) else self.text.rsplit(" ", 1)[-1]


def _nouns(domain: str, plain: str, specific: str, measures: str = "") -> list[Noun]:
    made = [Noun(text, domain, measures, True) for text in plain.split(", ") if text]
    return made + [Noun(text, domain, measures, False) for text in specific.split(", ") if text]


NOUNS: dict[str, list[Noun]] = {
    "light": _nouns(
        "light",
        "light, lamp",
        "ceiling light, desk lamp, floor lamp, reading light, night light, wall light, table lamp, led strip, "
        "chandelier, lantern, spotlight, bedside lamp, mirror light",
    ),
    "switch": _nouns(
        "switch",
        "plug, socket",
        "kettle, coffee maker, toaster, pump, fountain, printer, dishwasher, washing machine, dryer, oven, charger, "
        "sprinkler, humidifier, air purifier, router",
    ),
    "fan": _nouns("fan", "fan", "ceiling fan, exhaust fan, table fan"),
    "media_player": _nouns("media_player", "", "tv, radio, speaker, stereo, projector, soundbar"),
    "cover": _nouns("cover", "blind, curtain, shutter", "roller blind, awning, garage door"),
    "lock": _nouns("lock", "lock, gate", "front door, back door, side door, patio door, safe"),
    "climate": _nouns("climate", "radiator, heater", "thermostat, floor heating, towel heater"),
    "sensor": _nouns("sensor", "", "thermometer, temperature sensor", "temperature")
    + _nouns("sensor", "", "hygrometer, humidity sensor", "humidity"),
    "binary_sensor": _nouns("binary_sensor", "window", "roof window, skylight, fridge door, mailbox", "opening")
    + _nouns("binary_sensor", "", "motion sensor", "motion"),
}

# One word that stands for a whole domain: "the balcony light" is the lamp there when it is the only light.
GENERIC = {"light": "light", "fan": "fan", "lock": "lock", "climate": "heating"}
_HEADS = frozenset({"light", "lamp", "fan", "blind", "lock", "gate", "heater", "heating", "window"})
_PHRASES: dict[str, tuple[str, ...]] = {}


def noun_phrases(noun: Noun) -> tuple[str, ...]:
    """Say which words may stand for a device in its area: the noun, its last word, the word for its domain.

    Args:
        noun: the device's noun.
    Returns:
        Phrases, most exact first, without repeats.
    """
    known = _PHRASES.get(noun.text)
    if known is None:
        words = [noun.text, noun.head if noun.head in _HEADS else "", GENERIC.get(noun.domain, "")]
        known = _PHRASES[noun.text] = tuple(dict.fromkeys(word for word in words if word))
    return known


def in_area(area: str) -> str:
    """Put the preposition before an area.

    Args:
        area: an area word.
    Returns:
        "in the kitchen", "on the balcony".
    """
    return f"{'on' if area in ('balcony', 'terrace', 'porch') else 'in'} the {area}"


def is_held_out_pair(area: str, noun: str) -> bool:
    """Tell whether training homes must not use "area noun" as a name.

    Args:
        area: an area word.
        noun: a device noun.
    Returns:
        True for 15% of all pairs, by hash.
    """
    return zlib.crc32(f"{area}|{noun}".encode()) % 100 < 15


_ONSETS = (
    "b", "bl", "br", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "kl", "kr", "l", "m", "n", "p", "pl", "r",
    "s", "sk", "sn", "sp", "t", "tr", "v", "w", "z", "zw",
)  # fmt: skip
_VOWELS = ("a", "e", "i", "o", "u", "oo", "ai")
_CODAS = ("", "", "", "k", "l", "m", "n", "p", "r", "s", "t", "x", "nt", "mp")
_REAL_WORDS = frozenset(
    " ".join(
        [*AREAS, *COLORS, *PEOPLE, *ADJECTIVES, *(noun.text for nouns in NOUNS.values() for noun in nouns)]
    ).split()
)


def invent_word(rng: random.Random) -> str:
    """Make up a word that can be said but is not in the vocabulary.

    Args:
        rng: source of randomness.
    Returns:
        Two syllables, at most nine letters; there are over 100,000 such words.
    """
    while True:
        first = rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        word = first + rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        if word not in _REAL_WORDS and len(word) <= 9:
            return word
