"""Questions about one device or one room."""

from __future__ import annotations

from openmimo.environments.home.answers import (
    humidity_answer,
    motion_answer,
    outside_answer,
    state_answer,
    temperature_answer,
    time_answer,
    yes_no_answer,
)
from openmimo.environments.home.devices import Device
from openmimo.environments.home.kinds.base import Draft, Scene, device_slots, some_mention
from openmimo.environments.home.lookups import look_up
from openmimo.environments.home.mentions import Mention, unsaid
from openmimo.environments.home.words import in_area
from openmimo.environments.home.world import Home

__all__ = [
    "MEASURED_BY",
    "QUESTIONS",
    "area_slots",
    "ask_area",
    "ask_device",
    "ask_slots",
    "asked_words",
    "measured",
    "measuring",
    "questions_for",
    "state",
]

MEASURED_BY = {"temperature": ("sensor", "climate"), "humidity": ("sensor",), "motion": ("binary_sensor",)}
"""Domains that tell it: sensors come before thermostats."""
QUESTIONS = {
    "light": ("ask_on", "ask_state", "ask_brightness"),
    "switch": ("ask_on", "ask_state"),
    "fan": ("ask_on", "ask_state"),
    "media_player": ("ask_on", "ask_state"),
    "cover": ("ask_open", "ask_state", "ask_position"),
    "lock": ("ask_locked", "ask_state"),
    "climate": ("ask_set_point", "ask_on", "ask_area_temperature"),
    "temperature": ("ask_area_temperature", "ask_temperature"),
    "humidity": ("ask_area_humidity",),
    "opening": ("ask_open", "ask_state"),
    "motion": ("ask_area_motion",),
    "vacuum": ("ask_state",),
}
_CHOICES = {
    "lock": ("locked or unlocked", "unlocked or locked"),
    "cover": ("open or closed", "closed or open", "open or shut"),
    "binary_sensor": ("open or closed", "closed or open", "open or shut"),
    "vacuum": ("docked or cleaning", "cleaning or docked"),
}
_ON_OFF_CHOICES = ("on or off", "off or on")


def questions_for(device: Device) -> tuple[str, ...]:
    """Intents that ask about a device or what it measures."""
    return QUESTIONS.get(device.noun.measures or device.domain, ())


def state(scene: Scene) -> Draft | None:
    """A question about one device or one room."""
    if scene.rng.random() < 0.06:
        return _ask_header(scene)
    device = scene.rng.choice(scene.home.devices)
    intent = scene.pick(questions_for(device))
    if intent is None:
        return None
    if intent.startswith("ask_area"):
        return ask_area(scene, device, intent)
    mention = some_mention(scene, device, named_share=0.65)
    return ask_device(scene, device, intent, mention) if mention else None


def _ask_header(scene: Scene) -> Draft:
    """What the first line of the listing tells."""
    if scene.rng.random() < 0.5:
        answer = time_answer(scene.home)
        return scene.phrase("ask_time", {}, rows=[], thoughts=(scene.home.clock,), answer=answer)
    answer = outside_answer(scene.home)
    told = f"{round(scene.home.outside_c)} °C outside"
    return scene.phrase("ask_outside", {}, rows=[], thoughts=(told,), answer=answer)


def ask_area(scene: Scene, device: Device, intent: str) -> Draft | None:
    """Ask what a device measures, by its room.

    Args:
        scene: what to draw from.
        device: tells the answer.
        intent: one of the ask_area intents.
    Returns:
        The draft, or None where several devices tell.
    """
    measures = {"ask_area_temperature": "temperature", "ask_area_humidity": "humidity", "ask_area_motion": "motion"}
    if len(measuring(scene.home, device.area, measures[intent])) != 1:
        return None
    answer = {
        "ask_area_temperature": lambda: temperature_answer(scene.home, device),
        "ask_area_humidity": lambda: humidity_answer(scene.home, device),
        "ask_area_motion": lambda: motion_answer(scene.home, device),
    }[intent]()
    thoughts = measured(scene.home, device)
    return scene.phrase(
        intent, area_slots(device.area), mentions=(unsaid("area"),), rows=[device], thoughts=thoughts, answer=answer
    )


def measured(home: Home, device: Device) -> tuple[str, ...]:
    """Look up what tells how warm or damp a room is, or whether something moves there.

    Args:
        home: the home.
        device: a sensor or a thermostat.
    Returns:
        Lines of the reasoning.
    """
    return look_up(home, MEASURED_BY[device.noun.measures or "temperature"], device.area, (device,))


def area_slots(area: str) -> dict[str, str]:
    """The slots a and w."""
    return {"a": in_area(area), "w": area}


def measuring(home: Home, area: str, measures: str) -> list[Device]:
    """Devices that tell how warm or damp a room is, or whether something moves there.

    Args:
        home: the home.
        area: the room.
        measures: "temperature", "humidity" or "motion".
    Returns:
        The devices in listing order.
    """
    return [
        device
        for device in home.devices
        if device.area == area
        and (device.noun.measures == measures or (measures == "temperature" and device.domain == "climate"))
    ]


def ask_slots(scene: Scene, domain: str, mention: Mention, asked: str) -> dict[str, str]:
    """Texts of the slots of a question about one device.

    Args:
        scene: what to draw from.
        domain: of the device.
        mention: how it is said.
        asked: the state word to confirm.
    Returns:
        The slots d, n, v, s and c.
    """
    word = "shut" if asked == "closed" and scene.rng.random() < 0.25 else asked
    choice = scene.rng.choice(_CHOICES.get(domain, _ON_OFF_CHOICES))
    return {**device_slots(scene.rng, mention), "s": word, "c": choice}


def ask_device(scene: Scene, device: Device, intent: str, mention: Mention, asked: str | None = None) -> Draft:
    """Ask about one device.

    Args:
        scene: what to draw from.
        device: the device.
        intent: one of QUESTIONS, but no ask_area intent.
        mention: how the device is said.
        asked: the state word to confirm; None draws it.
    Returns:
        The draft.
    """
    asked = scene.rng.choice(asked_words(intent)) if asked is None else asked
    if intent == "ask_temperature":
        answer = temperature_answer(scene.home, device)
    elif asked:
        answer = yes_no_answer(scene.home, device, asked)
    else:
        answer = state_answer(scene.home, device)
    slots = ask_slots(scene, device.domain, mention, asked)
    return scene.phrase(intent, slots, mentions=(mention,), rows=[device], answer=answer)


def asked_words(intent: str) -> tuple[str, ...]:
    """State words that a question of this intent may confirm; an empty one where it confirms nothing."""
    words = {
        "ask_on": ("on", "on", "off"),
        "ask_open": ("open", "open", "closed"),
        "ask_locked": ("locked", "unlocked"),
    }
    return words.get(intent, ("",))
