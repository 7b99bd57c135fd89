"""Tasks about a home: a request, the tools on offer, and the right replies worked out by doing them."""

from __future__ import annotations

import random
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from openmimo.chat import Message, ToolCall
from openmimo.environments.base import Split, Task
from openmimo.environments.home.answers import Answer, after_tools, error_answer
from openmimo.environments.home.kinds import KINDS, Draft, Scene, draw_draft
from openmimo.environments.home.tools import DISTRACTORS, TOOL_NAMES, call_tool, render_result, tool_dicts
from openmimo.environments.home.world import Home

__all__ = ["KIND_WEIGHTS", "HomeTask", "sample_dialog", "sample_offer", "sample_task", "sample_tasks"]

KIND_WEIGHTS: Mapping[str, float] = {
    "named": 30, "alias": 22, "state": 20, "missing": 14, "area": 5, "pair": 5, "unsupported": 2, "ambiguous": 2,
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


@dataclass(frozen=True, slots=True)
class HomeTask(Task):
    """A task about one home.

    Attributes:
        naming: how the request says the device.
        intent: what the request asks for.
        family: id of its arrangement of words.
        home: the home at the start; never changed, episodes work on copies.
        changes: what each device that must be commanded has been asked for at the end, by name.
        answer: what the last reply must say, or None where only the final state counts.
    """

    naming: str
    intent: str
    family: str
    home: Home = field(repr=False)
    changes: Mapping[str, tuple[Any, ...]]
    answer: Answer | None


def sample_offer(rng: random.Random, without: str = "") -> tuple[str, ...]:
    """Draw which tools are on offer: most of the home tools, a few distractors.

    Args:
        rng: source of randomness.
        without: a tool to leave out for certain, or "".
    Returns:
        Tool names in the fixed order.
    """
    shares = {name: 1 - share for name, share in _MISSING_SHARE.items()} | dict.fromkeys(DISTRACTORS, _DISTRACTOR_SHARE)
    return tuple(name for name in TOOL_NAMES if rng.random() < shares[name] and name != without)


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
        offered = sample_offer(rng, rng.choice(tuple(_MISSING_SHARE)) if kind == "unsupported" else "")
    return _draw(Scene(rng, home, offered, phrasing_split), kind, weights, home.system_content(), tool_dicts(offered))


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
    return [_draw(scene, None, weights, system, tools) for _ in range(count)]


def sample_dialog(
    rng: random.Random,
    home: Home,
    phrasing_split: Split = "train",
    weights: Mapping[str, float] = KIND_WEIGHTS,
) -> HomeTask:
    """Draw a task that comes after an earlier exchange, with the listing as it is by then.

    Args:
        rng: source of randomness.
        home: the home before the earlier exchange; not changed.
        phrasing_split: "eval" uses only held-out arrangements of words.
        weights: share of each kind, for both exchanges.
    Returns:
        The later task; its messages hold the earlier exchange without its reasoning.
    """
    offered = sample_offer(rng)
    before = sample_task(rng, home, None, phrasing_split, offered, weights)
    later = home.copy()
    _carry_out(later, [call for message in before.gold for call in message.tool_calls], offered)
    later.touched.clear()
    later.advance(rng.uniform(1, 15) if rng.random() < 0.2 else rng.uniform(30, 900))
    task = sample_task(rng, later, None, phrasing_split, offered, weights)
    # The earlier reasoning quotes rows of a listing that is gone by now.
    earlier = (before.messages[-1], *(replace(message, reasoning="") for message in before.gold))
    return replace(task, messages=(task.messages[0], *earlier, task.messages[-1]))


def _draw(
    scene: Scene, kind: str | None, weights: Mapping[str, float], system: str, tools: list[dict[str, Any]]
) -> HomeTask:
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: choose from {', '.join(KINDS)}")
    open_kinds = {kind: 1.0} if kind is not None else {name: share for name, share in weights.items() if share > 0}
    while open_kinds:
        chosen = scene.rng.choices(tuple(open_kinds), tuple(open_kinds.values()))[0]
        # A kind keeps its share by being tried again before another one is drawn.
        for _ in range(MAX_DRAWS):
            draft = draw_draft(scene, chosen)
            if draft is not None:
                return _task(scene, chosen, draft, system, tools)
        del open_kinds[chosen]
    raise ValueError(f"this home offers no task of kind {kind or tuple(weights)}: try another home or more devices")


def _task(scene: Scene, kind: str, draft: Draft, system: str, tools: list[dict[str, Any]]) -> HomeTask:
    gold, changes, answer = _work_out(scene, draft)
    return HomeTask(
        id=f"{zlib.crc32(system.encode()):08x}{zlib.crc32(draft.request.encode()):08x}",
        kind=kind,
        messages=(Message("system", system), Message("user", draft.request)),
        tools=tuple(tools),
        gold=gold,
        naming=draft.naming,
        intent=draft.intent,
        family=draft.family.id,
        home=scene.home,
        changes=changes,
        answer=answer,
    )


def _work_out(scene: Scene, draft: Draft) -> tuple[tuple[Message, ...], dict[str, tuple[Any, ...]], Answer | None]:
    """Do what is right on a copy of the home; return the replies, the changes and the answer to ask for."""
    reasoning = "\n".join(_quotes(scene, draft)) or "none"
    if not draft.calls:
        assert draft.answer is not None
        return (Message("assistant", draft.answer.text, reasoning=reasoning),), {}, draft.answer
    calls = tuple(ToolCall(call.name, call.arguments, f"call_{index}") for index, call in enumerate(draft.calls))
    home = scene.home.copy()
    results = _carry_out(home, calls, scene.offered)
    told = [
        Message("tool", render_result(result), tool_call_id=call.id)
        for call, result in zip(calls, results, strict=True)
    ]
    last = Message("assistant", after_tools(results))
    failed = next((result for result in results if "error" in result), None)
    changes = {device.name: device.commanded() for device in home.devices if device.name in home.touched}
    replies = (Message("assistant", reasoning=reasoning, tool_calls=calls), *told, last)
    return replies, changes, error_answer(failed) if failed else None


def _quotes(scene: Scene, draft: Draft) -> list[str]:
    namings = draft.naming.split("+")  # one for each device of a pair, else one for all
    if len(namings) < len(draft.rows):
        namings *= len(draft.rows)
    return [scene.home.quote(device, naming) for device, naming in zip(draft.rows, namings, strict=False)]


def _carry_out(home: Home, calls: Collection[ToolCall], offered: Collection[str]) -> list[dict[str, Any]]:
    return [call_tool(home, call.name, call.arguments, offered) for call in calls]
