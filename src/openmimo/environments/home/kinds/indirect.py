"""Complaints and wishes that name no device: "I'm freezing in the office" means its heater."""

from __future__ import annotations

from openmimo.environments.home.devices import Climate, Cover, Device, Fan, MediaPlayer
from openmimo.environments.home.kinds.amounts import change_of
from openmimo.environments.home.kinds.base import TOOL_OF, Draft, Scene, make_call
from openmimo.environments.home.kinds.questions import area_slots
from openmimo.environments.home.lookups import look_up
from openmimo.environments.home.mentions import unsaid
from openmimo.environments.home.values import NO_VALUE, Value

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
_WHERE = {"hot": ("fan", "climate")}
"""Where to look for help, where that is more than one domain."""


def indirect(scene: Scene) -> Draft | None:
    """A complaint about a room, or a wish, that exactly one device can answer."""
    if scene.rng.random() < 0.3:
        return _wish(scene)
    area = scene.rng.choice(scene.home.devices).area
    devices = [device for device in scene.home.devices if device.area == area]
    complaint = scene.rng.choice((_cold, _hot, _stuffy, _loud, _glare))
    return complaint(scene, devices)


def _only(devices: list[Device], domain: type[Device]) -> Device | None:
    found = [device for device in devices if isinstance(device, domain)]
    return found[0] if len(found) == 1 else None


def _help(scene: Scene, intent: str, device: Device, act: str, value: Value = NO_VALUE, *steps: str) -> Draft | None:
    if TOOL_OF[act] not in scene.offered:
        return None
    return scene.phrase(
        intent,
        area_slots(device.area),
        mentions=(unsaid("area"),),
        rows=[device],
        thoughts=(*look_up(scene.home, _WHERE.get(intent, (device.domain,)), device.area, (device,)), *steps),
        calls=(make_call(device, act, value),),
    )


def _cold(scene: Scene, devices: list[Device]) -> Draft | None:
    heater = _only(devices, Climate)
    return _heat(scene, "cold", heater, 1) if heater else None


def _heat(scene: Scene, intent: str, heater: Device, sign: int) -> Draft | None:
    """One degree more or less where it heats; where it does not, it is turned on."""
    change = change_of(heater, sign, 1)
    if change is not None:
        return _help(scene, intent, heater, change.intent, change.value, change.step)
    return _help(scene, intent, heater, "turn_on") if heater.word() == "off" and sign > 0 else None


def _hot(scene: Scene, devices: list[Device]) -> Draft | None:
    """A fan that stands still, or a heater that heats: where there are both, nobody knows which is meant."""
    fan, heater = _only(devices, Fan), _only(devices, Climate)
    is_heating = heater is not None and heater.word() == "on"
    if any(isinstance(device, Fan) for device in devices):
        return _help(scene, "hot", fan, "turn_on") if fan and fan.word() == "off" and not is_heating else None
    return _heat(scene, "hot", heater, -1) if heater and is_heating else None


def _stuffy(scene: Scene, devices: list[Device]) -> Draft | None:
    fan = _only(devices, Fan)
    return _help(scene, "stuffy", fan, "turn_on") if fan and fan.word() == "off" else None


def _loud(scene: Scene, devices: list[Device]) -> Draft | None:
    playing = [device for device in devices if device.word() == "on"]
    player = _only(playing, MediaPlayer)
    return _help(scene, "loud", player, "turn_off") if player else None


def _glare(scene: Scene, devices: list[Device]) -> Draft | None:
    cover = _only(devices, Cover)
    if cover is None or cover.word() == "closed" or cover.noun.head == "door":
        return None
    return _help(scene, "glare", cover, "close")


def _wish(scene: Scene) -> Draft | None:
    intent = scene.rng.choice(tuple(_WISHES))
    found = [device for device in scene.home.devices if device.noun.text in _WISHES[intent]]
    if len(found) != 1 or found[0].word() != "off" or not scene.can("turn_on"):
        return None
    device = found[0]
    return scene.phrase(intent, {}, mentions=(unsaid("noun"),), rows=[device], calls=(make_call(device, "turn_on"),))
