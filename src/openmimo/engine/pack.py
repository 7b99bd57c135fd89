"""Lays the rows of several requests end to end, as a back end wants them."""

from collections.abc import Sequence

import numpy as np

from openmimo.batch import Batch
from openmimo.engine.request import Request

__all__ = ["Packer"]

_NO_ROWS = np.zeros(0, np.int32)
_COUNT = np.arange(4096, dtype=np.int32)


class Packer:
    """Builds batches; remembers the page table of the last set of requests, which rarely changes between steps."""

    def __init__(self) -> None:
        self._tables_of: list[np.ndarray] = []
        self._slots_N = _NO_ROWS
        self._pages_NP = np.zeros((0, 0), np.int32)

    def pack(
        self,
        requests: Sequence[Request],
        tokens: Sequence[np.ndarray],
        firsts: list[int],
        wanted: Sequence[int] | None = None,
    ) -> Batch:
        """Build a batch.

        Args:
            requests: one for each sequence.
            tokens: int32 token ids of each sequence's new rows.
            firsts: position of each sequence's first row.
            wanted: rows of the batch whose logits are needed, rising; None wants all of them.
        Returns: the batch.
        """
        if len(requests) == 1:
            token_ids_T, starts = tokens[0], [0, tokens[0].size]
            slots_N, pages_NP = requests[0].slot_1, requests[0].pages_1P
        else:
            token_ids_T, starts = np.concatenate(tokens), [0]
            for part in tokens:
                starts.append(starts[-1] + part.size)
            slots_N, pages_NP = self._tables(list(requests))
        return Batch(
            token_ids_T=token_ids_T,
            starts_N1=np.array(starts, np.int32),
            first_N=np.array(firsts, np.int32),
            slots_N=slots_N,
            pages_NP=pages_NP,
            wanted_B=_rows(starts[-1]) if wanted is None else np.array(wanted, np.int32),
        )

    def _tables(self, requests: list[Request]) -> tuple[np.ndarray, np.ndarray]:
        tables = [request.pages_1P for request in requests]  # a request that grows or starts over gets a new one
        if len(tables) != len(self._tables_of) or any(a is not b for a, b in zip(tables, self._tables_of, strict=True)):
            width = max(request.pages_1P.shape[1] for request in requests)
            self._pages_NP = np.full((len(requests), width), -1, np.int32)
            for row, request in zip(self._pages_NP, requests, strict=True):
                row[: request.pages_1P.shape[1]] = request.pages_1P[0]
            self._slots_N = np.concatenate([request.slot_1 for request in requests])
            self._tables_of = tables
        return self._slots_N, self._pages_NP


def _rows(count: int) -> np.ndarray:
    return _COUNT[:count] if count <= _COUNT.size else np.arange(count, dtype=np.int32)
