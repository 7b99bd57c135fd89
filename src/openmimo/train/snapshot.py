"""Crash-safe training snapshots: a checkpoint folder in the published layout plus the trainer's own state.

Order of work: write everything to `step-N.tmp`, `manifest.json` last, fsync each file, rename the folder, and only then
remove older ones. A folder whose files do not all match its manifest is never resumed from.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openmimo.checkpoint import Checkpoint, make_durable, save_checkpoint
from openmimo.errors import StorageError, TrainingError
from openmimo.model.model import MiMo, load_model, published_tensors
from openmimo.tensorfile import TensorFile, write_tensors
from openmimo.train.shards import full, part_like

__all__ = [
    "find_snapshot",
    "latest_snapshot",
    "load_optimizers",
    "load_snapshot",
    "optimizer_tensors",
    "remove_drafts",
    "save_snapshot",
]

STATE = "trainer"
FORMAT = 1
"""Number of the layout of `trainer/`; a reader refuses a higher one."""


def save_snapshot(
    folder: Path,
    step: int,
    model: MiMo,
    states: Mapping[str, np.ndarray],
    settings: Mapping[str, Any],
    files: Mapping[str, str],
    keep: int = 2,
) -> Path:
    """Write `folder/step-N` so that a crash at any instant leaves the older snapshots usable.

    Args:
        folder: run folder.
        step: optimiser steps done.
        model: what to save, with all its weights in this process.
        states: what its optimisers remember, as `optimizer_tensors` gives it.
        settings: what must be the same on resume, as plain data.
        files: extra text files of the checkpoint (tokenizer and such), name to content.
        keep: complete snapshots to keep.
    Returns:
        the new folder.
    Raises:
        StorageError: the disk is full or failing; nothing is left of the attempt.
    """
    final = folder / f"step-{step:06d}"
    partial = final.with_suffix(".tmp")
    tensors = published_tensors(model)
    num_bytes = sum(tensor.nbytes for tensor in [*tensors.values(), *states.values()])
    try:
        shutil.rmtree(partial, ignore_errors=True)
        save_checkpoint(partial, dict(model.config.published), tensors, files)
        (partial / STATE).mkdir()
        write_tensors(partial / STATE / "optimizers.safetensors", states)
        _write_json(partial / STATE / "state.json", {"format": FORMAT, "step": step, "settings": settings})
        _write_json(partial / "manifest.json", {str(p.relative_to(partial)): _digest(p) for p in _files(partial)})
        for path in [*_files(partial), partial / STATE, partial]:
            make_durable(path)
        if final.exists():  # a damaged one, or the same step reached again
            _discard(final)
        partial.rename(final)
        make_durable(folder)
        for old in _snapshots(folder)[:-keep]:
            _discard(old)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        raise StorageError(
            f"the snapshot of step {step} was not written to {folder}: {error}. It takes {num_bytes / 1e6:,.1f} MB, "
            f"{free / 1e6:,.1f} MB are free. The older ones are intact: make room and start the same run again"
        ) from error
    return final


def find_snapshot(folder: Path) -> tuple[Path | None, list[str]]:
    """Find the newest snapshot whose files all match its manifest.

    Args:
        folder: run folder.
    Returns:
        the snapshot or None, and what is wrong with each newer one.
    """
    damage = []
    for path in reversed(_snapshots(folder)):
        problem = _problem(path)
        if problem is None:
            return path, damage
        damage.append(f"{path} is damaged: {problem}")
    return None, damage


def latest_snapshot(folder: Path) -> Path | None:
    """Newest snapshot whose files all match its manifest, or None; the damaged ones are passed over."""
    return find_snapshot(folder)[0]


def load_snapshot(path: Path, model: MiMo, settings: Mapping[str, Any], allow_changes: bool = False) -> int:
    """Check that the run's settings are the ones of a snapshot, then restore weights from it.

    Args:
        path: a snapshot folder.
        model: built as for the first start.
        settings: of this run.
        allow_changes: go on although settings differ.
    Returns:
        optimiser steps done.
    Raises:
        TrainingError: a setting differs and may not, the message lists each one; or the snapshot is of another model,
            or of a newer version.
    """
    state = json.loads((path / STATE / "state.json").read_text(encoding="utf-8"))
    if state.get("format", 0) > FORMAT:
        raise TrainingError(f"{path} has format {state['format']}, this version reads up to {FORMAT}: use a newer one")
    differing = list_differences(state["settings"], json.loads(json.dumps(settings)))
    if differing and not allow_changes:
        raise TrainingError(
            f"{path} was saved with other settings: {'; '.join(differing)}. Use the saved ones, choose another run "
            "folder, or allow changes"
        )
    _restore_weights(path, model)
    return int(state["step"])


def optimizer_tensors(optimizers: list[torch.optim.Optimizer]) -> dict[str, np.ndarray]:
    """What optimisers remember, for `save_snapshot`; where it is split, every process must ask.

    Args:
        optimizers: of one model.
    Returns:
        whole arrays; names are numbers of optimiser and parameter, and what it is.
    """
    tensors = {}
    for number, optimizer in enumerate(optimizers):
        for index, slots in optimizer.state_dict()["state"].items():
            for slot, value in slots.items():
                tensors[f"{number}.{index}.{slot}"] = full(value.detach()).cpu().contiguous().numpy()
    return tensors


def load_optimizers(path: Path, optimizers: list[torch.optim.Optimizer]) -> None:
    """Restore what optimisers remember from a snapshot.

    Args:
        path: a snapshot folder.
        optimizers: of the model with its weights, split or not.
    Raises:
        TrainingError: the snapshot is of another model or of other optimisers.
    """
    file = TensorFile(path / STATE / "optimizers.safetensors")
    tensors = {name: torch.from_numpy(np.array(file.array(name))) for name in file.entries}
    _restore_optimizers(path, optimizers, tensors)


def list_differences(saved: Any, now: Any, name: str = "") -> list[str]:
    """Name what differs between two pieces of plain data, nested keys joined by dots: "optim.lr: saved 1, now 2"."""
    if isinstance(saved, dict) and isinstance(now, dict):
        keys = sorted({*saved, *now})
        parts = (list_differences(saved.get(key), now.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return [line for lines in parts for line in lines]
    return [] if saved == now else [f"{name}: saved {_show(saved)}, now {_show(now)}"]


def remove_drafts(folder: Path) -> None:
    """Remove what a killed process left unfinished in a run folder."""
    for path in [*folder.glob("step-*.tmp"), *folder.glob(".step-*.tmp"), *folder.glob(".best-*.tmp")]:
        shutil.rmtree(path, ignore_errors=True)


def _show(value: Any) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _restore_weights(path: Path, model: MiMo) -> None:
    saved = load_model(Checkpoint.open(path)).state_dict()
    wanted = model.state_dict()
    differing = [name for name in sorted({*saved, *wanted}) if _shape(saved, name) != _shape(wanted, name)]
    if differing:
        raise TrainingError(f"{path} holds another model ({differing[0]} differs): use another run folder")
    model.load_state_dict(saved)


def _shape(state: Mapping[str, Tensor], name: str) -> torch.Size | None:
    return state[name].shape if name in state else None


def _restore_optimizers(path: Path, optimizers: list[torch.optim.Optimizer], tensors: dict[str, Tensor]) -> None:
    if {int(name.partition(".")[0]) for name in tensors} - set(range(len(optimizers))):
        raise TrainingError(f"{path} holds the state of other optimisers: start in another run folder")
    for number, optimizer in enumerate(optimizers):
        state = optimizer.state_dict()
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for name, value in tensors.items():
            owner, index, slot = name.split(".")
            if int(owner) == number:
                if int(index) >= len(parameters) or (value.ndim and value.shape != parameters[int(index)].shape):
                    raise TrainingError(f"{path} holds the optimiser state of another model: use another run folder")
                part = part_like(value, parameters[int(index)]) if value.ndim else value
                state["state"].setdefault(int(index), {})[slot] = part
        optimizer.load_state_dict(state)


def _snapshots(folder: Path) -> list[Path]:
    found = (path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name))
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _problem(path: Path) -> str | None:
    """What makes a snapshot unusable, or None."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        wrong = [name for name, digest in manifest.items() if _digest(path / name) != digest]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        return f"its files cannot be checked ({error})"
    if not {"config.json", f"{STATE}/state.json", f"{STATE}/optimizers.safetensors"} <= manifest.keys():
        return "its manifest is not complete"
    return f"{', '.join(wrong)} changed since it was written" if wrong else None


def _discard(path: Path) -> None:
    """Remove a snapshot; a crash in between leaves no half of one under its name."""
    draft = path.with_suffix(".old.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    path.rename(draft)
    shutil.rmtree(draft)


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1), encoding="utf-8")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
