"""What the engine and a back end share: a ragged batch, its result, and the `Backend` protocol.

Prefill chunks, decode steps, draft verification and scoring are the same call with different lengths.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from openmimo.config import ModelConfig

__all__ = ["PAGE_SIZE", "Backend", "Batch", "StepResult"]

PAGE_SIZE = 64
"""Positions in one page of a global-attention cache."""


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class StepResult:
    """Result of a forward pass.

    Attributes:
        logits_BV: float32 [B, V], one row for each wanted row.
        hidden_TC: float32 [T, C], the trunk state that MTP heads read (already normed if the config says so).
    """

    logits_BV: np.ndarray
    hidden_TC: np.ndarray


class Backend(Protocol):
    """A loaded model with its caches. Calls are not thread-safe: one worker owns it.

    A forward or draft pass never changes what was committed. It writes the new rows' keys and values to the pages
    that the batch names (positions at or past `first_N`, so that a later pass overwrites a rejected draft), and, for
    window layers, to scratch memory that `commit` copies into the sequence's slot.
    """

    config: ModelConfig
    num_slots: int
    num_pages: int

    def forward(self, batch: Batch) -> StepResult:
        """Run the trunk over the batch's rows."""
        ...

    def commit(self, keep_N: np.ndarray) -> None:
        """Keep the first keep_N[n] rows of each sequence of the last `forward` in the window caches."""
        ...

    def draft(self, head: int, batch: Batch, hidden_TC: np.ndarray, keep_N: np.ndarray) -> np.ndarray:
        """Run one MTP head.

        Args:
            head: 0-based MTP head.
            batch: row at position i carries the token x_(i+1+head); first_N counts positions already kept by this
                head. The global caches of a head use the same page numbers as the trunk's.
            hidden_TC: float32 [T, C], trunk state of position i for the row at position i.
            keep_N: int32 [N], how many leading rows hold committed tokens only and so stay in the head's window
                cache; the rest are forgotten when the call returns.
        Returns:
            float32 [B, V], logits for the wanted rows.
        """
        ...
