"""An engine without a model: it answers from a script, through the surface that the server and the agent use."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from fastapi import FastAPI

from openmimo.chat import ChatFormat, Message, chat_template
from openmimo.engine import Engine
from openmimo.engine.params import SamplingParams
from openmimo.engine.request import Completion, Delta, Stats, TokenLogprob
from openmimo.environments import LiveWorld
from openmimo.errors import CapacityError
from openmimo.server import create_app

CONTROL = ("<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>")
MAX_CONTEXT = 4096


class ByteTokenizer:
    """One token per byte, and one per control text."""

    def __init__(self):
        self.control_ids = {text: 256 + index for index, text in enumerate(CONTROL)}
        self.vocab_size = 256 + len(CONTROL)

    def encode(self, text: str, allow_control: bool = False) -> list[int]:
        ids: list[int] = []
        while text:
            found = next((name for name in CONTROL if allow_control and text.startswith(name)), None)
            ids += [self.control_ids[found]] if found else list(text[0].encode())
            text = text[len(found or text[0]) :]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        pieces = [bytes([item]) if item < 256 else CONTROL[item - 256].encode() for item in ids]
        return b"".join(pieces).decode(errors="replace")


@dataclass(eq=False)
class Script:
    """How the fake answers.

    Attributes:
        reply: prompt text to reply text, markup included.
        cut: characters in one delta.
        gate: if set, the first delta waits for it (a long prefill).
        pause_s: wait between deltas.
        finish_reason: of a reply that is not cancelled.
        error: raised by the stream after the first delta.
        is_full: refuse every request.
    """

    reply: Callable[[str], str] = lambda prompt: "<think>Easy.</think>Hello there."
    cut: int = 4
    gate: threading.Event | None = None
    pause_s: float = 0.0
    finish_reason: str = "stop"
    error: Exception | None = None
    is_full: bool = False


@dataclass(eq=False)
class FakeStream:
    """What `stream` returns: the deltas, and `close` from any thread."""

    on_close: Callable[[], None]
    deltas: "queue.SimpleQueue[Delta | Exception]" = field(default_factory=queue.SimpleQueue)
    is_cancelled: threading.Event = field(default_factory=threading.Event)

    is_finished: bool = False

    def __iter__(self) -> Iterator[Delta]:
        while not self.is_finished:
            item = self.deltas.get()
            self.is_finished = isinstance(item, Exception) or item.finish_reason is not None
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        if not self.is_finished:
            self.is_cancelled.set()
            self.on_close()


class FakeEngine:
    """Answers each request in a thread of its own, as its script says."""

    def __init__(self, script: Script | None = None):
        self.script = script or Script()
        self.tokenizer = ByteTokenizer()
        self.chat = ChatFormat(self.tokenizer, chat_template("default"))  # type: ignore[arg-type]
        self.config = SimpleNamespace(max_position_embeddings=MAX_CONTEXT)
        self.max_context = MAX_CONTEXT
        self.prompts: list[str] = []
        self.params: list[SamplingParams] = []
        self.streams: list[FakeStream] = []

    def stream(self, prompt: Any, params: SamplingParams | None = None, tools: Any = ()) -> FakeStream:
        if self.script.is_full:
            raise CapacityError("64 requests are waiting; try again later")
        is_chat = bool(prompt) and isinstance(prompt[0], Message)
        ids = self.chat.encode(prompt, tools) if is_chat else list(prompt)
        gate = self.script.gate or threading.Event()
        stream, params = FakeStream(on_close=gate.set), params or SamplingParams()
        self.prompts.append(self.tokenizer.decode(ids))
        self.params.append(params)
        self.streams.append(stream)
        threading.Thread(target=self._answer, args=(stream, ids, params, self.script), daemon=True).start()
        return stream

    def generate(self, prompt: Any, params: SamplingParams | None = None, tools: Any = ()) -> Completion:
        deltas = list(self.stream(prompt, params, tools))
        last = deltas[-1]
        assert last.finish_reason is not None
        assert last.stats is not None
        ids = tuple(item for delta in deltas for item in delta.token_ids)
        return Completion("".join(delta.text for delta in deltas), ids, None, last.finish_reason, last.stats)

    def _answer(self, stream: FakeStream, prompt_ids: list[int], params: SamplingParams, script: Script) -> None:
        text = script.reply(self.tokenizer.decode(prompt_ids))
        if script.gate is not None:
            script.gate.wait(10)
        for start in range(0, len(text), script.cut):
            if stream.is_cancelled.wait(script.pause_s):
                break
            piece = text[start : start + script.cut]
            token_ids = tuple(self.tokenizer.encode(piece))
            stream.deltas.put(Delta(piece, token_ids, logprobs=_logprobs(token_ids, params.logprobs)))
            if script.error is not None:
                stream.deltas.put(script.error)
                return
        reason = "cancelled" if stream.is_cancelled.is_set() else script.finish_reason
        num_new = len(self.tokenizer.encode(text, allow_control=True))
        stats = Stats(len(prompt_ids), 7, num_new, 0.25, 0.5, 10, 30, (10, 9, 5), (10, 10, 10))
        stream.deltas.put(Delta("", (), reason, stats))  # type: ignore[arg-type]


def _logprobs(token_ids: Sequence[int], num_top: int) -> tuple[TokenLogprob, ...]:
    """Each token has log-probability -0.5; the alternatives are the ids after it, each one lower."""
    if not num_top:
        return ()
    return tuple(
        TokenLogprob(item, -0.5, tuple((item + rank, -0.5 - rank) for rank in range(num_top))) for item in token_ids
    )


def app_of(engine: FakeEngine, *worlds: LiveWorld, **settings: Any) -> FastAPI:
    """The server's app over the fake."""
    return create_app(cast(Engine, engine), worlds, **settings)
