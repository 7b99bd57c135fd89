"""Questions about all of a sort: how many lights are on, which windows are open, is any blind closed."""

from __future__ import annotations

from openmimo.environments.home.answers import Answer, count_answer
from openmimo.environments.home.devices import Device
from openmimo.environments.home.families import LISTS
from openmimo.environments.home.kinds.base import Draft, Scene
from openmimo.environments.home.kinds.questions import area_slots
from openmimo.environments.home.kinds.several import PLURALS, group_word
from openmimo.environments.home.lookups import scan
from openmimo.environments.home.mentions import unsaid

__all__ = ["count"]

MAX_FOUND = 4
_WORDS = {"light": ("on", "off"), "fan": ("on", "off"), "lock": ("locked", "unlocked")}
_INTENTS = ("count_how_many", "count_which", "count_any")


def count(scene: Scene) -> Draft | None:
    """How many, which, or whether any of a sort are in a state, in a room or in the house."""
    device = scene.rng.choice(scene.home.devices)
    group = _group_of(device)
    if group is None:
        return None
    is_house = scene.rng.random() < 0.5
    scope = [other for other in scene.home.devices if is_house or other.area == device.area]
    asked = scene.rng.choice(_WORDS.get(group, ("open", "closed")))
    found = [other for other in scope if _group_of(other) == group and other.word() == asked]
    if len(found) > MAX_FOUND or (not found and scene.rng.random() < 0.5):
        return None
    intent = scene.rng.choice(_INTENTS)
    place = {"a": scene.rng.choice(LISTS["everywhere"]), "w": "house"} if is_house else area_slots(device.area)
    slots = place | {"q": _plural(group), "o": group, "s": asked}
    return scene.phrase(
        intent,
        slots,
        mentions=(unsaid("house" if is_house else "area"),),
        rows=found,
        thoughts=scan(scene.home, device.domain, "" if is_house else device.area, found),
        answer=_answer(scene, intent, group, asked, found),
    )


def _group_of(device: Device) -> str | None:
    if device.domain == "lock":
        return "lock"
    if device.noun.measures == "opening":
        return "window" if device.noun.head == "window" else None
    return group_word(device)


def _plural(group: str) -> str:
    return PLURALS.get(group, f"{group}s")


def _answer(scene: Scene, intent: str, group: str, asked: str, found: list[Device]) -> Answer:
    return count_answer(scene.home, intent, (group, _plural(group)), asked, found)
