"""Which requests run in this step, and how many rows of each. Plain integers, no arrays."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from openmimo.engine.cache import Cache
from openmimo.engine.request import Request

__all__ = ["Plan", "Scheduler"]


@dataclass(frozen=True)
class Plan:
    """One step.

    Attributes:
        decodes: requests that run the token they chose last (and drafts, if any are made).
        prefills: requests that run more of their prompt, with the number of rows.
    """

    decodes: list[Request]
    prefills: list[tuple[Request, int]]


class Scheduler:
    """Waiting line (first come, first served) and running set.

    Args:
        cache: where admitted requests take their slot and pages.
        prefill_rows: most prompt rows in one step, over all requests, so that decoding ones are never held up long.
    """

    def __init__(self, cache: Cache, prefill_rows: int):
        self.cache = cache
        self.prefill_rows = prefill_rows
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self.running and not self.waiting

    def add(self, request: Request) -> None:
        """Put a request at the end of the waiting line."""
        self.waiting.append(request)

    def remove(self, request: Request) -> None:
        """Take a request out, wherever it is, and free what it owns. Unknown requests are ignored."""
        if request in self.running:
            self.running.remove(request)
            self.cache.release(request.slot)
        elif request in self.waiting:
            self.waiting.remove(request)

    def admit(self) -> list[Request]:
        """Admit from the front of the line while slots and pages last.

        Returns: the requests admitted now.
        """
        admitted = []
        while self.waiting and self.cache.has_room(self.waiting[0].max_tokens):
            request = self.waiting.popleft()
            request.slot, pages = self.cache.reserve(request.max_tokens)
            request.slot_1 = np.array([request.slot], np.int32)
            request.pages_1P = np.array([pages], np.int32)
            self.running.append(request)
            admitted.append(request)
        return admitted

    def plan(self) -> Plan:
        """Choose the rows of the next step; oldest requests first.

        Returns: every decoding request, and prompt chunks that share `prefill_rows`.
        """
        decodes, prefills, room = [], [], self.prefill_rows
        for request in self.running:
            if request.is_decoding:
                decodes.append(request)
            elif room:
                num_rows = min(request.num_known - request.num_cached, room)
                room -= num_rows
                prefills.append((request, num_rows))
        return Plan(decodes, prefills)
