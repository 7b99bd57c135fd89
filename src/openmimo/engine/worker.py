"""The loop that owns the back end: takes orders, runs one step after another, hands tokens out."""

import queue
import time
from collections.abc import Sequence
from typing import Literal

import numpy as np

from openmimo.batch import PAGE_SIZE, Backend, StepResult
from openmimo.engine.cache import Cache
from openmimo.engine.controller import DraftController
from openmimo.engine.draft import Drafter, accept
from openmimo.engine.pack import Packer
from openmimo.engine.request import Completion, Delta, FinishReason, Request, Stats, TokenLogprob
from openmimo.engine.sampler import choose_token, token_logprob
from openmimo.engine.scheduler import Plan, Scheduler
from openmimo.engine.update import Update
from openmimo.errors import OpenMiMoError

__all__ = ["Order", "Worker"]

Order = tuple[Literal["add", "cancel"], Request | None] | Update
"""What to do with a request, no request meaning to close; or new weights."""


class Worker:
    """Everything that only the worker thread may touch.

    Args:
        backend: the model.
        num_ids: tokens that may be generated.
        eos_ids: tokens that end a reply.
        max_drafts: most drafts in a step; 0 is off.
        is_fixed: always make `max_drafts` drafts, instead of choosing by measurement.
        prefill_rows: most prompt rows in a step.
    Attributes:
        inbox: orders from other threads.
        fault: why no more requests can be taken, or None.
    """

    def __init__(
        self,
        backend: Backend,
        num_ids: int,
        eos_ids: frozenset[int],
        max_drafts: int,
        is_fixed: bool,
        prefill_rows: int,
    ):
        self.backend = backend
        self.num_ids = num_ids
        self.eos_ids = eos_ids
        self.max_drafts = max_drafts
        self.cache = Cache(backend.num_slots, backend.num_pages, PAGE_SIZE)
        self.scheduler = Scheduler(self.cache, prefill_rows, max_drafts)
        self.controller = DraftController(max_drafts, is_fixed)
        self.drafter = Drafter(backend, self.controller)
        self.inbox: queue.SimpleQueue[Order] = queue.SimpleQueue()
        self.fault: OpenMiMoError | None = None
        self._packer = Packer()
        self._route_type = np.uint8 if backend.config.n_routed_experts <= 256 else np.uint16
        backend.start(num_ids, max_drafts)

    def run(self) -> None:
        """Work until the closing order comes; then cancel what is left."""
        while self._receive():
            self.step()
        for request in [*self.scheduler.running, *self.scheduler.waiting]:
            self._finish(request, "cancelled")
        for request in self.scheduler.kept.copy():
            self.scheduler.remove(request)

    def _receive(self) -> bool:
        """Handle all orders, waiting for one if there is nothing to do. False: close."""
        while True:
            if self.scheduler.is_idle:
                self._check_idle()
            elif self.inbox.empty():
                return True
            order = self.inbox.get()
            if isinstance(order, Update):
                order.carry_out(self.backend)
                self.controller.broken_head = None  # it may have been mended
                continue
            kind, request = order
            if request is None:
                return False
            self.take(kind, request)

    def take(self, kind: Literal["add", "cancel"], request: Request) -> None:
        """Handle an order.

        Args:
            kind: "add" puts the request in line, "cancel" ends it and frees what it owns.
            request: what it is about.
        """
        if kind == "add":
            self.scheduler.add(request)
        elif request.output.done.is_set():
            self.scheduler.remove(request)
        else:
            self._finish(request, "cancelled")

    def step(self) -> None:
        """Admit what fits and run one step of everything that runs. Failures end requests, never the loop."""
        try:
            self.scheduler.grow()
            for request in self.scheduler.admit():
                request.output.start_s = request.output.start_s or time.perf_counter()
                request.head_ends = request.head_ends or [0] * self.max_drafts
            self._run(self.scheduler.plan())
        except Exception as error:  # whatever it is, the requests must hear of it and the loop must go on
            for request in list(self.scheduler.running):
                self._fail(request, error)

    def _check_idle(self) -> None:
        try:
            self.cache.check_idle([request.slot for request in self.scheduler.kept])
        except OpenMiMoError as error:
            self.fault = error

    def _run(self, plan: Plan) -> None:
        """Draft, run the trunk over all rows, choose tokens, commit, hand out."""
        begin_s = time.perf_counter()
        is_ordinary = not plan.prefills
        counts = self.drafter.propose(plan.decodes, self.controller.choose(plan.decodes, is_ordinary))
        rows = [count + 1 for count in counts] + [num_rows for _, num_rows in plan.prefills]
        requests = [*plan.decodes, *(request for request, _ in plan.prefills)]
        wanted = [_num_wanted(request, num_rows) for request, num_rows in zip(requests, rows, strict=True)]
        result = self._forward(requests, rows, wanted)
        chosen = self._choose(requests, counts, rows, wanted, result)
        keep = [len(tokens) if row < len(counts) else rows[row] for row, tokens in enumerate(chosen)]
        self.backend.commit(np.array(keep, np.int32))
        if result.routes_TLK is not None:
            self._keep_routes(requests, rows, keep, result.routes_TLK)
        for request, num_kept in zip(requests, keep, strict=True):
            request.num_cached += num_kept
        self.scheduler.saw_step(plan, time.perf_counter() - begin_s)
        self._hand_out(requests, wanted, chosen, result.logits_BV)
        if result.hidden_TC is not None:
            self._score_heads(requests, rows, result.hidden_TC)
        if is_ordinary and counts:
            self.controller.saw_step(max(counts), sum(keep) / len(counts), time.perf_counter() - begin_s)

    def _forward(self, requests: list[Request], rows: list[int], wanted: list[int]) -> StepResult:
        tokens, firsts, wanted_rows, start = [], [], [], 0
        for request, num_rows, num_wanted in zip(requests, rows, wanted, strict=True):
            firsts.append(request.num_cached)
            tokens.append(request.tokens_S[request.num_cached : request.num_cached + num_rows])
            start += num_rows
            wanted_rows.extend(range(start - num_wanted, start))
        batch = self._packer.pack(requests, tokens, firsts, None if len(wanted_rows) == start else wanted_rows)
        wants_hidden = any(request.wants_head_logits for request in requests)
        return self.backend.forward(batch, wants_hidden, any(request.params.routes for request in requests))

    def _choose(
        self, requests: list[Request], counts: list[int], rows: list[int], wanted: list[int], result: StepResult
    ) -> list[list[int]]:
        """New tokens of each request; none for a prompt that is not done. A request that cannot go on is failed."""
        logits_BV, best = result.logits_BV[:, : self.num_ids], result.best_B.tolist()
        chosen, start = [], 0
        for index, (request, num_rows, num_wanted) in enumerate(zip(requests, rows, wanted, strict=True)):
            num_drafts = counts[index] if index < len(counts) else 0
            start += num_wanted
            if request.num_cached + num_rows < request.num_known or request.wants_all_logits:
                chosen.append([])
            else:  # the last rows: a prompt may want the logits of others too
                chosen.append(self._choose_for(request, num_drafts, logits_BV, best, start - num_drafts - 1))
        return chosen

    def _choose_for(
        self, request: Request, num_drafts: int, logits_BV: np.ndarray, best: list[int], start: int
    ) -> list[int]:
        def choose(row: int) -> int:
            logits_V, position = logits_BV[start + row], request.num_known + row
            if request.penalties is not None:
                logits_V = request.penalties.apply(logits_V, request.tokens_S, position)
            elif request.params.is_greedy and best[start + row] >= 0:
                return best[start + row]
            return choose_token(logits_V, request.params, request.seed, position)

        drafts = request.tokens_S[request.num_known : request.num_known + num_drafts].tolist() if num_drafts else []
        try:
            tokens = accept(drafts, choose)
        except OpenMiMoError as error:
            self._fail(request, error)
            return []
        if request.num_new:
            self._note_round(request, drafts, len(tokens) - 1)
        ends = [row for row, token in enumerate(tokens, 1) if self._is_end(request, token)]
        return tokens[: ends[0]] if ends else tokens

    def _is_end(self, request: Request, token: int) -> bool:
        return (token in self.eos_ids and not request.params.ignore_eos) or token in request.params.stop_token_ids

    def _note_round(self, request: Request, drafts: list[int], num_accepted: int) -> None:
        output = request.output
        output.num_steps += 1
        if drafts:
            output.rounds.append((request.num_known, *drafts, num_accepted))
            self.controller.saw_drafts(request, len(drafts), num_accepted)

    def _keep_routes(self, requests: list[Request], rows: list[int], keep: list[int], routes_TLK: np.ndarray) -> None:
        """Note the experts of the rows that stay, unless the request ran them before it had to give its pages back."""
        start = 0
        for request, num_rows, num_kept in zip(requests, rows, keep, strict=True):
            num_noted = request.num_routed - request.num_cached
            if request.params.routes and num_kept > num_noted:
                request.output.routes.append(routes_TLK[start + num_noted : start + num_kept].astype(self._route_type))
                request.num_routed = request.num_cached + num_kept
            start += num_rows

    def _hand_out(
        self,
        requests: list[Request],
        wanted: list[int],
        chosen: list[list[int]],
        logits_BV: np.ndarray,
    ) -> None:
        start = 0
        for request, num_wanted, tokens in zip(requests, wanted, chosen, strict=True):
            logits_WV = logits_BV[start : start + num_wanted]
            start += num_wanted
            if request.output.done.is_set():
                continue
            if request.wants_all_logits:
                self._score(request, logits_WV)
                continue
            if num_wanted and not request.is_decoding:
                self._score_prompt(request, logits_WV[:, : self.num_ids])
                logits_WV = logits_WV[-1:]
            if tokens:
                self._extend(request, tokens, logits_WV[:, : self.num_ids])

    def _score(self, request: Request, logits_WV: np.ndarray) -> None:
        if request.wants_head_logits:
            return
        if logits_WV.shape[0]:
            request.output.logits.append(logits_WV.copy())
        if request.num_cached == request.num_prompt:
            self._finish(request, "length")

    def _score_prompt(self, request: Request, logits_WV: np.ndarray) -> None:
        """Report the log-probabilities of the prompt's tokens that the last rows predict, if asked for."""
        entries, first = request.output.prompt_logprobs, request.num_cached - logits_WV.shape[0]
        if not request.params.prompt_logprobs:
            return
        for position in range(len(entries), min(request.num_cached + 1, request.num_prompt)):
            token = int(request.tokens_S[position])
            entries.append(token_logprob(logits_WV[position - 1 - first], token, request.params.prompt_logprobs))

    def _score_heads(self, requests: list[Request], rows: list[int], hidden_TC: np.ndarray) -> None:
        """Run the heads over the rows of the last forward pass, for requests that want their logits."""
        start = 0
        for request, num_rows in zip(requests, rows, strict=True):
            hidden_RC = hidden_TC[start : start + num_rows]
            start += num_rows
            if not request.wants_head_logits or request.output.done.is_set():
                continue
            first = request.num_cached - num_rows
            for head, output in enumerate(request.output.head_logits):
                end = min(request.num_cached, request.num_prompt - 1 - head)
                if first < end:
                    batch = self._packer.pack([request], [request.tokens_S[first + 1 + head : end + 1 + head]], [first])
                    keep_N = np.array([end - first], np.int32)
                    output.append(self.backend.head_logits(head, batch, hidden_RC[: end - first], keep_N))
            if request.num_cached == request.num_prompt:
                self._finish(request, "length")

    def _extend(self, request: Request, tokens: list[int], logits_WV: np.ndarray) -> None:
        """Append chosen tokens, up to one that ends the request."""
        output, text, new, reason = request.output, [], [], None
        if request.num_new == 0:
            output.first_token_s = time.perf_counter()
        for token in tokens:
            request.tokens_S[request.num_known] = token
            request.num_known += 1
            new.append(token)
            reason = self._append_text(request, token, text)
            if reason is not None:
                break
        logprobs: list[TokenLogprob] = []
        if request.params.logprobs:
            logprobs = [token_logprob(logits_WV[row], token, request.params.logprobs) for row, token in enumerate(new)]
            output.logprobs += logprobs
        output.token_ids += new
        if reason is not None:
            self._finish(request, reason, "".join(text), new, logprobs)
            return
        delta = Delta("".join(text), tuple(new), logprobs=tuple(logprobs))
        output.text.append(delta.text)
        output.deltas.put(delta)

    def _append_text(self, request: Request, token: int, text: list[str]) -> FinishReason | None:
        if self._is_end(request, token):
            return "stop"
        if request.text is not None:
            text.append(request.text.push(token))
            if request.text.is_stopped:
                return "stop"
        return "length" if request.num_known == request.max_tokens else None

    def _finish(
        self,
        request: Request,
        reason: FinishReason,
        text: str = "",
        token_ids: Sequence[int] = (),
        logprobs: Sequence[TokenLogprob] = (),
    ) -> None:
        """Free what the request owns, or keep it, and hand out the last delta and the completion."""
        is_exact = request.num_cached == request.num_known - 1  # a stop string may leave rows behind the end
        if request.keeps and is_exact and reason != "cancelled":
            self.scheduler.keep(request)
        else:
            self.scheduler.remove(request)
        if request.num_new:
            self.controller.saw_end(request)
        output = request.output
        text += request.text.finish() if request.text is not None else ""
        output.text.append(text)
        stats = self._stats(request)
        output.completion = Completion(
            text="".join(output.text),
            token_ids=tuple(output.token_ids),
            logprobs=tuple(output.logprobs) if request.params.logprobs else None,
            finish_reason=reason,
            stats=stats,
            prompt_logprobs=tuple(output.prompt_logprobs) if request.params.prompt_logprobs else None,
            routes_TLK=self._routes(request) if request.params.routes else None,
        )
        output.done.set()
        output.deltas.put(Delta(text, tuple(token_ids), reason, stats, tuple(logprobs)))

    def _routes(self, request: Request) -> np.ndarray:
        config = self.backend.config
        nothing = np.zeros((0, config.num_sparse_layers, config.num_experts_per_tok), self._route_type)
        return np.concatenate([nothing, *request.output.routes])[: request.num_known - 1]

    def _stats(self, request: Request) -> Stats:
        output, now_s = request.output, time.perf_counter()
        start_s = output.start_s or now_s
        first_s = output.first_token_s or now_s
        drafted, accepted = [0] * self.max_drafts, [0] * self.max_drafts
        for _, *drafts, num_accepted in output.rounds:
            for position in range(len(drafts)):
                drafted[position] += 1
                accepted[position] += position < num_accepted
        return Stats(
            prompt_tokens=request.num_prompt,
            cached_tokens=request.num_reused,
            new_tokens=request.num_new,
            prefill_s=first_s - start_s,
            decode_s=now_s - first_s,
            steps=output.num_steps,
            drafted=sum(drafted),
            accepted=tuple(accepted),
            drafted_at=tuple(drafted),
        )

    def _fail(self, request: Request, error: Exception) -> None:
        """Free what the request owns and report why it ends."""
        self.scheduler.remove(request)
        output = request.output
        cause = str(error) if isinstance(error, OpenMiMoError) else f"{type(error).__name__}: {error}"
        output.error = OpenMiMoError(f"the engine failed on this request ({cause}); other requests can go on")
        output.error.__cause__ = error
        output.done.set()
        output.deltas.put(None)


def _num_wanted(request: Request, num_rows: int) -> int:
    """Rows whose logits are needed: all while decoding or scoring, the last of the last chunk of a prompt."""
    if request.is_decoding or (request.wants_all_logits and not request.wants_head_logits):
        return num_rows
    if request.params.prompt_logprobs and len(request.output.prompt_logprobs) < request.num_prompt:
        return num_rows
    is_last = request.num_cached + num_rows == request.num_known
    return 1 if is_last and not request.wants_all_logits else 0
