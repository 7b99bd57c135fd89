"""The vacuum robot: to send it out, and home."""

from __future__ import annotations

from openmimo.chat import ToolCall
from openmimo.environments.home.answers import missing_answer, unsupported_answer
from openmimo.environments.home.kinds.base import REDUNDANT_SHARE, TOOL_OF, Draft, Scene, device_slots
from openmimo.environments.home.lookups import look_up
from openmimo.environments.home.mentions import Mention, named_mention, unsaid

__all__ = ["robot"]

_INTENTS = ("vacuum_start", "vacuum_home")
_MISSING_SHARE = 0.003
"""Of draws in homes that have none, each of which is drawn many times over: about one such task in six."""


def robot(scene: Scene) -> Draft | None:
    """Send the robot out or home; people often say what it is to do, and not its name."""
    device = scene.pick([device for device in scene.home.devices if device.domain == "vacuum"])
    intent = scene.pick(_INTENTS)
    if device is None:
        return _missing(scene, intent) if scene.rng.random() < _MISSING_SHARE else None
    is_so_already = (device.word() == "cleaning") == (intent == "vacuum_start")
    if is_so_already and scene.rng.random() >= REDUNDANT_SHARE:
        return None
    slots, tool = device_slots(scene.rng, named_mention(device)), TOOL_OF[intent]
    if not scene.can(intent):
        answer = unsupported_answer()
        return scene.phrase(intent, slots, mentions=(unsaid("house"),), rows=[device], answer=answer, lacking=tool)
    return scene.phrase(intent, slots, mentions=(unsaid("house"),), rows=[device], calls=(ToolCall(tool, {}),))


def _missing(scene: Scene, intent: str) -> Draft:
    mention = Mention("vacuum", "absent_bare", noun="vacuum")
    thoughts, answer = look_up(scene.home, ("vacuum",), "", ()), missing_answer(mention)
    slots = device_slots(scene.rng, mention)
    return scene.phrase(intent, slots, mentions=(mention,), rows=[], thoughts=thoughts, answer=answer)
