"""The energy environment: plans against a tariff, plain requests, questions and refusals."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

from openmimo.chat import Message
from openmimo.environments.acting import ActingEnvironment, ActingTask, Draft, StateGoal, task_id, work_out
from openmimo.environments.base import Split
from openmimo.environments.energy.generate import sample_board
from openmimo.environments.energy.kinds import KINDS, Scene
from openmimo.environments.energy.optimum import check_solver
from openmimo.environments.energy.tools import ENERGY_TOOLS
from openmimo.environments.language import Language

__all__ = ["KIND_WEIGHTS", "LANGUAGE", "EnergyEnvironment", "sample_group"]

KIND_WEIGHTS: Mapping[str, float] = {
    "plan_1": 18, "plan_1_open": 6, "plan_2": 12, "plan_car": 12, "plan_car_open": 4, "plan_both": 10,
    "plan_battery": 9, "plan_shared": 3, "run": 7, "cancel": 3, "reserve": 3, "state": 12, "missing": 4,
    "unsupported": 2, "too_late": 4,
}  # fmt: skip
MAX_DRAWS = 20
_OPTIONAL = {"CancelAppliance": 0.7, "EnergySetBattery": 0.9, "EnergySetReserve": 0.6}
LANGUAGE = Language(Path(__file__).with_name("language") / "en")


def sample_group(
    rng: random.Random, split: Split, phrasings: Split, count: int, weights: Mapping[str, float] = KIND_WEIGHTS
) -> list[ActingTask]:
    """Draw tasks about one board; all share system message and tools.

    Args:
        rng: source of randomness.
        split: of the boards, by a hash of what the model reads.
        phrasings: of the words.
        count: how many.
        weights: share of each kind.
    Returns:
        The tasks; kinds that the board does not allow are drawn again. On a sunny board "plan_1" is called "sun_1", and
        so on.
    Raises:
        OpenMiMoError: a plan is drawn whose optimum needs scipy, and it is not installed.
    """
    offered = tuple(name for name in ENERGY_TOOLS.names if rng.random() < _OPTIONAL.get(name, 1.0))
    while True:
        scene = Scene(rng, sample_board(rng, split), offered)
        tasks = [_task(scene, weights, phrasings) for _ in range(count)]
        if all(tasks):
            return [task for task in tasks if task]


def _task(scene: Scene, weights: Mapping[str, float], phrasings: Split) -> ActingTask | None:
    weights = dict(weights)
    while weights:
        kind = scene.rng.choices(tuple(weights), tuple(weights.values()))[0]
        for _ in range(MAX_DRAWS):
            draft = KINDS[kind](scene)
            if draft is not None:
                return _finish(scene, kind, draft, phrasings)
        del weights[kind]
    return None


def _finish(scene: Scene, kind: str, draft: Draft, phrasings: Split) -> ActingTask:
    """Write the request and work out the gold replies."""
    board = scene.board
    family, request = LANGUAGE.phrase(scene.rng, draft.intent, phrasings, draft.slots)
    messages = (Message("system", board.system_content()), Message("user", request))
    said = draft.answer.text if draft.answer else ""
    gold, after = work_out(ENERGY_TOOLS, board, scene.offered, "\n".join(draft.thought), draft.calls, said)
    goal = draft.goal or StateGoal(after.commanded(), draft.answer)
    label = kind.replace("plan_", "sun_") if any(board.sun) else kind
    tools = ENERGY_TOOLS.dicts(scene.offered)
    return ActingTask(task_id(messages), label, messages, tools, gold, draft.intent, family.id, board, goal)


class EnergyEnvironment(ActingEnvironment):
    """Boards with prices, sun and appliances that differ, each task about a board of its own.

    Attributes:
        name: "energy".
        toolbox: the tools of the energy side.

    Raises:
        OpenMiMoError: scipy is not installed.
    """

    name = "energy"
    toolbox = ENERGY_TOOLS

    def __init__(self) -> None:
        check_solver()  # or say at once what is missing, not after a hundred tasks

    def sample_group(self, rng: random.Random, split: Split, phrasings: Split, count: int) -> list[ActingTask]:
        """Draw tasks about one board, as `sample_group` does."""
        return sample_group(rng, split, phrasings, count)
