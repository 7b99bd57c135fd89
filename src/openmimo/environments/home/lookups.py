"""How a request is looked up in the listing, line by line, as the reasoning writes it.

The first words of a look-up follow from the request alone, and each later decision from what stands just before it: a
reader that copies well and compares little can follow it. "The garage lamp" goes through the lights of the garage, "the
lamp" through all lights, a name of its own is looked for as it is; then comes what was meant, where that is not plain.
"""

from __future__ import annotations

from collections.abc import Sequence

from openmimo.environments.home.devices import Device
from openmimo.environments.home.world import Home

__all__ = ["find", "look_up", "rows_of"]

_BY_NAME = frozenset({"nickname", "person", "alias"})
_ANYWHERE = frozenset({"bare", "noun", "house"})


def find(home: Home, device: Device, naming: str) -> tuple[str, ...]:
    """Look one device up.

    Args:
        home: the home.
        device: one of its devices.
        naming: how the request says it, see `Mention`.
    Returns:
        Lines of the reasoning.
    """
    if naming in _BY_NAME:
        return (home.quote(device, by_alias=naming == "alias"),)
    return look_up(home, (device.domain,), "" if naming in _ANYWHERE else device.area, (device,))


def rows_of(home: Home, domain: str, area: str) -> tuple[str, ...]:
    """Lines that say what is in a domain, and that it is nothing where so.

    Args:
        home: the home.
        domain: such as "light".
        area: "" for the whole home.
    Returns:
        At least one line.
    """
    rows = tuple(map(home.row, _devices(home, domain, area)))
    return rows or (f"{domain} {area}".strip() + ": none",)


def _devices(home: Home, domain: str, area: str) -> list[Device]:
    return [device for device in home.devices if device.domain == domain and area in ("", device.area)]


def look_up(home: Home, domains: Sequence[str], area: str, meant: Sequence[Device]) -> tuple[str, ...]:
    """Go through the rows of some domains, in an area or everywhere, up to the first domain that has what is meant.

    Args:
        home: the home.
        domains: where to look, in this order.
        area: "" for the whole home.
        meant: the devices that the request fits.
    Returns:
        Lines of the reasoning: rows, or that there are none; then, unless the only row was meant, what was.
    """
    lines: list[str] = []
    listed: list[Device] = []
    for domain in domains:
        lines += rows_of(home, domain, area)
        listed += _devices(home, domain, area)
        if any(device in meant for device in listed):
            break
    names = [device.name for device in meant]
    if len(names) > 1:
        lines.append(f"which: {', '.join(names)}")
    elif len(listed) > 1 or (listed and not names):
        lines.append(f"take {names[0]}" if names else "none")
    return tuple(lines)
