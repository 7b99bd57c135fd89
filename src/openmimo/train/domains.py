"""What distillation does to each domain, step by step, and plain words when one of them goes wrong."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, fields

__all__ = ["DomainStep", "DomainWatch", "domain_table"]

WINDOW = 10
"""Steps over which rewards are averaged and after which a lasting trouble is told."""
FAIR_SHARE = 0.1
"""A domain starves if its gradient is under this part of an equal share."""
LEARNT_KL = 0.5
"""It does not if its KL has come down to this part of what it began with."""
MIN_KL = 0.01
"""Nats a token; a domain below has nothing left to learn."""
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
    shares = {"tokens": "token_share", "pull": "pull_share", "gradient": "gradient_share"}
    return {shares.get(name, name): _shares(row) if name in shares else row for name, row in table.items()}


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


def _shares(row: Mapping[str, float]) -> dict[str, float]:
    total = sum(row.values())
    return {name: value / total if total else 0.0 for name, value in row.items()}
