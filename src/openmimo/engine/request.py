"""What comes out of the engine: completions, deltas, handles; and the state of a request inside it."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from openmimo.engine.params import SamplingParams
from openmimo.engine.penalties import Penalties
from openmimo.errors import OpenMiMoError

if TYPE_CHECKING:
    from openmimo.engine.text import TextStream

__all__ = [
    "Completion",
    "Delta",
    "DeltaStream",
    "FinishReason",
    "Handle",
    "Output",
    "Request",
    "Stats",
    "TokenLogprob",
]

FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True)
class TokenLogprob:
    """Log-probabilities at one token, under the model itself (temperature 1, no filter, no penalty).

    Attributes:
        token_id: the token.
        logprob: its natural-log probability.
        top: the most likely tokens with theirs, most likely first.
    """

    token_id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Stats:
    """What a request cost.

    Attributes:
        prompt_tokens: tokens in the prompt.
        cached_tokens: prompt tokens that did not have to be computed.
        new_tokens: tokens generated, an end-of-sequence token included.
        prefill_s: seconds from the request's first step to its first token.
        decode_s: seconds from the first token to the last.
        steps: trunk passes after the first token.
        drafted: draft tokens proposed.
        accepted: for each draft position, how many drafts were accepted there.
        drafted_at: for each draft position, how many drafts were proposed there.
    """

    prompt_tokens: int
    cached_tokens: int
    new_tokens: int
    prefill_s: float
    decode_s: float
    steps: int
    drafted: int
    accepted: tuple[int, ...]
    drafted_at: tuple[int, ...] = ()

    @property
    def tokens_per_step(self) -> float:
        """Tokens gained by each decode step; 1.0 without drafts (0.0 if there was no decode step)."""
        return (self.new_tokens - 1) / self.steps if self.steps else 0.0


@dataclass(frozen=True)
class Delta:
    """One piece of a streamed completion.

    Attributes:
        text: new text, whole characters only; may be empty.
        token_ids: new tokens; their text may come with a later delta.
        finish_reason: set on the last delta only.
        stats: set on the last delta only.
        logprobs: one entry for each new token, if asked for.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason | None = None
    stats: Stats | None = None
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished generation.

    Attributes:
        text: the generated text without end-of-sequence token and stop string; empty without a tokenizer.
        token_ids: every generated token, the one that ended it included.
        logprobs: one entry for each token, or None if not asked for.
        finish_reason: "stop" (end of sequence, stop token or stop string), "length" or "cancelled".
        stats: counts and times.
        prompt_logprobs: one entry for each token of the prompt, None for the first, which nothing predicts; or None
            if not asked for.
        routes_TLK: uint8 (uint16 with more than 256 experts) [prompt + new tokens - 1, sparse layers, K], ids of the
            experts that each token was sent to, best first; or None if not asked for. The last token is never run, and
            a cancelled request has as many rows as were run.
    """

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...] | None
    finish_reason: FinishReason
    stats: Stats
    prompt_logprobs: tuple[TokenLogprob | None, ...] | None = None
    routes_TLK: np.ndarray | None = field(default=None, compare=False)


class Request:
    """A sequence on its way through the engine. Only the worker touches it after it was submitted.

    A token is *known* when it is in the prompt or was chosen, and *cached* when the trunk's caches hold it. While
    decoding, exactly one known token is not cached: the one just chosen. `tokens_S` may hold drafts past the known.
    """

    def __init__(
        self,
        prompt_ids: list[int],
        params: SamplingParams,
        max_new_tokens: int,
        seed: int,
        wants_all_logits: bool = False,
        wants_head_logits: bool = False,
        keeps: bool = False,
        earlier: "Request | None" = None,
    ):
        self.params = params
        self.seed = seed
        self.num_prompt = len(prompt_ids)
        self.max_tokens = self.num_prompt + max_new_tokens
        self.tokens_S = np.zeros(self.max_tokens, np.int32)
        self.tokens_S[: self.num_prompt] = prompt_ids
        self.num_known = self.num_prompt
        self.num_to_prefill = self.num_prompt
        self.num_cached = 0
        self.num_routed = 0
        self.wants_all_logits = wants_all_logits
        self.wants_head_logits = wants_head_logits
        self.keeps = keeps
        self.earlier = earlier
        self.num_reused = 0
        self.arrival = 0
        self.num_overtaken = 0
        self.slot = -1
        self.slot_1 = np.zeros(1, np.int32)
        self.pages_1P = np.zeros((1, 0), np.int32)
        self.acceptance: list[float] = []  # running rate at each draft position
        self.head_ends: list[int] = []  # for each head, tokens cached when it last drafted
        self.text: TextStream | None = None
        has_changes = params.has_penalties or params.logit_bias
        self.penalties = Penalties(params, self.num_prompt) if has_changes else None
        self.output = Output()

    @property
    def is_decoding(self) -> bool:
        """What was known at the start is done and a chosen token waits to be run."""
        return self.num_known > self.num_to_prefill

    @property
    def num_new(self) -> int:
        """Tokens generated so far."""
        return self.num_known - self.num_prompt

    def take(self, slot: int, pages: list[int]) -> None:
        """Use a slot and pages.

        Args:
            slot: of the window caches.
            pages: of the global caches, in order of position.
        """
        self.slot = slot
        self.slot_1 = np.array([slot], np.int32)
        self.pages_1P = np.array([pages], np.int32)

    def can_follow(self, earlier: "Request") -> bool:
        """Whether the caches of a kept request hold the beginning of this one, and all else that it asks for is known.

        Args:
            earlier: the kept request.
        Returns: whether it is worth taking over.
        """
        num_cached, params = earlier.num_cached, self.params
        return (
            num_cached < self.num_prompt
            and np.array_equal(self.tokens_S[:num_cached], earlier.tokens_S[:num_cached])
            and not params.prompt_logprobs
            and (earlier.params.routes or not params.routes)
        )

    def take_over(self, earlier: "Request", pages: list[int]) -> None:
        """Go on where a kept request ended, in its slot.

        Args:
            earlier: the kept request; it keeps nothing any more.
            pages: its pages and those that this one needs besides.
        """
        self.take(earlier.slot, pages)
        self.num_cached = self.num_reused = earlier.num_cached
        self.head_ends = earlier.head_ends
        if self.params.routes:
            self.output.routes = earlier.output.routes.copy()
            self.num_routed = earlier.num_routed
        earlier.slot = -1

    def start_over(self) -> None:
        """Forget what was computed, but not what was said; that is run again like a prompt.

        The experts of the first run stay: its tokens came from them, whatever the weights are by then.
        """
        self.num_to_prefill = self.num_known
        self.num_cached = self.num_reused = 0
        self.head_ends = []
        self.slot = -1
        self.output.logits.clear()
        for logits in self.output.head_logits:
            logits.clear()


@dataclass
class Output:
    """What a request has produced and where it goes; the only part that another thread reads."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=lambda: [None])
    text: list[str] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)
    head_logits: list[list[np.ndarray]] = field(default_factory=list)
    routes: list[np.ndarray] = field(default_factory=list)
    rounds: list[tuple[int, ...]] = field(default_factory=list)
    num_steps: int = 0
    start_s: float = 0.0
    first_token_s: float = 0.0
    deltas: "queue.SimpleQueue[Delta | None]" = field(default_factory=queue.SimpleQueue)
    done: threading.Event = field(default_factory=threading.Event)
    completion: Completion | None = None
    error: Exception | None = None


class Handle:
    """A submitted request, seen from outside the worker. Any thread may use it; only one may take the deltas.

    Args:
        request: the engine's own record.
    """

    def __init__(self, request: Request):
        self.request = request

    @property
    def is_finished(self) -> bool:
        """Whether `result` returns (or raises) at once."""
        return self.request.output.done.is_set()

    @property
    def rounds(self) -> list[tuple[int, ...]]:
        """Drafting history so far: (known tokens before the round, drafts..., how many were accepted)."""
        return list(self.request.output.rounds)

    def result(self, timeout_s: float | None = None) -> Completion:
        """Wait for the completion.

        Args:
            timeout_s: longest time to wait; None waits for ever.
        Returns: the completion; a cancelled request gives what it had.
        Raises:
            TimeoutError: it is not finished yet.
            OpenMiMoError: the engine failed on this request.
        """
        output = self.request.output
        if not output.done.wait(timeout_s):
            raise TimeoutError(f"the request did not finish within {timeout_s} s")
        if output.error is not None:
            raise OpenMiMoError(str(output.error)) from output.error
        assert output.completion is not None
        return output.completion

    def __iter__(self) -> Iterator[Delta]:
        """Take the deltas as they come, up to the one with `finish_reason`. Can be iterated once."""
        while (delta := self.request.output.deltas.get()) is not None:
            yield delta
            if delta.finish_reason is not None:
                return
        self.result()


class DeltaStream:
    """The deltas of one request; closing or dropping it early cancels the request.

    Args:
        handle: the request.
        cancel: what to call to cancel it.
    """

    def __init__(self, handle: Handle, cancel: Callable[[Handle], None]):
        self._handle = handle
        self._cancel = cancel
        self._deltas = iter(handle)

    def __iter__(self) -> "DeltaStream":
        return self

    def __next__(self) -> Delta:
        try:
            return next(self._deltas)
        except KeyboardInterrupt:
            self.close()
            raise

    def close(self) -> None:
        """Cancel the request unless it is finished."""
        if not self._handle.is_finished:
            self._cancel(self._handle)

    def __del__(self) -> None:
        self.close()
