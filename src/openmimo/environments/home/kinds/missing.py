"""Requests about things that are not there."""

from __future__ import annotations

from openmimo.environments.home.answers import missing_answer
from openmimo.environments.home.kinds.base import ACTIONS, Draft, Scene
from openmimo.environments.home.kinds.questions import (
    MEASURED_BY,
    QUESTIONS,
    area_slots,
    ask_slots,
    asked_words,
    measuring,
)
from openmimo.environments.home.lookups import look_up
from openmimo.environments.home.mentions import Mention, absent_mention
from openmimo.environments.home.values import sample_value

__all__ = ["missing"]


def missing(scene: Scene) -> Draft | None:
    """A request about a device, or a room's measure, that the home does not have."""
    draw = scene.rng.random()
    if draw < 0.08:
        return _missing_in_area(scene)
    domains = sorted(ACTIONS)
    if scene.rng.random() < 0.7:
        domains = [device.domain for device in scene.home.devices if device.domain in ACTIONS] or domains
    domain = scene.rng.choice(domains)
    mention = absent_mention(scene.rng, scene.home, {domain}, scene.split)
    if mention is None:
        return None
    intents = ACTIONS[domain] if scene.rng.random() < 0.65 else QUESTIONS[domain]
    intent = scene.rng.choice([intent for intent in intents if not intent.startswith("ask_area")])
    asked = scene.rng.choice(asked_words(intent))
    slots = ask_slots(scene, domain, mention, asked) | {"v": sample_value(scene.rng, intent).text}
    thoughts = (
        (f"{mention.text}: none",) if mention.nick else look_up(scene.home, (domain,), mention.area, (), mention.noun)
    )
    answer = missing_answer(mention)
    return scene.phrase(intent, slots, mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)


def _missing_in_area(scene: Scene) -> Draft | None:
    """Ask for the warmth, damp, motion or light of a room that cannot tell or has none."""
    area = scene.rng.choice(scene.home.devices).area
    what = scene.rng.choice(("temperature", "humidity", "motion", "light"))
    if what == "light":
        found = [device for device in scene.home.devices if device.area == area and device.domain == "light"]
    else:
        found = measuring(scene.home, area, what)
    if found:
        return None
    noun = {"temperature": "thermometer", "humidity": "humidity sensor", "motion": "motion sensor"}.get(what, "light")
    intent = scene.rng.choice(("too_dark", "too_bright")) if what == "light" else f"ask_area_{what}"
    mention = Mention("", "absent_area", area=area, noun=noun)
    thoughts = look_up(scene.home, MEASURED_BY.get(what, ("light",)), area, ())
    answer = missing_answer(mention)
    return scene.phrase(intent, area_slots(area), mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)
