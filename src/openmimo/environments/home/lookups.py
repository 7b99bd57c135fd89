"""How a request is looked up in the listing, line by line, as the reasoning writes it.

The first words of a look-up follow from the request alone, and each later decision from what stands just before it: a
reader that copies well and compares little can follow it. "The garage lamp" goes through the lights of the garage, "the
lamp" through all lights, each with the number of those that fit so far, up to a line that is about something else; then
comes what was meant. A name of its own is looked for as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from openmimo.environments.home.devices import Device
from openmimo.environments.home.world import Home

__all__ = ["find", "look_up", "scan"]

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


def scan(home: Home, domain: str, area: str, fitting: Sequence[Device]) -> tuple[str, ...]:
    """Go through the rows of a domain up to the first line that is none of them.

    Args:
        home: the home.
        domain: such as "light".
        area: "" for the whole home.
        fitting: the devices that count.
    Returns:
        Rows, each with the number of fitting ones so far, and the start of the line that follows them, or "end"; a
        single line where there are no rows.
    """
    lines, number, follower = list[str](), 0, "end"
    for device in home.devices:
        if device.domain == domain and area in ("", device.area):
            number += device in fitting
            lines.append(f"{home.row(device)}: {number}")
        elif lines:
            follower = f"{device.domain} {device.area}: no"
            break
    return (*lines, follower) if lines else (f"{domain} {area}".strip() + ": none",)


def look_up(home: Home, domains: Sequence[str], area: str, meant: Sequence[Device]) -> tuple[str, ...]:
    """Go through the rows of some domains, in an area or everywhere, up to the first domain that has what is meant.

    Args:
        home: the home.
        domains: where to look, in this order.
        area: "" for the whole home.
        meant: the devices that the request fits.
    Returns:
        Lines of the reasoning: how each domain is gone through; then what was meant.
    """
    names = [device.name for device in meant]
    lines: list[str] = []
    for domain in domains:
        lines += scan(home, domain, area, meant)
        if any(device.domain == domain for device in meant):
            break
    if names:
        return (*lines, f"which: {', '.join(names)}" if len(names) > 1 else f"take {names[0]}")
    return (*lines, "none") if len(lines) > len(domains) else tuple(lines)
