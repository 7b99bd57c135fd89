"""The training loop: one program for pre-training and SFT, on a CPU or one GPU, alone or under torchrun."""

import ctypes
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from openmimo.checkpoint import Checkpoint
from openmimo.errors import TrainingError
from openmimo.model.model import MiMo, load_model
from openmimo.model.moe import Router, balance_bias
from openmimo.train.data import BatchSource, PackedBatch
from openmimo.train.log import RunLog
from openmimo.train.loss import Losses, LossWeights, compute_losses
from openmimo.train.optim import OptimConfig, learning_rate, make_optimizers
from openmimo.train.snapshot import latest_snapshot, load_snapshot, save_snapshot

__all__ = ["TrainConfig", "train"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run.

    Attributes:
        folder: run folder; snapshots, metrics.jsonl; a run found there is resumed.
        steps: optimiser steps of the whole run; may be changed on resume, which moves the decay.
        save_every: steps between snapshots.
        balance_speed: nudge of the routers' correction bias after each step.
        bf16: matrix products in bfloat16 (weights, router, softmax sums and loss stay float32).
        max_bad_steps: non-finite steps in a row after which the run stops.
    """

    folder: str
    steps: int
    save_every: int = 500
    balance_speed: float = 1e-3
    bf16: bool = True
    max_bad_steps: int = 5
    optim: OptimConfig = field(default_factory=OptimConfig)
    weights: LossWeights = field(default_factory=LossWeights)


def train(
    model: MiMo,
    config: TrainConfig,
    source: BatchSource,
    files: dict[str, str],
    evaluate: Callable[[MiMo, int], dict[str, Any]] | None = None,
    evaluate_every: int = 0,
) -> Path:
    """Train, or resume training, and return the final snapshot.

    Args:
        model: with its initial weights; on resume they are replaced.
        config: the run.
        source: batch of a step; under torchrun each process takes the batch of step * world_size + rank.
        files: text files that make a snapshot a complete checkpoint folder, name to content.
        evaluate: called on the first process every `evaluate_every` steps; its result is logged.
    Returns:
        folder of the last snapshot, a checkpoint in the published layout.
    Raises:
        TrainingError: the run cannot go on (settings changed, loss not finite for too long, out of disk).
    """
    _keep_freed_memory()
    return _Run(model, config, source, files).go(evaluate, evaluate_every)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # numbers of malloc.h

FREE_SETTINGS = ("folder", "steps", "save_every")
"""Settings that a resumed run may change; other `steps` stretch the learning-rate schedule."""


class _Run:
    def __init__(self, model: MiMo, config: TrainConfig, source: BatchSource, files: dict[str, str]):
        self.config, self.source, self.files = config, source, files
        self.folder = Path(config.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        self.settings = {key: value for key, value in asdict(config).items() if key not in FREE_SETTINGS}
        self.model = model
        self.step = 0
        self.bad_steps = 0
        self._freeze(config.weights)
        self._resume()

    def go(self, evaluate: Callable[[MiMo, int], dict[str, Any]] | None, evaluate_every: int) -> Path:
        saved = self.step if self.step else None
        log = RunLog(self.folder, self.config.steps, self.step) if self.rank == 0 else None
        with _stop_signals() as stopped, closing(log) if log else nullcontext():
            while self.step < self.config.steps and not stopped:
                record = self._train_step()
                self.step += 1
                if log:
                    log.step(self.step - 1, record)
                    if evaluate and evaluate_every and self.step % evaluate_every == 0:
                        log.note(step=self.step - 1, **evaluate(self.model, self.step))
                if self.step % self.config.save_every == 0:
                    saved = self._save()
        if saved != self.step:
            self._save()
        if stopped:
            raise SystemExit(0)  # asked to stop: everything is saved, and whoever called must not go on
        return self.folder / f"step-{self.step:06d}"

    def _freeze(self, weights: LossWeights) -> None:
        for name, parameter in self.model.named_parameters():
            if name.endswith("e_score_correction_bias"):
                continue
            is_head = ".mtp" in name
            parameter.requires_grad_(weights.mtp > 0 if is_head else weights.trunk > 0)

    def _resume(self) -> None:
        snapshot = latest_snapshot(self.folder)
        if snapshot:
            self.model.load_state_dict(load_model(Checkpoint.open(snapshot)).state_dict())
        self.model.to(self.device).train()
        self.optimizers = make_optimizers(self.model, self.config.optim)
        if snapshot:
            self.step = load_snapshot(snapshot, self.model, self.optimizers, self.settings)

    def _save(self) -> int:
        if self.rank == 0:
            try:
                save_snapshot(self.folder, self.step, self.model, self.optimizers, self.settings, self.files)
            except OSError as error:
                raise TrainingError(
                    f"snapshot of step {self.step} failed ({error}); the older ones are intact"
                ) from error
        if self.world > 1:
            dist.barrier()
        return self.step

    def _train_step(self) -> dict[str, Any]:
        started = time.monotonic()
        batch = self.source(self.step * self.world + self.rank).to(self.device)
        factor = learning_rate(self.step / self.config.steps, self.config.optim)
        losses = self._backward(batch)
        self._average_gradients()
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.optim.clip).item()
        self._update(norm, losses, factor)
        loads = balance_bias(self.model, self.config.balance_speed * factor if self.config.weights.trunk else 0.0)
        seconds = time.monotonic() - started
        return {
            "loss": round(losses.trunk, 5),
            "accuracy": round(losses.accuracy, 5),
            **{f"mtp{k}": round(value, 5) for k, value in enumerate(losses.mtp_K)},
            **{f"agree{k}": round(value, 5) for k, value in enumerate(losses.agreement_K)},
            "grad_norm": round(norm, 4),
            "lr": round(factor, 5),
            **{key: round(value, 3) for key, value in loads.items()},
            "zeros": self._num_zeros(parameters),
            "tokens": batch.num_tokens * self.world,
            "tok_s": round(batch.num_tokens * self.world / seconds),
        }

    def _backward(self, batch: PackedBatch) -> Losses:
        autocast = torch.autocast(self.device.type, torch.bfloat16) if self.config.bf16 else nullcontext()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with autocast:
            losses = compute_losses(self.model, batch, self.config.weights)
        losses.total.backward()
        return losses

    def _average_gradients(self) -> None:
        if self.world == 1:
            return
        tensors = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))
        for router in (module for module in self.model.modules() if isinstance(module, Router)):
            dist.all_reduce(router.load_E)

    def _update(self, norm: float, losses: Losses, factor: float) -> None:
        if norm != norm or norm == float("inf"):
            self.bad_steps += 1
            if self.bad_steps > self.config.max_bad_steps:
                raise TrainingError(
                    f"gradient not finite for {self.bad_steps} steps up to step {self.step} (loss {losses.trunk}): "
                    f"resume from the last snapshot in {self.folder} with a lower learning rate"
                )
            return
        self.bad_steps = 0
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()

    @staticmethod
    def _num_zeros(parameters: list[torch.nn.Parameter]) -> int:
        return sum(p.grad.numel() - int(torch.count_nonzero(p.grad)) for p in parameters if p.grad is not None)


def _keep_freed_memory() -> None:
    """Ask glibc to reuse freed memory instead of giving it back: every step allocates the same gigabytes anew.

    Without this, page faults cost a third of a step, and on virtual machines that hand freed pages back to their host
    up to nine tenths.
    """
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1), (M_TOP_PAD, 2**28)):
            libc.mallopt(option, value)


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
