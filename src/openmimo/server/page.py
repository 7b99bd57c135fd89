"""The page: static files, the worlds' states as they change, and the agent that acts in them."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from openmimo.agent import (
    AgentEvent,
    ContentDelta,
    Finished,
    ReasoningDelta,
    ReplyFinished,
    ToolCalled,
    ToolReturned,
    conversation_window,
    run_agent,
)
from openmimo.chat import Message
from openmimo.engine import DeltaStream, Engine, SamplingParams
from openmimo.environments import LiveWorld
from openmimo.messages import message_to_openai
from openmimo.server.body import read_body
from openmimo.server.lifetime import Lifetime
from openmimo.server.problem import problem_body
from openmimo.server.reply import timings
from openmimo.server.schema import AgentRequest, PassRequest, WorldCallRequest
from openmimo.server.stream import EventStream, iterate_in_thread, sse

__all__ = ["add_page_routes"]

STATE_PERIOD_S = 1.0

AGENT_PARAMS = SamplingParams(temperature=0.0, max_new_tokens=512)
"""Greedy: the page acts on devices, and the likeliest call is the one to make."""

_CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class _Caller:
    """The engine as one caller sees it: knows the reply being written, so that another thread can cancel it."""

    def __init__(self, engine: Engine):
        self._engine = engine
        self._lock = threading.Lock()
        self._deltas: DeltaStream | None = None
        self._has_left = False
        self.chat = engine.chat

    def stream(
        self, prompt: list[Message], params: SamplingParams, tools: Sequence[Mapping[str, Any]] = ()
    ) -> DeltaStream:
        with self._lock:
            self._deltas = self._engine.stream(prompt, params, tools)
            if self._has_left:
                self._deltas.close()
            return self._deltas

    def close(self) -> None:
        """Cancel the reply being written and every later one."""
        with self._lock:
            self._has_left = True
            if self._deltas is not None:
                self._deltas.close()


def add_page_routes(app: FastAPI, engine: Engine, worlds: Sequence[LiveWorld], lifetime: Lifetime) -> None:
    """Add the page, its agent and its worlds to the application. From now on the worlds' clocks follow the real one.

    Args:
        app: gets the routes.
        engine: writes the agent's replies.
        worlds: to show and to act in, the one that the page opens with first.
        lifetime: ends the streams when the server goes down.
    """
    for world in worlds:
        world.follow()
    by_name = {world.name: world for world in worlds}

    def find(name: str) -> LiveWorld:
        if name not in by_name:
            raise HTTPException(404)
        return by_name[name]

    _add_static_routes(app)
    _add_world_routes(app, find, tuple(by_name), lifetime)

    @app.post("/agent")
    async def act(request: Request) -> Response:
        body = await read_body(request, AgentRequest)
        world, turns = find(body.world), [turn.to_message() for turn in body.messages]
        system = await asyncio.to_thread(world.system_content)
        messages = conversation_window(system, turns, world.asked_turns, world.follows_up)
        caller = _Caller(engine)
        events = run_agent(caller, messages, world.tools(), world.turn, AGENT_PARAMS)
        lifetime.hold(caller)
        frames = _agent_frames(iterate_in_thread(events), world)
        return EventStream(frames, on_close=lambda: lifetime.release(caller))


def _add_world_routes(app: FastAPI, find: Callable[[str], LiveWorld], names: Sequence[str], lifetime: Lifetime) -> None:
    """What can be seen of a world and done in it by hand."""

    @app.get("/worlds")
    async def list_worlds() -> JSONResponse:
        return JSONResponse({"worlds": list(names)})

    @app.get("/worlds/{name}")
    async def show_world(name: str) -> JSONResponse:
        world = find(name)
        drawing, state = await asyncio.to_thread(lambda: (world.drawing(), world.state()))
        return JSONResponse({"drawing": drawing, "tools": world.tools(), "state": state})

    @app.get("/worlds/{name}/events")
    async def watch_world(name: str) -> Response:
        return EventStream(_state_frames(find(name), lifetime))

    @app.post("/worlds/{name}/call")
    async def call_by_hand(name: str, request: Request) -> JSONResponse:
        world, body = find(name), await read_body(request, WorldCallRequest)
        result = await asyncio.to_thread(world.call, body.name, body.arguments)
        return JSONResponse({"result": result, "state": await asyncio.to_thread(world.state)})

    @app.post("/worlds/{name}/pass")
    async def pass_time(name: str, request: Request) -> JSONResponse:
        world, body = find(name), await read_body(request, PassRequest)
        await asyncio.to_thread(world.advance, 60.0 * body.minutes)
        return JSONResponse({"state": await asyncio.to_thread(world.state)})


def _add_static_routes(app: FastAPI) -> None:
    """Serve the page's files from memory: no path of a request ever reaches the file system."""
    static = {
        path.name: (path.read_bytes(), _CONTENT_TYPES[suffix])
        for path in files("openmimo.server").joinpath("web").iterdir()
        if (suffix := "." + path.name.rpartition(".")[2]) in _CONTENT_TYPES
    }

    def send(name: str) -> Response:
        if name not in static:
            raise HTTPException(404)
        content, kind = static[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/")
    async def show_page() -> Response:
        return send("index.html")

    @app.get("/web/{name}")
    async def send_file(name: str) -> Response:
        return send(name)


async def _state_frames(world: LiveWorld, lifetime: Lifetime) -> AsyncGenerator[str, None]:
    while not lifetime.is_ending:
        yield sse(await asyncio.to_thread(world.state))
        await asyncio.sleep(STATE_PERIOD_S)


async def _agent_frames(events: AsyncGenerator[AgentEvent, None], world: LiveWorld) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        try:
            async for event in events:
                # Not here: another thread may be using the world.
                state = await asyncio.to_thread(world.state) if isinstance(event, ToolReturned) else None
                yield sse(_event_body(event, state))
        except Exception as error:
            yield sse({**problem_body(error)[1]["error"], "type": "error"})


def _event_body(event: AgentEvent, state: dict[str, Any] | None) -> dict[str, Any]:
    match event:
        case ReasoningDelta(text):
            return {"type": "reasoning", "text": text}
        case ContentDelta(text):
            return {"type": "content", "text": text}
        case ToolCalled(call):
            return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        case ToolReturned(call, result, is_error, seconds):
            shown = {"id": call.id, "result": result, "is_error": is_error, "ms": round(seconds * 1000, 2)}
            return {"type": "tool_result", **shown, "state": state}
        case ReplyFinished(_, finish_reason, stats):
            return {"type": "reply", "finish_reason": finish_reason, "timings": timings(stats)}
        case Finished(reason, messages):
            return {"type": "done", "reason": reason, "messages": [message_to_openai(message) for message in messages]}
