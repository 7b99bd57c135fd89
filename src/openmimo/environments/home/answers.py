"""The sentences of a right answer, one deterministic form per case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from openmimo.environments.home.devices import Device
from openmimo.environments.home.mentions import Mention
from openmimo.environments.home.words import in_area
from openmimo.environments.home.world import Home

__all__ = [
    "Answer",
    "after_tool",
    "missing_answer",
    "motion_answer",
    "state_answer",
    "temperature_answer",
    "unsupported_answer",
    "which_answer",
    "yes_no_answer",
]


class Answer(NamedTuple):
    """A right answer and what any other wording of it must hold.

    Attributes:
        text: the sentence to learn.
        required: patterns that must all occur, as whole words, case ignored.
        forbidden: patterns that must not occur.
    """

    text: str
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()

    def accepts(self, content: str) -> bool:
        """Tell whether a reply says the same."""
        return all(_occurs(item, content) for item in self.required) and not any(
            _occurs(item, content) for item in self.forbidden
        )


def _occurs(pattern: str, content: str) -> bool:
    return re.search(rf"(?<!\w)(?:{pattern})(?!\w)", content, re.IGNORECASE) is not None


_OPPOSITE = {"on": "off", "off": "on", "open": "closed", "closed": "open", "locked": "unlocked", "unlocked": "locked"}


def after_tool(result: dict[str, Any]) -> str:
    """Say what a tool result says: a sentence per device, or what went wrong."""
    if "error" in result:
        return f"That did not work: {result['message']}."
    return " ".join("The {} is {}.".format(*item.split(": ", 1)) for item in result["success"])


def after_tools(results: Sequence[dict[str, Any]]) -> str:
    """Say what several tool results say, in order."""
    return " ".join(after_tool(result) for result in results)


def state_answer(home: Home, device: Device) -> Answer:
    """ "The blind is open at 40%." """
    said = device.said(home.rooms[device.area])
    numbers = re.findall(r"\d[\d.]*", said)
    words = [word for word in re.findall(r"[a-z]+", said) if word in _OPPOSITE or word in ("opening", "closing")]
    wrong = [_OPPOSITE[word] for word in words if word in _OPPOSITE]
    others = _other_names(home, [device])
    return Answer(f"The {device.name} is {said}.", tuple(numbers or words), tuple(wrong) + others)


def yes_no_answer(home: Home, device: Device, asked: str) -> Answer:
    """ "Yes, the front door is locked." or "No, the kettle is off." """
    word = device.word()
    yes, no = ("yes", "no") if word == asked else ("no", "yes")
    wrong = (no, _OPPOSITE[word], *_other_names(home, [device]))
    return Answer(f"{yes.capitalize()}, the {device.name} is {word}.", (yes,), wrong)


def temperature_answer(home: Home, device: Device) -> Answer:
    """ "It is 19 °C in the bedroom." """
    degrees = round(home.rooms[device.area].temperature_c)
    return Answer(f"It is {degrees} °C {in_area(device.area)}.", (rf"(?<![-\d.]){degrees}",))


def humidity_answer(home: Home, device: Device) -> Answer:
    """ "The humidity in the bathroom is 45%." """
    percent = device.state_text(home.rooms[device.area]).rstrip("%")
    return Answer(f"The humidity {in_area(device.area)} is {percent}%.", (percent,))


def motion_answer(device: Device) -> Answer:
    """ "Yes, there is motion in the hall." or "No, there is no motion in the hall." """
    if device.word() == "detected":
        return Answer(f"Yes, there is motion {in_area(device.area)}.", ("yes",), ("no",))
    return Answer(f"No, there is no motion {in_area(device.area)}.", ("no",), ("yes",))


def missing_answer(mention: Mention) -> Answer:
    """ "There is no fan in the office." or "I cannot find the desk lamp." """
    last_word = re.escape((mention.noun or mention.text).rsplit(" ", 1)[-1])
    denial = r"no|not|cannot|can't|don't|doesn't|isn't"
    required = (denial, last_word) + ((re.escape(mention.area),) if mention.area else ())
    if mention.area:
        return Answer(f"There is no {mention.noun} {in_area(mention.area)}.", required, ("tool",))
    return Answer(f"I cannot find the {mention.text}.", required, ("tool",))


def unsupported_answer() -> Answer:
    """The device is there, but the tool for it is not on offer."""
    return Answer("I have no tool for that.", (r"no|not|cannot|can't|don't", r"tools?|able|support\w*|do that"))


def which_answer(home: Home, devices: Sequence[Device]) -> Answer:
    """ "Which one: ceiling light or desk lamp?" """
    names = [device.name for device in devices]
    text = f"Which one: {', '.join(names[:-1])} or {names[-1]}?"
    return Answer(text, (*(re.escape(name) for name in names), r"which|do you mean"), _other_names(home, devices))


def error_answer(result: dict[str, Any]) -> Answer:
    """A call failed: say so."""
    return Answer(after_tool(result), (r"not|cannot|can't|must|invalid|no|only|failed|error",))


def _other_names(home: Home, devices: Sequence[Device]) -> tuple[str, ...]:
    """Names that the answer must not hold: those of other devices, unless part of a right one."""
    right = [text for device in devices for text in (device.name, device.alias, f"{device.area} {device.noun.text}")]
    return tuple(
        re.escape(other.name)
        for other in home.devices
        if other not in devices and not any(other.name in text for text in right)
    )
