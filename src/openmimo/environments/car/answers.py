"""The sentences of a right answer about a car, and what any other wording must hold."""

from __future__ import annotations

import re

from openmimo.environments.home.answers import Answer, verb_of

__all__ = [
    "ask_first", "cannot_find", "driving_answer", "leave_it", "no_tool", "number_answer", "reach_answer", "refused",
    "state_answer", "too_far_answer", "where_answer", "yes_no",
]  # fmt: skip

_DENIAL = r"no|not|cannot|can't|don't|doesn't|isn't|unknown"


def number_answer(text: str, value: int, forbidden: tuple[str, ...] = ()) -> Answer:
    """A sentence whose only number is the answer.

    Args:
        text: the sentence.
        value: the number.
        forbidden: patterns of what else must not be in it.
    Returns:
        The answer; a reply with other numbers beside it is wrong.
    """
    others = rf"(?<![-.\d])(?!{value}(?!\d))-?\d+"
    return Answer(text, (rf"(?<![-\d.]){value}" if value >= 0 else rf"{value}",), (others, *forbidden))


def yes_no(is_yes: bool, what: str, yes: str, no: str) -> Answer:
    """Confirm or deny.

    Args:
        is_yes: which it is.
        what: subject and verb, "the doors are".
        yes: the state that was asked for.
        no: its opposite.
    Returns:
        Such as "Yes, the doors are locked."
    """
    word, right, wrong = ("Yes", yes, no) if is_yes else ("No", no, yes)
    forbidden = ("no",) if is_yes else ("yes",)
    return Answer(
        f"{word}, {what} {right}.",
        (rf"\A\W*{word}",),
        (*forbidden, *(() if right in wrong or wrong in right else (wrong,))),
    )


def state_answer(name: str, is_so: bool, yes: str, no: str) -> Answer:
    """Which of two states something is in, however the question was turned.

    Args:
        name: of the thing.
        is_so: which it is.
        yes: the one state.
        no: its opposite.
    Returns:
        Such as "The left window is open."
    """
    state, other = (yes, no) if is_so else (no, yes)
    about = rf"\b(?:{name.split()[-1]}|it|they)\b"
    return Answer(f"The {name} {verb_of(name)} {state}.", (about, rf"\b{state}\b"), (rf"\b{other}\b", "did not work"))


def where_answer(text: str, place: str) -> Answer:
    """Where the car is.

    Args:
        text: the sentence.
        place: what it must name.
    Returns:
        The answer.
    """
    return Answer(text, (re.escape(place),))


def cannot_find(mention: str) -> Answer:
    """The car has no such part, the map no such place, the phone no such contact.

    Args:
        mention: as the request says it.
    Returns:
        "I cannot find the sunroof."
    """
    return Answer(
        f"I cannot find {mention}.", (_DENIAL, re.escape(mention.removeprefix("the "))), ("tool", "done by", "planned")
    )


def no_tool() -> Answer:
    """The tool for it is not on offer.

    Returns:
        "I have no tool for that."
    """
    return Answer(
        "I have no tool for that.", (_DENIAL, r"tools?|able|support\w*|do that"), ("find", "there is no", "driving")
    )


def refused(message: str, about: str) -> Answer:
    """Pass on that a tool has refused a value.

    Args:
        message: of the tool.
        about: pattern of what was refused.
    Returns:
        "That did not work: level must be 0 to 3."
    """
    denial = rf"{_DENIAL}|must|invalid|only|failed|error|too"
    return Answer(f"That did not work: {message}.", (denial, about), ("find", "tools?", "driving"))


def driving_answer() -> Answer:
    """Not on the road.

    Returns:
        "I cannot do that while driving."
    """
    return Answer("I cannot do that while driving.", (_DENIAL, r"driv\w+|road|moving|on the move|parked?"))


def ask_first(what: str) -> Answer:
    """Ask for a yes before something dangerous.

    Args:
        what: "unlock the doors" or "open the trunk".
    Returns:
        "Shall I unlock the doors?"
    """
    verb, _, thing = what.partition(" the ")
    return Answer(f"Shall I {what}?", (verb, f"{thing}|car", r"shall|should|sure|want|confirm|may|really"), ("cannot",))


def leave_it(thing: str, state: str) -> Answer:
    """Take a no for an answer.

    Args:
        thing: "doors" or "trunk".
        state: what it stays.
    Returns:
        "All right, the doors stay locked."
    """
    verb = "stay" if thing.endswith("s") else "stays"
    return Answer(f"All right, the {thing} {verb} {state}.", (r"all right|ok|okay|stays?|leave|fine|sure|won't",))


def reach_answer(place: str, need: int, has: int) -> Answer:
    """Whether the battery is enough.

    Args:
        place: as people say it.
        need: percent that the drive takes.
        has: percent in the battery.
    Returns:
        "Yes, the lake takes 31% and the battery has 62%."
    """
    word, other = ("Yes", "no") if need <= has else ("No", "yes")
    return Answer(f"{word}, {place} takes {need}% and the battery has {has}%.", (rf"\A\W*{word}",), (other,))


def too_far_answer(place: str) -> Answer:
    """The battery does not reach.

    Args:
        place: as people say it.
    Returns:
        "The battery is too low for the lake."
    """
    return Answer(
        f"The battery is too low for {place}.",
        (
            r"too (?:low|far|empty)|not enough|cannot|can't",
            r"battery|charge|far",
            re.escape(place.removeprefix("the ")),
        ),
    )
