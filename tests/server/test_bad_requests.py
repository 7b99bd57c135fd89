"""What the chat route refuses: status, code and the field that it names."""

import json
from typing import Any

import pytest
from fake_engine import FakeEngine
from fastapi.testclient import TestClient

HI = [{"role": "user", "content": "hi"}]
PATH = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}


def tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", **function}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


def call(arguments: Any) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"hi"',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"messages": "\xc3\x28"}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [], "messages": []}',
        b'{"temperature": NaN}',
        b'{"temperature": 1e999}',
        b'{"seed": ' + b"9" * 5000 + b"}",
        b"[" * 10000 + b"]" * 10000,
        b'{"a":' * 10000 + b"1" + b"}" * 10000,
    ],
)
def test_body_that_is_no_json_object_is_refused(client: TestClient, raw: bytes) -> None:
    answer = client.post(PATH, content=raw, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"
    assert answer.json()["error"]["type"] == "invalid_request_error"


BAD_FIELDS = [
    ({"messages": None}, "messages", "invalid_value"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": "hi"}, "messages", "invalid_value"),
    ({"messages": ["hi"]}, "messages[0]", "invalid_value"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role", "missing_field"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [*HI, {"role": "user"}]}, "messages[1].content", "invalid_value"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content", "invalid_value"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content", "invalid_value"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
        "messages[0].content",
        "modality_not_supported",
    ),
    ({"messages": [{"role": "user", "content": "x", "mood": 1}]}, "messages[0].mood", "unknown_field"),
    ({"messages": [{"role": "user", "content": "x", "audio": {}}]}, "messages[0].audio", "unsupported_value"),
    (
        {"messages": [*HI, call("{")]},
        "messages[1].tool_calls[0].function.arguments",
        "invalid_tool_arguments",
    ),
    ({"messages": [*HI, call("[1]")]}, "messages[1].tool_calls[0].function.arguments", "invalid_tool_arguments"),
    ({"messages": [*HI, call(3)]}, "messages[1].tool_calls[0].function.arguments", "invalid_value"),
    ({"messages": [*HI] * 3000}, "messages", "invalid_value"),
    ({"temperature": "1"}, "temperature", "invalid_value"),
    ({"temperature": -0.1}, "temperature", "invalid_value"),
    ({"temperature": 2.1}, "temperature", "invalid_value"),
    ({"temperature": True}, "temperature", "invalid_value"),
    ({"top_p": 0}, "top_p", "invalid_value"),
    ({"top_p": 1.5}, "top_p", "invalid_value"),
    ({"top_k": -1}, "top_k", "invalid_value"),
    ({"min_p": 2}, "min_p", "invalid_value"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"max_tokens": 1.5}, "max_tokens", "invalid_value"),
    ({"max_tokens": 2**40}, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": "9"}, "max_completion_tokens", "invalid_value"),
    ({"seed": 2**63}, "seed", "invalid_value"),
    ({"stop": ["x"] * 17}, "stop", "invalid_value"),
    ({"stop": [""]}, "stop", "invalid_value"),
    ({"stop": "x" * 1000}, "stop", "invalid_value"),
    ({"stop": [3]}, "stop[0]", "invalid_value"),
    ({"stop": 3}, "stop", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unknown_field"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
    ({"logprobs": 1}, "logprobs", "invalid_value"),
    ({"n": 2}, "n", "unsupported_value"),
    ({"n": True}, "n", "unsupported_value"),
    ({"n": 10**9}, "n", "unsupported_value"),
    *[
        ({name: value}, name, "invalid_value")
        for name in ("presence_penalty", "frequency_penalty")
        for value in (2.1, -2.1, "1", True, [], 10**30)
    ],
    *[({"repetition_penalty": value}, "repetition_penalty", "invalid_value") for value in (0, -1, 101, "1", False)],
    *[({"logit_bias": value}, "logit_bias", "invalid_value") for value in (5, [], [[5, 1]], "{}")],
    *[
        ({"logit_bias": {key: 1}}, "logit_bias", "invalid_value")
        for key in ("a", "", "-1", "05", "1.0", "٣", "9" * 400)
    ],
    *[({"logit_bias": {"5": bias}}, "logit_bias[5]", "invalid_value") for bias in (101, -101, "1", None, True)],
    ({"logit_bias": {str(token): 1 for token in range(10**5)}}, "logit_bias", "invalid_value"),
    ({"seed": 1.5}, "seed", "invalid_value"),
    ({"stop": ["x"] * 10**4}, "stop", "invalid_value"),
    ({"stop": "x" * 2**20}, "stop", "invalid_value"),
    ({"logprobs": True, "top_logprobs": 10**6}, "top_logprobs", "invalid_value"),
    ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_value"),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", "unsupported_value"),
    ({"reasoning_effort": "high"}, "reasoning_effort", "unsupported_value"),
    ({"store": True}, "store", "unsupported_value"),
    ({"tool_choice": "required"}, "tool_choice", "unsupported_value"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice", "unsupported_value"),
    ({"tool_choice": "any"}, "tool_choice", "invalid_value"),
    ({"tools": [{"type": "web"}]}, "tools[0].type", "invalid_value"),
    ({"tools": [tool(name="a b\n")]}, "tools[0].function.name", "invalid_value"),
    ({"tools": [tool(name="a" * 65)]}, "tools[0].function.name", "invalid_value"),
    ({"tools": [tool(parameters=[])]}, "tools[0].function.parameters", "invalid_value"),
    ({"tools": [tool(parameters=nested(16))]}, "tools[0].function.parameters", "invalid_value"),
    ({"tools": [tool(parameters={"enum": ["x"] * 20000})]}, "tools[0].function.parameters", "invalid_value"),
    *[
        ({"tools": [tool(parameters=schema)]}, "tools[0].function.parameters", "invalid_value")
        for schema in ({"type": True}, {"properties": []}, {"properties": {"a": 1}}, {"oneOf": {}}, {"anyOf": [3]})
    ],
    ({"tools": [tool(strict=True)]}, "tools[0].function.strict", "unsupported_value"),
    ({"tools": [tool()] * 129}, "tools", "invalid_value"),
    ({"chat_template_kwargs": {"tokenize": True}}, "chat_template_kwargs.tokenize", "unknown_template_arg"),
    ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs.chat_template", "unknown_template_arg"),
    ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking", "invalid_value"),
    ({"temprature": 1}, "temprature", "unknown_field"),
]


@pytest.mark.parametrize(("change", "param", "code"), BAD_FIELDS, ids=[str(item[1:]) for item in BAD_FIELDS])
def test_wrong_field_is_named(client: TestClient, change: dict[str, Any], param: str, code: str) -> None:
    answer = client.post(PATH, json={"messages": HI, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error
    assert set(error) == {"message", "type", "code", "param"}
    assert param in error["message"]
    assert len(error["message"]) < 400


NEUTRAL_FIELDS = [
    {"n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}, "parallel_tool_calls": True},
    {"presence_penalty": None, "frequency_penalty": None, "logit_bias": None, "repetition_penalty": None},
    {"response_format": {"type": "text"}, "store": False, "service_tier": "auto", "reasoning_effort": None},
    {"user": "ann", "metadata": {"a": "b"}, "tools": [], "tool_choice": "auto"},
    {"temperature": None, "top_p": None, "stop": None, "seed": None, "max_tokens": None, "stream": None},
    {"chat_template_kwargs": None, "logprobs": False, "top_logprobs": 0, "model": "openmimo-nano"},
]


@pytest.mark.parametrize("fields", NEUTRAL_FIELDS)
def test_neutral_values_are_accepted(client: TestClient, fields: dict[str, Any]) -> None:
    answer = client.post(PATH, json={"messages": HI, **fields})
    assert answer.status_code == 200, answer.text


def test_unknown_model_is_404(client: TestClient) -> None:
    answer = client.post(PATH, json={"messages": HI, "model": "gpt-9"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert "openmimo-nano" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/nothing", 404), ("GET", PATH, 405), ("GET", "/", 404)]
)
def test_unknown_route_has_the_error_shape(client: TestClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "code", "param"}


def test_body_over_two_mebibytes_is_413(client: TestClient, engine: FakeEngine) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "x" * (2 * 1024 * 1024)}]}).encode()
    assert client.post(PATH, content=body, headers=JSON).status_code == 413

    def parts():
        yield from (body[start : start + 65536] for start in range(0, len(body), 65536))

    answer = client.post(PATH, content=parts(), headers=JSON)  # no Content-Length: counted as it comes
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert engine.streams == []


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_body_must_be_declared_as_json(client: TestClient, kind: str) -> None:
    answer = client.post(PATH, content=b'{"messages": []}', headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"
