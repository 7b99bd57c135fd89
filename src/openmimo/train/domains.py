"""What distillation does to each domain, step by step, and plain words when one of them goes wrong."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["BY_DOMAIN", "DomainStep", "DomainWatch", "domain_table"]

BY_DOMAIN = " by domain"
"""Ends the name of a logged row of the table."""

WINDOW = 10
"""Steps over which rewards are averaged and after which a lasting trouble is told."""
FAIR_SHARE = 0.1
"""A domain starves if its gradient is under this part of an equal share."""
LEARNT_KL = 0.5
"""It does not if its KL has come down to this part of what it began with."""
MIN_KL = 0.01
"""Nats a token; a domain below has nothing left to learn."""
SHARES = {"tokens": "token_share", "pull": "pull_share", "gradient": "gradient_share"}
"""Quantities that only count beside those of other domains, and the names of their shares."""
MAX_OUTCOME = 3.0
"""Spread of the outcome's advantage by that of the log-ratio; above, dense signal drowns in the outcome's noise."""


@dataclass(frozen=True)
class DomainStep:
    """One domain in one step.

    Attributes:
        kl: KL(student || teacher), nats a token.
        reward: mean over its sequences.
        tokens: that the student wrote.
        pull: sum of |w A| / length of its sequence over tokens, what the domain weighs in the loss.
        gradient: norm of its part of the gradient.
        length: mean tokens of a sequence.
        truncated: share of sequences that were cut off.
        entropy: of the student, nats a token.
        masked: share of tokens whose weight is 0.
        outcome_ratio: std(alpha * outcome) / std(log-ratio).
    """

    kl: float
    reward: float
    tokens: int
    pull: float
    gradient: float
    length: float
    truncated: float
    entropy: float
    masked: float
    outcome_ratio: float


def domain_table(steps: Mapping[str, DomainStep]) -> dict[str, dict[str, float]]:
    """One step as numbers to log: tokens, pull and gradient become shares of their sums.

    Args:
        steps: by domain.
    Returns:
        for each quantity, a number for each domain.
    """
    table = {
        field.name: {domain: getattr(step, field.name) for domain, step in steps.items()}
        for field in fields(DomainStep)
    }
    return {SHARES.get(name, name): _shares(row) if name in SHARES else row for name, row in table.items()}


class DomainWatch:
    """Follows all domains of a run.

    Args:
        rewards: for each domain the rewards of student and teacher before the run, where they are known.
    """

    def __init__(self, rewards: Mapping[str, tuple[float, float]]):
        self._rewards = dict(rewards)
        self._first: dict[str, DomainStep] = {}
        self._recent: dict[str, deque[DomainStep]] = {}
        self._starved: dict[str, int] = {}
        self._told: set[tuple[str, str]] = set()

    @classmethod
    def from_log(
        cls, rewards: Mapping[str, tuple[float, float]], records: Iterable[Mapping[str, Any]]
    ) -> "DomainWatch":
        """Go on where an interrupted run was.

        Args:
            rewards: as for the class.
            records: what it has logged: rows of `domain_table`, their names ending in `BY_DOMAIN`.
        Returns:
            the watch, after the steps among them; what it has told then it does not tell again.
        """
        watch = cls(rewards)
        names = {field.name: SHARES.get(field.name, field.name) + BY_DOMAIN for field in fields(DomainStep)}
        for record in records:
            if all(name in record for name in names.values()):
                rows = {field: record[name] for field, name in names.items()}
                watch.look({domain: _read_step(rows, domain) for domain in rows["kl"]})
        return watch

    def recovered(self, domain: str) -> float | None:
        """Share of the headroom that the student has gained, by its mean reward over the last 10 steps.

        Args:
            domain: its name.
        Returns:
            0 as at the start, 1 as good as the teacher; None if there is no headroom or nothing is known yet.
        """
        before, goal = self._rewards.get(domain, (0.0, 0.0))
        recent = self._recent.get(domain)
        if not recent or goal <= before:
            return None
        return (sum(step.reward for step in recent) / len(recent) - before) / (goal - before)

    def look(self, steps: Mapping[str, DomainStep]) -> list[str]:
        """Take in one step.

        Args:
            steps: by domain.
        Returns:
            verdicts, each told once.
        """
        shares = domain_table(steps)["gradient_share"]
        found = []
        for domain, step in steps.items():
            first = self._first.setdefault(domain, step)
            self._recent.setdefault(domain, deque(maxlen=WINDOW)).append(step)
            is_starved = shares[domain] < FAIR_SHARE / len(steps) and step.kl > max(LEARNT_KL * first.kl, MIN_KL)
            self._starved[domain] = self._starved.get(domain, 0) + 1 if is_starved else 0
            found += [(domain, *verdict) for verdict in self._verdicts(domain, first, shares[domain])]
        fresh = [(domain, kind, text) for domain, kind, text in found if (domain, kind) not in self._told]
        self._told |= {(domain, kind) for domain, kind, _ in fresh}
        return [text for _, _, text in fresh]

    def _verdicts(self, domain: str, first: DomainStep, share: float) -> list[tuple[str, str]]:
        recent = self._recent[domain]
        if len(recent) < WINDOW:
            return []
        kl, entropy, outcome = (
            sum(getattr(step, name) for step in recent) / WINDOW for name in ("kl", "entropy", "outcome_ratio")
        )
        verdicts = {
            f"starves: {100 * share:.1f}% of the gradient while its KL is {kl:.3f} of {first.kl:.3f} nats; give it "
            "more prompts, or weigh domains by scale": self._starved[domain] >= WINDOW,
            f"collapses: entropy {first.entropy:.3f} became {entropy:.3f} nats while KL did not fall ({first.kl:.3f} "
            f"to {kl:.3f}); stop, its teacher is too far off": entropy < first.entropy / 2 and kl >= first.kl,
            f"drowns: its outcome spreads {outcome:.1f} times as far as the teacher's signal; lower alpha": (
                outcome > MAX_OUTCOME
            ),
        }
        return [(text.partition(":")[0], f"{domain} {text}") for text, is_so in verdicts.items() if is_so]


def _read_step(rows: Mapping[str, Mapping[str, float | None]], domain: str) -> DomainStep:
    """One domain's column of a logged table, in which numbers that are not finite are None."""
    values = {field: row[domain] for field, row in rows.items()}
    numbers: dict[str, Any] = {field: math.nan if value is None else value for field, value in values.items()}
    return DomainStep(**numbers)


def _shares(row: Mapping[str, float]) -> dict[str, float]:
    total = sum(row.values())
    return {name: value / total if total else 0.0 for name, value in row.items()}
