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
    "after_tools",
    "confirm_answer",
    "count_answer",
    "courtesy_answer",
    "error_answer",
    "kept_answer",
    "missing_answer",
    "motion_answer",
    "nothing_answer",
    "outside_answer",
    "scope_answer",
    "state_answer",
    "temperature_answer",
    "time_answer",
    "unsupported_answer",
    "verb_of",
    "which_answer",
    "which_room_answer",
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


# What a reply says when it declines; no answer about a present device may hold it.
_DECLINED = (r"(?:cannot|can't|could not) find", "no tool", "which one", "did nothing", "did not work", "only control")
_REFUSALS = (r"there (?:is|are) no(?! motion)", *_DECLINED)
_COUNTED = r"(?:no|\d+) (?!it|this|that|the)\w+ (?:is|are)"
_UNOPPOSED = ("opening", "closing", "docked", "cleaning", "returning")
_OPPOSITE = {"on": "off", "off": "on", "open": "closed", "closed": "open", "locked": "unlocked", "unlocked": "locked"}


def after_tool(result: dict[str, Any]) -> str:
    """Say what a tool result says.

    Args:
        result: what `call_tool` returned.
    Returns:
        One sentence per device, or one that says what went wrong.
    """
    if "error" in result:
        return f"That did not work: {result['message']}."
    items = (item.split(": ", 1) for item in result["success"])
    return " ".join(f"The {name} {verb_of(name)} {state}." for name, state in items)


def verb_of(name: str) -> str:
    """The verb that goes with a name: "are" for doors and lights, else "is"."""
    return "are" if name.endswith(("doors", "lights")) else "is"


def after_tools(results: Sequence[dict[str, Any]]) -> str:
    """Say what several tool results say.

    Args:
        results: what `call_tool` returned, in the order of the calls.
    Returns:
        Their sentences in the same order.
    """
    return " ".join(after_tool(result) for result in results)


def state_answer(home: Home, device: Device) -> Answer:
    """Tell a device's state.

    Args:
        home: the home.
        device: the device asked about.
    Returns:
        Such as "The blind is open at 40%."
    """
    said = device.said(home.rooms[device.area])
    numbers = re.findall(r"\d[\d.]*", said)
    words = [word for word in re.findall(r"[a-z]+", said) if word in _OPPOSITE or word in _UNOPPOSED]
    wrong = [_OPPOSITE[word] for word in words if word in _OPPOSITE]
    others = _other_names(home, [device])
    return Answer(f"The {device.name} is {said}.", tuple(numbers or words), (*wrong, _COUNTED, *others, *_REFUSALS))


def yes_no_answer(home: Home, device: Device, asked: str) -> Answer:
    """Confirm or deny a device's state.

    Args:
        home: the home.
        device: the device asked about.
        asked: the state word in the question.
    Returns:
        Such as "Yes, the front door is locked." or "No, the kettle is off."
    """
    word = device.word()
    yes, no = ("yes", "no") if word == asked else ("no", "yes")
    wrong = (no, _COUNTED, _OPPOSITE[word], *_other_names(home, [device]), *_REFUSALS)
    return Answer(f"{yes.capitalize()}, the {device.name} is {word}.", (rf"\A\W*{yes}",), wrong)


def temperature_answer(home: Home, device: Device) -> Answer:
    """Tell how warm a room is.

    Args:
        home: the home.
        device: the thermometer or thermostat that tells.
    Returns:
        Such as "It is 19 °C in the bedroom."
    """
    degrees = round(home.rooms[device.area].temperature_c)
    return Answer(
        f"It is {degrees} °C {in_area(device.area)}.",
        (rf"(?<![-\d.]){degrees}",),
        (*_other_areas(home, device), *_REFUSALS),
    )


def humidity_answer(home: Home, device: Device) -> Answer:
    """Tell how humid a room is.

    Args:
        home: the home.
        device: the hygrometer.
    Returns:
        Such as "The humidity in the bathroom is 45%."
    """
    percent = device.state_text(home.rooms[device.area]).rstrip("%")
    return Answer(
        f"The humidity {in_area(device.area)} is {percent}%.", (percent,), (*_other_areas(home, device), *_REFUSALS)
    )


def motion_answer(home: Home, device: Device) -> Answer:
    """Tell whether something moves in a room.

    Args:
        home: the home.
        device: the motion sensor.
    Returns:
        "Yes, there is motion in the hall." or "No, there is no motion in the hall."
    """
    others = (*_other_areas(home, device), *_REFUSALS)
    if device.word() == "detected":
        return Answer(f"Yes, there is motion {in_area(device.area)}.", (r"\A\W*yes",), ("no", *others))
    return Answer(f"No, there is no motion {in_area(device.area)}.", (r"\A\W*no",), ("yes", *others))


def time_answer(home: Home) -> Answer:
    """Tell the time.

    Args:
        home: the home.
    Returns:
        Such as "It is 13:05."
    """
    return Answer(f"It is {home.clock}.", (home.clock,), _REFUSALS)


def outside_answer(home: Home) -> Answer:
    """Tell how warm it is outside.

    Args:
        home: the home.
    Returns:
        Such as "It is 7 °C outside."
    """
    degrees = round(home.outside_c)
    return Answer(
        f"It is {degrees} °C outside.", (rf"(?<![-\d.]){degrees}",), (*map(re.escape, home.rooms), *_REFUSALS)
    )


def missing_answer(mention: Mention) -> Answer:
    """Say that the home has no such device.

    Args:
        mention: how the request says it.
    Returns:
        "There is no fan in the office." where it gives an area, else "I cannot find the desk lamp."
    """
    denial = r"no|not|cannot|can't|don't|doesn't|isn't"
    last_word = (mention.noun or mention.text).rsplit(" ", 1)[-1]
    required = (denial, *(re.escape(word) for word in (last_word, mention.area, mention.nick) if word))
    if mention.area:
        return Answer(f"There is no {mention.noun} {in_area(mention.area)}.", required, ("tool",))
    return Answer(f"I cannot find the {mention.text}.", required, ("tool",))


def unsupported_answer() -> Answer:
    """Say that the device is there, but the tool for it is not on offer.

    Returns:
        "I have no tool for that."
    """
    return Answer(
        "I have no tool for that.",
        (r"no|not|cannot|can't|don't", r"tools?|able|support\w*|do that"),
        ("find", "there is no"),
    )


def scope_answer(home: Home) -> Answer:
    """Say what the assistant is for, to a request that has nothing to do with a home.

    Args:
        home: the home.
    Returns:
        "I can only control this home."
    """
    required = (r"only|not|cannot|can't|unable", r"home|house|do that")
    return Answer("I can only control this home.", required, ("find", "there is no", *_other_names(home, [])))


def courtesy_answer(intent: str) -> Answer:
    """Be polite, and say what there is to do here.

    Args:
        intent: "hello", "thanks" or "help".
    Returns:
        Such as "Hello. What shall I do?"
    """
    text, required = {
        "hello": ("Hello. What shall I do?", r"hello|hi|hey|good|welcome|here|help|what"),
        "thanks": ("You are welcome.", r"welcome|pleasure|glad\w*|problem|any ?time"),
        "help": ("I control this home: ask me to change something, or how things are.", "home|house|devices?|lights?"),
    }[intent]
    return Answer(
        text, (required,), ("there is no", "tools?", "did nothing", "which one", "which room", "is (?:on|off)")
    )


def which_answer(home: Home, devices: Sequence[Device]) -> Answer:
    """Ask back.

    Args:
        home: the home.
        devices: those that the request could mean, in listing order.
    Returns:
        Such as "Which one: ceiling light or desk lamp?"
    """
    names = [device.name for device in devices]
    text = f"Which one: {', '.join(names[:-1])} or {names[-1]}?"
    return Answer(text, (*(re.escape(name) for name in names), r"which|do you mean"), _other_names(home, devices))


def which_room_answer() -> Answer:
    """Ask where the one is who complains.

    Returns:
        "Which room?"
    """
    return Answer("Which room?", (r"which|what|where", r"rooms?|where|area"), ("tools?", "find", "there is no"))


def nothing_answer(told: str, key: str) -> Answer:
    """Say that nothing was done, because a condition does not hold.

    Args:
        told: how things are.
        key: the word or number of it that any wording must hold.
    Returns:
        Such as "I did nothing: the office window is closed."
    """
    required = (r"nothing|not|n't|no|already|still|unchanged|left", re.escape(key))
    return Answer(f"I did nothing: {told}.", required, (r"(?:cannot|can't|could not) find", "tools?", "which one"))


def count_answer(home: Home, intent: str, nouns: tuple[str, str], asked: str, found: Sequence[Device]) -> Answer:
    """Say how many or which of a sort are in a state.

    Args:
        home: the home.
        intent: "count_how_many", "count_which" or "count_any".
        nouns: the sort in the singular and in the plural.
        asked: the state.
        found: those in that state, in listing order.
    Returns:
        Such as "2 lights are on.", "The desk lamp and the led strip.", "Yes: the desk lamp." or "No light is on."
    """
    if not found:
        lacking = r"there (?:is|are) no [\w ]+ (?:in|on) the (?!home|house)\w+"
        forbidden = ("yes", lacking, *_DECLINED, *_other_names(home, []))
        return Answer(f"No {nouns[0]} is {asked}.", (r"no|none|not|n't|zero|0",), forbidden)
    number, names = len(found), [device.name for device in found]
    if intent == "count_how_many":
        noun, verb = (nouns[0], "is") if number == 1 else (nouns[1], "are")
        words = ("one", "two", "three", "four")
        wrong = [rf"{other}|{words[other - 1]}" for other in range(1, 5) if other != number]
        return Answer(
            f"{number} {noun} {verb} {asked}.", (rf"{number}|{words[number - 1]}",), (*wrong, "none", "which one")
        )
    listed = " and ".join(filter(None, (", ".join(f"the {name}" for name in names[:-1]), f"the {names[-1]}")))
    required = tuple(re.escape(name) for name in names)
    forbidden = (*_other_names(home, found), *_REFUSALS)
    if intent == "count_any":
        return Answer(f"Yes: {listed}.", (r"\A\W*yes",), forbidden)
    return Answer(f"{listed[0].upper()}{listed[1:]}.", required, forbidden)


def confirm_answer(device: Device) -> Answer:
    """Ask before a lock is opened.

    Args:
        device: the lock.
    Returns:
        Such as "Shall I unlock the front door?"
    """
    return Answer(
        f"Shall I unlock the {device.name}?", (re.escape(device.name), r"shall|should|sure|confirm\w*|want|may")
    )


def kept_answer(device: Device) -> Answer:
    """Say that a lock stays as it is, because the user said no.

    Args:
        device: the lock.
    Returns:
        Such as "The front door stays locked."
    """
    required = (re.escape(device.name), r"locked|not|n't")
    return Answer(f"The {device.name} stays locked.", required, ("unlocked", "which one", "find"))


def error_answer(result: dict[str, Any]) -> Answer:
    """Say that a call failed.

    Args:
        result: the error that `call_tool` returned.
    Returns:
        "That did not work: " and the error's message.
    """
    told = r"(?:is|are|stays) (?:on|off|open|closed|locked|unlocked)"
    forbidden = ("tools?", "find", "there is no", "control", "which one", "nothing", told)
    name, _, lacking = result["message"].partition(" has no ")
    about = (re.escape(name), "colou?rs?") if lacking else (re.escape(name.rsplit(" ", 1)[-1]),)
    return Answer(after_tool(result), (r"not|cannot|can't|must|invalid|no|only|failed|error", *about), forbidden)


def _other_areas(home: Home, device: Device) -> tuple[str, ...]:
    return tuple(re.escape(area) for area in home.rooms if area != device.area)


def _other_names(home: Home, devices: Sequence[Device]) -> tuple[str, ...]:
    """Names that the answer must not hold: those of other devices, unless part of a right one."""
    right = [text for device in devices for text in (device.name, device.alias, f"{device.area} {device.noun.text}")]
    return tuple(
        re.escape(other.name)
        for other in home.devices
        if other not in devices and not any(other.name in text for text in right)
    )
