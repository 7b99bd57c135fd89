"""Homes that ask before a lock is opened: the question, and what follows the answer."""

from __future__ import annotations

from openmimo.chat import Message
from openmimo.environments.home.answers import confirm_answer, kept_answer
from openmimo.environments.home.devices import Lock
from openmimo.environments.home.kinds.base import Draft, Scene, device_slots, make_call, some_mention
from openmimo.environments.home.lookups import find
from openmimo.environments.home.mentions import unsaid

__all__ = ["confirm"]


def confirm(scene: Scene) -> Draft | None:
    """A request to unlock, or the user's yes or no after the question."""
    locks = [device for device in scene.home.devices if isinstance(device, Lock) and device.is_locked]
    lock = scene.pick(locks)
    mention = some_mention(scene, lock, named_share=0.7) if lock else None
    if lock is None or mention is None or not scene.home.asks_first or "HassTurnOff" not in scene.offered:
        return None
    question = confirm_answer(lock)
    request = scene.phrase(
        "unlock",
        device_slots(scene.rng, mention),
        mentions=(mention,),
        rows=[lock],
        thoughts=(*find(scene.home, lock, mention), "ask first"),
        answer=question,
    )
    if scene.rng.random() < 0.5:
        return request
    is_yes = scene.rng.random() < 0.6
    return scene.phrase(
        "say_yes" if is_yes else "say_no",
        {},
        mentions=(unsaid("it"),),
        rows=[lock],
        thoughts=(scene.home.quote(lock), "yes" if is_yes else "no"),
        calls=(make_call(lock, "unlock"),) if is_yes else (),
        answer=None if is_yes else kept_answer(lock),
        history=(Message("user", request.request), Message("assistant", question.text)),
    )
