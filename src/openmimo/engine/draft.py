"""Speculative decoding with the model's own multi-token-prediction heads.

The back end proposes (`Backend.draft`); here it is decided how many tokens, and which of them are taken.
"""

from collections.abc import Callable, Sequence

import numpy as np

from openmimo.batch import Backend
from openmimo.engine.pack import Packer
from openmimo.engine.request import Request

__all__ = ["DraftController", "Drafter", "accept"]

_FIRST_PROBE = 64
_LAST_PROBE = 512
_PROBE_STEPS = 4
_MEASURE = 3
_BETTER = 1.03


def accept(drafts: Sequence[int], choose: Callable[[int], int]) -> list[int]:
    """Check drafts against the trunk's own choices.

    A draft is one fixed token d. The rule "accept with probability p(d), else draw from p without d" is carried out by
    drawing once from p and accepting if the draw is d: the draw, if it is not d, already follows p without d. With
    draws that depend on (seed, position) only, the tokens are then the very ones that plain sampling gives.

    Args:
        drafts: proposed tokens.
        choose: gives the trunk's token at row j, where row j has seen the first j drafts.
    Returns: the accepted drafts and one more token, the trunk's own: 1 to len(drafts) + 1 tokens.
    """
    tokens = []
    for row, draft in enumerate(drafts):
        tokens.append(choose(row))
        if tokens[-1] != draft:
            return tokens
    return [*tokens, choose(len(drafts))]


class Drafter:
    """Lets the heads of a back end propose tokens.

    Args:
        backend: the model.
        num_heads: heads in use for drafting.
    Attributes:
        is_behind: the last proposal had to run more rows than usual, for heads that had not been used for long.
    """

    def __init__(self, backend: Backend, num_heads: int):
        self.backend = backend
        self.num_heads = num_heads
        self.is_behind = False
        self._packer = Packer()

    def propose(self, requests: Sequence[Request], num_drafts: int) -> list[int]:
        """Write drafts behind the known tokens of each decoding request.

        Args:
            requests: decoding requests.
            num_drafts: drafts wanted for each.
        Returns: drafts made for each; fewer where a request is about to reach its length.
        """
        counts = [min(num_drafts, request.max_tokens - request.num_known - 1) for request in requests]
        self.is_behind = False
        if max(counts, default=0) == 0:
            return counts
        tokens = [request.tokens_S[request.num_cached : request.num_known] for request in requests]
        batch = self._packer.pack(requests, tokens, [request.num_cached for request in requests], [])
        drafts_NK = self.backend.draft(batch, np.array(counts, np.int32))
        for index, (request, count) in enumerate(zip(requests, counts, strict=True)):
            if count:
                request.tokens_S[request.num_known : request.num_known + count] = drafts_NK[index, :count]
                self.is_behind = self.is_behind or request.num_cached - request.num_drafted > 2 * self.num_heads + 2
                request.num_drafted = request.num_cached
        return counts


class DraftController:
    """Chooses how many drafts a step makes.

    It measures the time of a step with 0, 1, .. drafts (apart for each power of two of running sequences) and how
    often each draft position is accepted, and takes the number with the most expected tokens per second. From time to
    time, ever more rarely while nothing changes, it tries a neighbouring number, so that it notices when things change.

    Args:
        max_drafts: most drafts in a step.
        is_fixed: always use `max_drafts`.
    """

    def __init__(self, max_drafts: int, is_fixed: bool):
        self.max_drafts = max_drafts
        self.is_fixed = is_fixed
        self._acceptance = [0.7] * max_drafts
        self._times: dict[int, _StepTimes] = {}

    def choose(self, requests: Sequence[Request]) -> int:
        """Number of drafts for the next step.

        Args:
            requests: the decoding requests.
        Returns: 0 to max_drafts.
        """
        if self.is_fixed or self.max_drafts == 0 or not requests:
            return self.max_drafts
        times = self._times.setdefault(len(requests).bit_length(), _StepTimes(self.max_drafts))
        return times.choose(self._expected(requests))

    def _expected(self, requests: Sequence[Request]) -> list[float]:
        """Tokens that a step is expected to give one request, for 0, 1, .. drafts."""
        totals = [1.0] + [0.0] * self.max_drafts
        for request in requests:
            reach = 1.0
            for position, rate in enumerate(self._rates(request)):
                reach *= rate
                totals[position + 1] += reach / len(requests)
        for position in range(self.max_drafts):
            totals[position + 1] += totals[position]
        return totals

    def _rates(self, request: Request) -> list[float]:
        if not request.acceptance:
            request.acceptance = list(self._acceptance)
        return request.acceptance

    def saw_drafts(self, request: Request, num_drafts: int, num_accepted: int) -> None:
        """Learn from a verified round of one request.

        Args:
            request: the one that was verified.
            num_drafts: drafts that it had.
            num_accepted: how many of them the trunk agreed with.
        """
        if self.is_fixed:
            return
        rates = self._rates(request)
        for position in range(min(num_drafts, num_accepted + 1)):
            hit = 1.0 if position < num_accepted else 0.0
            rates[position] += 0.1 * (hit - rates[position])
            self._acceptance[position] += 0.02 * (hit - self._acceptance[position])

    def saw_step(self, num_sequences: int, num_drafts: int, seconds: float) -> None:
        """Learn from the time of a step that did nothing but decode.

        Args:
            num_sequences: requests in the step.
            num_drafts: drafts made for each.
            seconds: drafting and verification together.
        """
        if not self.is_fixed and (times := self._times.get(num_sequences.bit_length())) is not None:
            times.add(num_drafts, seconds)


class _StepTimes:
    """Step times by number of drafts, and the choice made from them."""

    def __init__(self, max_drafts: int):
        self.seconds = [0.0] * (max_drafts + 1)
        self.counts = [0] * (max_drafts + 1)
        self.best = max_drafts
        self.interval = _FIRST_PROBE
        self.until_probe = _FIRST_PROBE
        self.probe_up = True

    def add(self, num_drafts: int, seconds: float) -> None:
        """Take a measurement. A slow-down is taken to affect every number of drafts alike."""
        self.counts[num_drafts] += 1
        old = self.seconds[num_drafts]
        if self.counts[num_drafts] <= _MEASURE:
            self.seconds[num_drafts] = seconds if old == 0 else min(old, seconds)
            return
        change = min(seconds, 2 * old) / old - 1
        if num_drafts == self.best:
            self.seconds = [value * (1 + 0.1 * change) for value in self.seconds]
        else:
            self.seconds[num_drafts] = old * (1 + 0.3 * change)

    def choose(self, expected: list[float]) -> int:
        """Number of drafts with the most expected tokens per second, or now and then its neighbour."""
        for num_drafts in range(len(self.counts) - 1, -1, -1):
            if self.counts[num_drafts] < _MEASURE:
                return num_drafts
        rates = [tokens / seconds for tokens, seconds in zip(expected, self.seconds, strict=True)]
        leader = max(range(len(rates)), key=rates.__getitem__)
        if rates[leader] > _BETTER * rates[self.best]:
            self.best, self.interval = leader, _FIRST_PROBE
            self.until_probe = self.interval
        self.until_probe -= 1
        return self.best if self.until_probe >= _PROBE_STEPS else self._probe()

    def _probe(self) -> int:
        if self.until_probe == 0:
            self.interval = min(2 * self.interval, _LAST_PROBE)
            self.until_probe = self.interval
            self.probe_up = not self.probe_up
        neighbour = self.best + (1 if self.probe_up else -1)
        return neighbour if 0 <= neighbour < len(self.counts) else 2 * self.best - neighbour
