"""One builder for each kind of task about a car: what is asked, what is right to do, and the thought before it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from openmimo.chat import Message, ToolCall
from openmimo.environments.acting import Draft
from openmimo.environments.base import Split
from openmimo.environments.car.answers import (
    ask_first,
    cannot_find,
    driving_answer,
    leave_it,
    no_tool,
    number_answer,
    reach_answer,
    refused,
    state_answer,
    too_far_answer,
    where_answer,
    yes_no,
)
from openmimo.environments.car.cockpit import Cockpit
from openmimo.environments.car.generate import COMMON_PLACES, ROOFS, SEATS, SWITCHES, WINDOWS, place_phrase
from openmimo.environments.car.messages import sample_message
from openmimo.environments.comparing import compared
from openmimo.environments.home.answers import verb_of
from openmimo.environments.home.words import PEOPLE, invent_word

__all__ = ["GENERAL_KINDS", "Scene", "draw_draft", "say_percent", "say_time"]


class Scene(NamedTuple):
    """What a builder draws from."""

    rng: random.Random
    cockpit: Cockpit
    offered: tuple[str, ...]
    split: Split


class Action(NamedTuple):
    """One request for an action.

    Attributes:
        tool: what carries it out.
        slots: texts for the phrasing.
        names: rows that the reasoning quotes; first the car's where it must not be on the road.
        arguments: of the call.
    """

    tool: str
    slots: dict[str, str]
    names: list[str]
    arguments: dict[str, Any]


def draw_draft(scene: Scene, kind: str) -> Draft | None:
    """Draw a request of one kind.

    Args:
        scene: the cockpit, tools on offer, split and randomness.
        kind: one of GENERAL_KINDS.
    Returns:
        The draft, or None where this draw does not fit; draw again.
    """
    return GENERAL_KINDS[kind](scene)


def say_percent(rng: random.Random, percent: int) -> str:
    """Write a percentage.

    Args:
        rng: source of randomness.
        percent: the number.
    Returns:
        "40%" or "40 percent".
    """
    return f"{percent}{rng.choice(('%', '%', ' percent'))}"


def say_time(rng: random.Random, minutes: int) -> str:
    """Write a time of day.

    Args:
        rng: source of randomness.
        minutes: of the day.
    Returns:
        "07:40", "7:40", on the hour also "7" or "7 o'clock", in the morning only.
    """
    hour, minute = divmod(minutes, 60)
    forms = [f"{hour:02d}:{minute:02d}", f"{hour}:{minute:02d}"]
    if minute == 0 and hour < 12:
        forms += [str(hour), f"{hour} o'clock"]
    return rng.choice(forms)


# ---- actions


def _climate(is_on: bool) -> Callable[[Scene], Action | None]:
    tool = "CarTurnOn" if is_on else "CarTurnOff"
    return lambda scene: Action(tool, {}, ["climate"], {"name": "climate"})


def _temperature(scene: Scene) -> Action:
    degrees = scene.rng.randint(16, 28)
    text = f"{degrees}{scene.rng.choice((' degrees', ' degrees', '', ' °C'))}"
    return Action("CarSetTemperature", {"v": text}, ["climate"], {"temperature": degrees})


def _switch(is_on: bool) -> Callable[[Scene], Action | None]:
    def draw(scene: Scene) -> Action | None:
        name = _one_of(scene, [name for name, now in scene.cockpit.car.switches.items() if now != is_on])
        return name and Action("CarTurnOn" if is_on else "CarTurnOff", {"n": name}, [name], {"name": name})

    return draw


def _charging(is_on: bool) -> Callable[[Scene], Action | None]:
    def draw(scene: Scene) -> Action | None:
        tool = "CarTurnOn" if is_on else "CarTurnOff"
        return Action(tool, {}, ["car"], {"name": "charging"}) if scene.cockpit.car.is_plugged else None

    return draw


def _seat_level(scene: Scene) -> Action | None:
    name, level = _one_of(scene, list(scene.cockpit.car.seats)), scene.rng.randint(1, 3)
    return name and Action("CarSetSeat", {"n": name, "v": str(level)}, [name], {"name": name, "level": level})


def _seat_off(scene: Scene) -> Action | None:
    name = _one_of(scene, [name for name, level in scene.cockpit.car.seats.items() if level])
    return name and Action("CarTurnOff", {"n": name}, [name], {"name": name})


def _window(position: int | None) -> Callable[[Scene], Action | None]:
    def draw(scene: Scene) -> Action | None:
        name = _one_of(scene, list(scene.cockpit.car.windows))
        percent = 10 * scene.rng.randint(1, 9) if position is None else position
        slots = {"n": name or "", "v": say_percent(scene.rng, percent)}
        return name and Action("CarSetWindow", slots, [name], {"name": name, "position": percent})

    return draw


def _windows(position: int) -> Callable[[Scene], Action | None]:
    return lambda scene: Action("CarSetWindow", {}, list(scene.cockpit.car.windows), {"position": position})


def _lock(name: str) -> Callable[[Scene], Action | None]:
    return lambda scene: Action("CarLock", {}, [name], {"name": name})


def _charge_limit(scene: Scene) -> Action:
    percent = 5 * scene.rng.randint(6, 20)
    return Action("CarSetCharge", {"v": say_percent(scene.rng, percent)}, ["battery"], {"limit": percent})


def _navigate(scene: Scene) -> Action | None:
    place = _place(scene)
    return place and Action("CarNavigate", {"p": place_phrase(place)}, ["car", place], {"place": place})


def _precondition(scene: Scene) -> Action:
    minutes = 5 * scene.rng.randint(0, 287)
    return Action("CarPrecondition", {"t": say_time(scene.rng, minutes)}, ["car", "climate"], {"start": clock(minutes)})


def _call(scene: Scene) -> Action:
    name, said = _contact(scene)
    return Action("PhoneCall", {"p": said}, [name], {"name": name})


def _notify(scene: Scene) -> Action:
    name, said = _contact(scene)
    message = sample_message(scene.rng)
    return Action("PhoneNotify", {"p": said, "m": message}, [name], {"name": name, "message": message})


def clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _one_of(scene: Scene, names: list[str]) -> Any:
    return scene.rng.choice(names) if names else None


def _place(scene: Scene) -> Any:
    """A place to drive to, not by way of a charger."""
    cockpit = scene.cockpit
    away = (cockpit.car.place, "home")
    return _one_of(scene, [name for kind, name in cockpit.names() if kind == "place" and name not in away])


def _contact(scene: Scene) -> tuple[str, str]:
    """A contact and how the request says it: by name, or by what it is to the owner."""
    name, relation = scene.rng.choice(list(scene.cockpit.phone.contacts.items()))
    if relation and scene.rng.random() < 0.6:
        return name, relation if relation in ("mum", "dad") and scene.rng.random() < 0.6 else f"my {relation}"
    return name, name


_ACTIONS: dict[str, Callable[[Scene], Action | None]] = {
    "climate_on": _climate(True),
    "climate_off": _climate(False),
    "temperature": _temperature,
    "switch_on": _switch(True),
    "switch_off": _switch(False),
    "charge_start": _charging(True),
    "charge_stop": _charging(False),
    "seat_level": _seat_level,
    "seat_off": _seat_off,
    "window_open": _window(100),
    "window_close": _window(0),
    "window_position": _window(None),
    "windows_open": _windows(100),
    "windows_close": _windows(0),
    "lock": _lock("doors"),
    "trunk_close": _lock("trunk"),
    "charge_limit": _charge_limit,
    "navigate": _navigate,
    "precondition": _precondition,
    "call": _call,
    "notify": _notify,
}
_ON_THE_ROAD = ("navigate", "precondition", "charge_start", "charge_stop", "trunk_close", "lock")
_PHONE = ("call", "notify")


def _draw_action(scene: Scene, intents: tuple[str, ...]) -> tuple[str, Action] | None:
    intent = scene.rng.choice(intents)
    if scene.cockpit.car.is_driving and intent in _ON_THE_ROAD:
        return None
    action = _ACTIONS[intent](scene)
    return (intent, action) if action else None


def _draft(scene: Scene, intents: tuple[str, ...]) -> Draft | None:
    drawn = _draw_action(scene, intents)
    if drawn is None or drawn[1].tool not in scene.offered:
        return None
    intent, action = drawn
    thought = _quotes(scene, action.names)
    if intent == "navigate":
        place = action.arguments["place"]
        if _is_too_far(scene.cockpit, place):
            return None
        thought.append(_think_reach(scene.cockpit, place))
    return Draft(intent, action.slots, thought, (ToolCall(action.tool, action.arguments),))


def _quotes(scene: Scene, names: list[str]) -> list[str]:
    contacts = scene.cockpit.phone.contacts
    return [scene.cockpit.contact(name) if name in contacts else scene.cockpit.quote(name) for name in names]


def _is_too_far(cockpit: Cockpit, place: str) -> bool:
    return cockpit.percent_to(place) > cockpit.car.percent


def _action(scene: Scene) -> Draft | None:
    return _draft(scene, tuple(intent for intent in _ACTIONS if intent not in _PHONE))


def _phone(scene: Scene) -> Draft | None:
    return _draft(scene, _PHONE)


def _unsupported(scene: Scene) -> Draft | None:
    drawn = _draw_action(scene, tuple(_ACTIONS))
    if drawn is None or drawn[1].tool in scene.offered:
        return None
    thought = [*_quotes(scene, drawn[1].names), f"{drawn[1].tool}: none"]
    return Draft(drawn[0], drawn[1].slots, thought, answer=no_tool())


def _impossible(scene: Scene) -> Draft | None:
    """Ask for a value that the tool refuses; the error is then passed on."""
    if scene.rng.random() < 0.5:
        degrees = scene.rng.choice((*range(2, 16), *range(29, 60)))
        call = ToolCall("CarSetTemperature", {"temperature": degrees})
        intent, names, slots = "temperature", ["climate"], {"v": f"{degrees} degrees"}
        answer = refused("temperature must be 16 to 28", r"temperatures?|degrees?|climate|°C")
    else:
        name, level = scene.rng.choice(list(scene.cockpit.car.seats)), scene.rng.randint(4, 9)
        call = ToolCall("CarSetSeat", {"name": name, "level": level})
        intent, names, slots = "seat_level", [name], {"n": name, "v": str(level)}
        answer = refused("level must be 0 to 3", "levels?|seat")
    is_offered = call.name in scene.offered
    return Draft(intent, slots, _quotes(scene, names), (call,), answer) if is_offered else None


def _too_far(scene: Scene) -> Draft | None:
    place = _place(scene)
    if scene.cockpit.car.is_driving or place is None or not _is_too_far(scene.cockpit, place):
        return None
    thought = [*_quotes(scene, ["car", place]), _think_reach(scene.cockpit, place)]
    return Draft("navigate", {"p": place_phrase(place)}, thought, answer=too_far_answer(place_phrase(place)))


def _think_reach(cockpit: Cockpit, place: str) -> str:
    percent = cockpit.car.percent
    return f"battery {percent}%, {compared(cockpit.percent_to(place), '<=', percent)}"


# ---- what is not there


def _missing(scene: Scene) -> Draft | None:
    rng, cockpit = scene.rng, scene.cockpit
    draw = rng.choice(("window", "seat", "switch", "place", "contact"))
    there = {name for _, name in cockpit.names()} | set(cockpit.phone.contacts)
    if draw == "place":
        intents, names = ("navigate", "ask_far", "ask_minutes"), [*COMMON_PLACES, f"{rng.choice(PEOPLE)}'s place"]
        name = rng.choice([name for name in names if name not in there])
        name = invent_word(rng) if rng.random() < 0.3 else name
        said, slot = place_phrase(name), "p"
    elif draw == "contact":
        name = rng.choice([name for name in PEOPLE if name not in there])
        intents, said, slot = _PHONE, name, "p"
    else:
        intents, pool = {
            "window": (("window_open", "window_close", "ask_window"), [*sum(WINDOWS, ()), *ROOFS]),
            "seat": (("seat_level", "seat_off"), list(sum(SEATS, ()))),
            "switch": (("switch_on", "switch_off"), list(SWITCHES)),
        }[draw]
        name = rng.choice([name for name in pool if name not in there])
        said, slot = f"the {name}", "n"
    intent = rng.choice(intents)
    if cockpit.car.is_driving and intent == "navigate":
        return None
    slots = {slot: name if slot == "n" else said, "v": str(rng.randint(1, 3)), "m": sample_message(rng)}
    before = _quotes(scene, ["car"]) if intent == "navigate" else []
    return Draft(intent, slots, [*before, f"{name}: none"], answer=cannot_find(said))


# ---- questions


def _state(scene: Scene) -> Draft | None:
    rng, cockpit = scene.rng, scene.cockpit
    intent = rng.choice(tuple(_QUESTIONS))
    return _QUESTIONS[intent](scene, cockpit)


def _ask_charge(scene: Scene, cockpit: Cockpit) -> Draft:
    percent = cockpit.car.percent
    answer = number_answer(f"The battery is at {percent}%.", percent)
    return Draft("ask_charge", {}, _quotes(scene, ["battery"]), answer=answer)


def _ask_range(scene: Scene, cockpit: Cockpit) -> Draft:
    km = cockpit.car.range_km(cockpit.outside_c)
    return Draft("ask_range", {}, _quotes(scene, ["battery"]), answer=number_answer(f"The range is {km} km.", km))


def _ask_limit(scene: Scene, cockpit: Cockpit) -> Draft:
    percent = cockpit.car.limit_percent
    answer = number_answer(f"The charge limit is {percent}%.", percent)
    return Draft("ask_limit", {}, _quotes(scene, ["battery"]), answer=answer)


def _ask_cabin(scene: Scene, cockpit: Cockpit) -> Draft:
    degrees = round(cockpit.car.cabin_c)
    answer = number_answer(f"It is {degrees} °C in the car.", degrees)
    return Draft("ask_cabin", {}, _quotes(scene, ["cabin"]), answer=answer)


def _ask_where(scene: Scene, cockpit: Cockpit) -> Draft:
    car = cockpit.car
    place = car.route[-1] if car.is_driving else car.place
    text = f"The car is driving to {place}." if car.is_driving else f"The car is parked at {place}."
    return Draft("ask_where", {}, _quotes(scene, ["car"]), answer=where_answer(text, place))


def _ask_locked(scene: Scene, cockpit: Cockpit) -> Draft:
    answer = yes_no(cockpit.car.doors_locked, "the doors are", "locked", "unlocked")
    return Draft("ask_locked", {}, _quotes(scene, ["doors"]), answer=answer)


def _ask_plugged(scene: Scene, cockpit: Cockpit) -> Draft | None:
    if cockpit.car.is_driving:
        return None
    answer = yes_no(cockpit.car.is_plugged, "the car is", "plugged in", "not plugged in")
    return Draft("ask_plugged", {}, _quotes(scene, ["car"]), answer=answer)


def _ask_window(scene: Scene, cockpit: Cockpit) -> Draft:
    name = scene.rng.choice(list(cockpit.car.windows))
    answer = state_answer(name, cockpit.car.windows[name] > 0, "open", "closed")
    return Draft("ask_window", {"n": name}, _quotes(scene, [name]), answer=answer)


def _ask_trunk(scene: Scene, cockpit: Cockpit) -> Draft:
    answer = state_answer("trunk", cockpit.car.trunk_open, "open", "closed")
    return Draft("ask_trunk", {}, _quotes(scene, ["trunk"]), answer=answer)


def _ask_switch(scene: Scene, cockpit: Cockpit) -> Draft | None:
    name = _one_of(scene, list(cockpit.car.switches))
    if not name:
        return None
    answer = state_answer(name, cockpit.car.switches[name], "on", "off")
    return Draft("ask_switch", {"n": name, "b": verb_of(name)}, _quotes(scene, [name]), answer=answer)


def _ask_climate(scene: Scene, cockpit: Cockpit) -> Draft:
    answer = state_answer("climate", cockpit.car.climate_on, "on", "off")
    return Draft("ask_climate", {}, _quotes(scene, ["climate"]), answer=answer)


def _ask_far(scene: Scene, cockpit: Cockpit) -> Draft | None:
    place = _place(scene)
    if place is None or cockpit.car.is_driving:
        return None
    km = round(cockpit.car.roads.km(cockpit.car.place, place))
    answer = number_answer(f"It is {km} km to {place_phrase(place)}.", km)
    return Draft("ask_far", {"p": place_phrase(place)}, _quotes(scene, [place]), answer=answer)


def _ask_minutes(scene: Scene, cockpit: Cockpit) -> Draft | None:
    place = _place(scene)
    if place is None or cockpit.car.is_driving:
        return None
    minutes = cockpit.car.roads.minutes(cockpit.car.place, place)
    answer = number_answer(f"It takes {minutes} min to {place_phrase(place)}.", minutes)
    return Draft("ask_minutes", {"p": place_phrase(place)}, _quotes(scene, [place]), answer=answer)


def _ask_reach(scene: Scene, cockpit: Cockpit) -> Draft | None:
    place = _place(scene)
    if place is None or cockpit.car.is_driving:
        return None
    thought = [*_quotes(scene, [place]), _think_reach(cockpit, place)]
    answer = reach_answer(place_phrase(place), cockpit.percent_to(place), cockpit.car.percent)
    return Draft("ask_reach", {"p": place_phrase(place)}, thought, answer=answer)


_QUESTIONS: dict[str, Callable[[Scene, Cockpit], Draft | None]] = {
    "ask_charge": _ask_charge,
    "ask_range": _ask_range,
    "ask_limit": _ask_limit,
    "ask_cabin": _ask_cabin,
    "ask_where": _ask_where,
    "ask_locked": _ask_locked,
    "ask_plugged": _ask_plugged,
    "ask_window": _ask_window,
    "ask_trunk": _ask_trunk,
    "ask_switch": _ask_switch,
    "ask_climate": _ask_climate,
    "ask_far": _ask_far,
    "ask_minutes": _ask_minutes,
    "ask_reach": _ask_reach,
}


# ---- what needs care


def _dangerous(scene: Scene) -> tuple[str, str, str] | None:
    """Intent, thing and its state now: unlocking locked doors, or opening a closed trunk."""
    car, intent = scene.cockpit.car, scene.rng.choice(("unlock", "trunk_open"))
    if "CarUnlock" not in scene.offered:
        return None
    if intent == "unlock":
        return (intent, "doors", "locked") if car.doors_locked else None
    return None if car.trunk_open else (intent, "trunk", "closed")


def asked_text(intent: str) -> str:
    return {"unlock": "unlock the doors", "trunk_open": "open the trunk"}[intent]


def _confirm(scene: Scene) -> Draft | None:
    danger = _dangerous(scene)
    if danger is None or scene.cockpit.car.is_driving:
        return None
    intent, thing, _ = danger
    thought = _quotes(scene, ["car", thing])
    return Draft(intent, {}, thought, answer=ask_first(asked_text(intent)))


def _confirmed(scene: Scene) -> Draft | None:
    danger = _dangerous(scene)
    if danger is None or scene.cockpit.car.is_driving:
        return None
    intent, thing, _ = danger
    call = ToolCall("CarUnlock", {"name": thing, "confirmed": True})
    return Draft("confirm_yes", {}, _quotes(scene, [thing]), (call,), before=intent)


def _declined(scene: Scene) -> Draft | None:
    danger = _dangerous(scene)
    if danger is None or scene.cockpit.car.is_driving:
        return None
    intent, thing, state = danger
    return Draft("confirm_no", {}, _quotes(scene, [thing]), answer=leave_it(thing, state), before=intent)


def _driving(scene: Scene) -> Draft | None:
    if not scene.cockpit.car.is_driving:
        return None
    intent = scene.rng.choice(("unlock", "trunk_open", "navigate", "precondition"))
    slots: dict[str, str] = {}
    if intent in _ACTIONS:
        action = _ACTIONS[intent](scene)
        if action is None or action.tool not in scene.offered:
            return None
        slots = action.slots
    elif "CarUnlock" not in scene.offered:
        return None
    return Draft(intent, slots, _quotes(scene, ["car"]), answer=driving_answer())


def before_messages(draft: Draft, request: str) -> tuple[Message, ...]:
    """The request that was asked back about, and the question."""
    return (Message("user", request), Message("assistant", ask_first(asked_text(draft.before)).text))


GENERAL_KINDS: dict[str, Callable[[Scene], Draft | None]] = {
    "action": _action,
    "phone": _phone,
    "state": _state,
    "missing": _missing,
    "unsupported": _unsupported,
    "impossible": _impossible,
    "too_far": _too_far,
    "confirm": _confirm,
    "confirmed": _confirmed,
    "declined": _declined,
    "driving": _driving,
}
