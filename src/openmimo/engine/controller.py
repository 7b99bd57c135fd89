"""How many drafts a step makes: as many as pay, and none where they do not.

Two things are learned, and kept from request to request: how long a step takes with 0, 1, .. drafts, and how often each
draft position is accepted. What drafting may lose is bounded by an account. It starts with a few plain steps' worth of
time and earns a small share of all decoding time; whatever a step takes longer than plain steps for the same tokens is
taken out, whatever it saves is paid in, up to a limit. A step that could overdraw the account is a plain one. So trying
drafts out, heads that must catch up, and text that suddenly cannot be foreseen are all paid from the same purse.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from openmimo.engine.request import Request

__all__ = ["DraftController", "MtpStatus"]

_SHARE = 0.02  # of decoding time that drafting may lose in the long run
_CREDIT = 4.0  # plain steps' worth of time that it may lose at first
_BETTER = 1.02  # a change must promise this much more speed
_MEASURE = 3  # the first times of a kind of step: the least of them counts
_FIRST_TRY, _LAST_TRY = 16, 2048  # plain steps between two tries, doubled by each that fails
_TRY_STEPS = 4
_PLAIN_EVERY = 64  # drafting steps after which a plain one is measured again
_UPWARD = range(28, 32)  # of these, steps that make one draft more: its last measurement may be old or unlucky
_NEAR_END = 8  # tokens that a reply is at least expected to go on


@dataclass(frozen=True)
class MtpStatus:
    """What drafting does, and why.

    Attributes:
        max_drafts: most drafts in a step; 0 is off.
        drafts: drafts made for a request in the last decode step.
        acceptance: for each draft position, how often a draft is accepted where those before it were; None if unknown.
        step_s: seconds of a decode step with 0, 1, .. drafts, for as many requests as ran last; None if not measured.
        reason: one sentence.
    """

    max_drafts: int
    drafts: int
    acceptance: tuple[float | None, ...]
    step_s: tuple[float | None, ...]
    reason: str


class DraftController:
    """Chooses how many drafts a step makes.

    Args:
        max_drafts: most drafts in a step.
        is_fixed: always use `max_drafts`.
    """

    def __init__(self, max_drafts: int, is_fixed: bool):
        self.max_drafts = max_drafts
        self.is_fixed = is_fixed
        self.broken_head: int | None = None  # the first head whose logits were not finite
        self._rates = _Rates(max_drafts)
        self._paces: dict[int, _Pace] = {}
        self._pace = _Pace(max_drafts)
        self._drafts = 0
        self._is_start = False
        self._reply_tokens = 128.0

    def choose(self, requests: Sequence[Request], is_ordinary: bool = True) -> int:
        """Number of drafts for the next step.

        Args:
            requests: the decoding requests.
            is_ordinary: the step does nothing but decode, so that its time says something.
        Returns: 0 to max_drafts.
        """
        if self.broken_head is not None or not requests:
            return 0
        if self.is_fixed or self.max_drafts == 0:
            self._drafts = self.max_drafts
            return self.max_drafts
        size = len(requests).bit_length()
        if size not in self._paces:
            self._paces[size] = _Pace(self.max_drafts)
        self._pace = self._paces[size]
        if self._pace.rest():
            self._drafts = 0
            return 0
        behind = [any(_is_behind(request, head) for request in requests) for head in range(self.max_drafts)]
        self._drafts = self._pace.choose(self._expected(requests), behind, self._tokens_left(requests), is_ordinary)
        self._is_start = any(behind[: self._drafts])
        return self._drafts

    def _expected(self, requests: Sequence[Request]) -> list[float]:
        """Tokens that a step is expected to give one request, for 0, 1, .. drafts."""
        totals = [1.0] + [0.0] * self.max_drafts
        for request in requests:
            reach = 1.0
            for position, rate in enumerate(request.acceptance or self._rates.guesses()):
                reach *= rate
                totals[position + 1] += reach / len(requests)
        for position in range(self.max_drafts):
            totals[position + 1] += totals[position]
        return totals

    def _tokens_left(self, requests: Sequence[Request]) -> float:
        """Tokens that a request will still get: as many as replies had of late, within its own limit."""
        return sum(
            min(request.max_tokens - request.num_known, max(self._reply_tokens - request.num_new, _NEAR_END))
            for request in requests
        ) / len(requests)

    def saw_drafts(self, request: Request, num_drafts: int, num_accepted: int) -> None:
        """Learn from a verified round of one request.

        Args:
            request: the one that was verified.
            num_drafts: drafts that it had.
            num_accepted: how many of them the trunk agreed with.
        """
        rates = request.acceptance = request.acceptance or self._rates.guesses()
        for position in range(min(num_drafts, num_accepted + 1)):
            weight = max(0.1, self._rates.weight(position))
            rates[position] += weight * ((position < num_accepted) - rates[position])
        self._rates.add(num_drafts, num_accepted)

    def saw_step(self, num_drafts: int, tokens: float, seconds: float) -> None:
        """Learn from the time of a step that did nothing but decode.

        Args:
            num_drafts: most drafts of a request in it.
            tokens: new tokens of a request, on average.
            seconds: drafting and verification together.
        """
        self._pace.add(num_drafts, self._is_start and num_drafts > 0, tokens, seconds)

    def saw_end(self, request: Request) -> None:
        """Learn how long replies are."""
        self._reply_tokens += 0.1 * (request.num_new - self._reply_tokens)

    @property
    def status(self) -> MtpStatus:
        """What drafting does, and why."""
        step_s = tuple(self._pace.seconds)
        return MtpStatus(self.max_drafts, self._drafts, tuple(self._rates.values), step_s, self._reason())

    def _reason(self) -> str:
        if self.max_drafts == 0:
            return "off: not asked for, or the checkpoint has no MTP heads"
        if self.broken_head is not None:
            return f"off: MTP head {self.broken_head} gave logits that are not finite, its weights may be damaged"
        if self.is_fixed:
            return f"{self.max_drafts} drafts in every step, as asked for"
        return self._pace.reason(self._rates)


def _is_behind(request: Request, head: int) -> bool:
    """Whether a head has more rows to run for a request than one that drafts in every step."""
    return request.num_cached - request.head_ends[head] > 2 * len(request.head_ends) + 2


class _Rates:
    """Acceptance of each draft position, over all requests."""

    def __init__(self, max_drafts: int):
        self.values: list[float | None] = [None] * max_drafts
        self._counts = [0] * max_drafts

    def weight(self, position: int) -> float:
        """Of the next observation: a plain mean at first, then a running one."""
        return max(0.02, 1 / (self._counts[position] + 2))

    def guesses(self) -> list[float]:
        """The rates; a position that was never tried is taken to be like the one before it."""
        rates, last = [], 0.5
        for value in self.values:
            last = last if value is None else value
            rates.append(last)
        return rates

    def add(self, num_drafts: int, num_accepted: int) -> None:
        """Take a round."""
        guesses = self.guesses()
        for position in range(min(num_drafts, num_accepted + 1)):
            rate = guesses[position]
            self.values[position] = rate + self.weight(position) * ((position < num_accepted) - rate)
            self._counts[position] += 1


class _Pace:
    """Step times of one number of running requests, what drafting may still lose there, and the choice made from both.

    Attributes:
        seconds: of a step with 0, 1, .. drafts.
        start_s: what it costs more if one head has to start afresh.
        spare_s: the account.
    """

    def __init__(self, max_drafts: int):
        self.seconds: list[float | None] = [None] * (max_drafts + 1)
        self.start_s: float | None = None
        self.spare_s = 0.0
        self.best = 0
        self._counts = [0] * (max_drafts + 1)
        self._interval = _FIRST_TRY
        self._until_try = _FIRST_TRY
        self._tries_left = 0
        self._needed_s = 0.0  # what a try waits for
        self._since_plain = 0

    def guess(self, num_drafts: int) -> float:
        """Seconds of a step; on the line through the plain step and the nearest measured one if it was not measured."""
        plain, known = self.seconds[0] or 0.0, self.seconds[num_drafts]
        if known is not None:
            return known
        measured = [n for n in range(1, len(self.seconds)) if self.seconds[n] is not None]
        if not measured:
            return plain * (1 + 0.5 * num_drafts)
        nearest = min(measured, key=lambda n: abs(n - num_drafts))
        return plain + (self.guess(nearest) - plain) * num_drafts / nearest

    def _loss(self, num_drafts: int, behind: Sequence[bool]) -> float:
        """Seconds that a step loses if no draft is accepted."""
        assert self.seconds[0] is not None
        start = self.seconds[0] if self.start_s is None else self.start_s
        return self.guess(num_drafts) - self.seconds[0] + start * sum(behind[:num_drafts])

    def rest(self) -> bool:
        """Whether drafts do not pay and it is not yet time to try them again: nothing new can be known."""
        if self.best or self._counts[0] < _MEASURE:
            return False
        if self.spare_s < self._needed_s:
            return True
        if self._tries_left or self._until_try <= 1:
            return False
        self._until_try -= 1
        return True

    def choose(self, expected: list[float], behind: list[bool], tokens_left: float, is_ordinary: bool) -> int:
        """Number of drafts that gives most tokens a second, if the account bears it, or now and then one more."""
        if self.seconds[0] is None or self._counts[0] < _MEASURE:
            return 0
        speeds = [tokens / self.guess(num) for num, tokens in enumerate(expected)]
        leader = max(range(len(speeds)), key=speeds.__getitem__)
        if speeds[leader] > _BETTER * speeds[self.best] or speeds[self.best] < speeds[0]:
            self.best = leader
        if not is_ordinary:
            return 0 if any(behind[: self.best]) else self.best
        if self.best == 0:
            return self._try(behind)
        self._since_plain += 1
        if self._since_plain > _PLAIN_EVERY:
            return 0
        gain = tokens_left * (1 / speeds[0] - 1 / speeds[self.best])
        is_upward = self._since_plain in _UPWARD and self.best + 1 < len(self.seconds)
        num = self.best + is_upward
        while num and self._loss(num, behind) > self.spare_s:
            num -= 1
        is_worth = not any(behind[:num]) or gain > self._loss(num, behind) - self._loss(num, [False] * num)
        return num if is_worth else 0

    def _try(self, behind: list[bool]) -> int:
        """One draft for a few steps from time to time; ever more rarely, unless it leads to drafting."""
        if self._tries_left == 0:
            self._until_try -= 1
            if self._until_try > 0:
                return 0
            self._tries_left = _TRY_STEPS
        self._needed_s = self._loss(1, behind)
        if self._needed_s > self.spare_s:
            return 0
        self._needed_s = 0.0
        self._tries_left -= 1
        if self._tries_left == 0:
            self._interval = min(2 * self._interval, _LAST_TRY)
            self._until_try = self._interval
        return 1

    def add(self, num_drafts: int, is_start: bool, tokens: float, seconds: float) -> None:
        """Take a measurement."""
        is_number = 0 < seconds < math.inf
        if num_drafts == 0:
            self._since_plain = 0
            if is_number:
                self._measure(0, seconds)
                self._pay(_SHARE * min(seconds, 2 * (self.seconds[0] or seconds)))
            return
        plain = self.seconds[0]
        if plain is None:
            return
        if not is_number:  # nothing can be said for it
            self._pay(-plain * (num_drafts + 1))
            return
        if not is_start:
            self._measure(num_drafts, seconds)
        elif self.seconds[num_drafts] is not None:
            extra = max(0.0, seconds - self.guess(num_drafts)) / num_drafts
            self.start_s = (
                extra if self.start_s is None else self.start_s + 0.3 * (min(extra, 4 * plain) - self.start_s)
            )
        self._pay(_SHARE * seconds + plain * tokens - min(seconds, 4 * plain * (num_drafts + 1)))

    def _measure(self, num_drafts: int, seconds: float) -> None:
        self._counts[num_drafts] += 1
        old = self.seconds[num_drafts]
        if old is None:
            self.seconds[num_drafts] = seconds
        elif self._counts[num_drafts] <= _MEASURE:
            self.seconds[num_drafts] = min(old, seconds)
        elif num_drafts and num_drafts == self.best:  # a slower machine or longer text slows every kind of step
            scale = 1 + 0.1 * (min(seconds, 2 * old) / old - 1)
            self.seconds = [None if value is None else value * scale for value in self.seconds]
        else:
            self.seconds[num_drafts] = old + (0.1 if num_drafts == 0 else 0.3) * (min(seconds, 2 * old) - old)
        if num_drafts == 0 and self._counts[0] == _MEASURE:
            self.spare_s = _CREDIT * (self.seconds[0] or 0.0)

    def _pay(self, seconds: float) -> None:
        """Into the account, or out of it; it never holds more than drafting can need at once."""
        plain = self.seconds[0] or 0.0
        start = plain if self.start_s is None else self.start_s
        limit = max(_CREDIT * plain, 1.5 * (self.guess(self.best) - plain + start * self.best))
        self.spare_s = min(self.spare_s + seconds, limit)

    def reason(self, rates: _Rates) -> str:
        """Why as many drafts are made as are."""
        if self.seconds[0] is None or self._counts[0] < _MEASURE:
            return "not decided yet: plain steps are measured first"
        if self.best == 0 and self.seconds[1] is None:
            return "not decided yet: drafts have not been tried"
        num = max(self.best, 1)
        tokens = 1 + sum(math.prod(rates.guesses()[: position + 1]) for position in range(num))
        noun = "draft" if num == 1 else "drafts"
        times = self.guess(num) / self.seconds[0]
        facts = f"a step with {num} {noun} takes {times:.2f} times as long as a plain one and gives {tokens:.2f} tokens"
        if self.best == 0:
            return f"off: {facts}"
        if self._loss(self.best, ()) > self.spare_s:
            return f"paused, because it lost time lately: {facts} on average"
        return f"{num} {noun}: {facts}"
