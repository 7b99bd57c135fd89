"""Which requests run in this step, and how many rows of each. Plain integers, no arrays."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter

from openmimo.engine.cache import Cache
from openmimo.engine.request import Request

__all__ = ["Plan", "Scheduler"]

MAX_OVERTAKEN = 16
"""Requests that may pass one that does not fit yet; then the line waits for it."""

LOOK_AHEAD = 32
"""How far down the line admission looks for requests that fit."""

LONG_STEP_S = 0.25
"""A step that makes a running reply wait longer than this gets fewer prompt rows."""

FEWEST_ROWS = 32
"""Prompt rows that a step has even so: fewer would read all weights for hardly any progress."""


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
    """Waiting line and running set, both in the order of arrival.

    Pages are taken as positions come. When none is left for a running reply, the latest arrival gives all of its own
    back and waits again; what it said is kept and will be run again like a prompt. The first arrival always goes on,
    and alone it has pages enough, so every request comes to its end.

    Args:
        cache: where running requests have their slot and pages.
        prefill_rows: most prompt rows in one step, over all requests.
        max_drafts: rows that a reply may run beside its last token.
    Attributes:
        kept: finished requests that keep their slot and pages until others need them, the one finished first in front.
        rows_beside: most prompt rows in a step that replies wait for; follows the measured times of such steps.
    """

    def __init__(self, cache: Cache, prefill_rows: int, max_drafts: int = 0):
        self.cache = cache
        self.prefill_rows = prefill_rows
        self.max_drafts = max_drafts
        self.rows_beside = prefill_rows
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.kept: list[Request] = []
        self._num_arrived = 0

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self.running and not self.waiting

    def add(self, request: Request) -> None:
        """Put a request at the end of the waiting line."""
        request.arrival = self._num_arrived
        self._num_arrived += 1
        self.waiting.append(request)

    def remove(self, request: Request) -> None:
        """Take a request out, wherever it is, and free what it owns. Unknown requests are ignored."""
        for owners in (self.running, self.kept):
            if request in owners:
                owners.remove(request)
                self.cache.release(request.slot)
        if request in self.waiting:
            self.waiting.remove(request)

    def keep(self, request: Request) -> None:
        """Take a finished request out of the running set, but leave it what it owns, for one that goes on with it."""
        self.running.remove(request)
        self.kept.append(request)

    def grow(self) -> None:
        """Give every running reply the pages of its next rows, taking them from the latest arrivals if need be."""
        for request in self.running.copy():
            if request.slot < 0 or not request.is_decoding:  # it was sent back, or has all that its prompt needs
                continue
            num_positions = min(request.num_known + self.max_drafts, request.max_tokens)
            while request.slot >= 0 and not self._extend(request, num_positions):
                if not self._drop_oldest():
                    self._send_back(self.running[-1])

    def admit(self) -> list[Request]:
        """Admit requests that fit, in the order of arrival.

        One that does not fit yet may be passed by later ones, but only so often; then they wait for it. A page stays
        free for each running request, so that it is not sent back at once.

        Returns: the requests admitted now.
        """
        if not self.waiting:
            return []
        admitted, passed = [], []
        for request in self.waiting[:LOOK_AHEAD]:
            num_positions = min(request.num_known + 1, request.max_tokens)
            if self._place(request, num_positions, spare=len(self.running) + len(admitted)):
                admitted.append(request)
                for earlier in passed:
                    earlier.num_overtaken += 1
            elif self.cache.num_free_slots == 0 or request.num_overtaken >= MAX_OVERTAKEN:
                break
            else:
                passed.append(request)
        for request in admitted:
            self.waiting.remove(request)
            insort(self.running, request, key=_ARRIVAL)
        return admitted

    def plan(self) -> Plan:
        """Choose the rows of the next step.

        Returns: every decoding request, and prompt chunks that share the rows a step may have.
        """
        decodes = [request for request in self.running if request.is_decoding]
        if len(decodes) == len(self.running):
            return Plan(decodes, [])
        prompts = [request for request in self.running if not request.is_decoding]
        rows = _share([request.num_known - request.num_cached for request in prompts], self._room(bool(decodes)))
        return Plan(decodes, [(request, count) for request, count in zip(prompts, rows, strict=True) if count])

    def saw_step(self, plan: Plan, seconds: float) -> None:
        """Learn how long replies had to wait for prompt rows.

        Args:
            plan: the step.
            seconds: how long it took.
        """
        if not plan.prefills or not plan.decodes:
            return
        num_rows, room = sum(count for _, count in plan.prefills), self._room(True)
        if num_rows <= room // 2:
            return
        if seconds > LONG_STEP_S:
            self.rows_beside = max(room // 2, FEWEST_ROWS)
        elif seconds < LONG_STEP_S / 3:
            self.rows_beside = room * 2

    def _room(self, has_decodes: bool) -> int:
        return min(self.rows_beside, self.prefill_rows) if has_decodes else self.prefill_rows

    def _place(self, request: Request, num_positions: int, spare: int) -> bool:
        """Give a waiting request a slot and pages, what it goes on with included; False if it has to wait."""
        earlier = request.earlier
        if earlier is not None and earlier in self.kept:
            if request.can_follow(earlier):
                return self._take_over(request, earlier, num_positions, spare)
            self.remove(earlier)
        while not self.cache.has_room(num_positions, spare):
            if not self._drop_oldest():
                return False
        request.take(*self.cache.reserve(num_positions))
        request.earlier = None
        return True

    def _take_over(self, request: Request, earlier: Request, num_positions: int, spare: int) -> bool:
        self.kept.remove(earlier)  # or it could be dropped to make room for the one that goes on with it
        while (pages := self.cache.extend(earlier.slot, num_positions, spare)) is None:
            if not self._drop_oldest():
                self.kept.append(earlier)
                return False
        request.take_over(earlier, pages)
        request.earlier = None
        return True

    def _drop_oldest(self) -> bool:
        """Free what the kept request that finished first has; False if there is none."""
        if self.kept:
            self.remove(self.kept[0])
            return True
        return False

    def _extend(self, request: Request, num_positions: int) -> bool:
        """Give a running request pages up to a length; False if there are not enough."""
        if num_positions <= request.pages_1P.size * self.cache.page_size:
            return True
        pages = self.cache.extend(request.slot, num_positions)
        if pages is not None:
            request.take(request.slot, pages)
        return pages is not None

    def _send_back(self, request: Request) -> None:
        self.running.remove(request)
        self.cache.release(request.slot)
        request.start_over()
        insort(self.waiting, request, key=_ARRIVAL)


_ARRIVAL = attrgetter("arrival")


def _share(wanted: Sequence[int], room: int) -> list[int]:
    """Share rows out among prompts, given in the order of arrival.

    Half goes to the first, which therefore runs at half speed at least; then it is the next one's turn to be first. The
    other half goes to whoever is done soonest, so that a short prompt does not wait for a long one.
    """
    rows = [0] * len(wanted)
    rows[0] = min(wanted[0], -(-room // 2))
    room -= rows[0]
    for index in sorted(range(len(wanted)), key=wanted.__getitem__):
        more = min(wanted[index] - rows[index], room)
        rows[index] += more
        room -= more
    return rows
