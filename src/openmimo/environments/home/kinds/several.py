"""One action on all of a sort, or actions on two devices."""

from __future__ import annotations

from openmimo.chat import ToolCall
from openmimo.environments.home.devices import Cover, Device
from openmimo.environments.home.kinds.base import ACTIONS, TOOL_OF, Draft, Scene, make_call, some_mention
from openmimo.environments.home.kinds.questions import area_slots
from openmimo.environments.home.lookups import scan
from openmimo.environments.home.mentions import Mention, unsaid
from openmimo.environments.home.values import NO_VALUE, would_change

__all__ = ["PLURALS", "VERBS", "area", "group_word", "pair"]

PLURALS = {"light": "lights", "fan": "fans", "blind": "blinds", "curtain": "curtains", "shutter": "shutters"}
VERBS = {
    "turn_on": ("turn on", "switch on", "put on"),
    "turn_off": ("turn off", "switch off", "shut off"),
    "open": ("open",),
    "close": ("close", "shut"),
    "lock": ("lock",),
    "unlock": ("unlock",),
}
_AREA_INTENTS = {"turn_on": "area_on", "turn_off": "area_off", "open": "area_open", "close": "area_close"}


def area(scene: Scene) -> Draft | None:
    """One action on everything of a sort in a room or in the house."""
    device = scene.rng.choice(scene.home.devices)
    group = group_word(device)
    if group is None:
        return None
    is_house = scene.rng.random() < 0.2
    rows = [
        other
        for other in scene.home.devices
        if other.domain == device.domain and (is_house or other.area == device.area)
    ]
    intent = scene.rng.choice(("open", "close") if isinstance(device, Cover) else ("turn_on", "turn_off"))
    fits = len(rows) <= 4 and all(group_word(other) == group for other in rows)
    changes = any(would_change(other, intent, NO_VALUE) for other in rows)
    if not fits or not changes or TOOL_OF[intent] not in scene.offered:
        return None
    if len(rows) == 1 and scene.rng.random() < 0.6:
        return None
    place = {} if is_house else {"area": device.area}
    slots = {"q": PLURALS[group]} | area_slots("house" if is_house else device.area)
    call = ToolCall(TOOL_OF[intent], {**place, "domain": device.domain})
    mentions = (unsaid("house" if is_house else "area"),)
    thoughts = scan(scene.home, device.domain, place.get("area", ""), rows)
    return scene.phrase(_AREA_INTENTS[intent], slots, mentions=mentions, rows=rows, thoughts=thoughts, calls=(call,))


def group_word(device: Device) -> str | None:
    """The word for all of the device's sort, or None where people have none."""
    word = device.domain if device.domain in ("light", "fan") else device.noun.head
    return word if word in PLURALS else None


def pair(scene: Scene) -> Draft | None:
    """An action on each of two devices."""
    devices = scene.rng.sample(scene.home.devices, 2)
    sides = [side for side in (_pair_side(scene, device) for device in devices) if side is not None]
    if len(sides) != 2:
        return None
    (intent, mention), (intent2, mention2) = sides
    slots = {
        "verb": scene.rng.choice(VERBS[intent]),
        "verb2": scene.rng.choice(VERBS[intent2]),
        "d": mention.with_article(scene.rng),
        "e": mention2.with_article(scene.rng),
    }
    return scene.phrase(
        "pair_same" if intent == intent2 else "pair_two",
        slots,
        mentions=(mention, mention2),
        rows=devices,
        calls=(make_call(devices[0], intent, NO_VALUE), make_call(devices[1], intent2, NO_VALUE)),
    )


def _pair_side(scene: Scene, device: Device) -> tuple[str, Mention] | None:
    intent, mention = _pick_verb(scene, device), some_mention(scene, device, named_share=0.8)
    return None if intent is None or mention is None else (intent, mention)


def _pick_verb(scene: Scene, device: Device) -> str | None:
    intents = [
        intent
        for intent in ACTIONS.get(device.domain, ())
        if intent in VERBS and scene.can(intent) and would_change(device, intent, NO_VALUE)
    ]
    return scene.rng.choice(intents) if intents else None
