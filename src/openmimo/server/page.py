"""The page: static files, the home's state as it changes, and the agent that acts in the home."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
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
    ToolResult,
    ToolReturned,
    conversation_window,
    run_agent,
)
from openmimo.chat import Message
from openmimo.engine import DeltaStream, Engine, SamplingParams
from openmimo.environments.home import LiveHome
from openmimo.messages import message_to_openai
from openmimo.server.body import read_body
from openmimo.server.lifetime import Lifetime
from openmimo.server.problem import problem_body
from openmimo.server.reply import timings
from openmimo.server.schema import AgentRequest, HomeCallRequest
from openmimo.server.stream import EventStream, iterate_in_thread, sse

__all__ = ["SharedHome", "add_page_routes"]

STATE_PERIOD_S = 1.0

AGENT_PARAMS = SamplingParams(temperature=0.0, max_new_tokens=512)
"""Greedy: the page acts on devices, and the likeliest call is the one to make."""

_CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class SharedHome:
    """The one home that page and agent share, safe to use from any thread.

    Its clock follows the real one, but only when somebody looks: each access first advances the home by the time since
    the last one, so that nothing runs while nobody is there.
    """

    def __init__(self, home: LiveHome, now: Callable[[], float] = time.monotonic):
        self._home = home
        self._now = now
        self._seen_s = now()
        self._lock = threading.Lock()

    def plan(self) -> dict[str, Any]:
        """Return the rooms' rectangles and the devices' positions."""
        return self._home.floor_plan()

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools on offer, in the OpenAI shape."""
        return self._home.tools()

    def state(self) -> dict[str, Any]:
        """Return the home's state now."""
        with self._current() as home:
            return home.state()

    def system_content(self) -> str:
        """Return the system message with the current listing."""
        with self._current() as home:
            return home.system_content()

    def call(self, name: str, arguments: dict[str, Any]) -> ToolResult:
        """Carry out a tool call; see `LiveHome.call`."""
        with self._current() as home:
            return home.call(name, arguments)

    @contextmanager
    def _current(self) -> Iterator[LiveHome]:
        with self._lock:
            now = self._now()
            self._home.advance(max(0.0, now - self._seen_s))
            self._seen_s = now
            yield self._home


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


def add_page_routes(app: FastAPI, engine: Engine, live_home: LiveHome, lifetime: Lifetime) -> None:
    """Add the page, its agent and its home to the application.

    Args:
        app: gets the routes.
        engine: writes the agent's replies.
        live_home: the home to show and to act in.
        lifetime: ends the streams when the server goes down.
    """
    home = SharedHome(live_home)
    _add_static_routes(app)

    @app.get("/home")
    async def show_home() -> JSONResponse:
        return JSONResponse({"plan": home.plan(), "tools": home.tools(), "state": await asyncio.to_thread(home.state)})

    @app.get("/home/events")
    async def watch_home() -> Response:
        return EventStream(_state_frames(home, lifetime))

    @app.post("/home/call")
    async def call_home(request: Request) -> JSONResponse:
        body = await read_body(request, HomeCallRequest)
        result = await asyncio.to_thread(home.call, body.name, body.arguments)
        return JSONResponse({"result": result, "state": await asyncio.to_thread(home.state)})

    @app.post("/agent")
    async def act(request: Request) -> Response:
        body = await read_body(request, AgentRequest)
        turns = [turn.to_message() for turn in body.messages]
        messages = conversation_window(await asyncio.to_thread(home.system_content), turns)
        caller = _Caller(engine)
        events = run_agent(caller, messages, home.tools(), home.call, AGENT_PARAMS)
        lifetime.hold(caller)
        frames = _agent_frames(iterate_in_thread(events), home)
        return EventStream(frames, on_close=lambda: lifetime.release(caller))


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


async def _state_frames(home: SharedHome, lifetime: Lifetime) -> AsyncGenerator[str, None]:
    while not lifetime.is_ending:
        yield sse(await asyncio.to_thread(home.state))
        await asyncio.sleep(STATE_PERIOD_S)


async def _agent_frames(events: AsyncGenerator[AgentEvent, None], home: SharedHome) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        try:
            async for event in events:
                yield sse(_event_body(event, home))
        except Exception as error:
            yield sse({**problem_body(error)[1]["error"], "type": "error"})


def _event_body(event: AgentEvent, home: SharedHome) -> dict[str, Any]:
    match event:
        case ReasoningDelta(text):
            return {"type": "reasoning", "text": text}
        case ContentDelta(text):
            return {"type": "content", "text": text}
        case ToolCalled(call):
            return {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments}
        case ToolReturned(call, result, is_error, seconds):
            shown = {"id": call.id, "result": result, "is_error": is_error, "ms": round(seconds * 1000, 2)}
            return {"type": "tool_result", **shown, "home": home.state()}
        case ReplyFinished(_, finish_reason, stats):
            return {"type": "reply", "finish_reason": finish_reason, "timings": timings(stats)}
        case Finished(reason, messages):
            return {"type": "done", "reason": reason, "messages": [message_to_openai(message) for message in messages]}
