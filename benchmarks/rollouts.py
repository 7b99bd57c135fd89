"""What scheduling and drafts save while groups are rolled out, part by part.

    python benchmarks/rollouts.py runs/mopd_toy/sft/step-000700
    python benchmarks/rollouts.py

First table, for a checkpoint of the drills: seconds, idle engine slots and wasted samples. Every row collects the same
number of groups with a signal from the same tasks. A reward takes as long as a sandbox would: most 5 ms, one in ten 100
ms. "In line" means that one reward is worked out at a time; "partial" that what still runs when a batch is full goes on
in the next ones, instead of being given up.

Second table, also for the default model at requests about homes: rollouts without drafts, with one in every step, and
with as many as pay, which is what the engine does unasked. Seconds are the processor's, so that other work on it counts
little; each figure is the best of a few.
"""

import argparse
import random
import statistics
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Literal

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

from drills import DRILLS, VOCAB_SIZE

import openmimo
from openmimo import SamplingParams
from openmimo.engine import Engine
from openmimo.environments import Environment, Task
from openmimo.environments.home import HomeEnvironment
from openmimo.train.collect import Collected, Draw, Group, collect
from openmimo.train.rollout import RolloutPool, roll_out

GROUPS, SAMPLES, SLOTS = 16, 8, 64
MAX_AGE = 2
"""Batches in which a partial rollout may go on."""
QUICK_S, SLOW_S, SLOW_SHARE = 0.005, 0.1, 0.1
DRAFTS: tuple[Literal["off", "auto"] | int, ...] = ("off", 1, "auto")
DRAFT_SLOTS, DRAFT_SAMPLES, DRAFT_REPEATS = (1, 4, 16, 64), 4, 2


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
    """One row of the first table."""
    began_s = time.perf_counter()
    valid = wasted = settled = 0
    carried: list[Group] = []
    with RolloutPool(engine, SamplingParams(max_new_tokens=16)) as pool:
        for step in range(steps):
            lock = threading.Lock() if "in line" in name else nullcontext()
            pool.params = SamplingParams(max_new_tokens=16, seed=step)
            if "rounds" in name or name.startswith("no dynamic"):
                collected = collect_in_rounds(pool, draws(step, lock), "rounds" in name)
            else:
                source = draws(step, lock)
                collected = collect(pool, source, GROUPS, SAMPLES, 0.9, 8 * GROUPS, carried=carried)
            carried = [group for group in collected.rest if "partial" in name and group.age < MAX_AGE]
            for group in carried:
                group.age += 1
            finish([group for group in collected.rest if group not in carried], is_cut="early" in name)
            valid += len(collected.groups) * SAMPLES
            settled += len(collected.settled)
            wasted += len(collected.rest) - len(carried)
        seconds = time.perf_counter() - began_s
        finish(carried, is_cut=True)
        busy_s = sum(attempt.busy_s for attempt in pool.attempts)
    idle, vain = 1 - busy_s / (SLOTS * seconds), wasted / (settled + wasted)
    return f"| {name} | {valid / seconds:.0f} | {seconds / steps:.2f} | {100 * idle:.0f}% | {100 * vain:.1f}% |"


def finish(groups: list[Group], is_cut: bool) -> None:
    """Give up what nobody wants any more, or wait for it."""
    for attempt in (attempt for group in groups for attempt in group.attempts):
        if is_cut:
            attempt.cancel()
        else:
            attempt.result()


def compare_drafts(checkpoint: str | None, threads: int, slots: int) -> str:
    """One row of the second table."""
    with ExitStack() as stack:
        engines = [
            stack.enter_context(openmimo.load(checkpoint, "f32", threads=threads, num_slots=slots, mtp=mtp))
            for mtp in DRAFTS
        ]
        tasks = tasks_for(engines[0])
        # In turn, so that a noisy machine disturbs all; the first time is for the engines to learn what pays.
        rounds = [[roll_out_once(engine, tasks, seed) for engine in engines] for seed in range(DRAFT_REPEATS + 1)][1:]
    rates = [max(rate for rate, _ in measured) for measured in zip(*rounds, strict=True)]
    per_step = [statistics.fmean(tokens for _, tokens in measured) for measured in zip(*rounds, strict=True)]
    shown = [f"{rate:,.0f} ({rate / rates[0]:.2f}, {tokens:.2f})" for rate, tokens in zip(rates, per_step, strict=True)]
    return f"| {slots} | {rates[0]:,.0f} | {' | '.join(shown[1:])} |"


def tasks_for(engine: Engine) -> list[tuple[Environment, Task]]:
    """What the checkpoint was trained on: drills, or requests about homes, which are longer."""
    is_drilled = engine.config.vocab_size == VOCAB_SIZE
    worlds, count = (list(DRILLS.values()), 24) if is_drilled else ([HomeEnvironment()], 16)
    return [(world, task) for world in worlds for task in world.tasks("train", 5, count)]


def roll_out_once(engine: Engine, tasks: list[tuple[Environment, Task]], seed: int) -> tuple[float, float]:
    """New tokens for each second of the processor, and for each step of the engine."""
    began_s = time.process_time()
    groups = roll_out(engine, tasks, DRAFT_SAMPLES, SamplingParams(max_new_tokens=64, seed=seed))
    seconds = time.process_time() - began_s
    rollouts = [rollout for group in groups for rollout in group]
    stats = [stats for rollout in rollouts for stats in rollout.stats]
    per_step = sum(one.new_tokens - 1 for one in stats) / sum(one.steps for one in stats)
    return sum(rollout.num_own for rollout in rollouts) / seconds, per_step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checkpoint", nargs="?", help="an SFT checkpoint of recipes/mopd_toy.py; none: the default model"
    )
    parser.add_argument("--steps", type=int, default=4, help="batches of a row (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    with openmimo.load(args.checkpoint, threads=args.threads, num_slots=SLOTS) as engine:
        if engine.config.vocab_size == VOCAB_SIZE:
            print("| rollouts | samples with a signal a second | seconds a batch | idle slots | wasted samples |")
            print("| --- | ---: | ---: | ---: | ---: |")
            for name in (
                "no dynamic sampling, rewards in line",
                "rounds, rewards in line",
                "continuous, rewards in line",
                "continuous, rewards beside",
                "continuous, rewards beside, early end",
                "continuous, rewards beside, early end, partial",
            ):
                print(measure(engine, name, args.steps), flush=True)
            print()
    print("| slots | tokens/s without drafts | one in every step (ratio, tokens a step) | as many as pay |")
    print("| ---: | ---: | ---: | ---: |")
    for slots in DRAFT_SLOTS:
        print(compare_drafts(args.checkpoint, args.threads, slots), flush=True)


if __name__ == "__main__":
    main()
