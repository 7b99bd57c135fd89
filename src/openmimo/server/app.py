"""The HTTP server: OpenAI-compatible routes over one engine, and, with worlds to act in, the page."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import FastAPI, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from openmimo.engine import Delta, DeltaStream, Engine, SamplingParams
from openmimo.environments import LiveWorld
from openmimo.errors import ConfigError, RequestError
from openmimo.server.body import read_body
from openmimo.server.guard import Guard
from openmimo.server.lifetime import Lifetime
from openmimo.server.page import add_page_routes
from openmimo.server.problem import add_error_handlers, problem_body
from openmimo.server.reply import ReplyOptions, ReplyWriter
from openmimo.server.schema import ChatRequest
from openmimo.server.stream import EventStream, iterate_in_thread, sse, until_disconnect

__all__ = ["create_app"]

CLIENT_LEFT = 499
"""Status for the log of a request whose client did not wait; nobody receives it."""


def create_app(
    engine: Engine,
    worlds: Sequence[LiveWorld] = (),
    model_name: str = "openmimo-nano",
    api_key: str | None = None,
    allowed_hosts: Iterable[str] = (),
) -> FastAPI:
    """Build the server's application.

    Args:
        engine: answers every request; the caller closes it.
        worlds: with one or more, the page and its agent are served too.
        model_name: the only name that requests may ask for.
        api_key: if given, every route but `/health` needs it.
        allowed_hosts: names, besides localhost and addresses, under which the server may be called.
    Returns:
        the application, ready for an ASGI server.
    Raises:
        ConfigError: the engine's model has no chat format.
    """
    if engine.chat is None or engine.tokenizer is None:
        raise ConfigError("this checkpoint has no tokenizer and chat template, so it cannot be served")
    app = FastAPI(title="openmimo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, api_key=api_key, allowed_hosts=tuple(allowed_hosts))
    add_error_handlers(app)
    app.state.lifetime = lifetime = Lifetime()
    _add_model_routes(app, engine, model_name, lifetime)
    if worlds:
        add_page_routes(app, engine, worlds, lifetime)
    return app


def _add_model_routes(app: FastAPI, engine: Engine, model_name: str, lifetime: Lifetime) -> None:
    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @app.get("/v1/models")
    async def list_models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [_model_entry(model_name, engine.max_context)]})

    @app.post("/v1/chat/completions")
    async def complete_chat(request: Request) -> Response:
        body = await read_body(request, ChatRequest)
        if body.model not in (None, model_name):
            message = f"model {body.model!r} does not exist; this server has {model_name!r}"
            raise RequestError(message, param="model", code="model_not_found")
        source, writer = await asyncio.to_thread(_start, engine, body, model_name)
        lifetime.hold(source)
        deltas = iterate_in_thread(source)
        if body.stream:
            return EventStream(_frames(deltas, writer), on_close=lambda: lifetime.release(source))
        try:
            return await _whole_reply(request, deltas, writer)
        finally:
            lifetime.release(source)


def _model_entry(model_name: str, max_context: int) -> dict[str, Any]:
    entry = {"id": model_name, "object": "model", "created": 0, "owned_by": "openmimo"}
    # vLLM's and llama-server's names for the same limit; clients look for one or the other
    return {**entry, "max_model_len": max_context, "meta": {"n_ctx": max_context, "n_ctx_train": max_context}}


def _start(engine: Engine, body: ChatRequest, model_name: str) -> tuple[DeltaStream, ReplyWriter]:
    """Render the chat, check that it fits, and queue it; blocking, so not for the event loop."""
    tools = [tool.to_dict() for tool in body.tools or ()] if body.tool_choice != "none" else []
    messages = [message.to_message() for message in body.messages]
    thinking = body.chat_template_kwargs.enable_thinking if body.chat_template_kwargs else None
    assert engine.chat is not None
    assert engine.tokenizer is not None
    prompt_ids = engine.chat.encode(messages, tools, enable_thinking=thinking)
    max_new_tokens, warnings = _room(body, len(prompt_ids), engine.max_context)
    options = ReplyOptions(
        offers_calls=body.tool_choice != "none",
        has_logprobs=bool(body.logprobs),
        top_logprobs=body.top_logprobs or 0,
        has_usage=body.stream_options is not None and body.stream_options.include_usage,
        warnings=warnings,
    )
    writer = ReplyWriter(engine.chat.parser(tools), engine.tokenizer, model_name, options)
    return engine.stream(prompt_ids, _sampling(body, max_new_tokens)), writer


def _room(body: ChatRequest, num_prompt: int, max_context: int) -> tuple[int, tuple[str, ...]]:
    """New tokens to allow: what was asked for, lowered to what the context leaves, which is said in a warning."""
    room = max_context - num_prompt
    if room < 1:
        message = f"the messages take {num_prompt} tokens; with room for a reply at most {max_context - 1} fit"
        raise RequestError(message, param="messages", code="context_length_exceeded")
    asked = body.max_completion_tokens or body.max_tokens
    if asked is None or asked <= room:
        return asked or room, ()
    return room, (f"max_tokens was lowered from {asked} to {room}, the room left in the context of {max_context}",)


def _sampling(body: ChatRequest, max_new_tokens: int) -> SamplingParams:
    return SamplingParams(
        temperature=1.0 if body.temperature is None else body.temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        top_k=body.top_k or 0,
        min_p=body.min_p or 0.0,
        repetition_penalty=1.0 if body.repetition_penalty is None else body.repetition_penalty,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        logit_bias=body.logit_bias or {},
        max_new_tokens=max_new_tokens,
        seed=body.seed,
        stop=tuple(body.stop or ()),
        # the engine reports the chosen token's own log-probability only beside at least one alternative
        logprobs=max(body.top_logprobs or 0, 1) if body.logprobs else 0,
    )


async def _frames(deltas: AsyncGenerator[Delta, None], writer: ReplyWriter) -> AsyncGenerator[str, None]:
    """The reply as server-sent events; a failure after the start can only be told as an event."""
    async with aclosing(deltas):
        yield sse(writer.opening())
        try:
            async for delta in deltas:
                for chunk in writer.feed(delta):
                    yield sse(chunk)
        except Exception as error:
            yield sse(problem_body(error)[1])
            return
        for chunk in writer.ending():
            yield sse(chunk)
        yield sse("[DONE]")


async def _whole_reply(request: Request, deltas: AsyncGenerator[Delta, None], writer: ReplyWriter) -> Response:
    async with aclosing(deltas):
        try:
            collected = await until_disconnect(request, _collect(deltas))
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        return JSONResponse(writer.completion(collected))


async def _collect(deltas: AsyncGenerator[Delta, None]) -> Sequence[Delta]:
    return [delta async for delta in deltas]
