"""The engine: prompts in, completions out. One worker thread owns the model; any thread may call."""

import json
import secrets
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from openmimo.batch import Backend
from openmimo.chat import ChatFormat, Message
from openmimo.config import ModelConfig
from openmimo.engine.controller import MtpStatus
from openmimo.engine.params import SamplingParams
from openmimo.engine.request import Completion, DeltaStream, Handle, Request
from openmimo.engine.text import TextStream
from openmimo.engine.update import Update
from openmimo.engine.worker import Order, Worker
from openmimo.errors import CapacityError, CheckpointError, ConfigError, OpenMiMoError, RequestError
from openmimo.tokenizer import Tokenizer

__all__ = ["Engine", "MtpChoice", "Prompt", "find_eos_ids", "max_drafts"]

Prompt = str | Sequence[int] | Sequence[Message | Mapping[str, Any]]
MtpChoice = Literal["auto", "off"] | int

PREFILL_ROWS = 256
MAX_WAITING = 1024
DEFAULT_PARAMS = SamplingParams()
END_TOKENS = ("<|im_end|>", "<|endoftext|>")


class Engine:
    """Serves any number of requests on one back end. `openmimo.load` makes one from a checkpoint folder.

    Args:
        backend: the model; only this engine may use it.
        tokenizer: None works on token ids only.
        chat: None refuses chat messages.
        eos_ids: tokens that end a reply; None takes the config's.
        mtp: drafts in a decode step: a number, "off", or "auto" (as many as pay, by measurement).
        prefill_rows: most prompt tokens in one step, so that running replies are never held up long.
    Attributes:
        config: shape of the model.
        tokenizer: as given.
        chat: as given.
        max_context: longest prompt plus reply.
    Raises:
        ConfigError: the checkpoint has fewer MTP heads than asked for, or a setting is out of range.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: Tokenizer | None = None,
        chat: ChatFormat | None = None,
        eos_ids: Sequence[int] | None = None,
        mtp: MtpChoice = "auto",
        prefill_rows: int = PREFILL_ROWS,
    ):
        if prefill_rows < 1:
            raise ConfigError(f"prefill_rows={prefill_rows} must be at least 1")
        self.config: ModelConfig = backend.config
        self.tokenizer = tokenizer
        self.chat = chat
        self._num_ids = min(self.config.vocab_size, tokenizer.vocab_size) if tokenizer else self.config.vocab_size
        ends = frozenset(self.config.eos_token_ids if eos_ids is None else eos_ids)
        most_drafts = max_drafts(mtp, self.config.num_mtp_layers)
        self._worker = Worker(backend, self._num_ids, ends, most_drafts, mtp != "auto", prefill_rows)
        self.max_context = min(self.config.max_position_embeddings, self._worker.cache.max_positions)
        self._lock = threading.Lock()
        self._is_closed = False
        # The thread holds the worker, not the engine, so an engine that is dropped can still end it.
        self._thread = threading.Thread(target=self._worker.run, name="openmimo-engine", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end_thread, self._worker, self._thread)

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is running and end the worker thread. Safe to call twice."""
        with self._lock:
            self._is_closed = True
        self._end()

    def generate(
        self,
        prompt: Prompt,
        params: SamplingParams = DEFAULT_PARAMS,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Completion:
        """Generate a completion and wait for it.

        Args:
            prompt: text, token ids, or chat messages (`Message` or OpenAI dicts).
            params: how to sample.
            tools: OpenAI function tools, for chat messages only.
        Returns: the completion.
        Raises:
            RequestError: the prompt or a parameter cannot be used; `param` names it.
            CapacityError: too many requests are waiting.
            OpenMiMoError: the engine failed on this request, or is closed.
        """
        handle = self.submit(prompt, params, tools)
        try:
            return handle.result()
        except BaseException:  # an interrupted caller no longer wants the reply
            self.cancel(handle)
            raise

    def stream(
        self,
        prompt: Prompt,
        params: SamplingParams = DEFAULT_PARAMS,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> DeltaStream:
        """Generate a completion piece by piece; closing the iterator cancels the request.

        Args: as `generate`.
        Returns: an iterator of deltas, already running; the last one has `finish_reason` and `stats`.
        Raises: as `generate`; failures of the engine come out of the iterator.
        """
        return DeltaStream(self.submit(prompt, params, tools), self.cancel)

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams = DEFAULT_PARAMS,
        tools: Sequence[Mapping[str, Any]] = (),
        keep: bool = False,
        after: Handle | None = None,
    ) -> Handle:
        """Queue a request and return at once.

        The turns of one episode need not run their beginning again: each is submitted with `keep`, and after the one
        before it. Nothing is shared among requests, and what comes out is the same: if others needed the room
        meanwhile, or the prompt does not begin with all that was said, it is simply run again.

        Args:
            prompt: as `generate`.
            params: as `generate`.
            tools: as `generate`.
            keep: leave the caches as they are when the request is done, until others need the room or `cancel` gives
                them back.
            after: a finished request that this one goes on with: its caches, MTP heads and experts are taken over.
                After an `update`, they are still those of the old weights.
        Returns: a handle to wait on, iterate or cancel.
        Raises: as `generate`.
        """
        if after is not None and not after.is_finished:
            raise RequestError("after: the request to go on with is still running: wait for its result", param="after")
        if params.stop and self.tokenizer is None:
            raise RequestError("stop strings need a tokenizer.json in the checkpoint folder", param="stop")
        params.check_token_ids(self._num_ids)
        ids = self._encode(prompt, tools)
        room = self.max_context - len(ids)
        if room < 1:
            raise self._too_long(len(ids))
        seed = secrets.randbits(64) if params.seed is None else params.seed
        earlier = None if after is None else after.request
        request = Request(ids, params, min(params.max_new_tokens, room), seed, keeps=keep, earlier=earlier)
        request.text = TextStream(self.tokenizer, params.stop) if self.tokenizer is not None else None
        return self._send(request)

    def cancel(self, handle: Handle) -> None:
        """End a request at the next step; its completion says "cancelled". A finished one gives back what it kept.

        Args:
            handle: what `submit` returned.
        """
        with self._lock:
            if not self._is_closed:
                self._worker.inbox.put(("cancel", handle.request))

    def update(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Replace the weights in memory, between two steps, and wait until it is done.

        They are rounded to the engine's own number format as at loading: afterwards the engine computes what one
        loaded from a checkpoint with these weights would. Running requests go on. What their caches hold stays as the
        old weights computed it, and so do the tokens that they have; only a request that had to give its pages back
        runs all it has again, with the new weights. Where that matters, let requests finish or cancel them first.

        Args:
            tensors: every weight of the model as float32, by published name, such as
                `openmimo.model.model.published_tensors` gives; they may change again after the call.
        Raises:
            CheckpointError: a tensor is missing, unknown, not float32, of the wrong shape or not finite; no weight was
                changed.
            OpenMiMoError: the engine is closed.
        """
        update = Update(tensors)
        self._put(update)
        update.wait()

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Score a sequence with the trunk.

        Args:
            ids: token ids.
        Returns: float32 [T, V]; row i scores the token after ids[i].
        Raises: as `generate`.
        """
        output = self._score(ids, wants_head_logits=False)
        return np.concatenate(output.logits)

    def mtp_logits(self, ids: Sequence[int]) -> list[np.ndarray]:
        """Score a sequence with every MTP head.

        Args:
            ids: token ids.
        Returns: for head k, float32 [T-1-k, V]; row i scores ids[i+2+k]. Empty for a checkpoint without heads.
        Raises: as `generate`.
        """
        output = self._score(ids, wants_head_logits=True)
        nothing = np.zeros((0, self.config.vocab_size), np.float32)
        return [np.concatenate([nothing, *chunks]) for chunks in output.head_logits]

    @property
    def mtp_status(self) -> MtpStatus:
        """What drafting does now, and why: shown by `openmimo bench` and `/health`."""
        return self._worker.controller.status

    def _score(self, ids: Sequence[int], wants_head_logits: bool):
        checked = self._check_ids(ids)
        if len(checked) > self.max_context:
            raise self._too_long(len(checked) + 1)
        request = Request(checked, SamplingParams(), 0, 0, wants_all_logits=True, wants_head_logits=wants_head_logits)
        request.output.head_logits = [[] for _ in range(self.config.num_mtp_layers)]
        handle = self._send(request)
        try:
            handle.result()
        except BaseException:
            self.cancel(handle)
            raise
        return request.output

    def _send(self, request: Request) -> Handle:
        worker = self._worker
        if worker.fault is not None:
            raise OpenMiMoError(f"the engine's accounting is broken ({worker.fault}): load a new one")
        if len(worker.scheduler.waiting) + worker.inbox.qsize() >= MAX_WAITING:
            raise CapacityError(f"{MAX_WAITING} requests are waiting already: try again later")
        self._put(("add", request))
        return Handle(request)

    def _put(self, order: Order) -> None:
        with self._lock:
            if self._is_closed:
                raise OpenMiMoError("the engine is closed: load a new one")
            self._worker.inbox.put(order)

    def _too_long(self, num_tokens: int) -> RequestError:
        return RequestError(
            f"the prompt has {num_tokens} tokens, but the context holds {self.max_context}, "
            "at least one of them for the reply: shorten the prompt",
            param="prompt",
            code="context_length_exceeded",
        )

    def _encode(self, prompt: Prompt, tools: Sequence[Mapping[str, Any]]) -> list[int]:
        is_chat = not isinstance(prompt, str | bytes) and len(prompt) > 0 and isinstance(prompt[0], Message | Mapping)
        if tools and not is_chat:
            raise RequestError("tools need chat messages as the prompt", param="tools")
        if is_chat:
            if self.chat is None:
                raise RequestError(_NO_TOKENIZER.format("chat messages"), param="prompt")
            return self._check_ids(self.chat.encode(prompt, tools))  # type: ignore[arg-type]
        if isinstance(prompt, str):
            if self.tokenizer is None:
                raise RequestError(_NO_TOKENIZER.format("text"), param="prompt")
            return self._check_ids(self.tokenizer.encode(prompt))
        return self._check_ids(prompt)  # type: ignore[arg-type]

    def _check_ids(self, ids: Sequence[int]) -> list[int]:
        try:
            array = np.asarray(ids)
        except (ValueError, TypeError):  # ragged
            array = np.zeros(0, object)
        if array.size == 0 and array.dtype != object:
            raise RequestError("the prompt is empty: give at least one token", param="prompt")
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise RequestError("a prompt must be text, a list of token ids, or a list of messages", param="prompt")
        outside = np.flatnonzero((array < 0) | (array >= self.config.vocab_size))
        if outside.size:
            raise RequestError(
                f"token id {array[outside[0]]} at position {outside[0]} must be from 0 to {self.config.vocab_size - 1}",
                param="prompt",
            )
        return array.tolist()


_NO_TOKENIZER = "this checkpoint folder has no tokenizer.json, so {} cannot be encoded: give token ids"


def find_eos_ids(folder: str | Path, config: ModelConfig, tokenizer: Tokenizer | None) -> list[int]:
    """Collect the tokens that end a reply.

    Args:
        folder: checkpoint folder, for generation_config.json.
        config: its `eos_token_ids` count.
        tokenizer: its `<|im_end|>` and `<|endoftext|>` count.
    Returns: the ids, rising.
    Raises:
        CheckpointError: generation_config.json is not JSON, or its eos_token_id is not made of integers.
    """
    ids = {*config.eos_token_ids, *_generation_eos(Path(folder) / "generation_config.json")}
    if tokenizer is not None:
        ids |= {tokenizer.control_ids[text] for text in END_TOKENS if text in tokenizer.control_ids}
    return sorted(ids)


def _generation_eos(path: Path) -> list[int]:
    if not path.is_file():
        return []
    try:
        value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read as a JSON object: {error}") from error
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if any(isinstance(item, bool) or not isinstance(item, int) for item in ids):
        raise CheckpointError(f"{path}: eos_token_id={value!r} must be an integer or a list of integers")
    return ids


def max_drafts(mtp: MtpChoice, num_heads: int) -> int:
    """Check a choice of drafts against what a checkpoint has.

    Args:
        mtp: "auto", "off" or a number.
        num_heads: MTP heads of the checkpoint.
    Returns: most drafts in a step.
    Raises:
        ConfigError: the choice is none of these, or there are fewer heads.
    """
    if mtp == "off":
        return 0
    if mtp == "auto":
        return num_heads
    if isinstance(mtp, bool) or not isinstance(mtp, int) or mtp < 1:
        raise ConfigError(f'mtp={mtp!r} must be "auto", "off", or the number of drafts, from 1')
    if mtp > num_heads:
        heads = "1 MTP head" if num_heads == 1 else f"{num_heads or 'no'} MTP heads"
        numbers = f", or a number from 1 to {num_heads}" if num_heads else ""
        raise ConfigError(f'mtp={mtp}, but this checkpoint has {heads}: use "auto" or "off"{numbers}')
    return mtp


def _end_thread(worker: Worker, thread: threading.Thread) -> None:
    worker.inbox.put(("cancel", None))
    if thread is not threading.current_thread():
        thread.join()
