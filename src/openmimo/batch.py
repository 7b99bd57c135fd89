"""What the engine and a back end share: a ragged batch, its result, and the `Backend` protocol.

Prefill chunks, decode steps, draft verification and scoring are the same call with different lengths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from openmimo.config import ModelConfig

__all__ = ["PAGE_SIZE", "Backend", "Batch", "StepResult"]

PAGE_SIZE = 64
"""Positions in one page of a global-attention cache."""


@dataclass(slots=True)
class Batch:
    """New tokens of N sequences, laid end to end.

    Sequence n owns rows starts_N1[n] .. starts_N1[n + 1] - 1, at positions first_N[n], first_N[n] + 1, ...

    Attributes:
        token_ids_T: int32 [T].
        starts_N1: int32 [N + 1], first 0, last T, strictly rising.
        first_N: int32 [N], position of each sequence's first row = tokens already committed to its cache.
        slots_N: int32 [N], the window-cache slot that each sequence owns.
        pages_NP: int32 [N, P], pages of the global caches; page p holds positions p * PAGE_SIZE and up;
            -1 pads. Every position up to the last new row must have a page.
        wanted_B: int32 [B], rows whose logits are returned, rising.
    """

    token_ids_T: np.ndarray
    starts_N1: np.ndarray
    first_N: np.ndarray
    slots_N: np.ndarray
    pages_NP: np.ndarray
    wanted_B: np.ndarray


@dataclass(slots=True)
class StepResult:
    """Result of a forward pass. The arrays are the back end's own and hold until its next forward pass.

    Attributes:
        logits_BV: float32 [B, V], one row for each wanted row.
        best_B: int32 [B], the lowest id among the highest logits of each wanted row, of the ids that may be
            generated; -1 if one of them is NaN or the highest is infinite.
        hidden_TC: float32 [T, C], the trunk state that MTP heads read (already normed if the config says so); None
            if it was not asked for.
        routes_TLK: uint16 [T, sparse layers, K], ids of the experts that each router chose, best first; None if it was
            not asked for.
    """

    logits_BV: np.ndarray
    best_B: np.ndarray
    hidden_TC: np.ndarray | None = None
    routes_TLK: np.ndarray | None = None


class Backend(Protocol):
    """A loaded model with its caches. Calls are not thread-safe: one worker owns it.

    A forward or draft pass never changes what was committed. It writes the new rows' keys and values to the pages
    that the batch names (positions at or past `first_N`, so that a later pass overwrites a rejected draft), and, for
    window layers, to scratch memory that `commit` copies into the sequence's slot.
    """

    config: ModelConfig
    num_slots: int
    num_pages: int

    def start(self, num_ids: int, num_heads: int) -> None:
        """Say what will be asked for, before the first forward pass.

        Args:
            num_ids: ids below this one may be generated (rows of the embedding past the tokenizer's may not).
            num_heads: MTP heads that will draft; with 0 nothing is kept for them.
        """
        ...

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Replace all weights; caches stay as they are.

        Args:
            tensors: float32, by published name.
        Raises:
            CheckpointError: one of them cannot be used; nothing was changed.
        """
        ...

    def forward(self, batch: Batch, wants_hidden: bool = False, wants_routes: bool = False) -> StepResult:
        """Run the trunk over the batch's rows.

        Args:
            batch: new tokens.
            wants_hidden: also return the trunk state of every row.
            wants_routes: also return the experts of every row.
        Returns: logits of the wanted rows, and what else was asked for.
        """
        ...

    def commit(self, keep_N: np.ndarray) -> None:
        """Keep the first keep_N[n] rows of each sequence of the last `forward`: in the window caches, and their trunk
        states for the heads.
        """
        ...

    def draft(self, batch: Batch, counts_N: np.ndarray) -> np.ndarray:
        """Let the MTP heads propose tokens, each head's best id going into the next head.

        The back end knows which rows each head still needs, and has their tokens and trunk states.

        Args:
            batch: one row for each sequence, the token that was chosen last; it is not yet cached.
            counts_N: int32 [N], drafts for each sequence, up to `num_heads`.
        Returns:
            int32 [N, num_heads]; row n begins with its counts_N[n] drafts. -1 stands where a head's logits are not
            finite.
        """
        ...

    def head_logits(self, head: int, batch: Batch, hidden_TC: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """Score rows with one MTP head.

        Args:
            head: 0-based MTP head.
            batch: row at position i carries the token x_(i+1+head); first_N counts positions already kept by this
                head. The global caches of a head use the same page numbers as the trunk's.
            hidden_TC: float32 [T, C], trunk state of position i for the row at position i.
            keep_N: int32 [N], how many leading rows stay in the head's window cache; the rest are forgotten when the
                call returns.
        Returns:
            float32 [B, V], logits for the wanted rows.
        """
        ...
