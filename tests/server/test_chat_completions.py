"""The chat route: OpenAI's format, streamed and whole."""

import json
from typing import Any

import pytest
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

TOOL = {
    "type": "function",
    "function": {
        "name": "HassTurnOff",
        "description": "Turn off",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}, "level": {"type": "integer"}}},
    },
}
CALL = (
    "<think>3. kitchen light: on</think><tool_call>\n<function=HassTurnOff>\n<parameter=name>kitchen light"
    "</parameter>\n<parameter=level>3</parameter>\n</function>\n</tool_call>"
)
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def events_of(text: str) -> list[Any]:
    """Parse a body of server-sent events; comments are skipped."""
    frames = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]
    assert text.endswith("\n\n")
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    return [frame if frame == "data: [DONE]" else json.loads(frame.removeprefix("data: ")) for frame in frames]


def stream(client: TestClient, body: dict[str, Any]) -> list[Any]:
    answer = client.post("/v1/chat/completions", json={**body, "stream": True})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer.text)


def test_reply_has_exactly_the_fields_of_the_api(client: TestClient) -> None:
    answer = client.post("/v1/chat/completions", json=HELLO)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    # The scripted reply is 2 control tokens, 5 bytes of reasoning and 12 of content: 19 tokens, 18 after the first in
    # half a second and 10 steps.
    assert body.pop("timings") == {
        "cache_n": 7,
        "prompt_n": body["usage"]["prompt_tokens"] - 7,
        "prompt_ms": 250.0,
        "predicted_n": 19,
        "predicted_ms": 500.0,
        "predicted_per_second": 36.0,
        "draft_n": 30,
        "draft_n_accepted": 24,
        "accepted_per_position": [10, 9, 5],
        "steps": 10,
        "tokens_per_step": 1.8,
        "max_tokens_per_step": 4,
    }
    prompt = body["usage"]["prompt_tokens"]
    assert body == {
        "object": "chat.completion",
        "model": "openmimo-nano",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello there.",
                    "refusal": None,
                    "reasoning_content": "Easy.",
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": 19,
            "total_tokens": prompt + 19,
            "prompt_tokens_details": {"cached_tokens": 7},
        },
    }


def test_usage_counts_the_rendered_prompt(client: TestClient, engine: FakeEngine) -> None:
    usage = client.post("/v1/chat/completions", json=HELLO).json()["usage"]
    ids = engine.chat.encode([{"role": "user", "content": "hi"}])
    assert usage["prompt_tokens"] == len(ids)


def test_stream_starts_with_the_role_and_ends_with_finish_usage_done(client: TestClient) -> None:
    events = stream(client, {**HELLO, "stream_options": {"include_usage": True}})
    deltas = [event["choices"][0]["delta"] for event in events[:-2]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[-1] == {}
    kinds = [next(iter(delta)) for delta in deltas[1:-1]]
    assert kinds == sorted(kinds, key=["reasoning_content", "content"].index)
    assert [event["choices"][0]["finish_reason"] for event in events[:-2]] == [None] * (len(events) - 3) + ["stop"]
    assert all(event["usage"] is None for event in events[:-2])
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 19
    assert events[-1] == "data: [DONE]"
    assert len({(event["id"], event["created"], event["model"], event["object"]) for event in events[:-1]}) == 1


def test_stream_has_no_usage_unless_asked_for(client: TestClient) -> None:
    events = stream(client, HELLO)
    assert all("usage" not in event and event["choices"] for event in events[:-1])


@pytest.mark.parametrize(
    "reply", ["<think>Easy.</think>Hello there.", "Grüße 👋 <b>", CALL, "Let me see.\n" + CALL * 2]
)
@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_stream_says_the_same_as_the_whole_reply(client: TestClient, engine: FakeEngine, reply: str, cut: int) -> None:
    engine.script.reply, engine.script.cut = (lambda prompt: reply), cut
    whole = client.post("/v1/chat/completions", json={**HELLO, "tools": [TOOL]}).json()["choices"][0]
    deltas = [event["choices"][0]["delta"] for event in stream(client, {**HELLO, "tools": [TOOL]})[:-1]]
    message = whole["message"]
    for field in ("content", "reasoning_content"):
        assert "".join(delta.get(field) or "" for delta in deltas) == (message.get(field) or "")
    calls = [call for delta in deltas for call in delta.get("tool_calls", [])]
    assert [call["function"] for call in calls] == [call["function"] for call in message.get("tool_calls", [])]
    assert [call["index"] for call in calls] == list(range(len(calls)))


def test_tool_call_is_returned_with_typed_arguments(client: TestClient, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: CALL
    choice = client.post("/v1/chat/completions", json={**HELLO, "tools": [TOOL]}).json()["choices"][0]
    call = choice["message"]["tool_calls"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert call.pop("id").startswith("call_")
    assert call["type"] == "function"
    assert call["function"]["name"] == "HassTurnOff"
    assert json.loads(call["function"]["arguments"]) == {"name": "kitchen light", "level": 3}
    assert set(call) == {"type", "function"}


def test_tool_choice_none_offers_no_tools_and_returns_no_calls(client: TestClient, engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: "All right." + CALL
    body = client.post("/v1/chat/completions", json={**HELLO, "tools": [TOOL], "tool_choice": "none"}).json()
    assert "HassTurnOff" not in engine.prompts[0]
    assert "tool_calls" not in body["choices"][0]["message"]
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["warnings"] == ["tool_choice is none: a call of HassTurnOff that the model wrote was left out"]


def test_cut_reply_finishes_with_length(client: TestClient, engine: FakeEngine) -> None:
    engine.script.finish_reason = "length"
    assert client.post("/v1/chat/completions", json=HELLO).json()["choices"][0]["finish_reason"] == "length"


def test_history_in_every_spelling_reaches_the_prompt(client: TestClient, engine: FakeEngine) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "HassTurnOff", "arguments": '{"name": "lamp"}'}}
    messages = [
        {"role": "system", "content": "You control a home."},
        {"role": "user", "content": [{"type": "text", "text": "lamp "}, {"type": "text", "text": "off"}]},
        {"role": "assistant", "content": "Done."},
        {"role": "user", "content": "again", "name": "ann"},
        {"role": "assistant", "content": None, "reasoning_content": "3. lamp", "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": '{"success": ["lamp: off"]}'},
        {"role": "developer", "content": "Be brief."},
    ]
    answer = client.post("/v1/chat/completions", json={"messages": messages, "tools": [TOOL]})
    assert answer.status_code == 200, answer.text
    prompt = engine.prompts[0]
    wanted = [
        "You control a home.",
        "lamp off",
        "3. lamp",
        "<parameter=name>lamp",
        "lamp: off",
        "Be brief.",
        "Done.",
        "again",
    ]
    assert [text for text in wanted if text not in prompt] == []


def test_sampling_fields_reach_the_engine(client: TestClient, engine: FakeEngine) -> None:
    body = {"temperature": 0.5, "top_p": 0.9, "top_k": 5, "min_p": 0.1, "max_tokens": 9, "seed": 3, "stop": "end"}
    assert client.post("/v1/chat/completions", json={**HELLO, **body}).status_code == 200
    params = engine.params[0]
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 5, 0.1)
    assert (params.max_new_tokens, params.seed, params.stop) == (9, 3, ("end",))
    assert not params.has_penalties
    assert params.logit_bias == ()


def test_penalties_and_bias_reach_the_engine(client: TestClient, engine: FakeEngine) -> None:
    body = {
        "frequency_penalty": -2,
        "presence_penalty": 2.0,
        "repetition_penalty": 1.1,
        "logit_bias": {"9": 5, "0": -100},
    }
    assert client.post("/v1/chat/completions", json={**HELLO, **body}).status_code == 200
    params = engine.params[0]
    assert (params.frequency_penalty, params.presence_penalty, params.repetition_penalty) == (-2, 2, 1.1)
    assert params.logit_bias == ((0, -100), (9, 5))


def test_newer_name_of_the_token_limit_wins(client: TestClient, engine: FakeEngine) -> None:
    client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 9, "max_completion_tokens": 5})
    assert engine.params[0].max_new_tokens == 5


def test_too_large_token_limit_is_lowered_with_a_warning(client: TestClient, engine: FakeEngine) -> None:
    body = client.post("/v1/chat/completions", json={**HELLO, "max_tokens": 32000}).json()
    room = 4096 - body["usage"]["prompt_tokens"]
    assert engine.params[0].max_new_tokens == room
    assert body["warnings"] == [f"max_tokens was lowered from 32000 to {room}, the room left in the context of 4096"]


def test_prompt_may_fill_the_context_but_for_one_token(client: TestClient, engine: FakeEngine) -> None:
    overhead = len(engine.chat.encode([{"role": "user", "content": "x"}])) - 1
    for length, status in ((4095 - overhead, 200), (4096 - overhead, 400)):
        body = {"messages": [{"role": "user", "content": "x" * length}]}
        answer = client.post("/v1/chat/completions", json=body)
        assert answer.status_code == status
    assert engine.params[-1].max_new_tokens == 1
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "4096" in answer.json()["error"]["message"]
    assert "4095" in answer.json()["error"]["message"]


def test_thinking_switch_reaches_the_template(client: TestClient, engine: FakeEngine) -> None:
    for kwargs in ({}, {"enable_thinking": False}):
        client.post("/v1/chat/completions", json={**HELLO, "chat_template_kwargs": kwargs})
    assert engine.prompts[1] == engine.chat.render([{"role": "user", "content": "hi"}], enable_thinking=False)
    assert engine.prompts[0] == engine.chat.render([{"role": "user", "content": "hi"}])


def test_control_text_of_a_user_stays_text(client: TestClient, engine: FakeEngine) -> None:
    body = {"messages": [{"role": "user", "content": "a<|im_end|>b"}]}
    whole = client.post("/v1/chat/completions", json=body).json()
    plain = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "a__________b"}]}).json()
    assert whole["usage"]["prompt_tokens"] == plain["usage"]["prompt_tokens"]


@pytest.mark.parametrize("num_top", [0, 2])
def test_logprobs_come_for_every_token(client: TestClient, engine: FakeEngine, num_top: int) -> None:
    engine.script.reply = lambda prompt: "abcdef"
    body = {**HELLO, "logprobs": True, "top_logprobs": num_top}
    content = client.post("/v1/chat/completions", json=body).json()["choices"][0]["logprobs"]["content"]
    assert "".join(item["token"] for item in content) == "abcdef"
    top = [{"token": "a", "logprob": -0.5, "bytes": [97]}, {"token": "b", "logprob": -1.5, "bytes": [98]}]
    assert content[0] == {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": top[:num_top]}
    chunks = [event["choices"][0]["logprobs"] for event in stream(client, body)[:-1]]
    assert [item for chunk in chunks if chunk for item in chunk["content"]] == content


def test_models_tell_the_context_length(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert body["object"] == "list"
    (entry,) = body["data"]
    assert (entry["id"], entry["object"], entry["max_model_len"]) == ("openmimo-nano", "model", 4096)
    assert entry["meta"]["n_ctx"] == 4096


def test_health_is_ok(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}


def test_failure_while_streaming_is_told_as_an_event(client: TestClient, engine: FakeEngine) -> None:
    engine.script.error = ValueError("secret detail")
    events = stream(client, HELLO)
    assert events[-1]["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(events)


def test_failure_of_a_whole_reply_hides_its_cause(client: TestClient, engine: FakeEngine) -> None:
    engine.script.error = ValueError("secret detail")
    answer = client.post("/v1/chat/completions", json=HELLO)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


@pytest.mark.parametrize("is_stream", [False, True])
def test_full_engine_answers_429(client: TestClient, engine: FakeEngine, is_stream: bool) -> None:
    engine.script.is_full = True
    answer = client.post("/v1/chat/completions", json={**HELLO, "stream": is_stream})
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "overloaded"
    assert answer.headers["retry-after"] == "1"
