"""On-policy distillation of recipes/mopd_toy.py beside TRL's DistillationTrainer: quality and speed, in one run.

Both start from the same SFT checkpoint and learn from the same teachers, those that the run folder has, on the same
prompts in the same order: as many rollouts and steps, temperature 1, reverse KL over the whole vocabulary, AdamW with
the recipe's settings, float32, one thread. Prints what the students, their start and the teachers make of held-out
problems, sampled by one engine, and what a step costs.

    python benchmarks/trl_distill.py runs/mopd_toy/7 --peer-python .venv-trl/bin/python

What differs: TRL averages over tokens, and not over sequences first; here the MTP heads go on learning; TRL takes one
teacher, so trl_worker.py makes one of several, exactly. The peer wants an environment of its own:

    python -m venv .venv-trl
    .venv-trl/bin/pip install "torch==2.13.0" "trl==1.16.0" "transformers==5.23.0" accelerate datasets
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

import mopd_toy
from drills import CONTROL_TOKENS, DRILLS, PAD

from openmimo.bench import machine
from openmimo.checkpoint import Checkpoint
from openmimo.evals import wilson
from openmimo.loading import load
from openmimo.model.model import load_model
from openmimo.train import mopd
from openmimo.train.distill import reverse_kl
from openmimo.train.policy import pack_rollouts
from openmimo.train.published import with_transformers_keys
from openmimo.train.recipe import Run
from openmimo.train.rollout import roll_out
from openmimo.train.snapshot import latest_snapshot
from openmimo.train.teachers import Teachers, read_logits

TASKS = 1000
"""Held-out problems of each drill, sampled once."""
WARM_UP = 2
"""Steps that are not timed."""
DOUBLE = {"swa_num_attention_heads": 6, "swa_num_key_value_heads": 6}
"""What `with_transformers_keys` must find to write its keys; trl_worker.py lifts the class's limit."""
TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


@dataclass
class Costs:
    """What a run notes at each step.

    Attributes:
        marks: (wall, processor) seconds at which the steps' rollouts begin.
        rollouts: (wall seconds, processor seconds, tokens) of each.
    """

    marks: list[Sequence[float]] = field(default_factory=list)
    rollouts: list[Sequence[float]] = field(default_factory=list)

    def figures(self, steps: int) -> dict[str, float]:
        """Means over the last steps, without the first ones of them."""
        marks, rollouts = self.marks[WARM_UP - steps :], self.rollouts[WARM_UP - steps :]
        wall_s, cpu_s = ((last - first) / (len(marks) - 1) for first, last in zip(marks[0], marks[-1], strict=True))
        rollout_wall_s, rollout_cpu_s, tokens = map(statistics.fmean, zip(*rollouts, strict=True))
        return {
            "seconds a step": wall_s,
            "processor seconds a step": cpu_s,
            "rollout tokens a second": tokens / rollout_wall_s,
            "rollout tokens a processor second": tokens / rollout_cpu_s,
            "rollouts, share of a step": rollout_wall_s / wall_s,
        }


# Our side.


def distil(start: Path, teachers: Mapping[str, Path], out: Path, steps: int) -> tuple[Path, Costs]:
    """The recipe's first student, of the teachers that there are."""
    config = replace(mopd_toy.student_config(Run(out, "mopd"), steps, "ours"), save_every=steps)
    practice = mopd.Practice(partial(problems, list(teachers)), params=mopd_toy.PARAMS)
    with noted_rollouts() as costs:
        return mopd.distil(start, Teachers(teachers, start), practice, config), costs


def problems(names: Sequence[str], step: int) -> dict[str, Any]:
    """The recipe's tasks of a step for some drills."""
    drawn = mopd_toy.problems(mopd_toy.SEED, mopd_toy.ROLLOUTS, step)
    return {name: drawn[name] for name in names}


@contextmanager
def noted_rollouts() -> Iterator[Costs]:
    """The time during which `mopd` notes what its rollouts cost; the pre-flight's come first."""
    costs, play = Costs(), mopd.play

    def noted(*args: Any) -> Any:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        played = play(*args)
        tokens = sum(one.num_own for groups in played.values() for group in groups for one in group)
        costs.marks.append((wall_s, cpu_s))
        costs.rollouts.append((time.perf_counter() - wall_s, time.process_time() - cpu_s, tokens))
        return played

    mopd.play = noted
    try:
        yield costs
    finally:
        mopd.play = play


# The peer's side.


def distil_by_trl(
    python: str, start: Path, teachers: Mapping[str, Path], out: Path, steps: int
) -> tuple[Path, Costs, dict[str, Any]]:
    """The same by TRL: its student as a checkpoint of ours without MTP heads, costs, and all that the worker tells."""
    tasks = [problems(list(teachers), step) for step in range(steps)]
    prompts = [[mopd_toy.CHAT.render(task.messages) for pairs in one.values() for _, task in pairs] for one in tasks]
    job = {
        "student": str(for_transformers(start, out / "start")),
        "teachers": {letter(name): str(for_transformers(path, out / name)) for name, path in teachers.items()},
        "probes": {letter(name): probe(name) for name in teachers},
        "prompts": prompts,
        "max_new_tokens": mopd_toy.PARAMS.max_new_tokens,
        "lr": mopd_toy.ON_POLICY.lr,
        "seed": mopd_toy.SEED,
    }
    (out / "job.json").write_text(json.dumps(job), encoding="utf-8")
    words = [python, str(Path(__file__).with_name("trl_worker.py")), str(out)]
    with open(out / "log.txt", "w", encoding="utf-8") as log:
        done = subprocess.run(words, env=worker_environment(), stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit(f"{python} failed; {out / 'log.txt'} ends in\n{(out / 'log.txt').read_text()[-2000:]}")
    answer = json.loads((out / "answer.json").read_text(encoding="utf-8"))
    ids = [mopd_toy.CHAT.encode(task.messages) for pairs in tasks[0].values() for _, task in pairs]
    if answer["prompt_ids"] != ids:
        raise SystemExit("the peer reads other tokens")
    published = json.loads((start / "config.json").read_text(encoding="utf-8"))
    (out / "model" / "config.json").write_text(json.dumps({**published, "num_nextn_predict_layers": 0}))
    for name in TEXT_FILES:
        shutil.copy(start / name, out / "model" / name)
    return out / "model", Costs(answer["marks"], answer["rollouts"]), answer


def worker_environment() -> dict[str, str]:
    """One thread, and no network."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def for_transformers(checkpoint: Path, folder: Path) -> Path:
    """A copy of a checkpoint that `transformers` reads."""
    published = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    folder.mkdir(parents=True)
    keys = with_transformers_keys({**published, **DOUBLE})
    (folder / "config.json").write_text(json.dumps({**keys, **published}), encoding="utf-8")
    for name in ("model.safetensors", *TEXT_FILES):
        shutil.copy(checkpoint / name, folder / name)
    return folder


def letter(name: str) -> int:
    """Token id of the letter that a drill's prompts begin with."""
    return mopd_toy.CHAT.tokenizer.encode(name[0])[0]


def probe(name: str) -> list[int]:
    """A held-out problem with its answer, longer than the sliding window."""
    (task,) = DRILLS[name].tasks("eval", 0, 1)
    text = mopd_toy.CHAT.render(task.messages) + task.gold[0].content + CONTROL_TOKENS[-1]
    return mopd_toy.CHAT.tokenizer.encode(text, allow_control=True)


def widest_gap(start: Path, teachers: Mapping[str, Path], answer: Mapping[str, Any]) -> float:
    """Largest difference between the peer's logits of a probe and ours, over the student and its teachers."""
    gaps = []
    for name, teacher in teachers.items():
        ids_BT = torch.tensor([probe(name)])
        for path, theirs in zip((start, teacher), answer["logits"][str(letter(name))], strict=True):
            model = load_model(Checkpoint.open(path)).eval()
            with torch.no_grad():
                gaps.append((model.logits(model(ids_BT)[0]) - torch.tensor(theirs)).abs().max().item())
    return max(gaps)


# The comparison.


@dataclass(frozen=True)
class Score:
    """How good a model is at a drill: share of problems answered right, and nats a token from the drill's teacher."""

    right: float
    kl: float

    def __str__(self) -> str:
        low, high = wilson(self.right * TASKS, TASKS)
        return f"{100 * self.right:.1f}% ({100 * low:.0f}-{100 * high:.0f}), {self.kl:.4f}"


def score(checkpoint: Path, teachers: Mapping[str, Path]) -> dict[str, Score]:
    """Sample a model on held-out problems of each drill."""
    model, scores = load_model(Checkpoint.open(checkpoint)), {}
    with load(checkpoint, "f32", threads=1, num_slots=64) as engine:
        for name, teacher in teachers.items():
            pairs = [(DRILLS[name], task) for task in DRILLS[name].tasks("eval", 0, TASKS)]
            groups = roll_out(engine, pairs, 1, replace(mopd_toy.PARAMS, seed=0))
            batch = pack_rollouts(groups, PAD)
            kl_R = reverse_kl(read_logits(model, batch), read_logits(load_model(Checkpoint.open(teacher)), batch))
            scores[name] = Score(statistics.fmean(one.reward for (one,) in groups), kl_R.mean().item())
    return scores


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of recipes/mopd_toy.py with sft/ and rl/DRILL/")
    parser.add_argument("--steps", type=int, default=mopd_toy.MOPD_STEPS, help="at least 4 (default %(default)s)")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has trl (default: this)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    start = Run(args.run, "mopd").result_of("sft")
    found = {name: latest_snapshot(args.run / "rl" / name) for name in DRILLS}
    teachers = {name: path for name, path in found.items() if path}
    with tempfile.TemporaryDirectory() as folder:
        ours, costs = distil(start, teachers, Path(folder), args.steps)
        theirs, their_costs, answer = distil_by_trl(args.peer_python, start, teachers, Path(folder) / "trl", args.steps)
        gap = widest_gap(start, teachers, answer)
        models = {"start": start, "openmimo": ours, "TRL": theirs}
        scores = {model: score(path, teachers) for model, path in models.items()}
    scores["teacher"] = {name: score(path, {name: path})[name] for name, path in teachers.items()}
    print(f"{machine()}, one thread. TRL {answer['version']}, {args.steps} steps of {mopd_toy.ROLLOUTS} rollouts of "
          f"each drill. Logits differ by at most {gap:.0e}.\n")  # fmt: skip
    print(f"| sampled (n = {TASKS}): right, 95% interval, KL to the teacher | {' | '.join(scores)} |")
    print(f"| --- |{' --- |' * len(scores)}")
    for name in teachers:
        print(f"| {name} | {' | '.join(str(found[name]) for found in scores.values())} |")
    print("\n| | openmimo | TRL | openmimo / TRL |\n| --- | ---: | ---: | ---: |")
    figures, theirs_too = costs.figures(args.steps), their_costs.figures(args.steps)
    for name, value in figures.items():
        print(f"| {name} | {value:.3g} | {theirs_too[name]:.3g} | {value / theirs_too[name]:.2f} |")


if __name__ == "__main__":
    main()
