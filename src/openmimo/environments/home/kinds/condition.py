"""Actions under a condition: "if the window in the office is open, turn the heater off"."""

from __future__ import annotations

from typing import NamedTuple

from openmimo.environments.comparing import SIGNS, yes_or_no
from openmimo.environments.home.answers import nothing_answer
from openmimo.environments.home.devices import Device
from openmimo.environments.home.kinds.base import (
    Draft,
    Scene,
    device_slots,
    make_call,
    pick_action,
    say_action,
    some_mention,
)
from openmimo.environments.home.kinds.questions import area_slots, measured, measuring
from openmimo.environments.home.lookups import find
from openmimo.environments.home.values import say_percent, say_temperature

__all__ = ["condition"]

_OPPOSITE = {"on": "off", "off": "on", "open": "closed", "closed": "open", "locked": "unlocked", "unlocked": "locked"}
_DONE = {"turn_on": "on", "turn_off": "off", "open": "open", "close": "closed", "lock": "locked", "unlock": "unlocked"}


class Condition(NamedTuple):
    """Something that holds or does not.

    Attributes:
        text: how it is said.
        device: what tells; None for the weather.
        rows: how what tells is looked up.
        check: the comparison as the reasoning writes it.
        holds: whether it is so.
        told: how things are, for the reply where nothing is done.
        key: what of it matters.
    """

    text: str
    device: Device | None
    rows: tuple[str, ...]
    check: str
    holds: bool
    told: str
    key: str


def condition(scene: Scene) -> Draft | None:
    """An action that depends on a device, a room or the weather; where it must not be done, the reply says so."""
    if scene.rng.random() < 0.25:
        return _unless_already(scene)
    found = scene.rng.choice((_device, _device, _motion, _temperature, _humidity, _outside))(scene)
    devices = [device for device in scene.home.devices if found is not None and device is not found.device]
    device = scene.pick(devices)
    if found is None or device is None:
        return None
    picked, mention = pick_action(scene, device), some_mention(scene, device, named_share=0.7)
    if picked is None or mention is None:
        return None
    is_unless = scene.rng.random() < 0.2
    is_done = found.holds != is_unless
    slots = {"c": found.text, "do": say_action(scene, picked[0], mention, picked[1])}
    thoughts = (*found.rows, _verdict(found.check, found.holds, is_done))
    return scene.phrase(
        "unless" if is_unless else "if",
        slots,
        mentions=(mention,),
        rows=[device],
        thoughts=(*thoughts, *find(scene.home, device, mention)) if is_done else thoughts,
        calls=(make_call(device, *picked),) if is_done else (),
        answer=None if is_done else nothing_answer(found.told, found.key),
    )


def _verdict(check: str, holds: bool, is_done: bool) -> str:
    return f"{check} {yes_or_no(holds)}, {'do it' if is_done else 'do nothing'}"


def _unless_already(scene: Scene) -> Draft | None:
    """ "Turn the lamp on unless it is already on"."""
    device = scene.rng.choice(scene.home.devices)
    mention = some_mention(scene, device, named_share=0.7)
    intent = {"on": "turn_off", "off": "turn_on", "open": "close", "closed": "open"}.get(device.word())
    if device.domain == "binary_sensor" or intent is None or mention is None:
        return None
    if scene.rng.random() < 0.5:
        intent = {"turn_on": "turn_off", "turn_off": "turn_on", "open": "close", "close": "open"}[intent]
    if not scene.can(intent):
        return None
    wanted = _DONE[intent]
    is_done = device.word() != wanted
    slots = {"do": say_action(scene, intent, mention), "s": wanted, "o": _OPPOSITE[wanted]}
    return scene.phrase(
        "unless_already",
        slots,
        mentions=(mention,),
        rows=[device],
        thoughts=(*find(scene.home, device, mention), _verdict(wanted, not is_done, is_done)),
        calls=(make_call(device, intent),) if is_done else (),
        answer=None if is_done else nothing_answer(f"the {device.name} is {device.word()}", device.name),
    )


# ---- conditions


def _device(scene: Scene) -> Condition | None:
    device = scene.rng.choice(scene.home.devices)
    word, mention = device.word(), some_mention(scene, device, named_share=0.6)
    if word not in _OPPOSITE or mention is None:
        return None
    asked = word if scene.rng.random() < 0.5 else _OPPOSITE[word]
    text = scene.part("if_state", device_slots(scene.rng, mention) | {"s": asked})
    rows = find(scene.home, device, mention)
    return Condition(text, device, rows, asked, asked == word, f"the {device.name} is {word}", device.name)


def _sensor(scene: Scene, measures: str) -> Device | None:
    device = scene.pick([device for device in scene.home.devices if device.noun.measures == measures])
    if measures == "temperature" and device is None:
        device = scene.pick([device for device in scene.home.devices if device.domain == "climate"])
    return device if device and len(measuring(scene.home, device.area, measures)) == 1 else None


def _motion(scene: Scene) -> Condition | None:
    device = _sensor(scene, "motion")
    if device is None:
        return None
    is_seen, is_asked = device.word() == "detected", scene.rng.random() < 0.5
    text = scene.part("if_somebody" if is_asked else "if_nobody", area_slots(device.area))
    told = f"there is {'' if is_seen else 'no '}motion in the {device.area}"
    check = "detected" if is_asked else "clear"
    rows = measured(scene.home, device)
    return Condition(text, device, rows, check, is_seen == is_asked, told, "motion")


def _temperature(scene: Scene) -> Condition | None:
    device = _sensor(scene, "temperature")
    if device is None:
        return None
    degrees = round(scene.home.rooms[device.area].temperature_c)
    told = f"it is {degrees} °C in the {device.area}"
    return _compare(scene, "if_warmer", "if_colder", degrees, device, told)


def _humidity(scene: Scene) -> Condition | None:
    device = _sensor(scene, "humidity")
    if device is None:
        return None
    percent = int(device.state_text(scene.home.rooms[device.area]).rstrip("%"))
    told = f"the humidity in the {device.area} is {percent}%"
    return _compare(scene, "if_damp", "if_dry", percent, device, told)


def _outside(scene: Scene) -> Condition | None:
    degrees = round(scene.home.outside_c)
    return _compare(scene, "if_warm_outside", "if_cold_outside", degrees, None, f"it is {degrees} °C outside")


def _compare(scene: Scene, above: str, below: str, present: int, device: Device | None, told: str) -> Condition:
    sign = ">" if scene.rng.random() < 0.5 else "<"
    is_percent = above == "if_damp"
    limit = present + scene.rng.choice((-1, 1)) * (
        5 * scene.rng.randint(1, 4) if is_percent else scene.rng.randint(1, 5)
    )
    said = say_percent(scene.rng, limit, {}) if is_percent else say_temperature(scene.rng, limit).text
    slots = {"v": said} | (area_slots(device.area) if device else {})
    text = scene.part(above if sign == ">" else below, slots)
    rows = measured(scene.home, device) if device else (f"{present} °C outside",)
    check, holds = f"{present}{sign}{limit}", SIGNS[sign](present, limit)
    return Condition(text, device, rows, check, holds, told, str(present))
