"""The scoreboard of `mopd_toy.py`: teachers, students and baselines on held-out problems, over several seeds.

    python recipes/mopd_scores.py runs/mopd_toy 7 8 9

Each seed gets a folder. Finished trainings are not done again, so the command can be interrupted and repeated.
Writes scores.json, scores.md and scores.svg: percent of problems that are answered right when sampled, with 95%
intervals over seeds (over problems if there is one seed).
"""

import html
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import mopd_toy
import torch
from drills import DRILLS, PAD, text_files

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.evals import wilson
from openmimo.loading import Weights, load
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.train.data import PackedBatch
from openmimo.train.distill import MopdObjective
from openmimo.train.log import read_metrics
from openmimo.train.loss import LossWeights
from openmimo.train.merge import add_tasks, average
from openmimo.train.policy import pack_rollouts
from openmimo.train.recipe import Run
from openmimo.train.rollout import roll_out
from openmimo.train.rounding import rounded
from openmimo.train.teachers import read_logits
from openmimo.train.trainer import train

TASKS, SAMPLES = 300, 8
QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""Student's t for a 95% interval, by number of seeds."""
SCALED = {
    "full-scaled": (1, MopdObjective(has_scales=True)),
    "sampled-scaled": (1, MopdObjective(is_full=False, has_scales=True)),
}
"""Students beside those of the recipe: domains weighed by the scale of their signals."""
IN_Q4 = ", in q4"
NEAR = 1.0
"""Points below a teacher at which it counts as reached."""

Cell = dict[str, float]
Scores = dict[str, dict[str, Cell]]
"""Figures by model and drill."""


def main(out: Path, seeds: Sequence[int]) -> str:
    """Train what is missing, score everything, and write the board; returns the table."""
    found = {}
    for seed in seeds:
        folder = out / str(seed)
        models = make_models(folder, seed)
        path = folder / "scores.json"
        scores: Scores = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        for name, checkpoint in models.items():
            if name not in scores:
                scores[name] = measure(checkpoint, "q4" if name.endswith(IN_Q4) else "f32")
                path.write_text(json.dumps(scores, indent=1), encoding="utf-8")
        found[seed] = scores
    reached = {seed: steps_to_teachers(out / str(seed)) for seed in seeds}
    table = write_table(found, reached)
    (out / "scores.json").write_text(json.dumps({"seeds": found, "steps": reached}, indent=1), encoding="utf-8")
    (out / "scores.md").write_text(table, encoding="utf-8")
    (out / "scores.svg").write_text(draw_bars(found), encoding="utf-8")
    return table


# Models.


def make_models(out: Path, seed: int) -> dict[str, Path]:
    """Every row of the board: its checkpoint."""
    sft, rl, mopd = (Run(out, stage) for stage in ("sft", "rl", "mopd"))
    mopd_toy.sft(sft, seed)
    mopd_toy.rl(rl, seed)
    mopd_toy.mopd(mopd, seed)
    mopd_toy.make_students(mopd, seed, SCALED)
    start = mopd.result_of("sft")
    teachers = {name: mopd.result_of("rl", name) for name in DRILLS}
    # Mix-RL gets the rollouts of the teachers and of a student together.
    steps = sum(mopd_toy.STEPS.values()) + mopd_toy.MOPD_STEPS * mopd_toy.ROLLOUTS * len(DRILLS) // (
        mopd_toy.RL.groups * mopd_toy.RL.samples
    )
    mixed = mopd_toy.reinforce(rl, seed, steps, "mix", list(DRILLS))
    base, tuned = load_model(Checkpoint.open(start)), [load_model(Checkpoint.open(path)) for path in teachers.values()]
    student = next(iter(mopd_toy.VARIANTS))
    return {
        "SFT": start,
        **{f"teacher {name}": path for name, path in teachers.items()},
        **{f"MOPD {part}": mopd.result_of("mopd", part) for part in students()},
        f"MOPD {student}{IN_Q4}": mopd.result_of("mopd", student),
        f"MOPD {student}, finished{IN_Q4}": mopd.result_of("mopd", "q4"),
        "Mix-RL": mixed,
        "SFT on teacher samples": imitate(sft, seed, start, teachers),
        "average": save_merged(out / "merged" / "average", average(tuned)),
        "task arithmetic": save_merged(out / "merged" / "tasks", add_tasks(base, tuned)),
    }


def students() -> list[str]:
    """Names of all distillations of the three teachers."""
    return [*mopd_toy.VARIANTS, *SCALED]


def imitate(run: Run, seed: int, start: Path, teachers: Mapping[str, Path]) -> Path:
    """SFT on what the teachers write, as many replies of each drill in a step as a student practises."""
    models = {name: load_model(Checkpoint.open(path)) for name, path in teachers.items()}
    config = run.config(
        mopd_toy.MOPD_STEPS,
        "samples",
        bf16=False,
        balance_speed=0.0,
        optim=mopd_toy.ON_POLICY,
        weights=LossWeights(mtp=0.3),
    )
    with load(start, "f32", threads=torch.get_num_threads(), num_slots=64) as engine:

        def replies(step: int) -> PackedBatch:
            groups = []
            for name, pairs in mopd_toy.problems(seed, mopd_toy.ROLLOUTS, step).items():
                engine.update(published_tensors(models[name]))
                groups += roll_out(engine, pairs, 1, replace(mopd_toy.PARAMS, seed=step))
            return pack_rollouts(groups, PAD).packed

        return train(load_model(Checkpoint.open(start)), config, replies, text_files())


def save_merged(folder: Path, model: MiMo) -> Path:
    """Write a merged model, unless it is there."""
    if not folder.is_dir():
        save_checkpoint(folder, dict(model.config.published), published_tensors(model), text_files())
    return folder


# Scores.


def measure(checkpoint: Path, weights: Weights) -> dict[str, Cell]:
    """Figures of one model for each drill, on problems that no training draws."""
    model, cells = load_model(Checkpoint.open(checkpoint)), {}
    # All heads draft, whether or not it pays here, so that the acceptance length says how good they are.
    with load(checkpoint, weights, torch.get_num_threads(), mtp=len(model.heads), num_slots=64) as engine:
        for name, drill in DRILLS.items():
            pairs = [(drill, task) for task in drill.tasks("eval", 0, TASKS)]
            greedy = roll_out(engine, pairs, 1, replace(mopd_toy.PARAMS, temperature=0.0))
            groups = roll_out(engine, pairs, SAMPLES, replace(mopd_toy.PARAMS, seed=0))
            with rounded(model, 4) if weights == "q4" else nullcontext():
                scores_RV = read_logits(model, pack_rollouts(groups, PAD)).log_softmax(-1)
            rewards = [[rollout.reward for rollout in group] for group in groups]
            stats = [reply for group in groups for rollout in group for reply in rollout.stats]
            cells[name] = {
                "greedy": 100 * statistics.fmean(rollout.reward for (rollout,) in greedy),
                "sampled": 100 * statistics.fmean(reward for group in rewards for reward in group),
                f"pass@{SAMPLES}": 100 * statistics.fmean(max(group) for group in rewards),
                "entropy": -(scores_RV.exp() * scores_RV).sum(-1).mean().item(),
                "acceptance": sum(one.new_tokens - 1 for one in stats) / max(sum(one.steps for one in stats), 1),
            }
    return cells


def steps_to_teachers(out: Path) -> dict[str, dict[str, int | None]]:
    """For each student and drill, the first step at which it was within a point of the teacher on the few problems that
    are scored on the way, or None."""
    goals = {name: on_the_way(Run(out, "mopd").result_of("rl", name))[name] - NEAR for name in DRILLS}
    found: dict[str, dict[str, int | None]] = {}
    for part in students():
        records = [record for record in read_metrics(out / "mopd" / part / "metrics.jsonl") if "sampled" in record]
        found[f"MOPD {part}"] = {
            name: next((record["step"] + 1 for record in records if record["sampled"][name] >= goal), None)
            for name, goal in goals.items()
        }
    return found


def on_the_way(checkpoint: Path) -> dict[str, float]:
    """A checkpoint on the problems that students are scored on during training."""
    with load(checkpoint, "f32", torch.get_num_threads(), num_slots=64) as engine:
        return mopd_toy.progress(engine, 0)["sampled"]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean in percent and half the width of its 95% interval."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        low, high = wilson(mean / 100 * TASKS, TASKS)
        return mean, 50 * (high - low)
    return mean, QUANTILE.get(len(values), 2.0) * statistics.stdev(values) / math.sqrt(len(values))


def recovered(scores: Scores, model: str) -> dict[str, float]:
    """Share of each teacher's gain over SFT that a model has, in percent; only where there is a gain."""
    gains = {drill: scores[f"teacher {drill}"][drill]["sampled"] - scores["SFT"][drill]["sampled"] for drill in DRILLS}
    mine = {drill: scores[model][drill]["sampled"] - scores["SFT"][drill]["sampled"] for drill in DRILLS}
    return {drill: 100 * mine[drill] / gain for drill, gain in gains.items() if gain > 0}


# The board.


def write_table(found: Mapping[int, Scores], reached: Mapping[int, Mapping[str, Mapping[str, int | None]]]) -> str:
    """The board in Markdown."""
    seeds = list(found.values())
    models = list(seeds[0])
    head = [
        "model",
        *DRILLS,
        "mean",
        "recovered",
        "greedy",
        f"pass@{SAMPLES}",
        "entropy",
        "tokens a step",
        "steps to teachers",
    ]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for model in models:
        cells = [_plus_minus([scores[model][drill]["sampled"] for scores in seeds]) for drill in DRILLS]
        cells.append(_plus_minus([_mean(scores[model], "sampled") for scores in seeds]))
        shares = [recovered(scores, model) for scores in seeds]
        cells.append(", ".join(_share([share[drill] for share in shares if drill in share]) for drill in DRILLS))
        for figure, form in (("greedy", ".1f"), (f"pass@{SAMPLES}", ".1f"), ("entropy", ".3f"), ("acceptance", ".2f")):
            cells.append(format(statistics.fmean(_mean(scores[model], figure) for scores in seeds), form))
        cells.append(_steps([steps[model] for steps in reached.values() if model in steps]))
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *verdicts(seeds), ""])


def verdicts(seeds: Sequence[Scores]) -> list[str]:
    """What a reader wants to know, in sentences."""

    def means(model: str) -> dict[str, tuple[float, float]]:
        return {drill: interval([scores[model][drill]["sampled"] for scores in seeds]) for drill in DRILLS}

    base, lines = means("SFT"), []
    for drill in DRILLS:
        (mean, spread), (before, around) = means(f"teacher {drill}")[drill], base[drill]
        apart = "apart" if mean - spread > before + around else "overlapping"
        lines.append(f"- The teacher of {drill} is {mean - before:+.1f} points from SFT, intervals {apart}.")
    best = {drill: max(means(f"teacher {name}")[drill][0] for name in DRILLS) for drill in DRILLS}
    for part in students():
        mine = means(f"MOPD {part}")
        gaps = ", ".join(f"{drill} {mine[drill][0] - best[drill]:+.1f}" for drill in DRILLS)
        lines.append(f"- MOPD {part} from the best teacher of each drill: {gaps} points.")
    return lines


def draw_bars(found: Mapping[int, Scores]) -> str:
    """The board as bars: a group for each model, a bar for each drill, a line for its interval."""
    seeds, height, colours = list(found.values()), 16, ("#2a6fdb", "#d9480f", "#2b8a3e")
    models = list(seeds[0])
    rows, step = [], height * (len(DRILLS) + 1)
    for row, model in enumerate(models):
        rows.append(f"<text x='190' y='{row * step + 30}' text-anchor='end'>{html.escape(model)}</text>")
        for place, (drill, colour) in enumerate(zip(DRILLS, colours, strict=True)):
            mean, spread = interval([scores[model][drill]["sampled"] for scores in seeds])
            y = row * step + place * height + 8
            left, right = (200 + 5 * min(100.0, max(0.0, mean + side * spread)) for side in (-1, 1))
            rows.append(f"<rect x='200' y='{y}' width='{5 * mean:.1f}' height='{height - 3}' fill='{colour}'/>")
            rows.append(f"<line x1='{left:.1f}' x2='{right:.1f}' y1='{y + 6}' y2='{y + 6}' stroke='#222'/>")
            rows.append(f"<text x='{right + 6:.1f}' y='{y + 11}'>{drill} {mean:.1f}</text>")
    size = f"width='820' height='{len(models) * step + 10}'"
    style = "<style>text { font: 12px system-ui, sans-serif; }</style>"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{style}{''.join(rows)}</svg>\n"


def _mean(cells: Mapping[str, Cell], figure: str) -> float:
    return statistics.fmean(cell[figure] for cell in cells.values())


def _plus_minus(values: Sequence[float]) -> str:
    mean, spread = interval(values)
    return f"{mean:.1f} ±{spread:.1f}"


def _share(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.0f}%" if values else "-"


def _steps(found: Sequence[Mapping[str, int | None]]) -> str:
    """Drill by drill, the step at which its teacher was reached with each seed."""
    cells = [f"{drill} {', '.join(str(steps[drill] or 'never') for steps in found)}" for drill in DRILLS]
    return "; ".join(cells) if found else "-"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2:]] or [mopd_toy.SEED]))
