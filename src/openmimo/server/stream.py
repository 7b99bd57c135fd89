"""From a blocking iterator to server-sent events: the thread, the pings, the slow reader and the client who left."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any, Generic, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

__all__ = ["PING", "EventStream", "iterate_in_thread", "sse", "until_disconnect", "with_pings"]

Item = TypeVar("Item")

MAX_WAITING = 256
"""Items that may wait for a slow client before the generating thread is held back."""

PING_S = 15.0
"""Longest silence on a stream; proxies and browsers cut a connection that says nothing."""

SEND_TIMEOUT_S = 60.0
"""A client that takes longer than this to read one chunk is treated as gone."""

PING = ": ping\n\n"


def sse(data: Mapping[str, Any] | str, event: str = "") -> str:
    """Frame one server-sent event.

    Args:
        data: an object, sent as one line of JSON, or a literal such as `[DONE]`.
        event: the event's name; empty for the default kind.
    Returns:
        the frame, blank line included.
    """
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return (f"event: {event}\n" if event else "") + f"data: {text}\n\n"


class _Relay(Generic[Item]):
    """Carries items from the thread that makes them to the event loop that sends them."""

    def __init__(self, iterator: Iterable[Item]):
        self._iterator = iterator
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self._room = threading.Semaphore(MAX_WAITING)
        self._is_stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._work, name="openmimo-request", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end at its next item."""
        self._is_stopped.set()
        self._room.release()

    async def take(self) -> tuple[str, Any]:
        kind, value = await self._queue.get()
        self._room.release()
        return kind, value

    def _work(self) -> None:
        try:
            for item in self._iterator:
                self._put("item", item)
                if self._is_stopped.is_set():
                    break
            close = getattr(self._iterator, "close", None)
            if close is not None:
                close()
            self._put("end", None)
        except BaseException as error:  # carried to the event loop, which raises it
            self._put("error", error)

    def _put(self, kind: str, value: Any) -> None:
        self._room.acquire()
        with suppress(RuntimeError):  # the loop is closed: the server is going down and nobody waits for this
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (kind, value))


async def iterate_in_thread(iterator: Iterable[Item]) -> AsyncGenerator[Item, None]:
    """Run a blocking iterator in a thread of its own.

    When the consumer leaves early, the thread ends at the iterator's next item. Making a next item come soon is the
    business of whoever leaves: `close` of an engine's stream does.

    Args:
        iterator: iterated in the thread, and closed there if it can be.
    Yields:
        its items, in order, at the consumer's pace.
    Raises:
        whatever the iterator raises.
    """
    relay = _Relay(iterator)
    relay.start()
    try:
        while True:
            kind, value = await relay.take()
            if kind == "error":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        relay.stop()


async def until_disconnect(request: Request, work: Coroutine[Any, Any, Item]) -> Item:
    """Do the work unless the client leaves first.

    Args:
        request: its body has been read.
        work: cancelled when the client leaves.
    Returns:
        what the work returns.
    Raises:
        ClientDisconnect: the client left.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def with_pings(frames: AsyncGenerator[str, None], ping_s: float = PING_S) -> AsyncGenerator[str, None]:
    """Fill silences with an SSE comment, which clients skip.

    Args:
        frames: framed events.
        ping_s: longest silence, in seconds.
    Yields:
        the frames, and a comment after each silence.
    """
    waiting: asyncio.Task[str] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(frames))
            done, _ = await asyncio.wait({waiting}, timeout=ping_s)
            if not done:
                yield PING
                continue
            finished, waiting = waiting, None
            try:
                frame = finished.result()
            except StopAsyncIteration:
                return
            yield frame
    finally:
        if waiting is not None:
            waiting.cancel()
        else:
            _close_now(frames)


def _close_now(frames: AsyncGenerator[Any, None]) -> None:
    """Close a suspended async generator whose clean-up awaits nothing, without awaiting it ourselves."""
    closing = frames.aclose()
    with suppress(StopIteration):
        closing.send(None)


class EventStream(StreamingResponse):
    """A stream of server-sent events that notices both a client who left and one who stopped reading.

    Args:
        frames: framed events.
        on_close: called once when the stream is over, however it ends and even if it never began.
    """

    def __init__(self, frames: AsyncGenerator[str, None], on_close: Callable[[], None] = lambda: None):
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        self._frames = with_pings(frames)
        self._on_close = on_close
        super().__init__(self._frames, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames, each within `SEND_TIMEOUT_S`."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await send(message)

        try:
            await super().__call__(scope, receive, send_in_time)
        except TimeoutError:
            pass  # the connection is dropped unfinished, which tells a client that is still there
        finally:
            _close_now(self._frames)
            self._on_close()
