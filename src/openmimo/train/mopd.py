"""Multi-teacher on-policy distillation: the student writes, each domain's teacher says how it likes every token.

One step: tasks of every domain are drawn, an engine with the student's weights plays them, the domain's teacher scores
what was written, and the student moves towards it. Nothing touches the disk in between.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from openmimo.checkpoint import Checkpoint
from openmimo.engine.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.environments import Environment, Task
from openmimo.errors import ConfigError
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.tokenizer import Tokenizer
from openmimo.train.credit import group_advantages
from openmimo.train.distill import MopdObjective
from openmimo.train.domains import BY_DOMAIN, DomainWatch, domain_table
from openmimo.train.engine_plan import EnginePlan
from openmimo.train.lessons import Lesson, MopdStep, mean_reward, mopd_losses
from openmimo.train.log import METRICS, read_metrics
from openmimo.train.loss import Losses, LossWeights
from openmimo.train.memory import give_back_fragments
from openmimo.train.policy import pack_rollouts, split_groups
from openmimo.train.preflight import (
    DomainCheck,
    Played,
    Preflight,
    check_domain,
    find_conflicts,
    find_other_texts,
    read_fingerprint,
)
from openmimo.train.processes import from_first, rank_and_world, training_device
from openmimo.train.rollout import Rollout
from openmimo.train.rounding import rounded
from openmimo.train.shards import whole
from openmimo.train.teachers import ServerTeacher, Teachers, read_logits
from openmimo.train.trainer import TrainConfig, train
from openmimo.train.workplace import Players, Scorers, play_all, workplace

__all__ = ["DrawTasks", "Practice", "Score", "distil", "play", "preflight"]

DrawTasks = Callable[[int], Mapping[str, Sequence[tuple[Environment, Task]]]]
"""Tasks of every domain for a step; the same number always gives the same tasks. The domain picks the teacher."""

Score = Callable[[Engine, int], dict[str, Any]]
"""Scores an engine that has the student's weights after a number of steps, to log."""

TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")
PREFLIGHT = "preflight.json"
PAD_ID = 0
"""Fills gaps that nobody sees."""


@dataclass(frozen=True)
class Practice:
    """What is practised and how.

    Attributes:
        draw: the tasks.
        samples: attempts at each task; more than one only serves the outcome's advantage.
        params: how replies are sampled; temperature 1 and no filter, or the student does not learn from itself.
        objective: what is minimised.
        weights: number format of the engine. With "q8" or "q4" the student computes with rounded weights in training
            too, and its snapshots hold floats that lose little when they are rounded.
        replays: send the student's tokens to the experts that the engine chose, in training as in sampling.
        slots: replies that the engine writes at once.
        part_tokens: most tokens that go through a model at once, padding counted.
    """

    draw: DrawTasks
    samples: int = 1
    params: SamplingParams = field(default_factory=SamplingParams)
    objective: MopdObjective = field(default_factory=MopdObjective)
    weights: Literal["f32", "q8", "q4"] = "f32"
    replays: bool = True
    slots: int = 64
    part_tokens: int = 16384

    def rounding(self, model: MiMo) -> AbstractContextManager[None]:
        """The time during which the student has the weights that the engine computes with."""
        return nullcontext() if self.weights == "f32" else rounded(model, 8 if self.weights == "q8" else 4)


def distil(
    student: Path,
    teachers: Teachers,
    practice: Practice,
    config: TrainConfig,
    score: Score | None = None,
    score_every: int = 0,
) -> Path:
    """Distil the teachers into a student, or go on with it.

    Args:
        student: checkpoint to start from, with a tokenizer.
        teachers: one for each domain.
        practice: the tasks and the objective.
        config: the run; a fresh one writes the pre-flight report to its folder first.
        score: called every `score_every` steps; its result is logged.
        score_every: 0 for never.
    Returns:
        folder of the last snapshot, a checkpoint in the published layout.
    Raises:
        ConfigError: a teacher cannot teach this student, or settings contradict each other.
        CheckpointError: a checkpoint is damaged.
        TrainingError: as `train`, or a teacher's server fails.
    Source: MOPD, section 4.4 of the MiMo-V2-Flash report.
    """
    _check(teachers, practice)
    files = {name: (student / name).read_text(encoding="utf-8") for name in TEXT_FILES if (student / name).is_file()}
    model = load_model(Checkpoint.open(student))
    objective = practice.objective.for_vocabulary(model.config.vocab_size, bool(teachers.servers))
    practice = replace(practice, objective=objective)
    plan, place = EnginePlan(dict(model.config.published), files, practice.weights, practice.slots), workplace()
    with ExitStack() as stack:
        scorers = stack.enter_context(place.open_scorers(teachers))
        players = stack.enter_context(place.open_players(plan, published_tensors(model), rank_and_world()))
        report = from_first(lambda: preflight(student, teachers, practice, model, players, Path(config.folder)))
        school = _School(model, players, teachers, scorers, practice, report, Path(config.folder))
        evaluate = None if score is None else lambda _, step: score(school.refreshed(), step)
        settings = (
            practice.samples,
            practice.params,
            practice.objective,
            practice.weights,
            practice.replays,
            teachers.names,
        )
        config = replace(config, data=f"{config.data} {settings}".strip())
        return train(model, config, school.lessons, files, evaluate, score_every, school.losses)


class _School:
    """Draws tasks, lets the student play them, asks the teachers, and watches the domains."""

    def __init__(
        self,
        model: MiMo,
        players: Players,
        teachers: Teachers,
        scorers: Scorers,
        practice: Practice,
        report: Preflight,
        folder: Path,
    ):
        self.model, self.players, self.practice = model, players, practice
        self.teachers, self.scorers = teachers, scorers
        self.report, self.folder = report, folder
        self.untold = report.warnings

    @cached_property
    def watch(self) -> DomainWatch:
        """Made at the first step, when the trainer has cut what will be done again off the log."""
        path = self.folder / METRICS
        rewards = {
            check.domain: (check.student_reward, check.teacher_reward)
            for check in self.report.checks
            if check.student_reward is not None and check.teacher_reward is not None
        }
        return DomainWatch.from_log(rewards, read_metrics(path) if path.exists() else ())

    def refreshed(self) -> Engine:
        """An engine of this process, with the student's weights as they are now."""
        return self.players.engine_here(published_tensors(self.model))

    def lessons(self, step: int) -> MopdStep:
        """Everything that one step learns from."""
        give_back_fragments(step)
        with whole(self.model):
            self.players.update(published_tensors(self.model))
        played = play(self.players, self.practice, step)
        return MopdStep(tuple(self.ask(played)))

    def ask(self, played: Mapping[str, list[list[Rollout]]]) -> Iterator[Lesson]:
        """What the teacher of each domain thinks of rollouts, in parts that fit into memory."""
        parts = [
            (domain, [groups[number] for number in numbers])
            for domain, groups in played.items()
            for numbers in split_groups(groups, self.practice.part_tokens)
        ]
        batches = [pack_rollouts(part, PAD_ID).to(training_device()) for _, part in parts]
        asked = [(domain, batch) for (domain, _), batch in zip(parts, batches, strict=True)]
        checkpoints = [pair for pair in asked if pair[0] not in self.teachers.servers]
        opinions = self.scorers.score(checkpoints, bool(self.practice.objective.is_full))
        for (domain, part), batch in zip(parts, batches, strict=True):
            rollouts = tuple(rollout for group in part for rollout in group)
            advantages = [value for group in part for value in group_advantages([one.reward for one in group])]
            outcome_R = torch.tensor(advantages, device=batch.sampled_R.device)[batch.sequences_R]
            if domain in self.teachers.servers:
                teacher_R, teacher_RV = self.teachers.servers[domain].own_logprobs(rollouts), None
            else:
                teacher_R, teacher_RV = next(opinions)
            yield Lesson(domain, batch, rollouts, outcome_R, teacher_R.to(outcome_R.device), teacher_RV)

    def losses(self, model: MiMo, step: MopdStep, weights: LossWeights, progress: float) -> Losses:
        """As `train` wants it, with the table of domains among the figures."""
        with self.practice.rounding(model):
            losses, domains = mopd_losses(model, step, self.practice.objective, weights, progress)
        stats = [stats for lesson in step.lessons for rollout in lesson.rollouts for stats in rollout.stats]
        alarms, self.untold = (*self.untold, *self.watch.look(domains)), []
        table = domain_table(domains)
        recovered = {domain: self.watch.recovered(domain) for domain in domains}
        table["recovered"] = {domain: value for domain, value in recovered.items() if value is not None}
        figures = {
            **losses.figures,
            "reward": mean_reward([rollout for lesson in step.lessons for rollout in lesson.rollouts]),
            "acceptance": sum(one.new_tokens - 1 for one in stats) / max(sum(one.steps for one in stats), 1),
            **{name + BY_DOMAIN: row for name, row in table.items() if row},
        }
        return replace(losses, figures=figures, alarms=alarms)


def preflight(
    student: Path, teachers: Teachers, practice: Practice, model: MiMo, players: Players, folder: Path
) -> Preflight:
    """Make the pre-flight report, or read that of a run that goes on.

    Args:
        student, teachers, practice: of the run.
        model: the student.
        players: with the student's weights; they get them back.
        folder: run folder, where the report is kept.
    Returns:
        the report.
    Raises:
        ConfigError: a teacher cannot teach this student.
    """
    path = folder / PREFLIGHT
    if path.is_file():
        return Preflight.from_data(json.loads(path.read_text(encoding="utf-8")))
    conflicts = [line for teacher in teachers.checkpoints for line in find_conflicts(student, teacher)]
    Preflight(tuple(conflicts)).raise_if_refused()
    checks = []
    for domain, groups in play(players, practice, 0).items():
        if domain in teachers.servers:
            checks.append(_check_server(domain, teachers.servers[domain], groups, Tokenizer.load(student)))
            continue
        teacher = teachers.model(domain)
        parts = split_groups(groups, practice.part_tokens)
        batches = [pack_rollouts([groups[n] for n in part], PAD_ID).to(training_device()) for part in parts]
        with practice.rounding(model):
            student_RV = torch.cat([read_logits(model, batch) for batch in batches])
        teacher_RV = torch.cat([read_logits(teacher, batch) for batch in batches])
        players.update(published_tensors(teacher))
        played = [
            Played.of([one for group in found for one in group])
            for found in (groups, play(players, practice, 0, domain)[domain])
        ]
        players.update(published_tensors(model))
        checks.append(check_domain(domain, student_RV, teacher_RV, *played, is_self=teachers.is_self(domain)))
    report = Preflight((), tuple(checks), read_fingerprint(student))
    print(report.as_text(), file=sys.stderr)
    folder.mkdir(parents=True, exist_ok=True)
    report.save(path)
    return report


def _check_server(
    domain: str, server: ServerTeacher, groups: Sequence[Sequence[Rollout]], tokenizer: Tokenizer
) -> DomainCheck:
    """As far as a server tells: whether its tokens are the student's, and an estimate of the KL."""
    rollouts = [rollout for group in groups for rollout in group]
    longest = max(rollouts, key=lambda rollout: len(rollout.ids)).ids
    conflicts = find_other_texts(server.url, tokenizer, longest, server.vocabulary(longest))
    Preflight(tuple(conflicts)).raise_if_refused()
    teacher_R, batch = server.own_logprobs(rollouts), pack_rollouts(groups, PAD_ID)
    kl, played = (batch.sampled_R - teacher_R).mean().item(), Played.of(rollouts)
    return DomainCheck(
        domain,
        len(teacher_R),
        kl,
        student_reward=played.reward,
        student_length=played.length,
        student_truncated=played.truncated,
    )


def play(players: Players, practice: Practice, step: int, only: str | None = None) -> dict[str, list[list[Rollout]]]:
    """Play a step's tasks, those of all domains at once.

    Args:
        players: with the weights that are to play.
        practice: the tasks.
        step: which.
        only: the one domain that is wanted; None plays all.
    Returns:
        for each domain, a group of rollouts for each task.
    """
    drawn = {domain: tasks for domain, tasks in practice.draw(step).items() if only in (None, domain)}
    params = replace(practice.params, seed=step, routes=practice.replays)
    groups = iter(play_all(players, [pair for tasks in drawn.values() for pair in tasks], practice.samples, params))
    return {domain: [next(groups) for _ in tasks] for domain, tasks in drawn.items()}


def _check(teachers: Teachers, practice: Practice) -> None:
    """A setting that cannot take effect is an error."""
    objective = practice.objective
    if objective.is_full and teachers.servers:
        raise ConfigError(
            f"the teacher of {', '.join(teachers.servers)} is a server, which scores what was written and nothing "
            "else: leave is_full open or choose False"
        )
    if objective.alpha and practice.samples < 2:
        raise ConfigError(
            f"alpha={objective.alpha} compares samples of one task, but samples={practice.samples}: take at least 2, "
            "or alpha=0"
        )
    if practice.params.temperature != 1 or practice.params.top_k or practice.params.top_p < 1 or practice.params.min_p:
        raise ConfigError("the student must write as it is: temperature 1 and no filters")
