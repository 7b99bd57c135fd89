"""What an engine for rollouts is made of: enough to open one in this process or in any other, without a checkpoint."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmimo.checkpoint import save_checkpoint
from openmimo.engine.engine import Engine
from openmimo.loading import Weights, load

__all__ = ["EnginePlan"]


@dataclass(frozen=True)
class EnginePlan:
    """An engine for a model that is in training; `Engine.update` gives it new weights.

    Attributes:
        published: the model's config.json.
        files: tokenizer and chat template, as for a snapshot.
        weights: number format of the engine.
        slots: rollouts that it runs at once.
        max_replies: most replies in an episode.
    """

    published: Mapping[str, Any]
    files: Mapping[str, str]
    weights: Weights = "f32"
    slots: int = 64
    max_replies: int = 4

    def open(self, tensors: Mapping[str, np.ndarray], threads: int) -> Engine:
        """Open it.

        Args:
            tensors: its first weights, float32, by published name.
            threads: of the engine.
        Returns:
            the engine; close it, or use it in a `with` block.
        Raises:
            CheckpointError: a tensor or file is missing or unusable.
        """
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "model"
            save_checkpoint(checkpoint, self.published, tensors, self.files)
            return load(checkpoint, self.weights, threads=threads, num_slots=self.slots)
