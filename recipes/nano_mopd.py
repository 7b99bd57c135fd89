"""Teachers of the default model, and a student of them all.

Shows: a specialist for each environment, trained under supervision on what it still gets wrong there and then by
reinforcement from the verifiers' rewards alone; then distillation of the teachers into one model, on what it writes
itself. Rollouts run with the 8-bit weights that are shipped.
Hardware: 2 CPU cores, no GPU. Time: TIME.
Expect: the table of teachers and student in src/openmimo/weights/default/MODEL_CARD.md.

    torchrun --nproc-per-node 2 -m openmimo train sft recipes/nano_mopd.py --out runs/nano    # goes on from nano.py
    openmimo train rl recipes/nano_mopd.py --out runs/nano
    openmimo train mopd recipes/nano_mopd.py --out runs/nano
    python recipes/nano_mopd.py runs/nano                       # score everybody, ship the student with its card
"""

import argparse
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nano
import torch
from nano_data import Trees

from openmimo.checkpoint import Checkpoint
from openmimo.engine import SamplingParams
from openmimo.environments import Environment, Episode, Split, Task, make_environment
from openmimo.loading import load
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.train.loss import LossWeights
from openmimo.train.mining import Marker
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.recipe import Run
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.rollout import percent_by_domain, roll_out
from openmimo.train.teachers import SELF, Teachers
from openmimo.train.trainer import TrainConfig, train

TEACHERS = {"home": (110, 14), "car": (80, 10), "energy": (130, 14), "programs": (110, 14), "recall": (110, 10)}
"""Steps of each teacher: under supervision and of RL. In maths the model of the start is good enough to teach."""
SPECIALIST = OptimConfig(lr=1e-3, matrix_lr=0.004, weight_decay=0.05, decay=0.6)
REINFORCED = OptimConfig(lr=3e-4, weight_decay=0.0, warmup=0.0, decay=0.0)
RL = RLConfig(groups=16, samples=8, max_new_tokens=320, weights="q8", eval_tasks=100)
MOPD_STEPS = 80
LESSONS = {"home": 16, "car": 8, "energy": 10, "maths": 4, "programs": 8, "recall": 3}
"""Tasks of each environment in a step of the student."""
HARD_SHARE = 0.7
"""Share of tasks, for teachers and student, whose right reply is not yet the first choice of who learns."""
TOGETHER = 4
"""Tasks that are drawn about one home, board or set of notes."""
PARAMS = SamplingParams(max_new_tokens=RL.max_new_tokens)
SCORED = 200
"""Held-out tasks of each environment in the table of teachers."""
STORY = """
## Teachers and student

The model of `recipes/nano.py` went on in each of {names} alone: {supervised} steps under supervision on what it still
got wrong there, then {reinforced} steps of reinforcement learning from the verifiers' rewards alone, with 16 tasks of
8 rollouts each. {mopd_steps} steps of multi-teacher on-policy distillation made one student of these teachers
(`recipes/nano_mopd.py`); in maths it was taught by what it was.
Percent of the reward on held-out problems with held-out phrasings, greedy / sampled at temperature 1, {count} tasks
each, 8-bit weights:

{table}

"""


@dataclass(frozen=True)
class Mistakes:
    """An environment whose training tasks are mostly such as a model gets wrong. Its held-out tasks are the usual ones.

    Attributes:
        environment: that it draws from.
        trees: draws several tasks about one home or board, so that reading that once is enough.
        marker: has the model's weights.
    """

    environment: Environment
    trees: Trees
    marker: Marker

    @property
    def name(self) -> str:
        """The environment's."""
        return self.environment.name

    def tasks(self, split: Split, seed: int, count: int, phrasings: Split | None = None) -> Iterator[Any]:
        """Yield tasks, as every environment."""
        if split == "eval":
            yield from self.environment.tasks(split, seed, count, phrasings)
            return
        rng = random.Random(f"mistakes-{self.name}-{seed}")
        for first in range(0, count, TOGETHER):
            suite = "long recall" if self.name == "recall" and rng.random() < 0.5 else self.name
            tree, tasks = self.trees.tree(rng, suite, "train", "train", times=0.5)
            marks = self.marker.mark(replace(tree, branches=tree.branches[: len(tasks)]))
            hard = [task for task, is_right in zip(tasks, marks, strict=True) if not is_right]
            for _ in range(first, min(count, first + TOGETHER)):
                yield rng.choice(hard if hard and rng.random() < HARD_SHARE else tasks)

    def start(self, task: Task) -> Episode:
        """Begin an attempt."""
        return self.environment.start(task)

    def gold(self, task: Task) -> tuple[Any, ...]:
        """A continuation that scores 1.0."""
        return self.environment.gold(task)


def sft(run: Run) -> Path:
    """A specialist of each environment: the model of `nano.sft` goes on there alone."""
    folder = run.folder
    for name, (steps, _) in TEACHERS.items():
        trees, files = nano.prepare(run.out, {name: 1.0})
        model = load_model(Checkpoint.open(run.result_of("sft")))
        config = settings(run, steps, name, SPECIALIST, LossWeights(mtp=0.0))  # nobody drafts with a teacher
        folder = train(model, config, nano.mistakes(trees, model, 1), files)
    return folder


def rl(run: Run) -> Path:
    """A teacher of each environment, from its specialist."""
    folder = run.folder
    for name in TEACHERS:
        folder = teach(run, name)
    return folder


def teach(run: Run, name: str) -> Path:
    """The teacher of one environment."""
    trees, files = nano.prepare(run.out)
    model = load_model(Checkpoint.open(run.result_of("sft", name)))
    config = settings(run, TEACHERS[name][1], name, REINFORCED, LossWeights(mtp=0.0))
    environments = {name: Mistakes(make_environment(name), trees, mark(model))}
    return train_rl(model, config, RL, environments, files, evaluate_every=TEACHERS[name][1])


def mopd(run: Run) -> Path:
    """The student of the teachers, from the model that they began as."""
    start = run.result_of("sft")
    folders = {name: run.result_of("rl", name) if name in TEACHERS else SELF for name in LESSONS}
    trees, _ = nano.prepare(run.out)
    marker = mark(load_model(Checkpoint.open(start)))
    environments = {name: Mistakes(make_environment(name), trees, marker) for name in LESSONS}

    def lessons(step: int) -> dict[str, list[tuple[Environment, Task]]]:
        return {
            name: [(environments[name], task) for task in environments[name].tasks("train", 10**6 + step, count)]
            for name, count in LESSONS.items()
        }

    practice = Practice(lessons, params=PARAMS, weights="q8")
    config = settings(run, MOPD_STEPS, "", SPECIALIST, LossWeights(mtp=0.3))
    return distil(start, Teachers(folders, start), practice, config)


def settings(run: Run, steps: int, part: str, optim: OptimConfig, weights: LossWeights) -> TrainConfig:
    """What all runs have in common."""
    return run.config(steps, part, save_every=20, balance_speed=1e-4, optim=optim, weights=weights)


def mark(model: MiMo) -> Marker:
    """What finds a model's mistakes, as it is now."""
    return Marker(model.config.published, published_tensors(model))


def scoreboard(models: Mapping[str, Path]) -> str:
    """Every model in every environment, as a Markdown table."""
    lines = [f"| | {' | '.join(LESSONS)} |", "| --- |" + " ---: |" * len(LESSONS)]
    for model, folder in models.items():
        with load(folder, "q8", torch.get_num_threads(), num_slots=RL.slots) as engine:
            environments = [make_environment(name) for name in LESSONS]
            pairs = [(one, task) for one in environments for task in one.tasks("eval", 0, SCORED)]
            greedy, sampled = (
                percent_by_domain(roll_out(engine, pairs, 1, params))
                for params in (replace(PARAMS, temperature=0.0), PARAMS)
            )
        lines.append(f"| {model} | {' | '.join(f'{greedy[name]:.0f} / {sampled[name]:.0f}' for name in LESSONS)} |")
    return "\n".join(lines)


def main() -> None:
    """Score teachers and student, and ship the student."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that all stages were trained in")
    run = Run(parser.parse_args().out, "mopd")
    student = run.result_of("mopd")
    specialists = {f"specialist of {name}": run.result_of("sft", name) for name in TEACHERS}
    teachers = {f"teacher of {name}": run.result_of("rl", name) for name in TEACHERS}
    table = scoreboard({"start": run.result_of("sft"), **specialists, **teachers, "student": student})
    supervised, reinforced = (", ".join(map(str, steps)) for steps in zip(*TEACHERS.values(), strict=True))
    names = ", ".join(TEACHERS)
    story = STORY.format(
        names=names,
        supervised=supervised,
        reinforced=reinforced,
        mopd_steps=MOPD_STEPS,
        count=SCORED,
        table=table,
    )
    nano.ship(run.out, student, story)


if __name__ == "__main__":
    main()
