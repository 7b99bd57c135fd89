"""Speculative decoding with the model's own multi-token-prediction heads.

For known tokens x_0..x_n whose trunk states are h_0..h_(n-1), head k's row at position i takes h_i and the embedding of
x_(i+1+k) and predicts x_(i+2+k). So the row at position n-1 of head 0 takes x_n and gives draft d_1 = x_(n+1); head 1's
takes d_1 and gives d_2; and so on. Every head reads the same trunk states; only tokens chain.

Head k's row at position i is final once x_(i+1+k) is known, that is for i < n-k: those rows stay in its cache. The k
rows after them were computed from drafts; they are dropped and computed again, from saved trunk states, next time.
"""

from collections.abc import Callable, Sequence

import numpy as np

from openmimo.batch import Backend
from openmimo.engine.pack import Packer
from openmimo.engine.request import Request

__all__ = ["DraftController", "Drafter", "HeadState", "accept"]

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


class HeadState:
    """Where a request's heads stand: rows final in each head's cache, and trunk states of the rows that are not.

    A head is one block, so its keys and values at a position depend on that position alone. A head with a window
    therefore needs no row older than the window: one that fell further behind (a long prompt, or steps without drafts)
    starts afresh from there, as a shorter sequence. Rotary attention sees distances only, so nothing else changes.

    Args:
        num_heads: heads in use.
        capacity: trunk states that can be saved.
        hidden_size: their width.
        window: past positions that the heads see; None sees all.
    Attributes:
        num_final: for each head, positions whose rows are final.
        origin: for each head, the position at which its sequence starts.
        reach: rows that the next draft can depend on; None is all.
        acceptance: running acceptance rate of each draft position.
    """

    def __init__(self, num_heads: int, capacity: int, hidden_size: int, window: int | None):
        self.num_final = [0] * num_heads
        self.origin = [0] * num_heads
        self.reach = None if window is None else window + 1
        self.acceptance: list[float] = []
        self._saved_SC = np.empty((capacity, hidden_size), np.float32)
        self._first = 0  # position of the first saved state, which is row _begin
        self._begin = 0
        self._end = 0

    @property
    def end(self) -> int:
        """Position after the last saved state."""
        return self._first + self._end - self._begin

    @property
    def room(self) -> int:
        """States that can still be saved; heads with a window never run out, because old states are dropped."""
        return self._saved_SC.shape[0] - (self.end - self._oldest(self.end))

    def save(self, hidden_TC: np.ndarray) -> None:
        """Append the trunk states of newly cached positions."""
        end = self.end + hidden_TC.shape[0]
        self._forget(self._oldest(end))
        new_TC = hidden_TC[max(0, self._first - (end - hidden_TC.shape[0])) :]
        if self._end + new_TC.shape[0] > self._saved_SC.shape[0]:
            kept = self._end - self._begin
            self._saved_SC[:kept] = self._saved_SC[self._begin : self._end].copy()
            self._begin, self._end = 0, kept
        self._saved_SC[self._end : self._end + new_TC.shape[0]] = new_TC
        self._end += new_TC.shape[0]

    def states(self, first: int, end: int) -> np.ndarray:
        """Give saved states.

        Args:
            first: position of the first one.
            end: position after the last one.
        Returns: float32 [end - first, C], a view.
        """
        offset = self._begin - self._first
        return self._saved_SC[offset + first : offset + end]

    def first_row(self, head: int) -> int:
        """Position of a head's next row; moves the head up to its window if it fell behind it."""
        if self.reach is not None and self.end - self.num_final[head] > self.reach:
            self.num_final[head] = self.origin[head] = self.end - self.reach
        return self.num_final[head]

    def _oldest(self, end: int) -> int:
        """First position whose state is needed, once states up to `end` are saved."""
        oldest = min(self.num_final)
        return oldest if self.reach is None else max(oldest, end - self.reach)

    def _forget(self, before: int) -> None:
        if before >= self.end:
            self._first, self._begin, self._end = before, 0, 0
        elif before > self._first:
            self._begin += before - self._first
            self._first = before


class Drafter:
    """Runs the heads of a back end for the engine.

    Args:
        backend: the model.
        num_ids: tokens that may be proposed (rows of the embedding past the tokenizer's are not).
        num_heads: heads in use for drafting.
        chunk_rows: most rows that a prefill step appends.
    Attributes:
        is_behind: the last proposal had to run more rows than usual, for heads that had not been used for long.
    """

    def __init__(self, backend: Backend, num_ids: int, num_heads: int, chunk_rows: int):
        self.backend = backend
        self.num_ids = num_ids
        self.num_heads = num_heads
        self.chunk_rows = chunk_rows
        self.is_behind = False
        self._packer = Packer()

    def start(self, request: Request) -> None:
        """Prepare a request that was just admitted."""
        request.heads = None
        config, is_scored = self.backend.config, request.wants_head_logits
        num_heads = config.num_mtp_layers if is_scored else self.num_heads
        if num_heads == 0 or (request.max_tokens < request.num_prompt + 2 and not is_scored):
            return
        window = None if is_scored else config.mtp_layer.window
        rows = self.chunk_rows if window is None else window + 1
        request.heads = HeadState(
            num_heads, min(rows, request.max_tokens) + 2 * num_heads + 2, config.hidden_size, window
        )

    def save(self, request: Request, hidden_TC: np.ndarray) -> None:
        """Keep the trunk states of rows that were just cached.

        Args:
            request: whose rows they are.
            hidden_TC: float32 [T, C].
        """
        if request.heads is not None:
            request.heads.save(hidden_TC)

    def propose(self, requests: Sequence[Request], num_drafts: int) -> list[int]:
        """Write drafts behind the known tokens of each decoding request.

        Args:
            requests: decoding requests.
            num_drafts: drafts wanted for each.
        Returns: drafts made for each; fewer where a request is about to reach its length.
        """
        counts = [_drafts_for(request, num_drafts) for request in requests]
        self.is_behind = False
        for head in range(max(counts, default=0)):
            self._draft(head, [request for request, count in zip(requests, counts, strict=True) if count > head])
        return counts

    def _draft(self, head: int, requests: list[Request]) -> None:
        last_rows, row = [], -1
        for request in requests:
            assert request.heads is not None
            num_rows = request.num_cached - request.heads.first_row(head)
            self.is_behind = self.is_behind or num_rows > 2 * self.num_heads + 2
            row += num_rows
            last_rows.append(row)
        logits_BV = self._run(head, requests, [request.num_cached for request in requests], last_rows)
        for request, token in zip(requests, logits_BV[:, : self.num_ids].argmax(axis=1).tolist(), strict=True):
            request.tokens_S[request.num_known + head] = token

    def catch_up(self, request: Request) -> None:
        """Run heads without a window over the saved states whose tokens are known, so that they can be forgotten.

        The last state stays, because the next draft comes from its row. A request that wants all logits gets them.
        """
        if request.heads is None or request.heads.reach is not None:
            return
        usable = request.heads.end if request.wants_head_logits else request.heads.end - 1
        for head, num_final in enumerate(request.heads.num_final):
            end = min(usable, request.num_known - 1 - head)
            if end <= num_final:
                continue
            logits_BV = self._run(head, [request], [end], None if request.wants_head_logits else [])
            if request.wants_head_logits:
                request.output.head_logits[head].append(logits_BV.copy())

    def _run(self, head: int, requests: list[Request], ends: list[int], wanted: list[int] | None) -> np.ndarray:
        """Run rows up to `ends` of one head; rows whose token is known become final."""
        firsts, tokens, hidden, keep = [], [], [], []
        for request, end in zip(requests, ends, strict=True):
            state = request.heads
            assert state is not None
            first = state.first_row(head)
            firsts.append(first - state.origin[head])
            tokens.append(request.tokens_S[first + 1 + head : end + 1 + head])
            hidden.append(state.states(first, end))
            final = max(first, min(end, request.num_known - 1 - head))
            keep.append(final - first)
            state.num_final[head] = final
        hidden_TC = hidden[0] if len(hidden) == 1 else np.concatenate(hidden)
        batch = self._packer.pack(requests, tokens, firsts, wanted)
        return self.backend.draft(head, batch, hidden_TC, np.array(keep, np.int32))


def _drafts_for(request: Request, num_drafts: int) -> int:
    if request.heads is None:
        return 0
    return max(0, min(num_drafts, len(request.heads.num_final), request.max_tokens - request.num_known - 1))


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
        if request.heads is None:
            return [0.0] * self.max_drafts
        if not request.heads.acceptance:
            request.heads.acceptance = list(self._acceptance)
        return request.heads.acceptance

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
