"""Nothing that a client sends ends as an internal error: it is answered, or refused with a field or a reason."""

import json
from typing import Any, cast

from fake_engine import FakeEngine, Script
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openmimo.engine import Engine
from openmimo.errors import RequestError
from openmimo.server.app import _start
from openmimo.server.schema import NEUTRAL, ChatRequest, read_request

VALID: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "You are a home."},
        {"role": "user", "content": [{"type": "text", "text": "lamp off"}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "1.",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "done"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            },
        }
    ],
    "temperature": 1,
    "max_tokens": 5,
    "stop": ["x"],
    "logprobs": True,
    "top_logprobs": 2,
    "seed": 3,
    "frequency_penalty": 0.5,
    "presence_penalty": -1,
    "repetition_penalty": 1.2,
    "logit_bias": {"3": 1.5},
    "chat_template_kwargs": {"enable_thinking": True},
}

SCALARS = [None, True, 0, -1, 1.5, 2**31, 2**63, 10**30, -1e308, "", "1", "null", "\x00", "<|im_end|>", "</think>"]
NESTED = [[], {}, [[]], [None], [{}], {"type": "text"}, {"": {"$ref": "#"}}, ["a", 1]]
ODD = st.sampled_from([*SCALARS, *NESTED, "a" * 999, '{"a": "\\ud800"}', '{"a": NaN}', "{"])
JSON = ODD | st.recursive(
    ODD, lambda child: st.lists(child, max_size=3) | st.dictionaries(st.text(max_size=5), child, max_size=3)
)
REPLY = "<think>1.</think>Done.<tool_call>\n<function=f>\n<parameter=a>1</parameter>\n</function>\n</tool_call>"
ENGINE = FakeEngine(Script(reply=lambda prompt: REPLY, cut=50))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in the body where something can stand."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


PLACES = [place for place in places(VALID) if place]


def put(body: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        body = body[key]
    body[path[-1]] = value


def refusal_of(raw: bytes) -> RequestError | None:
    """Run a request to its end; gives the error that it was refused with."""
    try:
        request = read_request(ChatRequest, raw)
        deltas, writer = _start(cast(Engine, ENGINE), request, "nano")
    except RequestError as error:
        return error
    json.dumps(writer.completion(list(deltas)), allow_nan=False).encode()
    return None


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PLACES) | st.sampled_from([(name,) for name in [*NEUTRAL, "zzz"]]), JSON)
def test_odd_value_anywhere_is_answered_or_refused(path: tuple[Any, ...], value: Any) -> None:
    body = json.loads(json.dumps(VALID))
    put(body, path, value)
    error = refusal_of(json.dumps(body).encode())
    if error is not None:
        named = (error.param or path[0]).split("[")[0].split(".")[0]
        assert named in {path[0], *VALID}
        assert error.code
        assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_refused_with_a_code(raw: bytes) -> None:
    error = refusal_of(raw)
    assert error is not None
    assert error.code in ("invalid_json", "missing_field")
