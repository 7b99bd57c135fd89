"""Settings of reinforcement learning."""

from dataclasses import dataclass

from openmimo.errors import ConfigError
from openmimo.loading import Weights
from openmimo.train.credit import Grading

__all__ = ["RLConfig"]


@dataclass(frozen=True)
class RLConfig:
    """Settings of reinforcement learning, beside those of every training run.

    Attributes:
        groups: tasks with a signal that make a batch.
        samples: rollouts of each task.
        max_new_tokens: longest reply.
        max_replies: most replies in an episode.
        updates: optimiser steps that share out one batch; 1 is fully on-policy, without ratio and clip. A run that is
            resumed within a batch rolls out a new one.
        clip: lower and upper bound of the ratio's distance from 1, if there are several updates.
        easy_share: share of the draws that come from the solved tasks, once there are some.
        kl_weight: weight of the KL divergence to the model at the start.
        max_kl: nats a token from the start at which the run ends; a teacher farther off is hard to learn from.
        max_fall: how much greedy accuracy may lie below its best; beyond it the run ends with its best scored weights.
        eval_tasks: held-out tasks of each environment that are scored.
        grading: rewards for a part of a task's tests, by difficulty; None leaves that to the environment.
        max_age: partial rollout: groups that still run when a batch is full go on with the new weights for at most so
            many steps, with truncated importance weights; 0 gives them up. Batches then depend on the machine's speed.
        most: groups that are started for a batch at most, as a multiple of `groups`.
        weights: number format of the engine.
        replays: the trainer sends every token to the experts that the engine chose for it.
        slots: rollouts that the engine runs at once.
        part_tokens: most tokens, padding counted, that go through the model at once.
        seed: of tasks and samples.
    Source: GRPO of MiMo-7B in its on-policy form; no KL term, no format reward; 10% of draws from solved tasks.
    """

    groups: int = 32
    samples: int = 8
    max_new_tokens: int = 64
    max_replies: int = 4
    updates: int = 1
    clip: tuple[float, float] = (0.2, 0.28)
    easy_share: float = 0.1
    kl_weight: float = 0.0
    max_kl: float = 0.2
    max_fall: float = 0.05
    eval_tasks: int = 200
    grading: Grading | None = None
    max_age: int = 0
    most: int = 4
    weights: Weights = "f32"
    replays: bool = True
    slots: int = 64
    part_tokens: int = 16384
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise ConfigError(
                f"samples={self.samples} must be at least 2: a sample is judged beside others of its task"
            )
        if self.updates < 1 or self.groups % self.updates:
            raise ConfigError(f"updates={self.updates} must divide groups={self.groups}, which they share out")
