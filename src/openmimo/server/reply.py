"""A reply in the OpenAI format, built from the engine's deltas; the streamed and the whole form share every step."""

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from openmimo.chat import ReplyEvent, ReplyParser, ToolCall
from openmimo.engine.request import Delta, Stats, TokenLogprob
from openmimo.server.lifetime import ServerEndingError
from openmimo.tokenizer import Tokenizer

__all__ = ["ReplyOptions", "ReplyWriter", "timings", "usage"]

Piece = dict[str, Any]
"""The `delta` object of one chunk."""


@dataclass(frozen=True)
class ReplyOptions:
    """What the client asked to see of the reply.

    Attributes:
        offers_calls: False leaves tool calls out (`tool_choice` none).
        has_logprobs: report log-probabilities.
        top_logprobs: how many alternatives to report at each token.
        has_usage: end a stream with a usage chunk.
        warnings: said once, in the reply's `warnings`.
    """

    offers_calls: bool
    has_logprobs: bool
    top_logprobs: int
    has_usage: bool
    warnings: tuple[str, ...] = ()


class ReplyWriter:
    """Turns deltas into chunks, or into one completion that says the same."""

    def __init__(self, parser: ReplyParser, tokenizer: Tokenizer, model_name: str, options: ReplyOptions):
        self._parser = parser
        self._tokenizer = tokenizer
        self._options = options
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model_name}
        self._warnings = list(options.warnings)
        self._num_calls = 0
        self._logprobs: list[dict[str, Any]] = []
        self._finish_reason = "stop"
        self.stats: Stats | None = None

    def opening(self) -> dict[str, Any]:
        """Return the first chunk, which names the role."""
        return self._chunk({"role": "assistant", "content": ""})

    def feed(self, delta: Delta) -> Iterator[dict[str, Any]]:
        """Yield the chunks that a delta completes; after the last delta, the one with the finish reason too.

        Raises:
            ServerEndingError: the reply was cancelled, though its client is still there.
        """
        self._logprobs += [self._logprob(item) for item in delta.logprobs]
        yield from self._chunks(self._parser.feed(delta.text))
        if delta.finish_reason is None:
            return
        yield from self._chunks(self._parser.finish())
        if delta.finish_reason == "cancelled":
            raise ServerEndingError
        self.stats = delta.stats
        self._finish_reason = delta.finish_reason if delta.finish_reason == "length" else "stop"
        if self._finish_reason == "stop" and self._num_calls:
            self._finish_reason = "tool_calls"
        yield self._closing()

    def ending(self) -> Iterator[dict[str, Any]]:
        """Yield the usage chunk, if asked for."""
        assert self.stats is not None, "the reply has not ended"
        if self._options.has_usage:
            yield {**self._frame("chat.completion.chunk"), "choices": [], "usage": usage(self.stats)}

    def completion(self, deltas: Sequence[Delta]) -> dict[str, Any]:
        """Return the whole reply.

        Args:
            deltas: all of them, the last one with its finish reason.
        Returns:
            the `chat.completion` object.
        """
        chunks = [chunk for delta in deltas for chunk in self.feed(delta)]
        choices = [chunk["choices"][0] for chunk in chunks]
        message = _merge([choice["delta"] for choice in choices])
        logprobs = [item for choice in choices if choice["logprobs"] for item in choice["logprobs"]["content"]]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": {"content": logprobs, "refusal": None} if self._options.has_logprobs else None,
            "finish_reason": self._finish_reason,
        }
        assert self.stats is not None, "the reply has not ended"
        body = {**self._frame("chat.completion"), "choices": [choice], "usage": usage(self.stats)}
        return {**body, **self._extensions()}

    def _chunks(self, events: Sequence[ReplyEvent]) -> Iterator[dict[str, Any]]:
        for event in events:
            piece = self._piece(event)
            if piece:
                yield self._chunk(piece)

    def _piece(self, event: ReplyEvent) -> Piece:
        if event.tool_call is not None:
            return self._call_piece(event.tool_call)
        return {"reasoning_content" if event.kind == "reasoning" else "content": event.text} if event.text else {}

    def _call_piece(self, call: ToolCall) -> Piece:
        if not self._options.offers_calls:
            self._warnings.append(f"tool_choice is none: a call of {call.name} that the model wrote was left out")
            return {}
        function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
        entry = {"index": self._num_calls, "id": f"call_{secrets.token_hex(12)}", "type": "function"}
        self._num_calls += 1
        return {"tool_calls": [{**entry, "function": function}]}

    def _closing(self) -> dict[str, Any]:
        chunk = self._chunk({})
        chunk["choices"][0]["finish_reason"] = self._finish_reason
        return {**chunk, **self._extensions()}

    def _extensions(self) -> dict[str, Any]:
        assert self.stats is not None, "the reply has not ended"
        warnings = {"warnings": self._warnings} if self._warnings else {}
        return {"timings": timings(self.stats), **warnings}

    def _chunk(self, piece: Piece) -> dict[str, Any]:
        content, self._logprobs = self._logprobs, []
        logprobs = {"content": content, "refusal": None} if content else None
        choice = {"index": 0, "delta": piece, "logprobs": logprobs, "finish_reason": None}
        usage_field = {"usage": None} if self._options.has_usage else {}
        return {**self._frame("chat.completion.chunk"), "choices": [choice], **usage_field}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {"object": kind, **self._head}

    def _logprob(self, item: TokenLogprob) -> dict[str, Any]:
        top = item.top[: self._options.top_logprobs]
        return {
            **self._token(item.token_id, item.logprob),
            "top_logprobs": [self._token(token_id, logprob) for token_id, logprob in top],
        }

    def _token(self, token_id: int, logprob: float) -> dict[str, Any]:
        text = self._tokenizer.decode([token_id])
        return {"token": text, "logprob": max(logprob, -9999.0), "bytes": list(text.encode())}


def _merge(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Join the pieces of a stream as a client would: texts are concatenated, calls collected."""
    content = "".join(piece.get("content", "") for piece in pieces)
    reasoning = "".join(piece.get("reasoning_content", "") for piece in pieces)
    calls = [call for piece in pieces for call in piece.get("tool_calls", [])]
    message: dict[str, Any] = {"role": "assistant", "content": content or (None if calls else ""), "refusal": None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [{key: call[key] for key in ("id", "type", "function")} for call in calls]
    return message


def usage(stats: Stats) -> dict[str, Any]:
    """Count tokens the way the API does.

    Args:
        stats: of a finished reply.
    Returns:
        the `usage` object.
    """
    return {
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.new_tokens,
        "total_tokens": stats.prompt_tokens + stats.new_tokens,
        "prompt_tokens_details": {"cached_tokens": stats.cached_tokens},
    }


def timings(stats: Stats) -> dict[str, Any]:
    """Say what the reply cost; names as llama-server has them, then our own.

    Args:
        stats: of a finished reply.
    Returns:
        milliseconds, tokens per second, and how the drafts fared: `tokens_per_step` of at most `max_tokens_per_step`.
    """
    per_second = (stats.new_tokens - 1) / stats.decode_s if stats.decode_s > 0 else None
    return {
        "cache_n": stats.cached_tokens,
        "prompt_n": stats.prompt_tokens - stats.cached_tokens,
        "prompt_ms": round(stats.prefill_s * 1000, 3),
        "predicted_n": stats.new_tokens,
        "predicted_ms": round(stats.decode_s * 1000, 3),
        "predicted_per_second": None if per_second is None else round(per_second, 2),
        "draft_n": stats.drafted,
        "draft_n_accepted": sum(stats.accepted),
        "accepted_per_position": list(stats.accepted),
        "steps": stats.steps,
        "tokens_per_step": round(stats.tokens_per_step, 2),
        "max_tokens_per_step": len(stats.accepted) + 1,
    }
