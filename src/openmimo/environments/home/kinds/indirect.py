"""Complaints and wishes that name no device: "I'm freezing in the office" means its heater."""

from __future__ import annotations

from openmimo.environments.home.kinds.base import Draft, Scene, make_call
from openmimo.environments.home.kinds.complaints import complain
from openmimo.environments.home.kinds.here import complain_here
from openmimo.environments.home.mentions import unsaid

__all__ = ["indirect"]

# What people want, and the nouns of the one thing that gives it.
_WISHES = {
    "want_coffee": ("coffee maker",),
    "want_tea": ("kettle",),
    "want_film": ("tv", "projector"),
    "want_music": ("radio", "stereo", "speaker", "soundbar"),
    "want_laundry": ("washing machine",),
    "want_dishes": ("dishwasher",),
}


def indirect(scene: Scene) -> Draft | None:
    """A complaint, mostly about a room, or a wish, that exactly one device can answer."""
    draw = scene.rng.random()
    if draw < 0.3:
        return _wish(scene)
    if draw < 0.45:
        return complain_here(scene)
    area = scene.rng.choice(scene.home.devices).area
    return complain(scene, scene.rng.choice(("cold", "hot", "stuffy", "loud", "glare")), area)


def _wish(scene: Scene) -> Draft | None:
    intent = scene.rng.choice(tuple(_WISHES))
    found = [device for device in scene.home.devices if device.noun.text in _WISHES[intent]]
    if len(found) != 1 or found[0].word() != "off" or not scene.can("turn_on"):
        return None
    device = found[0]
    return scene.phrase(intent, {}, mentions=(unsaid("noun"),), rows=[device], calls=(make_call(device, "turn_on"),))
