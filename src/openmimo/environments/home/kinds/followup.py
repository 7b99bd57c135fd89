"""Requests that only earlier turns explain: "now the other one too", "make it 30 instead", "what about the hall?".

The listing is either as it was before the earlier turns, as in a chat that gets it once, or as it is after them, as in
one that gets it afresh. In both the latest tool result tells how the device is that was spoken of.
"""

from __future__ import annotations

from collections.abc import Callable

from openmimo.chat import Message
from openmimo.environments.home.answers import state_answer
from openmimo.environments.home.devices import Climate, Cover, Device
from openmimo.environments.home.kinds.amounts import LARGE, SMALL, change_of
from openmimo.environments.home.kinds.base import Draft, Scene, device_slots, make_call
from openmimo.environments.home.kinds.earlier import Earlier, act
from openmimo.environments.home.kinds.here import in_this_room
from openmimo.environments.home.kinds.limits import ambiguous
from openmimo.environments.home.kinds.missing import missing
from openmimo.environments.home.kinds.questions import (
    area_slots,
    ask_area,
    ask_device,
    asked_words,
    questions_for,
    state,
)
from openmimo.environments.home.kinds.robot import robot
from openmimo.environments.home.kinds.several import group_word
from openmimo.environments.home.kinds.single import alias, named
from openmimo.environments.home.lookups import find
from openmimo.environments.home.mentions import Mention, named_mention, unsaid
from openmimo.environments.home.values import NO_VALUE, Value, sample_value, would_change

__all__ = ["followup"]

_BACK = {
    "turn_on": "turn_off",
    "turn_off": "turn_on",
    "open": "close",
    "close": "open",
    "lock": "unlock",
    "unlock": "lock",
}


def followup(scene: Scene) -> Draft | None:
    """A request after one or two earlier turns, most of them explained by the latest."""
    draw = scene.rng.random()
    if draw < 0.15:
        return _clarify(scene)
    if draw < 0.2:
        return in_this_room(scene)
    if draw < 0.4:
        return _ask_elsewhere(scene)
    earlier = act(scene, scene, ())
    if earlier is not None and scene.rng.random() < 0.25:
        earlier = act(scene, earlier.scene, earlier.history)
    if earlier is None:
        return None
    draft = scene.rng.choice(_FOLLOWUPS)(scene, earlier)
    if draft is not None:
        draft.history, draft.home, draft.listed = earlier.history, earlier.scene.home, scene.home
    return draft


# ---- after an action


def _back(scene: Scene, earlier: Earlier) -> Draft | None:
    """ "Turn it off again"."""
    intent = _BACK.get(earlier.intent) or ("turn_off" if not isinstance(earlier.device, Cover) else "close")
    if not scene.can(intent):
        return None
    return _it(scene, f"it_{intent}", earlier, intent, NO_VALUE)


def _it(scene: Scene, phrase: str, earlier: Earlier, intent: str, value: Value, *steps: str) -> Draft:
    return scene.phrase(
        phrase,
        {"v": value.text},
        mentions=(unsaid("it"),),
        rows=[earlier.device],
        thoughts=(*earlier.told, *steps),
        calls=(make_call(earlier.device, intent, value),),
    )


def _instead(scene: Scene, earlier: Earlier) -> Draft | None:
    """ "Make it 30 instead"."""
    if not earlier.value.arguments:
        return None
    value = sample_value(scene.rng, earlier.intent)
    if not would_change(earlier.device, earlier.intent, value):
        return None
    return _it(scene, "instead", earlier, earlier.intent, value)


def _more(scene: Scene, earlier: Earlier) -> Draft | None:
    """ "A bit more", after a value that was set."""
    if earlier.intent not in ("set_brightness", "set_temperature", "set_position"):
        return None
    is_more = scene.rng.random() < 0.5
    steps = LARGE if scene.rng.random() < 0.25 else SMALL
    change = change_of(earlier.device, 1 if is_more else -1, steps[earlier.device.domain])
    if change is None:
        return None
    phrase = ("a_lot_" if steps is LARGE else "a_bit_") + ("more" if is_more else "less")
    return _it(scene, phrase, earlier, change.intent, change.value, change.step)


def _other(scene: Scene, earlier: Earlier) -> Draft | None:
    """ "Now the other one too": the room has exactly one other device of the sort."""
    device, group = earlier.device, group_word(earlier.device)
    same = [other for other in earlier.scene.home.devices if other.area == device.area and group_word(other) == group]
    others = [other for other in same if other.name != device.name]
    if group is None or len(others) != 1:
        return None
    return _same_again(scene, "the_other", earlier, others[0], {})


def _elsewhere(scene: Scene, earlier: Earlier) -> Draft | None:
    """ "And the bedroom one": another room has exactly one device of the sort."""
    device, group = earlier.device, group_word(earlier.device) or earlier.device.domain
    others = [
        other
        for other in earlier.scene.home.devices
        if other.area != device.area and group == (group_word(other) or other.domain)
    ]
    other = scene.pick(others)
    if other is None or sum(one.area == other.area for one in others) != 1:
        return None
    return _same_again(scene, "also_in", earlier, other, area_slots(other.area))


def _same_again(scene: Scene, phrase: str, earlier: Earlier, device: Device, slots: dict[str, str]) -> Draft | None:
    no_color = earlier.intent == "set_color" and not getattr(device, "color", "")
    if no_color or not would_change(device, earlier.intent, earlier.value) or _was_spoken_of(earlier, device):
        return None
    listed = scene.home.named(earlier.device.name)
    assert listed is not None
    there = unsaid("area", device.area)
    return scene.phrase(
        phrase,
        slots,
        mentions=(there,),
        rows=[device],
        thoughts=(scene.home.row(listed), *find(scene.home, device, there)),
        calls=(make_call(device, earlier.intent, earlier.value),),
    )


def _was_spoken_of(earlier: Earlier, device: Device) -> bool:
    """Whether a result tells of the device, so that its row may be out of date."""
    return any(message.role == "tool" and f'"{device.name}: ' in message.content for message in earlier.history)


def _how_is_it(scene: Scene, earlier: Earlier) -> Draft | None:
    """ "How is it now?"."""
    if isinstance(earlier.device, Climate) and earlier.intent == "turn_on":
        return None  # Only the listing tells what it is set to.
    answer = state_answer(earlier.scene.home, earlier.device)
    if isinstance(earlier.device, Cover) and not earlier.told[0].endswith(("closed", "%")):
        return None  # "opening" does not tell how far it got.
    return scene.phrase(
        "how_is_it", {}, mentions=(unsaid("it"),), rows=[earlier.device], thoughts=earlier.told, answer=answer
    )


def _anew(scene: Scene, earlier: Earlier) -> Draft | None:
    """A request of its own, about devices that the listing still shows as they are."""
    draft = scene.rng.choice((named, named, alias, state, missing, robot))(scene)
    is_old = draft is None or any(_was_spoken_of(earlier, device) for device in draft.rows)
    return None if is_old else draft


_FOLLOWUPS: tuple[Callable[[Scene, Earlier], Draft | None], ...] = (
    _back, _back, _instead, _instead, _more, _more, _other, _other, _elsewhere, _elsewhere, _how_is_it, _anew, _anew,
)  # fmt: skip


# ---- after a question


def _ask_elsewhere(scene: Scene) -> Draft | None:
    """ "What about the hall?", after the same question about another room."""
    device = scene.rng.choice(scene.home.devices)
    intent = scene.pick(questions_for(device))
    sort = device.noun.measures or group_word(device) or device.domain
    others = [
        other
        for other in scene.home.devices
        if other.area != device.area and sort == (other.noun.measures or group_word(other) or other.domain)
    ]
    other = scene.pick(others)
    if intent is None or other is None or sum(one.area == other.area for one in others) != 1:
        return None
    asked = scene.rng.choice(asked_words(intent))
    first, again = _ask(scene, device, intent, asked), _ask(scene, other, intent, asked)
    if first is None or again is None or intent not in questions_for(other):
        return None
    assert first.answer is not None
    there = unsaid("area", other.area)
    return scene.phrase(
        "and_there",
        area_slots(other.area),
        mentions=(there,),
        rows=[other],
        thoughts=(scene.home.row(device), *find(scene.home, other, there)),
        answer=again.answer,
        history=(Message("user", first.request), Message("assistant", first.answer.text)),
    )


def _ask(scene: Scene, device: Device, intent: str, asked: str) -> Draft | None:
    if intent.startswith("ask_area"):
        return ask_area(scene, device, intent)
    return ask_device(scene, device, intent, named_mention(device), asked)


def _clarify(scene: Scene) -> Draft | None:
    """The answer to "Which one?"."""
    asked = ambiguous(scene)
    if asked is None or asked.action is None or asked.answer is None:
        return None
    intent, value = asked.action
    number = scene.rng.randrange(len(asked.rows))
    device = asked.rows[number]
    draw = scene.rng.random()
    if draw < 0.2 and len(asked.rows) == 2:
        phrase, slots, chosen = "both", {}, asked.rows
    elif draw < 0.4:
        last = number == len(asked.rows) - 1
        phrase, chosen = ("first_one" if number == 0 else "last_one" if last else "second_one"), [device]
        slots = {}
    else:
        mention: Mention = named_mention(device)
        phrase, slots, chosen = "this_one", device_slots(scene.rng, mention), [device]
    if intent == "set_color" and not all(getattr(one, "color", "") for one in chosen):
        return None
    return scene.phrase(
        phrase,
        slots,
        mentions=(unsaid("it"),),
        rows=chosen,
        thoughts=tuple(scene.home.quote(one) for one in chosen),
        calls=tuple(make_call(one, intent, value) for one in chosen),
        history=(Message("user", asked.request), Message("assistant", asked.answer.text)),
    )
