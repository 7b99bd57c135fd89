"""The best scored weights of a run, kept beside its snapshots: a run that gets worse can end with them."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.model.model import MiMo, load_model, published_tensors

__all__ = ["BestWeights"]

SCORE = "score.json"


class BestWeights:
    """One checkpoint, `best-N` after N steps, with its score; a crash at any instant leaves a whole one.

    Args:
        folder: run folder.
        files: text files that make it a complete checkpoint.
    """

    def __init__(self, folder: Path, files: Mapping[str, str]):
        self._folder, self._files = folder, files

    def offer(self, model: MiMo, step: int, score: float) -> None:
        """Keep a model's weights if none that are kept have a higher score.

        Args:
            model: what was scored.
            step: optimiser steps done; 0 begins a run, and nothing that another one left counts.
            score: of it.
        Raises:
            OSError: the disk is full or failing; what was kept is unharmed.
        """
        older = self._kept()
        if step and older and max(older.values()) > score:
            return
        path = self._folder / f"best-{step:06d}"
        text = json.dumps({"step": step, "score": score})
        save_checkpoint(path, dict(model.config.published), published_tensors(model), {**self._files, SCORE: text})
        for other in older.keys() - {path}:
            shutil.rmtree(other)

    def restore(self, model: MiMo) -> int | None:
        """Put the kept weights into a model.

        Args:
            model: of the run.
        Returns:
            after how many steps it had them; None if nothing is kept, and the model stays as it is.
        Raises:
            CheckpointError: the kept checkpoint is damaged.
        """
        kept = self._kept()
        if not kept:
            return None
        path = max(kept, key=lambda path: (kept[path], path.name))
        saved = dict(load_model(Checkpoint.open(path)).named_parameters())
        with torch.no_grad():  # one by one: the state dict of a model that is split has parts, even while it is whole
            for name, parameter in model.named_parameters():
                parameter.copy_(saved[name])
        return int(path.name.removeprefix("best-"))

    def _kept(self) -> dict[Path, float]:
        """Folders and their scores; two only after a crash between writing one and removing the other."""
        paths = self._folder.glob(f"best-*/{SCORE}")
        return {path.parent: json.loads(path.read_text(encoding="utf-8"))["score"] for path in paths}
