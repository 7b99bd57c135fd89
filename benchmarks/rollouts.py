"""What scheduling saves while groups are rolled out: seconds, idle engine slots and wasted samples, part by part.

    python benchmarks/rollouts.py runs/mopd_toy/sft/step-000400

Every row collects the same number of groups with a signal from the same tasks. A reward takes as long as a sandbox
would: most 5 ms, one task in ten 100 ms. "In line" means that one reward is worked out at a time.
"""

import argparse
import random
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

from drills import DRILLS

import openmimo
from openmimo import SamplingParams
from openmimo.engine import Engine
from openmimo.train.collect import Collected, Draw, Group, collect
from openmimo.train.rollout import RolloutPool

GROUPS, SAMPLES, SLOTS = 16, 8, 64
QUICK_S, SLOW_S, SLOW_SHARE = 0.005, 0.1, 0.1


class SlowReward:
    """An environment whose rewards take time; with a lock, one after another."""

    def __init__(self, environment: Any, lock: AbstractContextManager):
        self.name, self._environment, self._lock = environment.name, environment, lock

    def start(self, task: Any) -> Any:
        episode = self._environment.start(task)
        step = episode.step

        def slow_step(reply: Any) -> list:
            with self._lock:
                time.sleep(SLOW_S if zlib.crc32(task.id.encode()) < SLOW_SHARE * 2**32 else QUICK_S)
                return step(reply)

        episode.step = slow_step
        return episode


def draws(step: int, lock: AbstractContextManager) -> Iterator[Draw]:
    """Tasks of all drills, without end."""
    rng = random.Random(f"rollouts {step}")
    environments = [(drill, SlowReward(drill, lock)) for drill in DRILLS.values()]
    while True:
        number, seed = rng.randrange(len(environments)), rng.getrandbits(31)
        drill, slow = environments[number]
        yield Draw(slow, next(drill.tasks("train", seed, 1)), (number, seed))  # type: ignore[arg-type]


def collect_in_rounds(pool: RolloutPool, source: Iterator[Draw], is_dynamic: bool) -> Collected:
    """Start a batch of groups, wait for all, drop those without signal, and once more until the batch is full."""
    started_s, groups = time.perf_counter(), []
    chosen: list[Group] = []
    while len(chosen) < GROUPS:
        fresh = [Group(draw, []) for draw, _ in zip(source, range(GROUPS), strict=False)]
        for number, group in enumerate(fresh, len(groups)):
            places = range(number * SAMPLES, (number + 1) * SAMPLES)
            group.attempts += [pool.start(group.draw.environment, group.draw.task, place) for place in places]
        groups += fresh
        chosen += [group for group in fresh if group.has_signal]
        if not is_dynamic:
            break
    last = groups.index(chosen[:GROUPS][-1])
    settled = groups[: last + 1] if is_dynamic else groups
    return Collected(chosen[:GROUPS], settled, groups[len(settled) :], time.perf_counter() - started_s)


def measure(engine: Engine, name: str, steps: int) -> str:
    """One row of the table."""
    seconds = busy_s = 0.0
    valid = wasted = started = 0.0
    for step in range(steps):
        lock = threading.Lock() if "in line" in name else nullcontext()
        pool = RolloutPool(engine, SamplingParams(max_new_tokens=16, seed=step))
        began_s = time.perf_counter()
        if "rounds" in name or name.startswith("no dynamic"):
            collected = collect_in_rounds(pool, draws(step, lock), "rounds" in name)
        else:
            collected = collect(pool, draws(step, lock), GROUPS, SAMPLES, 0.9, 8 * GROUPS)
        if "early" not in name:
            for attempt in pool.attempts:
                attempt.result()
        seconds += time.perf_counter() - began_s
        pool.close()
        busy_s += sum(attempt.busy_s for attempt in pool.attempts)
        valid += len(collected.groups) * SAMPLES
        wasted += len(collected.rest)
        started += len(collected.settled) + len(collected.rest)
    idle = 100 * (1 - busy_s / (SLOTS * seconds))
    return f"| {name} | {valid / seconds:.0f} | {seconds / steps:.2f} | {idle:.0f}% | {100 * wasted / started:.1f}% |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="an SFT checkpoint of recipes/mopd_toy.py")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    print("| rollouts | samples with a signal a second | seconds a batch | idle slots | wasted samples |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with openmimo.load(args.checkpoint, threads=args.threads, num_slots=SLOTS) as engine:
        for name in (
            "no dynamic sampling, rewards in line",
            "rounds, rewards in line",
            "continuous, rewards in line",
            "continuous, rewards beside",
            "continuous, rewards beside, early end",
        ):
            print(measure(engine, name, args.steps), flush=True)


if __name__ == "__main__":
    main()
