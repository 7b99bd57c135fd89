"""Complaints that say no room: "I'm freezing in here". One thing in the home may help; of several, one asks which room.

Complaints where nothing helps are here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openmimo.chat import Message
from openmimo.environments.home.answers import missing_answer, which_room_answer
from openmimo.environments.home.devices import Device
from openmimo.environments.home.kinds.base import TOOL_OF, Draft, Scene, make_call
from openmimo.environments.home.kinds.complaints import COMPLAINTS, complain
from openmimo.environments.home.kinds.questions import area_slots
from openmimo.environments.home.lookups import look_up
from openmimo.environments.home.mentions import Mention, unsaid

__all__ = ["complain_here", "in_this_room", "no_help", "which_room"]

_HERE = ("in here", "in here", "here")
_WANTED = {
    "cold": "climate",
    "hot": "fan off, climate on",
    "stuffy": "fan off",
    "loud": "media_player on",
    "glare": "cover open",
    "too_dark": "light off",
    "too_bright": "light on",
}
"""What can help, said before the rows are gone through: what counts must stand near them."""


def complain_here(scene: Scene) -> Draft | None:
    """A complaint without a room, where one device of the whole home can help."""
    intent, helpers = _draw(scene)
    found = COMPLAINTS[intent].find(helpers) if len(helpers) == 1 else None
    if found is None or TOOL_OF[found.act] not in scene.offered:
        return None
    thoughts = (*_looked_up(scene, intent, helpers), *found.steps)
    calls = (make_call(found.device, found.act, found.value),)
    return _without_room(scene, intent, mentions=(unsaid("here"),), rows=helpers, thoughts=thoughts, calls=calls)


def which_room(scene: Scene) -> Draft | None:
    """A complaint without a room, where something can help in several rooms: ask back."""
    intent, helpers = _draw(scene)
    if len({device.area for device in helpers}) < 2:
        return None
    thoughts, answer = _looked_up(scene, intent, helpers), which_room_answer()
    return _without_room(scene, intent, mentions=(unsaid("here"),), rows=helpers, thoughts=thoughts, answer=answer)


def in_this_room(scene: Scene) -> Draft | None:
    """The answer to "Which room?"."""
    asked = which_room(scene)
    if asked is None or asked.answer is None:
        return None
    area = scene.rng.choice(asked.rows).area
    draft = complain(scene, asked.intent, area)
    return draft and scene.phrase(
        "this_room",
        area_slots(area),
        mentions=draft.mentions,
        rows=draft.rows,
        thoughts=draft.thoughts,
        calls=draft.calls,
        history=(Message("user", asked.request), Message("assistant", asked.answer.text)),
    )


def no_help(scene: Scene) -> Draft | None:
    """A complaint where the room, or the whole home, has nothing that could help."""
    intent, home = scene.rng.choice(tuple(COMPLAINTS)), scene.home
    domains, noun, _ = COMPLAINTS[intent]
    there = [device for device in home.devices if device.domain in domains]
    if not there:
        mention = Mention(noun, "absent_bare", noun=noun)
        thoughts, answer = _looked_up(scene, intent, ()), missing_answer(mention)
        return _without_room(scene, intent, mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)
    area = scene.rng.choice(home.devices).area
    if any(device.area == area for device in there):
        return None
    mention = Mention("", "absent_area", area=area, noun=noun)
    thoughts, answer = look_up(home, domains, area, ()), missing_answer(mention)
    return scene.phrase(intent, area_slots(area), mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)


def _draw(scene: Scene) -> tuple[str, list[Device]]:
    """A complaint, and all that could help with it in the first domain that has any."""
    intent = scene.rng.choice(tuple(COMPLAINTS))
    domains, _, find = COMPLAINTS[intent]
    helpers = [device for device in scene.home.devices if device.domain in domains and find([device])]
    first = next((domain for domain in domains if any(device.domain == domain for device in helpers)), "")
    return intent, [device for device in helpers if device.domain == first]


def _looked_up(scene: Scene, intent: str, helpers: Sequence[Device]) -> tuple[str, ...]:
    """Of several helpers it only matters that they are several."""
    lines = (f"find: {_WANTED[intent]}", *look_up(scene.home, COMPLAINTS[intent].domains, "", helpers))
    return lines if len(helpers) < 2 else (*lines[:-1], "which room")


def _without_room(scene: Scene, intent: str, **draft: Any) -> Draft:
    # "Nobody is any more, so no light" needs its place.
    places = _HERE if intent == "too_bright" else (*_HERE, "")
    return scene.phrase(intent, {"a": scene.rng.choice(places), "w": "room"}, **draft)
