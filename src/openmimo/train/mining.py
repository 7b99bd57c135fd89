"""Finding what is worth training on: replies that the model does not yet give.

Once most replies are right, most of a batch teaches nothing. The native engine tells which they are for a tenth of what
training on them costs: it reads each gold reply and compares its own first choices, which is what greedy decoding
would have said up to the first difference.
"""

import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmimo.batch import PAGE_SIZE, Batch
from openmimo.checkpoint import Checkpoint, save_checkpoint
from openmimo.native import NativeBackend, WeightKind
from openmimo.train.data import Branch, Tree

__all__ = ["Marker", "prefer_wrong"]

PREFILL_ROWS = 256


class Marker:
    """Marks replies with the weights that it was given last.

    Args:
        published: the model's config.json.
        tensors: its first weights, float32, by published name.
        weights: number format of the engine.
        threads: of the engine.
    Raises:
        CheckpointError: a tensor is missing or unusable.
    """

    def __init__(
        self,
        published: Mapping[str, Any],
        tensors: Mapping[str, np.ndarray],
        weights: WeightKind = "q8",
        threads: int = 1,
    ):
        num_pages = -(-published["max_position_embeddings"] // PAGE_SIZE)
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder) / "model"
            save_checkpoint(checkpoint, published, tensors, {})
            self._backend = NativeBackend(Checkpoint.open(checkpoint), weights, threads, 1, num_pages)
        self._backend.start(self._backend.config.vocab_size, 0)
        self._pages_1P = np.arange(num_pages, dtype=np.int32)[None]

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Mark with other weights from here on; as `Backend.update`."""
        self._backend.update(tensors)

    def mark(self, tree: Tree) -> list[bool]:
        """Say which branches of a tree the model gives exactly, by teacher forcing.

        Args:
            tree: a stem and the branches that continue it.
        Returns:
            for each branch, whether all its targets of weight 1 are the model's first choices.
        """
        for start in range(0, len(tree.stem), PREFILL_ROWS):
            part = tree.stem[start : start + PREFILL_ROWS]
            self._first_choices(part, start, np.array([len(part) - 1]))
            self._backend.commit(np.array([len(part)], np.int32))
        return [self._is_right(branch, len(tree.stem)) for branch in tree.branches]

    def _is_right(self, branch: Branch, start: int) -> bool:
        """Nothing is committed, so that every branch finds the stem alone."""
        before_N = np.nonzero(np.array(branch.weights[1:]) == 1)[0]
        if not len(before_N):
            return True
        return np.array_equal(self._first_choices(branch.ids[:-1], start, before_N), np.array(branch.ids)[before_N + 1])

    def _first_choices(self, ids: Sequence[int], start: int, wanted_N: np.ndarray) -> np.ndarray:
        batch = Batch(
            np.array(ids, np.int32),
            np.array([0, len(ids)], np.int32),
            np.array([start], np.int32),
            np.zeros(1, np.int32),
            self._pages_1P,
            wanted_N.astype(np.int32),
        )
        return self._backend.forward(batch).best_B


def prefer_wrong(tree: Tree, is_right: Sequence[bool], room: int, share: float, rng: random.Random) -> Tree:
    """Choose branches for a batch: wrong ones for a share of the room, others for the rest.

    Training on nothing but errors would forget what was right.

    Args:
        tree: more branches than there is room for.
        is_right: what `Marker.mark` said of them.
        room: tokens of the branches to choose.
        share: of the room that wrong ones may fill.
        rng: source of randomness.
    Returns:
        the tree with the chosen branches.
    """
    order = rng.sample(range(len(tree.branches)), len(tree.branches))
    wrong = [tree.branches[n] for n in order if not is_right[n]]
    right = [tree.branches[n] for n in order if is_right[n]]
    hard = _fill(wrong, share * room)
    easy = _fill(right, room - _tokens(hard))
    rest = _fill(wrong[len(hard) :], room - _tokens(hard) - _tokens(easy))
    return Tree(tree.stem, [*hard, *easy, *rest])


def _fill(branches: Sequence[Branch], room: float) -> list[Branch]:
    """The first branches that fit."""
    chosen: list[Branch] = []
    for branch in branches:
        room -= len(branch.ids)
        if room < 0:
            break
        chosen.append(branch)
    return chosen


def _tokens(branches: Sequence[Branch]) -> int:
    return sum(len(branch.ids) for branch in branches)
