"""What cannot be done, and what is not clear."""

from __future__ import annotations

from openmimo.environments.home.answers import scope_answer, unsupported_answer, which_answer
from openmimo.environments.home.devices import Climate, Cover, Device, Light
from openmimo.environments.home.kinds.base import (
    ACTIONS,
    TOOL_OF,
    Draft,
    Scene,
    device_slots,
    make_call,
    pick_action,
    say_action,
)
from openmimo.environments.home.kinds.here import which_room
from openmimo.environments.home.kinds.questions import ask_slots, asked_words, questions_for
from openmimo.environments.home.lookups import find, look_up
from openmimo.environments.home.mentions import ambiguous_mention, named_mention
from openmimo.environments.home.moments import sample_duration
from openmimo.environments.home.values import Value, sample_value, say_percent, say_temperature

__all__ = ["ambiguous", "unsupported"]


def unsupported(scene: Scene) -> Draft | None:
    """What no offered tool can do, or what the tool refuses."""
    draw, device = scene.rng.random(), scene.rng.choice(scene.home.devices)
    if draw < 0.4:
        return _out_of_scope(scene)
    if draw < 0.55:
        return _no_timer(scene, device)
    if device.domain not in ACTIONS:
        return None
    if draw < 0.72:
        return _impossible(scene, device)
    picked = pick_action(scene, device, is_offered=False)
    if picked is None:
        return None
    mention = named_mention(device)
    slots = device_slots(scene.rng, mention, picked[1])
    lacking = TOOL_OF[picked[0]]
    answer = unsupported_answer()
    return scene.phrase(picked[0], slots, mentions=(mention,), rows=[device], answer=answer, lacking=lacking)


def _out_of_scope(scene: Scene) -> Draft:
    """Order a pizza, tell a joke, know the capital of France."""
    return scene.phrase("out_of_scope", {}, rows=[], answer=scope_answer(scene.home))


def _no_timer(scene: Scene, device: Device) -> Draft | None:
    """A timer, or an action for later, where there is no tool for it."""
    length = sample_duration(scene.rng)
    if scene.rng.random() < 0.3 and "HassStartTimer" not in scene.offered:
        known = {"thoughts": (length.step,), "answer": unsupported_answer(), "lacking": "HassStartTimer"}
        return scene.phrase("timer", {"v": length.text}, rows=[], **known)
    picked = pick_action(scene, device)
    if picked is None or "Schedule" in scene.offered:
        return None
    mention = named_mention(device)
    slots = {"do": say_action(scene, picked[0], mention, picked[1]), "v": length.text}
    thoughts = (*find(scene.home, device, mention), length.step)
    answer = unsupported_answer()
    return scene.phrase(
        "later", slots, mentions=(mention,), rows=[device], thoughts=thoughts, answer=answer, lacking="Schedule"
    )


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
    if TOOL_OF[intent] not in scene.offered:
        return None
    mention = named_mention(device)
    slots = device_slots(scene.rng, mention, value)
    return scene.phrase(intent, slots, mentions=(mention,), rows=[device], calls=(make_call(device, intent, value),))


def ambiguous(scene: Scene) -> Draft | None:
    """A request that several devices fit, or a complaint that may be about several rooms: ask back."""
    if scene.rng.random() < 0.12:
        return which_room(scene)
    found = ambiguous_mention(scene.rng, scene.home, ACTIONS)
    if found is None:
        return None
    mention, devices = found
    slots: dict[str, str]
    picked = None
    if scene.rng.random() < 0.7:
        picked = pick_action(scene, devices[0])
        if picked is None:
            return None
        intent, slots = picked[0], device_slots(scene.rng, mention, picked[1])
    else:
        intent = scene.rng.choice([name for name in questions_for(devices[0]) if not name.startswith("ask_area")])
        slots = ask_slots(scene, devices[0].domain, mention, scene.rng.choice(asked_words(intent)))
    thoughts = look_up(scene.home, (devices[0].domain,), mention.area, devices, mention.noun)
    answer = which_answer(scene.home, devices)
    return scene.phrase(
        intent, slots, mentions=(mention,), rows=devices, thoughts=thoughts, answer=answer, action=picked
    )
