"""How people refer to devices, and which devices such a reference means."""

from __future__ import annotations

import random
from collections.abc import Collection
from typing import NamedTuple

from openmimo.environments.home.devices import Device
from openmimo.environments.home.words import (
    AREAS,
    NOUNS,
    PEOPLE,
    Noun,
    in_area,
    invent_word,
    is_held_out_pair,
    noun_phrases,
)
from openmimo.environments.home.world import Home

__all__ = [
    "ALIAS_NAMINGS",
    "Mention",
    "absent_mention",
    "ambiguous_mention",
    "fitting",
    "listed_mention",
    "named_mention",
    "resolve",
    "unsaid",
]

ALIAS_NAMINGS = ("alias", "area", "noun", "person")


class Mention(NamedTuple):
    """A reference to a device.

    Attributes:
        text: without article, "kitchen light" or "light in the kitchen".
        naming: "full", "bare", "nickname", "alias", "area", "noun", "person", or how an absent thing misses.
        area: the area it gives, or "".
        noun: the noun phrase it gives, or "".
        nick: the nickname it gives, or "".
    """

    text: str
    naming: str
    area: str = ""
    noun: str = ""
    nick: str = ""

    def with_article(self, rng: random.Random) -> str:
        """The mention as a noun phrase: mostly "the ...", for nicknames often nothing, now and then "my ..."."""
        if self.naming == "person":
            return self.text
        draw = rng.random()
        if draw < (0.45 if self.nick else 0.12):
            return self.text
        return f"my {self.text}" if draw > 0.96 else f"the {self.text}"


def unsaid(naming: str, area: str = "") -> Mention:
    """What stands for a reference where a request has no word for the device.

    Args:
        naming: what tells which is meant, such as "it" or "area".
        area: the area that is meant, or "".
    Returns:
        A mention without words.
    """
    return Mention("", naming, area=area)


def named_mention(device: Device) -> Mention:
    """Refer to a device by exactly its name.

    Args:
        device: the device.
    Returns:
        A mention whose text is the name; its naming is "nickname", "bare" or "full".
    """
    if device.nick:
        return Mention(device.name, "nickname", nick=device.nick, noun=device.noun.text)
    if device.name == device.noun.text:
        return Mention(device.name, "bare", noun=device.noun.text)
    return Mention(device.name, "full", area=device.area, noun=device.noun.text)


def listed_mention(rng: random.Random, home: Home, device: Device, naming: str) -> Mention | None:
    """Refer to a device by something other than its name, so that only the listing tells which it is.

    Args:
        rng: source of randomness.
        home: the home it is in.
        device: the device.
        naming: one of ALIAS_NAMINGS.
    Returns:
        The mention, or None where this naming does not single the device out.
    """
    phrase = rng.choice(noun_phrases(device.noun))
    if naming == "alias":
        mention = Mention(device.alias, "alias") if device.alias else None
    elif naming == "area":
        mention = _area_mention(rng, device.area, phrase, "area", device.name)
    elif naming == "person":
        mention = Mention(f"{device.nick}'s {phrase}", "person", noun=phrase, nick=device.nick) if device.nick else None
    else:
        mention = Mention(phrase, "noun", noun=phrase) if phrase != device.name else None
    return mention if mention and resolve(home, mention) == [device] else None


def _area_mention(rng: random.Random, area: str, phrase: str, naming: str, name: str = "") -> Mention:
    text = f"{area} {phrase}"
    # A device whose name is these words would be plainly named by them, so it is said the long way round.
    if text == name or rng.random() < 0.35:
        text = f"{phrase} {in_area(area)}"
    return Mention(text, naming, area=area, noun=phrase)


def resolve(home: Home, mention: Mention) -> list[Device]:
    """Find what a reference means: an exact name or alias first, else all devices that fit its parts.

    Args:
        home: the home.
        mention: the reference.
    Returns:
        Devices in listing order: one when it is clear, several when it is ambiguous, none when it is missing.
    """
    exact = home.named(mention.text)
    return fitting(home, mention) if exact is None else [exact]


def fitting(home: Home, mention: Mention) -> list[Device]:
    """Find what fits the parts of a reference.

    Args:
        home: the home.
        mention: the reference.
    Returns:
        Devices in listing order.
    """
    return [
        device
        for device in home.devices
        if (not mention.area or device.area == mention.area)
        and (not mention.nick or mention.nick in (device.nick, device.alias.split(" ")[0]))
        and (not mention.noun or mention.noun in noun_phrases(device.noun))
        and (mention.area or mention.nick or mention.noun)
    ]


def ambiguous_mention(rng: random.Random, home: Home, domains: Collection[str]) -> tuple[Mention, list[Device]] | None:
    """Find a word, mostly with an area, that fits two or three devices of one domain.

    Args:
        rng: source of randomness.
        home: the home.
        domains: domains that the request is about.
    Returns:
        The mention and the devices in listing order, or None where the home has no such case.
    """
    starts = [device for device in home.devices if device.domain in domains]
    for device in rng.sample(starts, len(starts)):
        for phrase in noun_phrases(device.noun):
            is_bare = rng.random() < 0.35
            mention = (
                Mention(phrase, "house", noun=phrase) if is_bare else _area_mention(rng, device.area, phrase, "area")
            )
            found = resolve(home, mention)
            if 2 <= len(found) <= 3 and len({other.domain for other in found}) == 1 and _unlike(found, mention):
                return mention, found
    return None


def _unlike(found: list[Device], mention: Mention) -> bool:
    return all(device.name not in (f"{mention.area} {mention.noun}", mention.noun) for device in found)


def absent_mention(rng: random.Random, home: Home, domains: Collection[str], split: str) -> Mention | None:
    """Refer to something that the home does not have, mostly a near miss of something that it has.

    Args:
        rng: source of randomness.
        home: the home.
        domains: domains that the request can be about.
        split: training requests avoid the held-out "area noun" pairs.
    Returns:
        The mention, or None where the draw hit something present; draw again.
    """
    present = [device for device in home.devices if device.domain in domains]
    other = rng.choice(present if present and rng.random() < 0.75 else home.devices)
    noun = other.noun if other.domain in domains else rng.choice(NOUNS[rng.choice(sorted(domains))])
    draw = rng.random()
    if draw < 0.40:
        mention = _area_mention(rng, _another_area(rng, home, other.area), noun.text, "absent_area")
    elif draw < 0.65:
        noun = rng.choice(NOUNS[rng.choice(sorted(domains))])
        mention = _area_mention(rng, other.area, noun.text, "absent_noun")
    elif draw < 0.90:
        nick = rng.choice(PEOPLE) if rng.random() < 0.4 else invent_word(rng)
        mention = Mention(f"{nick} {noun.head}", "absent_nickname", nick=nick, noun=noun.head)
    else:
        noun = rng.choice(NOUNS[rng.choice(sorted(domains))])
        mention = Mention(noun.text, "absent_bare", noun=noun.text)
    is_held_out = split == "train" and mention.area and is_held_out_pair(mention.area, mention.noun)
    return None if is_held_out or _could_mean_something(home, mention, noun) else mention


def _another_area(rng: random.Random, home: Home, area: str) -> str:
    areas = sorted({device.area for device in home.devices} - {area})
    return rng.choice(areas) if areas and rng.random() < 0.7 else rng.choice(AREAS)


def _could_mean_something(home: Home, mention: Mention, noun: Noun) -> bool:
    """Be stricter than `resolve`: a person might call any light of the room "the lamp"."""
    if resolve(home, mention) or home.named(mention.text):
        return True
    if mention.area == "garage" and mention.noun == "door":
        return True
    if mention.nick:
        return any(mention.nick in (device.nick, device.alias.split(" ")[0]) for device in home.devices)
    return any(
        device.domain == noun.domain
        and (not mention.area or device.area == mention.area)
        and (noun.is_plain or noun.domain in ("climate", "sensor", "binary_sensor") or device.noun.is_plain)
        for device in home.devices
    )
