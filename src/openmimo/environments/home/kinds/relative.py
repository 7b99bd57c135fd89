"""Changes by an amount: "a bit warmer in the bedroom", "dim it by 20", "open the blind a bit more"."""

from __future__ import annotations

from openmimo.environments.home.devices import Climate, Cover, Device, Light
from openmimo.environments.home.kinds.amounts import Change, change_of, sample_amount
from openmimo.environments.home.kinds.base import TOOL_OF, Draft, Scene, device_slots, make_call, some_mention
from openmimo.environments.home.kinds.questions import area_slots
from openmimo.environments.home.lookups import find
from openmimo.environments.home.mentions import Mention, unsaid

__all__ = ["relative"]

# More and less of what a domain has.
_INTENTS = {"light": ("brighter", "dimmer"), "climate": ("warmer", "cooler"), "cover": ("wider", "narrower")}


def relative(scene: Scene) -> Draft | None:
    """More or less of something, by an amount that is said or by a usual step."""
    device = scene.pick([device for device in scene.home.devices if isinstance(device, Light | Climate | Cover)])
    if device is None:
        return None
    is_more = scene.rng.random() < 0.5
    amount_slots, amount = sample_amount(scene.rng, device.domain)
    change = change_of(device, 1 if is_more else -1, amount)
    if change is None or TOOL_OF[change.intent] not in scene.offered:
        return None
    intent = _INTENTS[device.domain][0 if is_more else 1]
    if not isinstance(device, Cover) and _is_alone(scene, device) and scene.rng.random() < 0.45:
        slots = area_slots(device.area) | amount_slots
        return _draft(scene, f"{intent}_area", slots, unsaid("area", device.area), device, change)
    mention = some_mention(scene, device, named_share=0.6)
    if mention is None:
        return None
    return _draft(scene, intent, device_slots(scene.rng, mention) | amount_slots, mention, device, change)


def _is_alone(scene: Scene, device: Device) -> bool:
    return sum(other.area == device.area and other.domain == device.domain for other in scene.home.devices) == 1


def _draft(scene: Scene, intent: str, slots: dict[str, str], mention: Mention, device: Device, change: Change) -> Draft:
    return scene.phrase(
        intent,
        slots,
        mentions=(mention,),
        rows=[device],
        thoughts=(*find(scene.home, device, mention), change.step),
        calls=(make_call(device, change.intent, change.value),),
    )
