"""What a step of reinforcement learning has to know of the steps before: it stands in metrics.jsonl."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openmimo.train.collect import Collected
from openmimo.train.log import METRICS, read_metrics
from openmimo.train.rl_config import RLConfig

__all__ = ["Memory"]

EASY_TASKS = 4096
"""Solved tasks that are remembered, the latest ones."""


class Memory:
    """What a step needs to know of the steps before; read back from metrics.jsonl when a run is resumed.

    Attributes:
        easy: keys of solved tasks, in the order in which they were solved.
        likely: share of groups that had a signal, over the last steps.
        reason: why the run is to end, if it is.
    """

    def __init__(self, rl: RLConfig, domains: Sequence[str]):
        self.rl, self.domains = rl, domains
        self.easy: dict[tuple[int, int], None] = {}
        self.likely = 0.5
        self.reason = ""
        self._best = 0.0

    @classmethod
    def from_run(cls, folder: Path, rl: RLConfig, domains: Sequence[str]) -> "Memory":
        """Go through what an interrupted run has logged; the trainer has cut off what will be done again.

        Args:
            folder: of the run.
            rl: its settings.
            domains: names of the environments, in the order of the keys of tasks.
        Returns:
            what the run remembered; nothing yet for a new one.
        """
        memory = cls(rl, domains)
        path = folder / METRICS
        for record in read_metrics(path) if path.exists() else ():
            memory._update_easy(record.get("solved", ()), record.get("unsolved", ()))
            memory._update_likely(record.get("valid"))
            memory.saw_kl(record.get("kl") or 0.0)
            for name in ("start_greedy", "greedy"):
                if name in record:
                    memory.saw_scores(record[name])
        return memory

    def saw_groups(self, collected: Collected) -> dict[str, Any]:
        """Take in a batch; returns what has to be logged for `from_run`."""
        settled = collected.settled
        solved = [group.draw.key for group in settled if group.is_solved and not group.draw.is_easy]
        unsolved = [group.draw.key for group in settled if group.draw.is_easy and not group.is_solved]
        self._update_easy(solved, unsolved)
        self._update_likely(collected.valid)
        return {"valid": collected.valid, "solved": solved, "unsolved": unsolved}

    def saw_kl(self, kl: float) -> None:
        """Take in the distance from the start."""
        if kl > self.rl.max_kl:
            self.reason = f"KL to the start is {kl:.3g} nats a token, above {self.rl.max_kl:g}: the run ends here"

    def saw_scores(self, greedy: Mapping[str, float]) -> bool:
        """Take in percentages by environment; whether those that are trained on fell so far that the run ends."""
        mean = sum(greedy[name] for name in self.domains) / len(self.domains)
        self._best = max(self._best, mean)
        has_fallen = mean < self._best - 100 * self.rl.max_fall
        if has_fallen:
            self.reason = (
                f"greedy accuracy fell from {self._best:.1f}% to {mean:.1f}%: the run ends with its best weights"
            )
        return has_fallen

    def _update_easy(self, solved: Sequence[Sequence[int]], unsolved: Sequence[Sequence[int]]) -> None:
        for domain, seed in unsolved:
            self.easy.pop((domain, seed), None)
        for domain, seed in solved:
            self.easy[(domain, seed)] = None
        while len(self.easy) > EASY_TASKS:
            del self.easy[next(iter(self.easy))]

    def _update_likely(self, valid: float | None) -> None:
        if valid is not None:
            self.likely = 0.5 * self.likely + 0.5 * valid
