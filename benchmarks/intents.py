"""A hand-written intent matcher beside the model, on single actions in the same homes and words.

The matcher is Home Assistant's: the sentences of `home-assistant-intents` recognised by `hassil`, with the names,
aliases and areas of each home. What it recognises becomes calls of our tools; the final state decides, as for the
model. The column "own wording" gives it each task in a sentence of its own: it shows that it is wired up as it should
be, and what is lost to the ways in which people say things.

    pip install hassil home-assistant-intents
    python benchmarks/intents.py --n 200
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from hassil import Intents, TextSlotList, recognize_best
from home_assistant_intents import get_intents

import openmimo
from openmimo.chat import Message, ToolCall
from openmimo.environments.home import Home, HomeEnvironment, HomeTask
from openmimo.evals import GREEDY, PHRASINGS, Column, Score, Scoreboard, format_scores, score

KINDS = {"named": 1.0, "alias": 1.0}
VALUES = {
    "HassLightSet": ("brightness", "color"),
    "HassSetPosition": ("position",),
    "HassClimateSetTemperature": ("temperature",),
}
"""Slots that go into a call besides what it is about, by intent; the names of intents are those of our tools."""
PLAIN = {
    "turn_on": "turn on the {name}",
    "turn_off": "turn off the {name}",
    "open": "open the {name}",
    "close": "close the {name}",
    "lock": "lock the {name}",
    "unlock": "unlock the {name}",
    "too_dark": "turn on the {name}",
    "too_bright": "turn off the {name}",
    "set_brightness": "set the {name} brightness to {brightness}%",
    "set_color": "set the {name} to {color}",
    "set_position": "set the {name} position to {position}%",
    "set_temperature": "set the {name} temperature to {temperature} degrees",
}
"""How the matcher itself would have each intent said."""
TARGETED = ("HassTurnOn", "HassTurnOff", *VALUES)


class Matcher:
    """The English sentences of Home Assistant."""

    def __init__(self) -> None:
        self.intents = Intents.from_dict(get_intents("en"))  # type: ignore[arg-type]

    def calls(self, home: Home, request: str) -> list[ToolCall]:
        """Recognise a request.

        Args:
            home: whose names are known.
            request: what was said.
        Returns:
            the calls that it stands for; none where it is not understood.
        """
        request = request.replace("°C", "°")  # its sentences leave the unit to the house
        found = recognize_best(request, self.intents, slot_lists=slot_lists(home), language="en", best_slot_name="name")
        if found is None or found.intent.name not in TARGETED:
            return []
        slots = {name: entity.value for name, entity in found.entities.items()}
        values = {name: slots[name] for name in VALUES.get(found.intent.name, ()) if name in slots}
        targets = [slots["name"]] if "name" in slots else matching(home, slots)
        return [ToolCall(found.intent.name, {"name": name, **values}, f"call_{i}") for i, name in enumerate(targets)]


def slot_lists(home: Home) -> dict[str, Any]:
    """What can be said in the places {name} and {area} of a sentence.

    Args:
        home: the home.
    Returns:
        hassil's lists; a name brings its domain, class and area as context.
    """
    names = []
    for device in home.devices:
        context = {"domain": device.domain, "device_class": device.noun.head, "area": device.area}
        names += [(text, device.name, context) for text in (device.name, device.alias) if text]
    areas = sorted({device.area for device in home.devices})
    return {
        "name": TextSlotList.from_tuples(names, allow_template=False),
        "area": TextSlotList.from_tuples([(area, area) for area in areas], allow_template=False),
        "floor": TextSlotList.from_tuples([], allow_template=False),
    }


def matching(home: Home, slots: dict[str, Any]) -> list[str]:
    """Names of the devices of an area, domain and class, those of the three that were said."""
    classes = slots.get("device_class")
    classes = [classes] if isinstance(classes, str) else classes
    return [
        device.name
        for device in home.devices
        if slots.get("area", device.area) == device.area
        and slots.get("domain", device.domain) == device.domain
        and (classes is None or device.noun.head in classes)
    ]


def in_own_words(task: HomeTask) -> str:
    """A task as the matcher would have it said."""
    return PLAIN[task.intent].format(**task.gold[0].tool_calls[0].arguments)


def play_matcher(matcher: Matcher, environment: HomeEnvironment, task: HomeTask, request: str) -> tuple[float, bool]:
    """Reward of the matcher at one task, and whether it understood the request at all."""
    episode = environment.start(task)
    calls = matcher.calls(task.home, request)
    episode.step(Message("assistant", tool_calls=tuple(calls)))
    if not episode.is_over:
        episode.step(Message("assistant", "Done."))
    return episode.reward(), bool(calls)


def score_matcher(
    matcher: Matcher, environment: HomeEnvironment, tasks: Sequence[HomeTask], say: Callable[[HomeTask], str]
) -> tuple[Column, float, float]:
    """Scores of the matcher, the share of requests that it understood, and milliseconds for each."""
    scores = {kind: Score() for kind in (*KINDS, "all")}
    understood, began = 0, time.perf_counter()
    for task in tasks:
        reward, is_understood = play_matcher(matcher, environment, task, say(task))
        understood += is_understood
        for cell in (scores[task.kind], scores["all"]):
            cell.rewards.append(reward)
    milliseconds = 1000 * (time.perf_counter() - began) / len(tasks)
    return Column(scores, 0.0, 0.0, 0, 0), understood / len(tasks), milliseconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="checkpoint folder (default: the model in the package)")
    parser.add_argument("--n", type=int, default=200, help="tasks of each set (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which tasks are drawn (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    environment, matcher = HomeEnvironment(weights=KINDS), Matcher()
    columns, notes = {}, {}
    with openmimo.load(args.folder) as engine:
        for name, phrasings in PHRASINGS.items():
            tasks = list(environment.tasks("eval", args.seed, args.n, phrasings))
            for wording, say in ((name, lambda task: task.request), ("own wording", in_own_words)):
                column = score_matcher(matcher, environment, tasks, say)
                columns[f"matcher, {wording}"], share, milliseconds = column
                notes[wording] = {"understood": round(share, 4), "ms_each": round(milliseconds, 2)}
            columns[f"model, {name}"] = score(engine, environment, tasks, GREEDY)
    board = Scoreboard("single actions", columns)
    if args.json:
        print(json.dumps({"scores": board.as_data(), "matcher": notes}))
        return
    rows = format_scores(board).splitlines()
    print("\n".join(row for row in rows if row.startswith(("| single", "| ---", "| alias", "| named", "| all"))))
    for name, note in notes.items():
        print(f"\nmatcher, {name}: recognises {100 * note['understood']:.0f}%, {note['ms_each']:.1f} ms each")


if __name__ == "__main__":
    main()
