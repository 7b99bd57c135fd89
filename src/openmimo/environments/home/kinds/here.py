"""Complaints that say no room: "I'm freezing in here". One thing may help; of several, one asks which room."""

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

__all__ = ["complain_here", "in_this_room", "unhelped", "which_room"]

_HERE = ("in here", "in here", "here")


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


def unhelped(scene: Scene, intent: str) -> Draft:
    """A complaint without a room, where the whole home has nothing that could help.

    Args:
        scene: what to draw from.
        intent: one of COMPLAINTS.
    Returns:
        The draft.
    """
    noun = COMPLAINTS[intent].noun
    mention = Mention(noun, "absent_bare", noun=noun)
    thoughts, answer = _looked_up(scene, intent, ()), missing_answer(mention)
    return _without_room(scene, intent, mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)


def _draw(scene: Scene) -> tuple[str, list[Device]]:
    """A complaint, and all that could help with it in the first domain that has any."""
    intent = scene.rng.choice(tuple(COMPLAINTS))
    complaint = COMPLAINTS[intent]
    domains = complaint.domains
    helpers = [device for device in scene.home.devices if device.domain in domains and complaint.find([device])]
    first = next((domain for domain in domains if any(device.domain == domain for device in helpers)), "")
    return intent, [device for device in helpers if device.domain == first]


def _looked_up(scene: Scene, intent: str, helpers: Sequence[Device]) -> tuple[str, ...]:
    """What counts is said first: whether a lamp that is on does hangs on a request that stands far from its row. Of
    several helpers it only matters that they are several."""
    complaint = COMPLAINTS[intent]
    lines = (f"find: {complaint.sought}", *look_up(scene.home, complaint.domains, "", helpers))
    return lines if len(helpers) < 2 else (*lines[:-1], "which room")


def _without_room(scene: Scene, intent: str, **draft: Any) -> Draft:
    # "Nobody is any more, so no light" needs its place.
    places = _HERE if intent == "too_bright" else (*_HERE, "")
    return scene.phrase(intent, {"a": scene.rng.choice(places), "w": "room"}, **draft)
