"""How a request is looked up in the listing, line by line, as the reasoning writes it.

The first words of a look-up follow from the request alone, and each later decision from what stands just before it: a
reader that copies well and compares little can follow it. What is looked for is said first. "The garage lamp" then goes
through the lights of the garage, "the lamp" through all lights, each with the number of those that fit so far, up to a
line that is about something else; then comes what was meant. A row with just the name that was said ends the search. A
name of its own is looked for as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from openmimo.environments.home.devices import Device
from openmimo.environments.home.mentions import Mention, fitting
from openmimo.environments.home.world import Home

__all__ = ["find", "look_up", "scan"]

_BY_NAME = frozenset({"nickname", "person", "alias"})


def find(home: Home, device: Device, mention: Mention) -> tuple[str, ...]:
    """Look one device up.

    Args:
        home: the home.
        device: one of its devices.
        mention: how the request says it; one without a noun means what its area has of the device's domain.
    Returns:
        Lines of the reasoning.
    """
    if mention.naming in _BY_NAME:
        return (home.quote(device, by_alias=mention.naming == "alias"),)
    meant = fitting(home, mention) if mention.noun else (device,)
    return look_up(home, (device.domain,), mention.area, meant, mention.noun)


def scan(home: Home, domain: str, area: str, meant: Sequence[Device], name: str = "") -> tuple[str, ...]:
    """Go through the rows of a domain up to the first line that is none of them.

    Args:
        home: the home.
        domain: such as "light".
        area: "" for the whole home.
        meant: the devices that count.
        name: a name that ends the search, or "".
    Returns:
        Rows, each with the number of devices so far that count, and the start of the line that follows them, or "end";
        a single line where there are no rows. A row that has the name ends with "this" and is the last line.
    """
    lines, number, follower = list[str](), 0, "end"
    for device in home.devices:
        if device.domain == domain and area in ("", device.area):
            if device.name == name:
                return (*lines, f"{home.row(device)}: this")
            number += device in meant
            lines.append(f"{home.row(device)}: {number}")
        elif lines:
            follower = f"{device.domain} {device.area}: no"
            break
    return (*lines, follower) if lines else (f"{domain} {area}".strip() + ": none",)


def look_up(home: Home, domains: Sequence[str], area: str, meant: Sequence[Device], noun: str = "") -> tuple[str, ...]:
    """Go through the rows of some domains, in an area or everywhere, up to the first domain that has what is meant.

    Args:
        home: the home.
        domains: where to look, in this order.
        area: "" for the whole home.
        meant: the devices that the request fits.
        noun: what the request calls it, or "" where it only follows from the request.
    Returns:
        Lines of the reasoning: what is looked for; how each domain is gone through; then what was meant.
    """
    said = f"{area} {noun}".strip() if noun else ""
    lines: list[str] = []
    for domain in domains:
        lines += scan(home, domain, area, meant, said)
        if any(device.domain == domain for device in meant):
            break
    has_rows = len(lines) > len(domains)
    lines = [f"find: {said}", *lines] if said else lines
    names = [device.name for device in meant]
    if lines[-1].endswith(": this"):
        return tuple(lines)
    if names:
        return (*lines, f"which: {', '.join(names)}" if len(names) > 1 else f"take {names[0]}")
    return (*lines, "none") if has_rows else tuple(lines)
