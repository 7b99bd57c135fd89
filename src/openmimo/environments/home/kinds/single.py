"""One action on one device, said by its name or in other words."""

from __future__ import annotations

from openmimo.environments.home.devices import Light
from openmimo.environments.home.kinds.base import ACTIONS, Draft, Scene, action_draft, pick_alias_naming
from openmimo.environments.home.kinds.complaints import complain
from openmimo.environments.home.mentions import listed_mention, named_mention

__all__ = ["alias", "named", "plain"]


def named(scene: Scene) -> Draft | None:
    """One action on a device called by its name."""
    device = scene.rng.choice(scene.home.devices)
    return action_draft(scene, device, named_mention(device)) if device.domain in ACTIONS else None


def plain(scene: Scene) -> Draft | None:
    """One action on a device that is called what most are: its area and a plain noun, as in "kitchen light"."""
    known = [device for device in scene.home.devices if device.domain in ACTIONS and device.noun.is_plain]
    device = scene.pick([device for device in known if named_mention(device).naming == "full"])
    return action_draft(scene, device, named_mention(device)) if device else None


def alias(scene: Scene) -> Draft | None:
    """One action on a device called by its alias, its room and sort, its sort alone, or a person; or none is said."""
    if scene.rng.random() < 0.08:
        return _dark_or_bright(scene)
    device = scene.rng.choice(scene.home.devices)
    if device.domain not in ACTIONS:
        return None
    mention = listed_mention(scene.rng, scene.home, device, pick_alias_naming(scene.rng))
    return action_draft(scene, device, mention) if mention else None


def _dark_or_bright(scene: Scene) -> Draft | None:
    """ "It is too dark in the hall": clear where the hall has exactly one light, and it is off."""
    light = scene.pick([device for device in scene.home.devices if isinstance(device, Light)])
    return light and complain(scene, "too_bright" if light.is_on else "too_dark", light.area)
