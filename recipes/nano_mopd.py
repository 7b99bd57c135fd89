"""RL teachers of the default model, and a student of them all.

Shows: reinforcement learning on a model that has learnt its skills under supervision, from the verifiers' rewards
alone; then distillation of the teachers into one model, on what it writes itself. Rollouts run with the 8-bit weights
that are shipped.
Hardware: 1 CPU core, no GPU. Time: about half a minute for a step of RL.
Expect: little from 40 steps. On held-out tasks (n = 100) energy went from 40% to 52% sampled while the greedy reply
stayed within the noise (57% and 54%), programs from 39% to 44% in 20 steps. The model that ships is therefore the one
of `nano.py`; thousands of steps are what the reports of large models tell of, and what this recipe is for.

    openmimo train rl recipes/nano_mopd.py --out runs/nano      # goes on from `train sft recipes/nano.py`
    openmimo train mopd recipes/nano_mopd.py --out runs/nano
    python recipes/nano_mopd.py runs/nano                       # score everybody, ship the student with its card

Homes, cars, sums and notes have no teacher, and the student teaches itself what it knew: 28 steps of RL on homes moved
nothing.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import nano
import torch

from openmimo.checkpoint import Checkpoint
from openmimo.engine import SamplingParams
from openmimo.environments import Environment, Task, make_environment
from openmimo.loading import load
from openmimo.model.model import load_model
from openmimo.train.loss import LossWeights
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.recipe import Run
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.rollout import percent_by_domain, roll_out
from openmimo.train.teachers import SELF, Teachers
from openmimo.train.trainer import TrainConfig

STEPS = {"energy": 40, "programs": 40}
"""Steps of RL for each teacher."""
RL = RLConfig(groups=16, samples=8, max_new_tokens=192, weights="q8", eval_tasks=100)
MOPD_STEPS = 40
LESSONS = {"home": 8, "car": 4, "energy": 12, "maths": 6, "programs": 12, "recall": 1}
"""Tasks of each environment in a step of the student."""
LR = 3e-4
PARAMS = SamplingParams(max_new_tokens=RL.max_new_tokens)
SCORED = 150
"""Held-out tasks of each environment in the table of teachers."""
STORY = """
## Teachers and student

From the supervised model, reinforcement learning made a teacher for each of {names} ({steps} steps of 16 tasks
with 8 rollouts each, rewards by the verifiers alone), and {mopd_steps} steps of multi-teacher on-policy distillation
made one student of them (`recipes/nano_mopd.py`); in the other environments the student was taught by what it was.
Percent of the reward with held-out phrasings, greedy / sampled at temperature 1, {count} tasks each, 8-bit weights:

{table}

"""


def rl(run: Run) -> Path:
    """A teacher for each environment, from the same SFT checkpoint."""
    folder = run.folder
    for name, steps in STEPS.items():
        config = settings(run, steps, name, LossWeights(mtp=0.0))  # nobody drafts with a teacher
        model = load_model(Checkpoint.open(run.result_of("sft")))
        environments = {name: make_environment(name)}
        folder = train_rl(model, config, RL, environments, nano.checkpoint_files(run.out), evaluate_every=20)
    return folder


def mopd(run: Run) -> Path:
    """The student of the teachers, from the same SFT checkpoint."""
    start = run.result_of("sft")
    folders = {name: run.result_of("rl", name) if name in STEPS else SELF for name in LESSONS}
    practice = Practice(lessons, params=PARAMS, weights="q8")
    return distil(start, Teachers(folders, start), practice, settings(run, MOPD_STEPS, "", LossWeights(mtp=0.3)))


def settings(run: Run, steps: int, part: str, weights: LossWeights) -> TrainConfig:
    """What all runs have in common."""
    optim = OptimConfig(lr=LR, weight_decay=0.0, warmup=0.0, decay=0.0)
    return run.config(steps, part, save_every=20, balance_speed=1e-4, optim=optim, weights=weights)


def lessons(step: int) -> dict[str, list[tuple[Environment, Task]]]:
    """The tasks of a step of the student."""
    drawn = {}
    for name, count in LESSONS.items():
        environment = make_environment(name)
        drawn[name] = [(environment, task) for task in environment.tasks("train", 10**6 + step, count)]
    return drawn


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
    teachers = {f"teacher of {name}": run.result_of("rl", name) for name in STEPS}
    table = scoreboard({"supervised": run.result_of("sft"), **teachers, "student": student})
    steps = ", ".join(str(count) for count in STEPS.values())
    story = STORY.format(names=", ".join(STEPS), steps=steps, mopd_steps=MOPD_STEPS, count=SCORED, table=table)
    nano.ship(run.out, student, story)


if __name__ == "__main__":
    main()
