"""Turns before a request: what has been done, and what has nothing to do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from openmimo.chat import Message
from openmimo.environments.home.devices import Climate, Cover, Device, Light
from openmimo.environments.home.gold import settle, work_out
from openmimo.environments.home.kinds.base import (
    ACTIONS,
    Draft,
    Scene,
    device_slots,
    make_call,
    pick_action,
    some_mention,
)
from openmimo.environments.home.kinds.count import count
from openmimo.environments.home.kinds.limits import unsupported
from openmimo.environments.home.kinds.missing import missing
from openmimo.environments.home.kinds.questions import state
from openmimo.environments.home.values import NO_VALUE, Value, would_change

__all__ = ["Earlier", "act", "unrelated"]

_TALK: tuple[Callable[[Scene], Draft | None], ...] = (state, state, missing, unsupported, count)


class Earlier(NamedTuple):
    """A turn that has been carried out, and the home after it.

    Attributes:
        device: what it was about.
        intent: what it did.
        value: the value it set.
        told: lines of the tool result.
        history: its messages, with those before it.
        scene: what later requests are drawn from: the same with the home as it is by then.
    """

    device: Device
    intent: str
    value: Value
    told: tuple[str, ...]
    history: tuple[Message, ...]
    scene: Scene


def act(listed: Scene, scene: Scene, history: tuple[Message, ...], shown_share: float = 0.5) -> Earlier | None:
    """Draw a turn in which something is done.

    Args:
        listed: the home as the listing shows it.
        scene: the home as it is.
        history: turns before.
        shown_share: how often it is an action that a listing made after it shows already, else it changes the home.
    Returns:
        The turn, or None where this draw does not fit.
    """
    device = scene.pick([device for device in scene.home.devices if device.domain in ACTIONS])
    mention = some_mention(listed, device, named_share=0.7) if device else None
    is_shown = scene.rng.random() < shown_share
    picked = (_shown_action(scene, device) if is_shown else pick_action(scene, device)) if device else None
    if device is None or mention is None or picked is None:
        return None
    if not is_shown and not would_change(device, *picked):
        return None
    intent, value = picked
    slots = device_slots(scene.rng, mention, value)
    draft = scene.phrase(intent, slots, mentions=(mention,), rows=[device], calls=(make_call(device, intent, value),))
    done = work_out(draft, scene.home, scene.offered)
    later = settle(done.home)
    now = next(other for other in later.devices if other.name == device.name)
    turns = (*history, *done.history(draft.request))
    return Earlier(now, intent, value, done.told, turns, scene._replace(home=later))


def _shown_action(scene: Scene, device: Device) -> tuple[str, Value] | None:
    """Something that leaves the device as it is."""
    options = [(intent, _shown_value(device, intent)) for intent in ACTIONS[device.domain] if scene.can(intent)]
    shown = [(intent, value) for intent, value in options if value is not None]
    return scene.pick([option for option in shown if not would_change(device, *option)])


def _shown_value(device: Device, intent: str) -> Value | None:
    match device:
        case Light() if intent == "set_brightness":
            return Value(f"{device.brightness}%", {"brightness": device.brightness})
        case Cover() if intent == "set_position":
            return Value(f"{device.target}%", {"position": device.target})
        case Climate() if intent == "set_temperature":
            return Value(f"{device.set_point_c:g} degrees", {"temperature": int(device.set_point_c)})
    return None if intent == "set_color" else NO_VALUE


def unrelated(scene: Scene) -> tuple[Message, ...]:
    """One or two turns after which the listing is right as it stands: a request is then understood without them.

    Args:
        scene: what to draw from.
    Returns:
        Their messages, oldest first; none where no draw fits.
    """
    history: tuple[Message, ...] = ()
    for _ in range(scene.rng.randint(1, 2)):
        history += _done(scene) if scene.rng.random() < 0.6 else _talk(scene)
    return history


def _done(scene: Scene) -> tuple[Message, ...]:
    earlier = act(scene, scene, (), shown_share=1.0)
    return earlier.history if earlier else ()


def _talk(scene: Scene) -> tuple[Message, ...]:
    """A question or a wish, and an answer that settles it."""
    draft = scene.rng.choice(_TALK)(scene)
    if draft is None or draft.calls:
        return ()
    return work_out(draft, scene.home, scene.offered).history(draft.request)
