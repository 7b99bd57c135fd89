"""The training loop: one program for pre-training and SFT, on a CPU or one GPU, alone or under torchrun."""

import hashlib
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import torch
import torch.distributed as dist

from openmimo.errors import StorageError, TrainingError
from openmimo.model.model import MiMo
from openmimo.model.moe import Router, balance_bias
from openmimo.train.health import LoadWatch, expert_shares, num_zeros
from openmimo.train.lock import hold_folder
from openmimo.train.log import RunLog
from openmimo.train.loss import Losses, LossWeights, compute_losses
from openmimo.train.memory import keep_freed_memory
from openmimo.train.optim import OptimConfig, learning_rate, make_optimizers
from openmimo.train.processes import computes_bf16, rank_and_world, sum_over_processes, training_device
from openmimo.train.report import write_report
from openmimo.train.schedule import Piecewise, Scheduled, value_at
from openmimo.train.shards import full, shard, whole
from openmimo.train.snapshot import (
    find_snapshot,
    load_optimizers,
    load_snapshot,
    optimizer_tensors,
    remove_drafts,
    save_snapshot,
)

__all__ = ["ComputeLosses", "EndOfRun", "Evaluate", "StepBatch", "TrainConfig", "train"]

Evaluate = Callable[[MiMo, int], dict[str, Any]]
"""Scores a model after a number of steps: numbers, or tables and lists of numbers, by name."""


class EndOfRun(Exception):
    """Raised by a source of batches: the run is over before its last step, for the reason that it carries."""


class StepBatch(Protocol):
    """What one optimiser step learns from; `PackedBatch` is one."""

    @property
    def num_tokens(self) -> int:
        """Real tokens, padding not counted."""
        ...

    @property
    def has_targets(self) -> bool:
        """Whether there is anything to learn."""
        ...

    def to(self, device: torch.device) -> Self:
        """The same batch on another device."""
        ...


ComputeLosses = Callable[[MiMo, Any, LossWeights, float], Losses]
"""Maps a model, the source's kind of batch, weights, and the share of the run done to the losses of a step."""

BALANCE_SPEED = Piecewise(((0.0, 1e-3), (0.96, 1e-5)))


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run.

    Attributes:
        folder: run folder; snapshots, metrics.jsonl, report.html; a run found there is resumed.
        steps: optimiser steps of the whole run; may be changed on resume, which moves the schedules.
        save_every: steps between snapshots.
        balance_speed: nudge of the routers' correction bias after each step.
        bf16: matrix products in bfloat16 (weights, router, softmax sums and loss stay float32); None where the device
            computes in it.
        shards: split weights, gradients and moments over the processes of the run (FSDP2); one alone has nothing to
            split. Snapshots are the same either way, and a resumed run may choose anew.
        max_bad_steps: unusable steps in a row after which the run stops.
        data: what tells this run's data from others, such as a digest.
        allow_changes: resume although settings differ from the saved ones.
    Source: bias update speed 1e-3, and 1e-5 in the last stage, of MiMo-V2-Flash.
    """

    folder: str
    steps: int
    save_every: int = 500
    balance_speed: Scheduled = BALANCE_SPEED
    bf16: bool | None = None
    shards: bool = False
    max_bad_steps: int = 5
    data: str = ""
    allow_changes: bool = False
    optim: OptimConfig = field(default_factory=OptimConfig)
    weights: LossWeights = field(default_factory=LossWeights)


def train(
    model: MiMo,
    config: TrainConfig,
    source: Callable[[int], StepBatch],
    files: dict[str, str],
    evaluate: Evaluate | None = None,
    evaluate_every: int = 0,
    losses: ComputeLosses = compute_losses,
) -> Path:
    """Train, or resume training, and return the final snapshot.

    Args:
        model: with its initial weights; on resume they are replaced.
        config: the run.
        source: batch of a step; under torchrun each process takes the batch of step * world_size + rank. It may
            raise `EndOfRun`.
        files: text files that make a snapshot a complete checkpoint folder, name to content.
        evaluate: called on the first process every `evaluate_every` steps; its result is logged.
        evaluate_every: 0 for never.
        losses: of a batch; a total without gradient was followed already.
    Returns:
        folder of the last snapshot, a checkpoint in the published layout.
    Raises:
        TrainingError: the run cannot go on: another process trains in its folder, settings changed, no snapshot
            there is whole, or too many steps in a row were unusable.
        StorageError: a snapshot or the log could not be written.
        SystemExit: with code 0, after SIGINT or SIGTERM; everything is saved.
    """
    keep_freed_memory()
    folder = Path(config.folder)
    with ExitStack() as stack:
        left_by = None
        if rank_and_world()[0] == 0:
            folder.mkdir(parents=True, exist_ok=True)
            left_by = stack.enter_context(hold_folder(folder))
            remove_drafts(folder)
        run = _Run(model, config, source, files, losses)
        log = None
        if run.rank == 0:
            log = stack.enter_context(RunLog(folder, config.steps, run.step))
            notes = [f"the lock of {left_by} was left behind; going on from step {run.step}"] if left_by else []
            for note in [*notes, *run.damage]:
                log.note(note=note)
        try:
            return run.go(log, evaluate, evaluate_every)
        except OSError as error:
            raise StorageError(f"{folder} cannot be written to: {error}. Make room and start the run again") from error


FREE_SETTINGS = ("folder", "steps", "save_every", "shards", "allow_changes")
"""Settings that a resumed run may change; other `steps` stretch the schedules."""

EXPERTS_EVERY = 10
"""Steps between two records of every expert's share."""


class _Run:
    def __init__(
        self,
        model: MiMo,
        config: TrainConfig,
        source: Callable[[int], StepBatch],
        files: dict[str, str],
        losses: ComputeLosses,
    ):
        self.config, self.source, self.files, self.losses = config, source, files, losses
        self.folder = Path(config.folder)
        self.device = training_device()
        self.rank, self.world = rank_and_world()
        self.model = model
        self.bf16 = computes_bf16(self.device) if config.bf16 is None else config.bf16
        self.settings = self._settings()
        self.step = 0
        self.bad_steps = self.skipped = 0
        self.stop_asked = False
        self.watch = LoadWatch()
        self._freeze(config.weights)
        self._resume()

    def go(self, log: RunLog | None, evaluate: Evaluate | None, evaluate_every: int) -> Path:
        saved = self.step if self.step else None
        with _stop_signals() as stopped:
            while self.step < self.config.steps and not self.stop_asked:
                started = time.monotonic()
                try:
                    batch = self.source(self.step * self.world + self.rank)
                except EndOfRun as end:
                    if log:
                        log.note(step=self.step - 1, note=str(end))
                    break
                record, notes = self._train_step(batch.to(self.device), started, bool(stopped))
                self.step += 1
                self.stop_asked |= bool(stopped) and self.world == 1
                if log:
                    log.step(self.step - 1, record)
                    for note in notes:
                        log.note(step=self.step - 1, **note)
                if evaluate_every and self.step % evaluate_every == 0:
                    self._evaluate(log, evaluate)
                if self.bad_steps > self.config.max_bad_steps:
                    self._give_up()
                if self.step % self.config.save_every == 0 and not self.bad_steps:
                    saved = self._save()
        if saved != self.step:
            self._save()
        if self.stop_asked:
            raise SystemExit(0)  # whoever called must not go on
        return self.folder / f"step-{self.step:06d}"

    def _evaluate(self, log: RunLog | None, evaluate: Evaluate | None) -> None:
        with whole(self.model, keeps_changes=True):
            if log and evaluate:
                log.note(step=self.step - 1, **evaluate(self.model, self.step))
                write_report(self.folder)

    def _settings(self) -> dict[str, Any]:
        """What a resumed run must share with the one that was saved."""
        settings = {key: value for key, value in asdict(self.config).items() if key not in FREE_SETTINGS}
        digests = {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in self.files.items()}
        model = dict(self.model.config.published)
        return {**settings, "bf16": self.bf16, "processes": self.world, "model": model, "files": digests}

    def _freeze(self, weights: LossWeights) -> None:
        for name, parameter in self.model.named_parameters():
            if name.endswith("e_score_correction_bias"):
                continue
            is_head = ".mtp" in name
            parameter.requires_grad_(weights.mtp != 0 if is_head else weights.trunk != 0)

    def _resume(self) -> None:
        snapshot, self.damage = find_snapshot(self.folder)
        if self.damage and not snapshot:
            raise TrainingError(
                f"no snapshot in {self.folder} is whole: {'; '.join(self.damage)}. Move them away to start anew"
            )
        self.model.to(self.device).train()
        if snapshot:
            self.damage = [f"{line}; going on from {snapshot.name}" for line in self.damage]
            self.step = load_snapshot(snapshot, self.model, self.settings, self.config.allow_changes)
        self.is_sharded = self.config.shards and self.world > 1
        if self.is_sharded:
            shard(self.model)
        self.optimizers = make_optimizers(self.model, self.config.optim)
        if snapshot:
            load_optimizers(snapshot, self.optimizers)

    def _save(self) -> int:
        states = optimizer_tensors(self.optimizers) if self.is_sharded or self.rank == 0 else {}
        with whole(self.model):
            if self.rank == 0:
                save_snapshot(self.folder, self.step, self.model, states, self.settings, self.files)
                write_report(self.folder)
        if self.world > 1:
            dist.barrier()
        return self.step

    def _give_up(self) -> None:
        """Save the state from before the bad steps, which changed nothing, and stop."""
        self.step -= self.bad_steps
        self._save()
        raise TrainingError(
            f"{self.bad_steps} steps in a row could not be used, from step {self.step} on (a loss or gradient not "
            f"finite, or no targets). The state before them is saved in {self.folder}: look at the data of these "
            "steps, or go on with a lower learning rate and changes allowed"
        )

    def _train_step(
        self, batch: StepBatch, started: float, is_stopped: bool
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """One optimiser step: the record to log, and notes for people."""
        config, progress = self.config, self.step / self.config.steps
        losses = self._backward(batch, progress)
        is_usable = self._exchange(losses, batch, is_stopped)
        zeros = num_zeros(self.model)
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = full(torch.nn.utils.clip_grad_norm_(parameters, config.optim.clip)).item()
        is_usable = is_usable and math.isfinite(norm)
        factor = learning_rate(progress, config.optim)
        shares = expert_shares(self.model)
        speed = value_at(config.balance_speed, progress) if is_usable and config.weights.trunk else 0.0
        loads = balance_bias(self.model, speed)
        notes = self._count_bad(is_usable, norm, losses) + [{"alarm": text} for text in losses.alarms]
        if is_usable:
            self._update(factor)
            alarm = self.watch.look(shares)
            notes += [{"alarm": alarm}] if alarm else []
        record = _loss_record(losses) | {
            "grad_norm": norm,
            "lr": factor * config.optim.lr,
            **loads,
            "idle": _share(sum(row.count(0.0) for row in shares), sum(map(len, shares))),
            **{f"zeros_{group}": _share(*counts) for group, counts in zeros.items()},
            "zeros": sum(count for count, _ in zeros.values()),
            "tokens": batch.num_tokens * self.world,
            "tok_s": round(batch.num_tokens * self.world / (time.monotonic() - started)),
        }
        if self.step % EXPERTS_EVERY == 0 and shares:
            record["experts"] = shares
        return record, notes

    def _backward(self, batch: StepBatch, progress: float) -> Losses:
        autocast = torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with autocast:
            losses = self.losses(self.model, batch, self.config.weights, progress)
        if losses.total.requires_grad:
            losses.total.backward()
        return losses

    def _exchange(self, losses: Losses, batch: StepBatch, is_stopped: bool) -> bool:
        """Average gradients over processes, agree on whether the step can be used and whether to stop."""
        is_bad = not math.isfinite(losses.total.item()) or not batch.has_targets
        votes = torch.tensor([float(is_bad), float(is_stopped)], device=self.device)
        if self.world > 1:
            # Split ones are averaged on their way back through the model.
            gradients = [p.grad for p in self.model.parameters() if p.grad is not None and not self.is_sharded]
            loads = [module.load_E for module in self.model.modules() if isinstance(module, Router)]
            sum_over_processes([*gradients, *loads, votes])
            for gradient in gradients:
                gradient /= self.world
        bad, stopped = votes.tolist()
        self.stop_asked = stopped > 0
        return bad == 0

    def _count_bad(self, is_usable: bool, norm: float, losses: Losses) -> list[dict[str, Any]]:
        self.bad_steps = 0 if is_usable else self.bad_steps + 1
        if is_usable:
            return []
        self.skipped += 1
        reason = f"step {self.step} skipped: loss {losses.total.item():.4g}, gradient norm {norm:.4g}"
        return [{"note": f"{reason}; {self.skipped} skipped so far", "skipped": self.skipped}]

    def _update(self, factor: float) -> None:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()


def _loss_record(losses: Losses) -> dict[str, Any]:
    return {
        "loss": losses.trunk,
        "accuracy": losses.accuracy,
        **{f"mtp{k}": value for k, value in enumerate(losses.mtp_K)},
        **{f"agree{k}": value for k, value in enumerate(losses.agreement_K)},
        **losses.figures,
    }


def _share(count: int, total: int) -> float:
    return count / max(total, 1)


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM finish the step and save; a second one falls through to the default."""
    received: list[int] = []

    def note(number: int, _frame: Any) -> None:
        received.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
