"""Specialists of the default model, and ways to make one model of them.

Shows: a specialist of each environment, trained under supervision on what it still gets wrong there, some of them by
reinforcement too, from the verifiers' rewards alone; then the sum of what they have learnt, and the student that starts
at it, distilled from them on what it writes itself. Start, sum or student ships, whichever is best on held-out tasks.
Rollouts run with the 8-bit weights that are shipped.
Hardware: 2 CPU cores, no GPU. Time: 33 minutes with bfloat16 (specialists 12, RL 4, student 7, heads 4, scores 6).
Expect: the table of all of them in src/openmimo/weights/default/MODEL_CARD.md.

    torchrun --nproc-per-node 2 -m openmimo train sft recipes/nano_mopd.py --out runs/nano    # goes on from nano.py
    openmimo train rl recipes/nano_mopd.py --out runs/nano
    torchrun --nproc-per-node 2 -m openmimo train mopd recipes/nano_mopd.py --out runs/nano
    python recipes/nano_mopd.py runs/nano          # score everybody, ship the best with its card
"""

import argparse
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nano
import torch
from nano_data import Trees

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.engine import SamplingParams
from openmimo.environments import Environment, Episode, Split, Task, make_environment
from openmimo.loading import load
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.train.log import METRICS, read_metrics
from openmimo.train.loss import LossWeights
from openmimo.train.merge import add_tasks
from openmimo.train.mining import Marker
from openmimo.train.mopd import Practice, distil
from openmimo.train.optim import OptimConfig
from openmimo.train.processes import from_first
from openmimo.train.recipe import Run
from openmimo.train.rl import RLConfig, train_rl
from openmimo.train.rollout import percent_by_domain, roll_out
from openmimo.train.teachers import SELF, Teachers
from openmimo.train.trainer import TrainConfig, train

SPECIALISTS = {"recall": 60, "home": 120, "energy": 120, "programs": 60, "car": 80, "maths": 60}
"""Steps of each specialist."""
REINFORCED = {"home": 8, "programs": 12}
"""Steps of RL of those specialists that go on with it."""
OPTIM = OptimConfig(lr=3e-4, matrix_lr=0.0015, weight_decay=0.05, decay=0.75)
RL_OPTIM = OptimConfig(lr=2e-4, weight_decay=0.0, warmup=0.0, decay=0.0)
STUDENT_OPTIM = OptimConfig(lr=3e-5, weight_decay=0.0, warmup=0.0, decay=0.5)
"""No Muon: its steps have their full size however small the divergence is. Where teachers are as near as here (0.003
nats a token), AdamW at ten times this rate moves away from them."""
RL = RLConfig(groups=16, samples=8, max_new_tokens=320, weights="q8", eval_tasks=100)
MOPD_STEPS = 30
LESSONS = {"home": 12, "car": 8, "energy": 10, "maths": 6, "programs": 8, "recall": 4}
"""Tasks of each environment in a step of the student."""
HARD_SHARE = 0.7
"""Share of tasks, for teachers and student, whose right reply is not yet the first choice of who learns."""
TOGETHER = 4
"""Tasks that are drawn about one home, board or set of notes."""
PARAMS = SamplingParams(max_new_tokens=RL.max_new_tokens)
Scores = tuple[float, float]
"""Percent of the reward, greedy and sampled at temperature 1."""
SCORED = 150
"""Held-out tasks of each environment in the table of teachers."""
MERGE = 0.3
"""How much of what each specialist has learnt is added to the start."""
SUM = "merged"
"""Folder of the result, in the run's."""
STORY = """
## Teachers, and their student

The model of `recipes/nano.py` went on in one environment alone, under supervision on what it still got wrong there:
{specialists}.
Some went on by reinforcement learning from the verifiers' rewards alone, 16 tasks of 8 rollouts each: {reinforced}.
The sum is the model plus {merge} of what each specialist had learnt (task arithmetic); the student began as the sum
and was distilled on what it wrote itself from all of them, each the teacher of its environment
(`recipes/nano_mopd.py`, the whole distribution, {mopd_steps} steps). Percent of the reward on held-out
problems with held-out phrasings, greedy / sampled at temperature 1, {count} tasks each, 8-bit weights:

{table}

The {shipped} ships: of start, sum and student it has the highest mean of the greedy figures.

"""


class Mistakes:
    """An environment whose training tasks are mostly such as a model gets wrong. Its held-out tasks are the usual ones.

    Args:
        environment: that it draws from.
        trees: draws several tasks about one home or board, so that reading that once is enough.
        marker: has the model's weights.
    Attributes:
        name: the environment's.
    """

    def __init__(self, environment: Environment, trees: Trees, marker: Marker):
        self.name, self.environment, self.trees, self.marker = environment.name, environment, trees, marker

    def tasks(self, split: Split, seed: int, count: int, phrasings: Split | None = None) -> Iterator[Any]:
        """Yield tasks, as every environment."""
        if split == "eval":
            yield from self.environment.tasks(split, seed, count, phrasings)
            return
        rng = random.Random(f"mistakes-{self.name}-{seed}")
        for first in range(0, count, TOGETHER):
            suite = "long recall" if self.name == "recall" and rng.random() < 0.5 else self.name
            tree, tasks = self.trees.tree(rng, suite, "train", "train", count=2 * TOGETHER)
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
    for name, steps in SPECIALISTS.items():
        trees, files = nano.prepare(run.out, {name: 1.0})
        model = load_model(Checkpoint.open(run.result_of("sft")))
        config = settings(run, steps, name, OPTIM, LossWeights(mtp=0.0))  # nobody drafts with a teacher
        folder = train(model, config, nano.mistakes(trees, model, 1), files)
    return folder


def rl(run: Run) -> Path:
    """Some specialists, reinforced."""
    folder = run.folder
    trees, files = nano.prepare(run.out)
    for name, steps in REINFORCED.items():
        model = load_model(Checkpoint.open(run.result_of("sft", name)))
        config = settings(run, steps, name, RL_OPTIM, LossWeights(mtp=0.0))
        environments = {name: Mistakes(make_environment(name), trees, mark(model))}
        folder = train_rl(model, config, RL, environments, files, evaluate_every=steps)
    return folder


def mopd(run: Run) -> Path:
    """The student of the teachers, from the sum of what they have learnt."""
    start = from_first(lambda: merged(run))
    folders = {name: teacher_of(run, name) if name in SPECIALISTS else SELF for name in LESSONS}
    trees, _ = nano.prepare(run.out)
    marker = mark(load_model(Checkpoint.open(start)))
    environments = {name: Mistakes(make_environment(name), trees, marker) for name in LESSONS}

    def lessons(step: int) -> dict[str, list[tuple[Environment, Task]]]:
        return {
            name: [(environments[name], task) for task in environments[name].tasks("train", 10**6 + step, count)]
            for name, count in LESSONS.items()
        }

    practice = Practice(lessons, params=PARAMS, weights="q8")
    config = settings(run, MOPD_STEPS, "", STUDENT_OPTIM, LossWeights(mtp=0.3))
    student = distil(start, Teachers(folders, start), practice, config)
    return nano.train_heads(run, load_model(Checkpoint.open(student)), "heads")  # they catch up with the trunk


def teacher_of(run: Run, name: str) -> Path:
    """A specialist as it is after RL, or before, where held-out tasks say that it was the better model then."""
    if name not in REINFORCED:
        return run.result_of("sft", name)
    after = run.result_of("rl", name)
    records = read_metrics(after.parent / METRICS)
    scored = [{key.removeprefix("start_"): value for key, value in record.items()} for record in records]
    means = [record["greedy"][name] + record["sampled"][name] for record in scored if "greedy" in record]
    return after if means[-1] >= means[0] else run.result_of("sft", name)


def settings(run: Run, steps: int, part: str, optim: OptimConfig, weights: LossWeights) -> TrainConfig:
    """What all runs have in common."""
    return run.config(steps, part, save_every=20, balance_speed=1e-4, optim=optim, weights=weights)


def mark(model: MiMo) -> Marker:
    """What finds a model's mistakes, as it is now."""
    return Marker(model.config.published, published_tensors(model))


def as_table(rows: Mapping[str, Mapping[str, Scores]]) -> str:
    """Scores as a Markdown table."""
    lines = [f"| | {' | '.join(LESSONS)} |", "| --- |" + " ---: |" * len(LESSONS)]
    for row, scores in rows.items():
        cells = ["{:.0f} / {:.0f}".format(*scores[name]) if name in scores else "" for name in LESSONS]
        lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


def score_all(folders: Mapping[str, Path]) -> dict[str, Scores]:
    """What each environment's model gets in it."""
    scores: dict[str, Scores] = {}
    for folder in dict.fromkeys(folders.values()):
        scores |= score(folder, [name for name in folders if folders[name] == folder])
    return scores


def score(folder: Path, names: Sequence[str]) -> dict[str, Scores]:
    """What a model gets in some environments."""
    with load(folder, "q8", torch.get_num_threads(), num_slots=RL.slots) as engine:
        environments = [make_environment(name) for name in names]
        pairs = [(one, task) for one in environments for task in one.tasks("eval", 0, SCORED)]
        greedy, sampled = (
            percent_by_domain(roll_out(engine, pairs, 1, params))
            for params in (replace(PARAMS, temperature=0.0), PARAMS)
        )
    return {name: (greedy[name], sampled[name]) for name in names}


def merged(run: Run) -> Path:
    """The start plus a share of what each specialist has learnt since: a checkpoint."""
    start = load_model(Checkpoint.open(run.result_of("sft")))
    specialists = [load_model(Checkpoint.open(run.result_of("sft", name))) for name in SPECIALISTS]
    model, folder = add_tasks(start, specialists, MERGE), run.out / SUM
    save_checkpoint(folder, model.config.published, published_tensors(model), nano.checkpoint_files(run.out))
    return folder


def steps_of(parts: Mapping[str, int]) -> str:
    """Such as "home (8 steps), programs (12 steps)"."""
    return ", ".join(f"{name} ({steps} steps)" for name, steps in parts.items())


def main() -> None:
    """Score everybody, and ship the best of those that are good at everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder that all stages were trained in")
    run = Run(parser.parse_args().out, "mopd")
    candidates = {"start": run.result_of("sft"), "sum": run.out / SUM, "student": run.result_of("mopd", "heads")}
    models = {
        "specialist": {name: run.result_of("sft", name) for name in SPECIALISTS},
        "specialist after RL": {name: run.result_of("rl", name) for name in REINFORCED},
        **{row: dict.fromkeys(LESSONS, folder) for row, folder in candidates.items()},
    }
    rows = {row: score_all(folders) for row, folders in models.items()}
    shipped = max(candidates, key=lambda row: sum(greedy for greedy, _ in rows[row].values()))
    story = STORY.format(
        specialists=steps_of(SPECIALISTS),
        merge=MERGE,
        reinforced=steps_of(REINFORCED),
        mopd_steps=MOPD_STEPS,
        count=SCORED,
        table=as_table(rows),
        shipped=shipped,
    )
    nano.ship(run.out, candidates[shipped], story)


if __name__ == "__main__":
    main()
