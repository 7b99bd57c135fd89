"""Complaints that say no room: the one thing that helps is used, or the room is asked for, or there is no help."""

import random

import pytest

from openmimo.environments.home.generate import sample_home
from openmimo.environments.home.kinds.base import Draft, Scene
from openmimo.environments.home.kinds.complaints import COMPLAINTS
from openmimo.environments.home.kinds.here import complain_here, in_this_room, which_room
from openmimo.environments.home.kinds.missing import no_help
from openmimo.environments.home.tools import TOOL_NAMES


def drafts(build, count: int = 40) -> list[tuple[Scene, Draft]]:
    found, seed = [], 0
    while len(found) < count:
        rng, seed = random.Random(f"here:{seed}"), seed + 1
        scene = Scene(rng, sample_home(rng, rng.randint(3, 14), "train"), TOOL_NAMES, "train")
        draft = build(scene)
        if draft is not None:
            found.append((scene, draft))
    return found


def helpers(scene: Scene, intent: str) -> list[str]:
    """Names of all that could help on its own."""
    complaint, devices = COMPLAINTS[intent], scene.home.devices
    return [device.name for device in devices if device.domain in complaint.domains and complaint.find([device])]


def test_the_only_thing_that_helps_is_used():
    for scene, draft in drafts(complain_here):
        names = helpers(scene, draft.intent)
        assert draft.calls[0].arguments["name"] in names
        assert draft.thoughts[-1].startswith("take ") or "=" in draft.thoughts[-1]
        if draft.intent != "hot":  # fans come before heaters
            assert len(names) == 1


def test_of_several_rooms_one_is_asked_for():
    for scene, draft in drafts(which_room):
        names = helpers(scene, draft.intent)
        assert len({device.area for device in scene.home.devices if device.name in names}) > 1
        assert not draft.calls
        assert draft.thoughts[-1] == "which room"
        assert draft.answer.accepts("Which room?")
        assert draft.answer.accepts("In which room are you?")
        assert not draft.answer.accepts("I cannot find the room.")
        assert not any(area in draft.request.lower() for area in scene.home.rooms)


def test_the_room_that_is_said_then_is_helped():
    for scene, draft in drafts(in_this_room):
        device = scene.home.named(draft.calls[0].arguments["name"])
        assert device.area in draft.request.lower()
        assert [message.role for message in draft.history] == ["user", "assistant"]
        intents = [intent for intent, complaint in COMPLAINTS.items() if device.domain in complaint.domains]
        assert any(device.name in helpers(scene, intent) for intent in intents)


@pytest.mark.parametrize("is_anywhere", [False, True])
def test_where_nothing_helps_that_is_said(is_anywhere):
    checked = 0
    for scene, draft in drafts(no_help, 120):
        complaint = COMPLAINTS[draft.intent]
        there = [device for device in scene.home.devices if device.domain in complaint.domains]
        if bool(there) == is_anywhere:
            checked += 1
            area = draft.mentions[0].area
            assert bool(area) == is_anywhere
            assert not any(device.area == area for device in there)
            assert complaint.noun in draft.answer.text
    assert checked > 10
