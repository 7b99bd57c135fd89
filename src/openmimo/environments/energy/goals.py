"""How good a plan is: its share of the way from careless to cheapest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from openmimo.chat import Message
from openmimo.environments.energy.board import Board
from openmimo.environments.energy.problem import Problem, naive_plan

__all__ = ["PlanGoal"]


@dataclass(frozen=True, slots=True)
class PlanGoal:
    """Everything asked for runs in time, for as little money as possible.

    Attributes:
        problem: what must run by when, and what an hour costs.
        best_ct: cost of the cheapest plan.
        start: commanded state at the beginning; what the request does not name must stay as it is.
    """

    problem: Problem
    best_ct: float
    start: Mapping[str, Any] = field(repr=False)

    @property
    def naive_ct(self) -> float:
        """Cost of running everything at once, with the battery idle."""
        return self.problem.cost_ct(naive_plan(self.problem))

    def score(self, world: Board, last: Message) -> float:
        """Share of the optimum.

        Args:
            world: as the episode left it.
            last: the last reply; its wording does not matter.
        Returns:
            1.0 for the cheapest plan, 0.0 for the careless one, for one that misses a deadline or needs more than is
            asked for, and for one that changes anything else.
        """
        plan = world.plan()
        if not self._is_rest_kept(world) or not self.problem.is_met(plan):
            return 0.0
        saved = self.naive_ct - self.problem.cost_ct(plan)
        return max(0.0, min(1.0, saved / (self.naive_ct - self.best_ct)))

    def _is_rest_kept(self, world: Board) -> bool:
        now, asked = world.commanded(), {load.name for load in self.problem.loads}
        kept = {name: hour for name, hour in now["starts"].items() if name not in asked}
        return (
            kept == {name: hour for name, hour in self.start["starts"].items() if name not in asked}
            and now["reserve"] == self.start["reserve"]
            and (self.problem.car is not None or now["car"] == self.start["car"])
            and (self.problem.battery is not None or now["battery"] == self.start["battery"])
        )
