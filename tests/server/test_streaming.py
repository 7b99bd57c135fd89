"""The wire: pings, clients that leave, clients that do not read, and the official client."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from urllib.parse import urlsplit

import openai
import pytest
from fake_engine import FakeEngine, app_of
from live_server import running, until

from openmimo.server.lifetime import Lifetime
from openmimo.server.stream import MAX_WAITING, PING, iterate_in_thread, sse, with_pings

CALL = (
    "<think>3. kitchen light: on</think><tool_call>\n<function=HassTurnOff>\n<parameter=name>kitchen light"
    "</parameter>\n</function>\n</tool_call>"
)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "HassTurnOff",
            "parameters": {"type": "object", "properties": {"name": {"type": "string"}}},
        },
    }
]


def post(url: str, body: dict[str, object]) -> socket.socket:
    """Send a chat request by hand and leave the answer unread."""
    content = json.dumps({"messages": [{"role": "user", "content": "hi"}], **body}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection(("127.0.0.1", urlsplit(url).port), timeout=5)
    connection.sendall(head.encode() + f"Content-Length: {len(content)}\r\n\r\n".encode() + content)
    return connection


@pytest.mark.parametrize("is_stream", [False, True])
def test_client_that_leaves_during_prefill_cancels_its_request(url: str, engine: FakeEngine, is_stream: bool) -> None:
    engine.script.gate = threading.Event()  # no first token until the gate opens; cancelling opens it
    connection = post(url, {"stream": is_stream})
    until(lambda: len(engine.streams) == 1)
    connection.close()
    until(engine.streams[0].is_cancelled.is_set, timeout_s=3.0)


@pytest.mark.parametrize("is_stream", [False, True])
def test_client_that_leaves_during_decode_cancels_its_request(url: str, engine: FakeEngine, is_stream: bool) -> None:
    engine.script.reply = lambda prompt: "word " * 2000
    engine.script.pause_s = 0.01
    connection = post(url, {"stream": is_stream})
    until(lambda: len(engine.streams) == 1)
    if is_stream:
        assert b"200 OK" in connection.recv(4096)
    connection.close()
    until(engine.streams[0].is_cancelled.is_set, timeout_s=3.0)


def test_finished_request_is_not_cancelled(url: str, engine: FakeEngine) -> None:
    connection = post(url, {"stream": True})
    received = b""
    while b"[DONE]" not in received:
        received += connection.recv(4096)
    connection.close()
    time.sleep(0.1)
    assert not engine.streams[0].is_cancelled.is_set()


def test_official_client_streams_a_tool_call(url: str, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: CALL
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="openmimo-nano",
                messages=[{"role": "user", "content": "turn off the kitchen light"}],
                tools=TOOLS,  # type: ignore[arg-type]
                stream=True,
                stream_options={"include_usage": True},
            )
        )
    calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert [(call.index, call.type) for call in calls] == [(0, "function")]
    assert calls[0].id
    assert calls[0].function is not None
    assert calls[0].function.name == "HassTurnOff"
    assert json.loads(calls[0].function.arguments or "") == {"name": "kitchen light"}
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "tool_calls"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens


def test_official_client_sends_penalties_and_reads_log_probabilities(url: str, engine: FakeEngine) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        reply = client.chat.completions.create(
            model="openmimo-nano",
            messages=[{"role": "user", "content": "hi"}],
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            logit_bias={"9": 5},
            seed=3,
            stop=["end"],
            logprobs=True,
            top_logprobs=2,
            extra_body={"repetition_penalty": 1.1, "top_k": 5, "min_p": 0.1},
        )
        with pytest.raises(openai.BadRequestError, match="logit_bias"):
            client.chat.completions.create(
                model="openmimo-nano", messages=[{"role": "user", "content": "hi"}], logit_bias={"x": 5}
            )
    params = engine.params[0]
    assert (params.frequency_penalty, params.presence_penalty, params.repetition_penalty) == (0.5, -0.5, 1.1)
    assert (params.logit_bias, params.seed, params.stop) == (((9, 5),), 3, ("end",))
    assert (params.top_k, params.min_p, params.logprobs) == (5, 0.1, 2)
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [2] * len(logprobs.content)


def test_official_client_can_replay_its_own_reply(url: str, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: "It is off." if "lamp: off" in prompt else CALL
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        messages: list = [{"role": "user", "content": "turn off the kitchen light"}]
        first = client.chat.completions.create(model="openmimo-nano", messages=messages, tools=TOOLS)  # type: ignore[arg-type]
        message = first.choices[0].message
        assert message.tool_calls
        messages.append(message.model_dump())
        messages.append({"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "lamp: off"})
        second = client.chat.completions.create(model="openmimo-nano", messages=messages, tools=TOOLS)  # type: ignore[arg-type]
    assert second.choices[0].message.content == "It is off."
    assert "3. kitchen light: on" in engine.prompts[1]


def test_official_client_sees_errors_as_its_own_kinds(url: str, engine: FakeEngine) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}])
        engine.script.is_full = True
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="openmimo-nano", messages=[{"role": "user", "content": "x"}])
        engine.script.is_full, engine.script.error = False, ValueError("boom")
        with pytest.raises(openai.APIError, match="internal error"):
            list(
                client.chat.completions.create(
                    model="openmimo-nano", messages=[{"role": "user", "content": "x"}], stream=True
                )
            )


def test_many_requests_at_once_all_finish(engine: FakeEngine) -> None:
    engine.script.pause_s = 0.002
    with running(app_of(engine)) as url:
        connections = [post(url, {"stream": True}) for _ in range(60)]
        for connection in connections:
            received = b""
            while b"[DONE]" not in received:
                part = connection.recv(65536)
                assert part
                received += part
            connection.close()


def test_frame_is_one_line_of_json() -> None:
    assert sse({"text": "a\nb é"}) == 'data: {"text":"a\\nb é"}\n\n'
    assert sse("[DONE]") == "data: [DONE]\n\n"


def test_silence_is_filled_with_comments() -> None:
    async def slow() -> AsyncGenerator[str, None]:
        await asyncio.sleep(0.12)
        yield "a"
        yield "b"

    async def collect() -> list[str]:
        return [frame async for frame in with_pings(slow(), ping_s=0.05)]

    assert asyncio.run(collect()) == [PING, PING, "a", "b"]


def test_thread_waits_for_a_slow_consumer() -> None:
    made = 0

    def count() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            yield made

    async def take_one() -> int:
        items = iterate_in_thread(count())
        first = await anext(items)
        await asyncio.sleep(0.2)
        waiting = made
        await items.aclose()
        assert first == 1
        return waiting

    assert MAX_WAITING <= asyncio.run(take_one()) <= MAX_WAITING + 2


def test_leaving_early_closes_the_iterator_in_its_thread() -> None:
    is_open = threading.Event()
    closed: list[str] = []

    def blocked() -> Iterator[int]:
        try:
            yield 1
            is_open.wait(5)
            yield 2
        finally:
            closed.append(threading.current_thread().name)

    async def leave() -> None:
        items = iterate_in_thread(blocked())
        await anext(items)
        await items.aclose()
        is_open.set()

    asyncio.run(leave())
    until(lambda: closed == ["openmimo-request"])


@pytest.mark.parametrize("is_stream", [False, True])
def test_server_that_goes_down_tells_its_clients(engine: FakeEngine, is_stream: bool) -> None:
    engine.script.reply = lambda prompt: "word " * 2000
    engine.script.pause_s = 0.01
    app = app_of(engine)
    with running(app) as url:
        connection = post(url, {"stream": is_stream})
        until(lambda: len(engine.streams) == 1)
        engine.streams[0].close()  # as Lifetime.cancel_replies does
        received = b""
        while b"shutting_down" not in received:
            part = connection.recv(65536)
            assert part, received
            received += part
        connection.close()
    assert received.startswith(b"HTTP/1.1 200" if is_stream else b"HTTP/1.1 503")
    assert b"[DONE]" not in received


def test_only_running_replies_are_cancelled_at_the_end() -> None:
    class Reply:
        is_closed = False

        def close(self) -> None:
            self.is_closed = True

    lifetime, running_reply = Lifetime(), Reply()
    lifetime.hold(running_reply)
    lifetime.cancel_replies()
    assert running_reply.is_closed
    lifetime.release(running_reply)
    lifetime.cancel_replies()
