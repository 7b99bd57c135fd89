"""Requests about things that are not there."""

from __future__ import annotations

from openmimo.environments.home.answers import missing_answer
from openmimo.environments.home.kinds.base import ACTIONS, Draft, Scene
from openmimo.environments.home.kinds.complaints import COMPLAINTS
from openmimo.environments.home.kinds.here import unhelped
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

__all__ = ["missing", "no_help"]


def missing(scene: Scene) -> Draft | None:
    """A request about a device, or a room's measure, that the home does not have."""
    draw = scene.rng.random()
    if draw < 0.06:
        return _not_measured(scene)
    if draw < 0.14:
        return no_help(scene)
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


def _not_measured(scene: Scene) -> Draft | None:
    """Ask for the warmth, damp or motion of a room that cannot tell."""
    area = scene.rng.choice(scene.home.devices).area
    what = scene.rng.choice(("temperature", "humidity", "motion"))
    if measuring(scene.home, area, what):
        return None
    noun = {"temperature": "thermometer", "humidity": "humidity sensor", "motion": "motion sensor"}[what]
    return _lacking(scene, f"ask_area_{what}", area, noun, MEASURED_BY[what])


def no_help(scene: Scene) -> Draft | None:
    """A complaint where the room, or the whole home, has nothing that could help."""
    intent = scene.rng.choice(tuple(COMPLAINTS))
    complaint = COMPLAINTS[intent]
    there = [device for device in scene.home.devices if device.domain in complaint.domains]
    if not there:
        return unhelped(scene, intent)
    area = scene.rng.choice(scene.home.devices).area
    if any(device.area == area for device in there):
        return None
    return _lacking(scene, intent, area, complaint.noun, complaint.domains)


def _lacking(scene: Scene, intent: str, area: str, noun: str, domains: tuple[str, ...]) -> Draft:
    """A room has nothing of some domains."""
    mention = Mention("", "absent_area", area=area, noun=noun)
    thoughts, answer = look_up(scene.home, domains, area, ()), missing_answer(mention)
    return scene.phrase(intent, area_slots(area), mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)
