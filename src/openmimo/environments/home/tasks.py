"""Tasks about a home: a request, the tools on offer, and the right replies worked out by doing them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from openmimo.chat import Message
from openmimo.environments.base import Split, Task
from openmimo.environments.home.answers import Answer
from openmimo.environments.home.checks import moments_of
from openmimo.environments.home.generate import MAX_DEVICES, MIN_DEVICES, sample_home
from openmimo.environments.home.gold import work_out
from openmimo.environments.home.kinds import KINDS, Draft, Scene, draw_draft
from openmimo.environments.home.tools import DISTRACTORS, TOOL_NAMES, tool_dicts
from openmimo.environments.home.world import Home

__all__ = ["KIND_WEIGHTS", "HomeTask", "check_kinds", "sample_group", "sample_offer", "sample_task", "sample_tasks"]

# Looking things up in the listing comes first: every other kind is built on it. "plain" is a part of "named", to train;
# so is "courtesy", which the default model has not met yet.
KIND_WEIGHTS: Mapping[str, float] = {
    "named": 16, "alias": 13, "state": 11, "missing": 8, "area": 3, "pair": 3, "unsupported": 10, "ambiguous": 12,
    "relative": 5, "condition": 6, "followup": 7, "timer": 3, "schedule": 4, "count": 4, "indirect": 4, "confirm": 3,
    "robot": 3,
}  # fmt: skip
MAX_DRAWS = 60
_MISSING_SHARE = {
    "HassTurnOn": 0.03,
    "HassTurnOff": 0.03,
    "HassLightSet": 0.12,
    "HassSetPosition": 0.12,
    "HassClimateSetTemperature": 0.12,
}
_DISTRACTOR_SHARE = 0.3
_OFTEN_SHARE = 0.5
_OFTEN = ("HassStartTimer", "Schedule", "HassCancelTimer", "HassVacuumStart", "HassVacuumReturnToBase")
_NEEDED = {
    "timer": ("HassStartTimer", "HassCancelTimer"),
    "schedule": ("Schedule", "HassCancelTimer"),
    "robot": ("HassVacuumStart", "HassVacuumReturnToBase"),
}


@dataclass(frozen=True, slots=True)
class HomeTask(Task):
    """A task about one home.

    Attributes:
        naming: how the request says the device.
        intent: what the request asks for.
        family: id of its arrangement of words.
        home: the home at the start; never changed, episodes work on copies.
        moments: seconds after the last reply at which the home must be as after the gold replies.
        answer: what the last reply must say, or None where only the final state counts.
    """

    naming: str
    intent: str
    family: str
    home: Home = field(repr=False)
    moments: tuple[float, ...]
    answer: Answer | None


def sample_offer(rng: random.Random, without: str = "", including: Collection[str] = ()) -> tuple[str, ...]:
    """Draw which tools are on offer: most of the home tools, a few distractors.

    Args:
        rng: source of randomness.
        without: a tool to leave out for certain, or "".
        including: tools to offer for certain.
    Returns:
        Tool names in the fixed order.
    """
    shares = dict.fromkeys(DISTRACTORS, _DISTRACTOR_SHARE) | dict.fromkeys(_OFTEN, _OFTEN_SHARE)
    shares |= {name: 1 - share for name, share in _MISSING_SHARE.items()}
    drawn = [name for name in TOOL_NAMES if name in shares and rng.random() < shares[name] and name != without]
    return tuple(name for name in TOOL_NAMES if name in drawn or name in including)


def sample_task(
    rng: random.Random,
    home: Home,
    kind: str | None = None,
    phrasing_split: Split = "train",
    offered: Collection[str] | None = None,
    weights: Mapping[str, float] = KIND_WEIGHTS,
) -> HomeTask:
    """Draw one task about a home.

    Args:
        rng: source of randomness.
        home: the home; not changed.
        kind: one of KINDS, or None to draw it by weight from those that the home allows.
        phrasing_split: "eval" uses only held-out arrangements of words.
        offered: names of the tools on offer; None draws them.
        weights: share of each kind when kind is None.
    Returns:
        The task with its gold replies.
    Raises:
        ValueError: the kind is unknown, or this home offers no such task.
    """
    if offered is None:
        without = rng.choice(tuple(_MISSING_SHARE)) if kind == "unsupported" and rng.random() < 0.5 else ""
        offered = sample_offer(rng, without, _NEEDED.get(kind or "", ()))
    check_kinds(() if kind is None else (kind,))
    open_kinds = dict(weights) if kind is None else {kind: 1.0}
    return _draw(Scene(rng, home, offered, phrasing_split), open_kinds, home.system_content(), tool_dicts(offered))


def check_kinds(kinds: Collection[str]) -> None:
    """Raises: ValueError: one of the kinds is unknown."""
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} is unknown: choose from {', '.join(KINDS)}")


def sample_tasks(
    rng: random.Random,
    home: Home,
    count: int,
    phrasing_split: Split = "train",
    offered: Collection[str] | None = None,
    weights: Mapping[str, float] = KIND_WEIGHTS,
) -> list[HomeTask]:
    """Draw several independent tasks that share system content and tools.

    Args:
        rng: source of randomness.
        home: the home; not changed.
        count: how many.
        phrasing_split: "eval" uses only held-out arrangements of words.
        offered: names of the tools on offer; None draws them once for all.
        weights: share of each kind.
    Returns:
        The tasks; kinds that the home does not allow are drawn again.
    """
    offered = sample_offer(rng) if offered is None else offered
    scene, system, tools = Scene(rng, home, offered, phrasing_split), home.system_content(), tool_dicts(offered)
    open_kinds = dict(weights)
    return [_draw(scene, open_kinds, system, tools) for _ in range(count)]


def sample_group(rng: random.Random, split: Split, phrasings: Split, count: int) -> list[HomeTask]:
    """Draw a new home and several tasks about it that share system content and tools.

    Args:
        rng: source of randomness.
        split: which homes.
        phrasings: which arrangements of words.
        count: how many.
    Returns:
        The tasks; what follows their first message differs.
    """
    home = sample_home(rng, rng.randint(MIN_DEVICES, MAX_DEVICES), split)
    return sample_tasks(rng, home, count, phrasings)


def _draw(scene: Scene, open_kinds: dict[str, float], system: str, tools: list[dict[str, Any]]) -> HomeTask:
    """Draw by weight; a kind that the home does not seem to allow is taken out of `open_kinds`."""
    tried = "(none has a weight)"
    while any(open_kinds.values()):
        chosen = scene.rng.choices(tuple(open_kinds), tuple(open_kinds.values()))[0]
        # A kind keeps its share by being tried again before another one is drawn.
        for _ in range(MAX_DRAWS):
            draft = draw_draft(scene, chosen)
            if draft is not None:
                return _task(scene, chosen, draft, system, tools)
        del open_kinds[chosen]
        tried = chosen
    raise ValueError(f"this home offers no task of kind {tried}: try another home or more devices")


def _task(scene: Scene, kind: str, draft: Draft, system: str, tools: list[dict[str, Any]]) -> HomeTask:
    home = draft.home or scene.home
    done = work_out(draft, home, scene.offered)
    return HomeTask(
        id=f"{zlib.crc32(system.encode()):08x}{zlib.crc32(draft.request.encode()):08x}",
        kind=kind,
        messages=(Message("system", system), *draft.history, Message("user", draft.request)),
        tools=tuple(tools),
        gold=done.replies,
        naming="+".join(mention.naming for mention in draft.mentions) or "none",
        intent=draft.intent,
        family=draft.family.id,
        home=home,
        moments=moments_of(done.home),
        answer=done.answer,
    )
