"""The car environment: actions, questions, refusals, confirmations and journeys."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from openmimo.chat import Message
from openmimo.environments.acting import ActingEnvironment, ActingTask, Draft, StateGoal, task_id, work_out
from openmimo.environments.base import Split
from openmimo.environments.car.cockpit import Cockpit
from openmimo.environments.car.generate import Situation, sample_cockpit
from openmimo.environments.car.kinds import GENERAL_KINDS, Scene, before_messages
from openmimo.environments.car.tools import CAR_TOOLS
from openmimo.environments.car.trips import JOURNEY_KINDS
from openmimo.environments.language import Language

__all__ = ["KIND_WEIGHTS", "LANGUAGE", "CarEnvironment", "sample_group"]

KIND_WEIGHTS: Mapping[Situation, Mapping[str, float]] = {
    "parked": {"action": 34, "phone": 8, "state": 24, "missing": 8, "unsupported": 4, "impossible": 3, "too_far": 5,
               "confirm": 6, "confirmed": 6, "declined": 2},
    "driving": {"action": 25, "phone": 12, "state": 20, "missing": 8, "unsupported": 3, "impossible": 3, "driving": 30},
    "journey": {"journey_charge": 25, "journey_warm": 20, "journey": 25, "journey_enough": 8, "journey_stop": 22},
}  # fmt: skip
SITUATION_WEIGHTS: Mapping[Situation, float] = {"parked": 50, "driving": 15, "journey": 35}
MAX_TOOLS = 8
MAX_DRAWS = 40
_JOURNEY_TOOLS = ("CarSetCharge", "CarPrecondition", "CarNavigate")
_BUILDERS = GENERAL_KINDS | JOURNEY_KINDS
LANGUAGE = Language(Path(__file__).with_name("language") / "en")


def sample_group(
    rng: random.Random,
    split: Split,
    phrasings: Split,
    count: int,
    situation: Situation | None = None,
    weights: Mapping[Situation, Mapping[str, float]] = KIND_WEIGHTS,
) -> list[ActingTask]:
    """Draw tasks about one car; all share system message and tools.

    Args:
        rng: source of randomness.
        split: of the cars, by a hash of what the model reads; towns of "eval" are its own.
        phrasings: of the words.
        count: how many.
        situation: what the car is doing; None draws it.
        weights: share of each kind in every situation.
    Returns:
        The tasks.
    """
    situation = situation or rng.choices(tuple(SITUATION_WEIGHTS), tuple(SITUATION_WEIGHTS.values()))[0]
    while True:
        cockpit = sample_cockpit(rng, split, situation)
        scene = Scene(rng, cockpit, _offer(rng, situation), split)
        tasks = [_task(scene, weights[situation], phrasings) for _ in range(count)]
        if all(tasks):
            return [task for task in tasks if task]


def _offer(rng: random.Random, situation: Situation) -> tuple[str, ...]:
    fixed = _JOURNEY_TOOLS if situation == "journey" else ()
    rest = [name for name in CAR_TOOLS.names if name not in fixed]
    chosen = {*fixed, *rng.sample(rest, (rng.randint(4, 6) if fixed else MAX_TOOLS) - len(fixed))}
    return tuple(name for name in CAR_TOOLS.names if name in chosen)


def _task(scene: Scene, weights: Mapping[str, float], phrasings: Split) -> ActingTask | None:
    """A task of a kind drawn by weight; kinds that the cockpit does not allow are drawn again, None where none fits."""
    weights = dict(weights)
    while weights:
        kind = scene.rng.choices(tuple(weights), tuple(weights.values()))[0]
        for _ in range(MAX_DRAWS):
            draft = _BUILDERS[kind](scene)
            task = _finish(scene, kind, draft, phrasings) if draft else None
            if task is not None:
                return task
        del weights[kind]
    return None


def _finish(scene: Scene, kind: str, draft: Draft, phrasings: Split) -> ActingTask | None:
    """Write the request and work out the gold replies; None where the calls would change nothing."""
    family, request = LANGUAGE.phrase(scene.rng, draft.intent, phrasings, draft.slots)
    before = before_messages(draft, LANGUAGE.phrase(scene.rng, draft.before, phrasings, {})[1]) if draft.before else ()
    messages = (Message("system", scene.cockpit.system_content()), *before, Message("user", request))
    said = draft.answer.text if draft.answer else ""
    gold, after = work_out(CAR_TOOLS, scene.cockpit, scene.offered, "\n".join(draft.thought), draft.calls, said)
    if draft.calls and not draft.answer and not _is_new(scene.cockpit, after):
        return None
    goal = draft.goal or StateGoal(after.commanded(), draft.answer)
    tools = CAR_TOOLS.dicts(scene.offered)
    return ActingTask(task_id(messages), kind, messages, tools, gold, draft.intent, family.id, scene.cockpit, goal)


def _is_new(before: Cockpit, after: Cockpit) -> bool:
    return before.commanded() != after.commanded()


class CarEnvironment(ActingEnvironment):
    """Cars with parts, maps and phones that differ, each task about a car of its own.

    Attributes:
        name: "car".
        toolbox: the tools of the car and the phone.
    """

    name = "car"
    toolbox = CAR_TOOLS

    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[ActingTask]:
        """Draw tasks about one car, as `sample_group` does."""
        return sample_group(rng, split, phrasings, count)
