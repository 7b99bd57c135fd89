"""Crash-safe training snapshots: a checkpoint folder in the published layout plus the trainer's own state.

Order of work: write everything to `step-N.tmp`, `manifest.json` last, fsync each file, rename the folder. A folder
without a complete manifest is never resumed from.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from openmimo.checkpoint import make_durable, save_checkpoint
from openmimo.errors import TrainingError
from openmimo.model.model import MiMo, published_tensors

__all__ = ["latest_snapshot", "load_snapshot", "save_snapshot"]

STATE = "trainer"


def save_snapshot(
    folder: Path,
    step: int,
    model: MiMo,
    optimizers: list[torch.optim.Optimizer],
    settings: dict[str, Any],
    files: dict[str, str],
    keep: int = 2,
) -> Path:
    """Write `folder/step-N` so that a crash at any instant leaves the older snapshots usable.

    Args:
        folder: run folder.
        step: optimiser steps done.
        model, optimizers: what to save.
        settings: the run's configuration as plain data, compared on resume.
        files: extra text files of the checkpoint (tokenizer and such), name to content.
        keep: complete snapshots to keep.
    Returns:
        the new folder.
    """
    final = folder / f"step-{step:06d}"
    partial = final.with_suffix(".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    save_checkpoint(partial, dict(model.config.published), dict(published_tensors(model)), files)
    (partial / STATE).mkdir()
    save_file(_optimizer_tensors(optimizers), partial / STATE / "optimizers.safetensors")
    (partial / STATE / "state.json").write_text(json.dumps({"step": step, "settings": settings}), encoding="utf-8")
    manifest = {str(path.relative_to(partial)): _digest(path) for path in _files(partial)}
    (partial / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in _files(partial):
        make_durable(path)
    make_durable(partial)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    make_durable(folder)
    for old in _snapshots(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def latest_snapshot(folder: Path) -> Path | None:
    """Newest snapshot whose files all match its manifest, or None; the damaged ones are passed over."""
    return next((path for path in reversed(_snapshots(folder)) if _is_complete(path)), None)


def load_snapshot(path: Path, model: MiMo, optimizers: list[torch.optim.Optimizer], settings: dict[str, Any]) -> int:
    """Restore the optimisers' state and check that the run's settings are the ones it was saved with.

    Args:
        path: a snapshot folder; the model's weights are read from it too.
        model, optimizers: built as for the first start.
        settings: of this run.
    Returns:
        optimiser steps done.
    Raises:
        TrainingError: a setting differs; the message lists each one.
    """
    state = json.loads((path / STATE / "state.json").read_text(encoding="utf-8"))
    differing = [
        f"{key}: saved {state['settings'].get(key)!r}, now {settings.get(key)!r}"
        for key in sorted({*settings, *state["settings"]})
        if settings.get(key) != state["settings"].get(key)
    ]
    if differing:
        raise TrainingError(
            f"{path} was saved with other settings ({'; '.join(differing)}): use the saved ones, or another run folder"
        )
    _restore_optimizers(optimizers, load_file(path / STATE / "optimizers.safetensors"))
    return int(state["step"])


def _optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    tensors = {}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            tensors.update({f"{number}.{index}.{slot}": value.contiguous() for slot, value in slots.items()})
    return tensors


def _restore_optimizers(optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        for name, value in tensors.items():
            owner, index, slot = name.split(".")
            if int(owner) == number:
                state["state"].setdefault(int(index), {})[slot] = value
        optimizer.load_state_dict(state)


def _snapshots(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))


def _is_complete(path: Path) -> bool:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        return all(_digest(path / name) == digest for name, digest in manifest.items())
    except (OSError, ValueError):
        return False


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
