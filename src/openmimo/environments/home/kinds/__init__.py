"""The kinds of tasks: for each a builder that draws one request together with what is right to do about it."""

from __future__ import annotations

from collections.abc import Callable

from openmimo.environments.home.kinds.base import Draft, Scene
from openmimo.environments.home.kinds.condition import condition
from openmimo.environments.home.kinds.confirm import confirm
from openmimo.environments.home.kinds.count import count
from openmimo.environments.home.kinds.courtesy import courtesy
from openmimo.environments.home.kinds.earlier import unrelated
from openmimo.environments.home.kinds.followup import followup
from openmimo.environments.home.kinds.indirect import indirect
from openmimo.environments.home.kinds.limits import ambiguous, unsupported
from openmimo.environments.home.kinds.missing import missing
from openmimo.environments.home.kinds.questions import state
from openmimo.environments.home.kinds.relative import relative
from openmimo.environments.home.kinds.robot import robot
from openmimo.environments.home.kinds.several import area, pair
from openmimo.environments.home.kinds.single import alias, named, plain
from openmimo.environments.home.kinds.timers import schedule, timer

__all__ = ["KINDS", "Draft", "Scene", "draw_draft"]

_BUILDERS: dict[str, Callable[[Scene], Draft | None]] = {
    "named": named,
    "plain": plain,
    "alias": alias,
    "state": state,
    "missing": missing,
    "area": area,
    "pair": pair,
    "unsupported": unsupported,
    "ambiguous": ambiguous,
    "relative": relative,
    "condition": condition,
    "followup": followup,
    "timer": timer,
    "schedule": schedule,
    "count": count,
    "indirect": indirect,
    "confirm": confirm,
    "robot": robot,
    "courtesy": courtesy,
}
KINDS = tuple(_BUILDERS)
CHAT_SHARE = 0.2
"""How often other matters come first."""


def draw_draft(scene: Scene, kind: str) -> Draft | None:
    """Draw a request of one kind.

    Args:
        scene: home, tools on offer, phrasing split and randomness.
        kind: one of KINDS.
    Returns:
        The draft, or None where this draw does not fit the home; draw again.
    """
    draft = _BUILDERS[kind](scene)
    if draft is not None and not draft.history and scene.rng.random() < CHAT_SHARE:
        draft.history = unrelated(scene)
    return draft
