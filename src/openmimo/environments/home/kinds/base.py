"""What every kind of task is drawn with: the scene, the draft, what can be done with a device, and how to say it."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from openmimo.chat import Message, ToolCall
from openmimo.environments.home.answers import Answer
from openmimo.environments.home.devices import Device, Light
from openmimo.environments.home.families import LISTS
from openmimo.environments.home.grammar import Family, fill, sample_family, say
from openmimo.environments.home.mentions import ALIAS_NAMINGS, Mention, listed_mention, named_mention
from openmimo.environments.home.values import NO_VALUE, Value, sample_value, would_change
from openmimo.environments.home.world import Home

__all__ = [
    "ACTIONS",
    "TOOL_OF",
    "Draft",
    "Scene",
    "action_draft",
    "device_slots",
    "make_call",
    "pick_action",
    "pick_alias_naming",
    "say_action",
    "some_mention",
]

REDUNDANT_SHARE = 0.08
TOOL_OF = {
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
    "vacuum_start": "HassVacuumStart",
    "vacuum_home": "HassVacuumReturnToBase",
}
ACTIONS = {
    "light": ("turn_on", "turn_off", "set_brightness", "set_color"),
    "switch": ("turn_on", "turn_off"),
    "fan": ("turn_on", "turn_off"),
    "media_player": ("turn_on", "turn_off"),
    "cover": ("open", "close", "set_position"),
    "lock": ("lock", "unlock"),
    "climate": ("set_temperature", "turn_on", "turn_off", "set_temperature"),
}


@dataclass(slots=True)
class Draft:
    """A request and what is right to do about it.

    Attributes:
        intent: what the request asks for.
        family: the arrangement of words.
        request: the text.
        rows: devices that the reasoning finds.
        mentions: how the request says them, in their order.
        calls: tool calls to make; empty where the answer is all.
        answer: the right answer where no call is made, else None.
        thoughts: lines of the reasoning, where they are not just how the rows are found.
        history: turns before the request, oldest first.
        home: the home by the time of the request, where earlier turns have changed it.
        listed: the home as the listing shows it, where earlier turns have changed it.
        action: what is asked to be done, where the answer is a question.
        lacking: the tool that would do it and is not on offer.
    """

    intent: str
    family: Family
    request: str
    rows: list[Device]
    mentions: tuple[Mention, ...] = ()
    calls: tuple[ToolCall, ...] = ()
    answer: Answer | None = None
    thoughts: tuple[str, ...] | None = None
    history: tuple[Message, ...] = ()
    home: Home | None = None
    listed: Home | None = None
    action: tuple[str, Value] | None = None
    lacking: str = ""


class Scene(NamedTuple):
    """What a builder draws from."""

    rng: random.Random
    home: Home
    offered: Collection[str]
    split: Literal["train", "eval"]

    def phrase(self, intent: str, slots: dict[str, str], **draft: Any) -> Draft:
        """Pick a family of the intent and write the request.

        Args:
            intent: a key of FAMILIES.
            slots: text for every slot of its families.
            draft: the other fields of the draft.
        Returns:
            The draft.
        """
        family = sample_family(self.rng, intent, self.split)
        return Draft(intent, family, say(self.rng, family, slots), **draft)

    def part(self, intent: str, slots: dict[str, str]) -> str:
        """Pick a family of the intent and write it as a part of a longer request.

        Args:
            intent: a key of FAMILIES.
            slots: text for every slot of its families.
        Returns:
            The words.
        """
        return fill(self.rng, sample_family(self.rng, intent, self.split), slots)

    def can(self, intent: str) -> bool:
        """Whether a tool on offer does it, and at once: some homes ask before they unlock."""
        return TOOL_OF[intent] in self.offered and not (intent == "unlock" and self.home.asks_first)

    def pick(self, items: Collection[Any]) -> Any:
        """One of the items, or None where there are none."""
        return self.rng.choice(list(items)) if items else None


def device_slots(rng: random.Random, mention: Mention, value: Value | None = None) -> dict[str, str]:
    """Texts of the slots of one device.

    Args:
        rng: source of randomness.
        mention: how it is said.
        value: the value that goes with it.
    Returns:
        The slots d, n and v.
    """
    return {"d": mention.with_article(rng), "n": mention.text, "v": value.text if value else ""}


def pick_action(scene: Scene, device: Device, is_offered: bool = True) -> tuple[str, Value] | None:
    """Draw something to do with a device.

    Args:
        scene: what to draw from.
        device: the device.
        is_offered: False for something that no tool on offer does.
    Returns:
        Intent and value, or None where there is nothing, or (mostly) where the device is that way already.
    """
    intents = [
        intent
        for intent in ACTIONS.get(device.domain, ())
        if (scene.can(intent) if is_offered else TOOL_OF[intent] not in scene.offered)
        and (intent != "set_color" or (isinstance(device, Light) and device.color))
    ]
    if not intents:
        return None
    intent = scene.rng.choice(intents)
    value = sample_value(scene.rng, intent)
    if is_offered and not would_change(device, intent, value) and scene.rng.random() >= REDUNDANT_SHARE:
        return None
    return intent, value


def make_call(device: Device, intent: str, value: Value = NO_VALUE) -> ToolCall:
    """The call that does it.

    Args:
        device: the device.
        intent: an intent of ACTIONS.
        value: its value.
    Returns:
        The call, without id.
    """
    return ToolCall(TOOL_OF[intent], {"name": device.name, **value.arguments})


def action_draft(scene: Scene, device: Device, mention: Mention) -> Draft | None:
    """Draft one action on one device.

    Args:
        scene: what to draw from.
        device: the device.
        mention: how it is said.
    Returns:
        The draft, or None where this draw does not fit.
    """
    picked = pick_action(scene, device)
    if picked is None:
        return None
    intent, value = picked
    slots = device_slots(scene.rng, mention, value)
    return scene.phrase(intent, slots, mentions=(mention,), rows=[device], calls=(make_call(device, intent, value),))


def pick_alias_naming(rng: random.Random) -> str:
    """One of ALIAS_NAMINGS, by how often people speak that way."""
    return rng.choices(ALIAS_NAMINGS, (30, 45, 10, 15))[0]


def some_mention(scene: Scene, device: Device, named_share: float) -> Mention | None:
    """Say a device by its name or in other words.

    Args:
        scene: what to draw from.
        device: the device.
        named_share: how often by its name.
    Returns:
        The mention, or None where the other words drawn do not single it out.
    """
    if scene.rng.random() < named_share:
        return named_mention(device)
    return listed_mention(scene.rng, scene.home, device, pick_alias_naming(scene.rng))


def say_action(scene: Scene, intent: str, mention: Mention, value: Value = NO_VALUE) -> str:
    """Say an action as a part of a longer request.

    Args:
        scene: what to draw from.
        intent: an intent of ACTIONS.
        mention: how the device is said.
        value: its value.
    Returns:
        Such as "turn the lamp off".
    """
    text = scene.rng.choice(LISTS[f"do_{intent}"])
    return text.replace("{d}", mention.with_article(scene.rng)).replace("{v}", value.text)
