"""Draw one request about a home together with what is right to do: one builder per kind of task."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from openmimo.chat import ToolCall
from openmimo.environments.home.answers import (
    Answer,
    humidity_answer,
    missing_answer,
    motion_answer,
    state_answer,
    temperature_answer,
    unsupported_answer,
    which_answer,
    yes_no_answer,
)
from openmimo.environments.home.devices import Climate, Cover, Device, Light
from openmimo.environments.home.grammar import Family, sample_family, say
from openmimo.environments.home.mentions import (
    ALIAS_NAMINGS,
    Mention,
    absent_mention,
    ambiguous_mention,
    listed_mention,
    named_mention,
)
from openmimo.environments.home.values import (
    NO_VALUE,
    Value,
    sample_value,
    say_percent,
    say_temperature,
    would_change,
)
from openmimo.environments.home.words import in_area
from openmimo.environments.home.world import Home

__all__ = ["KINDS", "Draft", "draw_draft"]

REDUNDANT_SHARE = 0.08
_ON_OFF = ("light", "switch", "fan", "media_player", "climate")
_TOOL_OF = {
    "turn_on": "HassTurnOn",
    "turn_off": "HassTurnOff",
    "open": "HassTurnOn",
    "close": "HassTurnOff",
    "lock": "HassTurnOn",
    "unlock": "HassTurnOff",
    "set_brightness": "HassLightSet",
    "set_color": "HassLightSet",
    "set_temperature": "HassClimateSetTemperature",
    "set_position": "HassSetPosition",
}
_ACTIONS = {
    "light": ("turn_on", "turn_off", "set_brightness", "set_color"),
    "switch": ("turn_on", "turn_off"),
    "fan": ("turn_on", "turn_off"),
    "media_player": ("turn_on", "turn_off"),
    "cover": ("open", "close", "set_position"),
    "lock": ("lock", "unlock"),
    "climate": ("set_temperature", "turn_on", "turn_off", "set_temperature"),
}
_QUESTIONS = {
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
}
_CHOICES = {
    "lock": ("locked or unlocked", "unlocked or locked"),
    "cover": ("open or closed", "closed or open", "open or shut"),
    "binary_sensor": ("open or closed", "closed or open", "open or shut"),
}
_ON_OFF_CHOICES = ("on or off", "off or on")
_PLURALS = {"light": "lights", "fan": "fans", "blind": "blinds", "curtain": "curtains", "shutter": "shutters"}
_VERBS = {
    "turn_on": ("turn on", "switch on", "put on"),
    "turn_off": ("turn off", "switch off", "shut off"),
    "open": ("open",),
    "close": ("close", "shut"),
    "lock": ("lock",),
    "unlock": ("unlock",),
}
_AREA_INTENTS = {"turn_on": "area_on", "turn_off": "area_off", "open": "area_open", "close": "area_close"}


@dataclass(slots=True)
class Draft:
    """A request and what is right to do about it.

    Attributes:
        intent: what the request asks for.
        naming: how the device is said.
        family: the arrangement of words.
        request: the text.
        rows: devices whose rows the reasoning quotes; empty means "none".
        calls: tool calls to make; empty where the answer is all.
        answer: the right answer where no call is made, else None.
    """

    intent: str
    naming: str
    family: Family
    request: str
    rows: list[Device]
    calls: tuple[ToolCall, ...] = ()
    answer: Answer | None = None


class Scene(NamedTuple):
    """What a builder draws from."""

    rng: random.Random
    home: Home
    offered: Collection[str]
    split: Literal["train", "eval"]

    def phrase(self, intent: str, slots: dict[str, str], **draft: Any) -> Draft:
        """Pick a family of the intent and write the request."""
        family = sample_family(self.rng, intent, self.split)
        return Draft(intent, family=family, request=say(self.rng, family, slots), **draft)


def draw_draft(scene: Scene, kind: str) -> Draft | None:
    """Draw a request of one kind.

    Args:
        scene: home, tools on offer, phrasing split and randomness.
        kind: one of KINDS.
    Returns:
        The draft, or None where this draw does not fit the home; draw again.
    """
    return _BUILDERS[kind](scene)


def _slots(rng: random.Random, mention: Mention, value: Value | None = None) -> dict[str, str]:
    return {"d": mention.with_article(rng), "n": mention.text, "v": value.text if value else ""}


# ---- one device, one action


def _pick_action(scene: Scene, device: Device, is_offered: bool = True) -> tuple[str, Value] | None:
    intents = [
        intent
        for intent in _ACTIONS.get(device.domain, ())
        if (_TOOL_OF[intent] in scene.offered) == is_offered
        and (intent != "set_color" or (isinstance(device, Light) and device.color))
    ]
    if not intents:
        return None
    intent = scene.rng.choice(intents)
    value = sample_value(scene.rng, intent)
    if is_offered and not would_change(device, intent, value) and scene.rng.random() >= REDUNDANT_SHARE:
        return None
    return intent, value


def _call(device: Device, intent: str, value: Value) -> ToolCall:
    return ToolCall(_TOOL_OF[intent], {"name": device.name, **value.arguments})


def _action(scene: Scene, device: Device, mention: Mention) -> Draft | None:
    picked = _pick_action(scene, device)
    if picked is None:
        return None
    intent, value = picked
    slots = _slots(scene.rng, mention, value)
    return scene.phrase(intent, slots, naming=mention.naming, rows=[device], calls=(_call(device, intent, value),))


def _named(scene: Scene) -> Draft | None:
    device = scene.rng.choice(scene.home.devices)
    return _action(scene, device, named_mention(device)) if device.domain in _ACTIONS else None


def _alias(scene: Scene) -> Draft | None:
    if scene.rng.random() < 0.08:
        return _ambient(scene)
    device = scene.rng.choice(scene.home.devices)
    if device.domain not in _ACTIONS:
        return None
    mention = listed_mention(scene.rng, scene.home, device, _pick_alias_naming(scene.rng))
    return _action(scene, device, mention) if mention else None


def _pick_alias_naming(rng: random.Random) -> str:
    return rng.choices(ALIAS_NAMINGS, (30, 45, 10, 15))[0]


def _ambient(scene: Scene) -> Draft | None:
    """ "It is too dark in the hall": clear where the hall has exactly one light, and it is off."""
    lights = [device for device in scene.home.devices if isinstance(device, Light)]
    if not lights:
        return None
    light = scene.rng.choice(lights)
    intent, act = ("too_bright", "turn_off") if light.is_on else ("too_dark", "turn_on")
    if sum(other.area == light.area for other in lights) != 1 or _TOOL_OF[act] not in scene.offered:
        return None
    return scene.phrase(
        intent, {"a": in_area(light.area)}, naming="area", rows=[light], calls=(_call(light, act, NO_VALUE),)
    )


# ---- questions


def _questions_for(device: Device) -> tuple[str, ...]:
    return _QUESTIONS.get(device.noun.measures or device.domain, ())


def _state(scene: Scene) -> Draft | None:
    device = scene.rng.choice(scene.home.devices)
    intent = scene.rng.choice(_questions_for(device))
    if intent.startswith("ask_area"):
        return _ask_area(scene, device, intent)
    if scene.rng.random() < 0.65:
        mention = named_mention(device)
    else:
        mention = listed_mention(scene.rng, scene.home, device, _pick_alias_naming(scene.rng))
    return _ask_device(scene, device, intent, mention) if mention else None


def _ask_area(scene: Scene, device: Device, intent: str) -> Draft | None:
    measures = {"ask_area_temperature": "temperature", "ask_area_humidity": "humidity", "ask_area_motion": "motion"}
    if len(_measuring(scene.home, device.area, measures[intent])) != 1:
        return None
    answer = {
        "ask_area_temperature": lambda: temperature_answer(scene.home, device),
        "ask_area_humidity": lambda: humidity_answer(scene.home, device),
        "ask_area_motion": lambda: motion_answer(scene.home, device),
    }[intent]()
    return scene.phrase(intent, _area_slots(device.area), naming="area", rows=[device], answer=answer)


def _area_slots(area: str) -> dict[str, str]:
    return {"a": in_area(area), "w": area}


def _measuring(home: Home, area: str, measures: str) -> list[Device]:
    return [
        device
        for device in home.devices
        if device.area == area
        and (device.noun.measures == measures or (measures == "temperature" and device.domain == "climate"))
    ]


def _ask_slots(scene: Scene, domain: str, mention: Mention, asked: str) -> dict[str, str]:
    word = "shut" if asked == "closed" and scene.rng.random() < 0.25 else asked
    choice = scene.rng.choice(_CHOICES.get(domain, _ON_OFF_CHOICES))
    return {**_slots(scene.rng, mention), "s": word, "c": choice}


def _ask_device(scene: Scene, device: Device, intent: str, mention: Mention) -> Draft:
    asked = scene.rng.choice(_asked_words(intent))
    if intent == "ask_temperature":
        answer = temperature_answer(scene.home, device)
    elif asked:
        answer = yes_no_answer(scene.home, device, asked)
    else:
        answer = state_answer(scene.home, device)
    slots = _ask_slots(scene, device.domain, mention, asked)
    return scene.phrase(intent, slots, naming=mention.naming, rows=[device], answer=answer)


def _asked_words(intent: str) -> tuple[str, ...]:
    words = {
        "ask_on": ("on", "on", "off"),
        "ask_open": ("open", "open", "closed"),
        "ask_locked": ("locked", "unlocked"),
    }
    return words.get(intent, ("",))


# ---- things that are not there


def _missing(scene: Scene) -> Draft | None:
    draw = scene.rng.random()
    if draw < 0.08:
        return _missing_in_area(scene)
    domains = sorted(_ACTIONS)
    if scene.rng.random() < 0.7:
        domains = [device.domain for device in scene.home.devices if device.domain in _ACTIONS] or domains
    domain = scene.rng.choice(domains)
    mention = absent_mention(scene.rng, scene.home, {domain}, scene.split)
    if mention is None:
        return None
    intents = _ACTIONS[domain] if scene.rng.random() < 0.65 else _QUESTIONS[domain]
    intent = scene.rng.choice([intent for intent in intents if not intent.startswith("ask_area")])
    asked = scene.rng.choice(_asked_words(intent))
    slots = _ask_slots(scene, domain, mention, asked) | {"v": sample_value(scene.rng, intent).text}
    return scene.phrase(intent, slots, naming=mention.naming, rows=[], answer=missing_answer(mention))


def _missing_in_area(scene: Scene) -> Draft | None:
    """Ask for the warmth, damp, motion or light of a room that cannot tell or has none."""
    area = scene.rng.choice(scene.home.devices).area
    what = scene.rng.choice(("temperature", "humidity", "motion", "light"))
    if what == "light":
        found = [device for device in scene.home.devices if device.area == area and device.domain == "light"]
    else:
        found = _measuring(scene.home, area, what)
    if found:
        return None
    noun = {"temperature": "thermometer", "humidity": "humidity sensor", "motion": "motion sensor"}.get(what, "light")
    intent = scene.rng.choice(("too_dark", "too_bright")) if what == "light" else f"ask_area_{what}"
    mention = Mention("", "absent_area", area=area, noun=noun)
    return scene.phrase(intent, _area_slots(area), naming="absent_area", rows=[], answer=missing_answer(mention))


# ---- several devices


def _area(scene: Scene) -> Draft | None:
    device = scene.rng.choice(scene.home.devices)
    group = _group_word(device)
    if group is None:
        return None
    is_house = scene.rng.random() < 0.2
    rows = [
        other
        for other in scene.home.devices
        if other.domain == device.domain and (is_house or other.area == device.area)
    ]
    intent = scene.rng.choice(("open", "close") if isinstance(device, Cover) else ("turn_on", "turn_off"))
    fits = len(rows) <= 4 and all(_group_word(other) == group for other in rows)
    changes = any(would_change(other, intent, NO_VALUE) for other in rows)
    if not fits or not changes or _TOOL_OF[intent] not in scene.offered:
        return None
    if len(rows) == 1 and scene.rng.random() < 0.6:
        return None
    place = {} if is_house else {"area": device.area}
    slots = {"q": _PLURALS[group]} | _area_slots("house" if is_house else device.area)
    call = ToolCall(_TOOL_OF[intent], {**place, "domain": device.domain})
    naming = "house" if is_house else "area"
    return scene.phrase(_AREA_INTENTS[intent], slots, naming=naming, rows=rows, calls=(call,))


def _group_word(device: Device) -> str | None:
    word = device.domain if device.domain in ("light", "fan") else device.noun.head
    return word if word in _PLURALS else None


def _pair(scene: Scene) -> Draft | None:
    devices = scene.rng.sample(scene.home.devices, 2)
    sides = [side for side in (_pair_side(scene, device) for device in devices) if side is not None]
    if len(sides) != 2:
        return None
    (intent, mention), (intent2, mention2) = sides
    slots = {
        "verb": scene.rng.choice(_VERBS[intent]),
        "verb2": scene.rng.choice(_VERBS[intent2]),
        "d": mention.with_article(scene.rng),
        "e": mention2.with_article(scene.rng),
    }
    return scene.phrase(
        "pair_same" if intent == intent2 else "pair_two",
        slots,
        naming=f"{mention.naming}+{mention2.naming}",
        rows=devices,
        calls=(_call(devices[0], intent, NO_VALUE), _call(devices[1], intent2, NO_VALUE)),
    )


def _pair_side(scene: Scene, device: Device) -> tuple[str, Mention] | None:
    intent, mention = _pick_verb(scene, device), _pair_mention(scene, device)
    return None if intent is None or mention is None else (intent, mention)


def _pick_verb(scene: Scene, device: Device) -> str | None:
    intents = [
        intent
        for intent in _ACTIONS.get(device.domain, ())
        if intent in _VERBS and _TOOL_OF[intent] in scene.offered and would_change(device, intent, NO_VALUE)
    ]
    return scene.rng.choice(intents) if intents else None


def _pair_mention(scene: Scene, device: Device) -> Mention | None:
    if scene.rng.random() < 0.8:
        return named_mention(device)
    return listed_mention(scene.rng, scene.home, device, _pick_alias_naming(scene.rng))


# ---- what cannot be done, and what is not clear


def _unsupported(scene: Scene) -> Draft | None:
    device = scene.rng.choice(scene.home.devices)
    if device.domain not in _ACTIONS:
        return None
    if scene.rng.random() < 0.3:
        return _impossible(scene, device)
    picked = _pick_action(scene, device, is_offered=False)
    if picked is None:
        return None
    mention = named_mention(device)
    slots = _slots(scene.rng, mention, picked[1])
    return scene.phrase(picked[0], slots, naming=mention.naming, rows=[device], answer=unsupported_answer())


def _impossible(scene: Scene, device: Device) -> Draft | None:
    """Ask for a value that the tool refuses; the error is then passed on."""
    if isinstance(device, Climate):
        hot, cold = scene.rng.randint(31, 60), scene.rng.randint(0, 4)
        intent, value = "set_temperature", say_temperature(scene.rng, hot if scene.rng.random() < 0.8 else cold)
    elif isinstance(device, Light) and not device.color:
        intent = "set_color"
        value = sample_value(scene.rng, intent)
    elif isinstance(device, Cover):
        percent = 10 * scene.rng.randint(11, 30)
        intent, value = "set_position", Value(say_percent(scene.rng, percent, {}), {"position": percent})
    else:
        return None
    if _TOOL_OF[intent] not in scene.offered:
        return None
    mention = named_mention(device)
    slots = _slots(scene.rng, mention, value)
    return scene.phrase(intent, slots, naming=mention.naming, rows=[device], calls=(_call(device, intent, value),))


def _ambiguous(scene: Scene) -> Draft | None:
    found = ambiguous_mention(scene.rng, scene.home, _ACTIONS)
    if found is None:
        return None
    mention, devices = found
    slots: dict[str, str]
    if scene.rng.random() < 0.7:
        picked = _pick_action(scene, devices[0])
        if picked is None:
            return None
        intent, slots = picked[0], _slots(scene.rng, mention, picked[1])
    else:
        intent = scene.rng.choice([name for name in _questions_for(devices[0]) if not name.startswith("ask_area")])
        slots = _ask_slots(scene, devices[0].domain, mention, scene.rng.choice(_asked_words(intent)))
    return scene.phrase(intent, slots, naming="area", rows=devices, answer=which_answer(scene.home, devices))


_BUILDERS: dict[str, Callable[[Scene], Draft | None]] = {
    "named": _named,
    "alias": _alias,
    "state": _state,
    "missing": _missing,
    "area": _area,
    "pair": _pair,
    "unsupported": _unsupported,
    "ambiguous": _ambiguous,
}
KINDS = tuple(_BUILDERS)
