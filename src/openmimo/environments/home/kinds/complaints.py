"""What may be wrong with a room, and what helps: in a cold one the heater."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from openmimo.environments.home.devices import Climate, Cover, Device, Fan, Light, MediaPlayer
from openmimo.environments.home.kinds.amounts import change_of
from openmimo.environments.home.kinds.base import TOOL_OF, Draft, Scene, make_call
from openmimo.environments.home.kinds.questions import area_slots
from openmimo.environments.home.lookups import look_up
from openmimo.environments.home.mentions import unsaid
from openmimo.environments.home.values import NO_VALUE, Value

__all__ = ["COMPLAINTS", "Complaint", "Help", "complain"]


class Help(NamedTuple):
    """What to do about a complaint.

    Attributes:
        device: what helps.
        act: an intent of ACTIONS.
        value: its value.
        steps: the working of the value.
    """

    device: Device
    act: str
    value: Value = NO_VALUE
    steps: tuple[str, ...] = ()


class Complaint(NamedTuple):
    """What may be wrong with a room.

    Attributes:
        domains: where help is looked for, in this order.
        noun: what a room lacks that has no help.
        sought: what can help, and how it stands: rows are counted by it.
        find: what helps among some devices, or None where nothing or nobody knows what.
    """

    domains: tuple[str, ...]
    noun: str
    sought: str
    find: Callable[[Sequence[Device]], Help | None]


def complain(scene: Scene, intent: str, area: str) -> Draft | None:
    """Complain about a room.

    Args:
        scene: what to draw from.
        intent: one of COMPLAINTS.
        area: the room.
    Returns:
        The draft, or None where nothing there helps.
    """
    found = COMPLAINTS[intent].find([device for device in scene.home.devices if device.area == area])
    if found is None or TOOL_OF[found.act] not in scene.offered:
        return None
    return scene.phrase(
        intent,
        area_slots(area),
        mentions=(unsaid("area", area),),
        rows=[found.device],
        thoughts=(*look_up(scene.home, COMPLAINTS[intent].domains, area, (found.device,)), *found.steps),
        calls=(make_call(found.device, found.act, found.value),),
    )


def _only(devices: Sequence[Device], domain: type[Device]) -> Device | None:
    found = [device for device in devices if isinstance(device, domain)]
    return found[0] if len(found) == 1 else None


def _cold(devices: Sequence[Device]) -> Help | None:
    heater = _only(devices, Climate)
    return _heat(heater, 1) if heater else None


def _heat(heater: Device, sign: int) -> Help | None:
    """One degree more or less where it heats; where it does not, it is turned on."""
    change = change_of(heater, sign, 1)
    if change is not None:
        return Help(heater, change.intent, change.value, (change.step,))
    return Help(heater, "turn_on") if heater.word() == "off" and sign > 0 else None


def _hot(devices: Sequence[Device]) -> Help | None:
    """A fan that stands still, or a heater that heats: where there are both, nobody knows which is meant."""
    fan, heater = _only(devices, Fan), _only(devices, Climate)
    is_heating = heater is not None and heater.word() == "on"
    if any(isinstance(device, Fan) for device in devices):
        return Help(fan, "turn_on") if fan and fan.word() == "off" and not is_heating else None
    return _heat(heater, -1) if heater and is_heating else None


def _stuffy(devices: Sequence[Device]) -> Help | None:
    fan = _only(devices, Fan)
    return Help(fan, "turn_on") if fan and fan.word() == "off" else None


def _loud(devices: Sequence[Device]) -> Help | None:
    player = _only([device for device in devices if device.word() == "on"], MediaPlayer)
    return Help(player, "turn_off") if player else None


def _glare(devices: Sequence[Device]) -> Help | None:
    cover = _only(devices, Cover)
    if cover is None or cover.word() == "closed" or cover.noun.head == "door":
        return None
    return Help(cover, "close")


def _dark(devices: Sequence[Device]) -> Help | None:
    light = _only(devices, Light)
    return Help(light, "turn_on") if light and light.word() == "off" else None


def _bright(devices: Sequence[Device]) -> Help | None:
    light = _only(devices, Light)
    return Help(light, "turn_off") if light and light.word() == "on" else None


COMPLAINTS = {
    "cold": Complaint(("climate",), "thermostat", "climate", _cold),
    "hot": Complaint(("fan", "climate"), "fan", "fan off, climate on", _hot),
    "stuffy": Complaint(("fan",), "fan", "fan off", _stuffy),
    "loud": Complaint(("media_player",), "speaker", "media_player on", _loud),
    "glare": Complaint(("cover",), "blind", "cover open", _glare),
    "too_dark": Complaint(("light",), "light", "light off", _dark),
    "too_bright": Complaint(("light",), "light", "light on", _bright),
}
