"""The agent loop: events in order, tools that fail, rounds that end, and leaving early."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fake_engine import FakeEngine

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
from openmimo.engine import SamplingParams
from openmimo.errors import CapacityError, RequestError

TOOLS = [{"type": "function", "function": {"name": "HassTurnOff", "parameters": {"type": "object", "properties": {}}}}]


def call_of(name: str) -> str:
    return f"<tool_call>\n<function=HassTurnOff>\n<parameter=name>{name}</parameter>\n</function>\n</tool_call>"


def two_rounds(prompt: str) -> str:
    if "<tool_response>" in prompt:
        return "<think></think>Both are off."
    return f"<think>1. lamp, 2. lantern</think>{call_of('lamp')}{call_of('lantern')}"


def run(engine: FakeEngine, call_tool: Callable[[str, dict[str, Any]], Any], max_rounds: int = 6) -> list[AgentEvent]:
    messages = [Message("user", "lights off")]
    return list(run_agent(engine, messages, TOOLS, lambda: call_tool, SamplingParams(), max_rounds))  # type: ignore[arg-type]


def text_of(events: list[AgentEvent], kind: type) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))  # type: ignore[attr-defined]


def test_calls_are_carried_out_and_answered(engine: FakeEngine) -> None:
    engine.script.reply = two_rounds
    calls: list[tuple[str, dict[str, Any]]] = []

    def turn_off(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        calls.append((name, arguments))
        return {"success": [f"{arguments['name']}: off"]}

    events = run(engine, turn_off)
    assert calls == [("HassTurnOff", {"name": "lamp"}), ("HassTurnOff", {"name": "lantern"})]
    assert text_of(events, ReasoningDelta) == "1. lamp, 2. lantern"
    assert text_of(events, ContentDelta) == "Both are off."
    steps = [type(event) for event in events if not isinstance(event, ReasoningDelta | ContentDelta)]
    expected = [ToolCalled, ToolCalled, ReplyFinished, ToolReturned, ToolReturned, ReplyFinished, Finished]
    assert steps == expected
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "stop"
    assert [message.role for message in finished.messages] == ["assistant", "tool", "tool", "assistant"]
    assert finished.messages[1].content == '{"success": ["lamp: off"]}'
    assert [message.tool_call_id for message in finished.messages[1:3]] == [
        call.id for call in finished.messages[0].tool_calls
    ]
    assert "1. lamp, 2. lantern" in engine.prompts[1]


def test_call_ids_differ_between_rounds(engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: call_of("lamp")
    events = run(engine, lambda name, arguments: "ok", max_rounds=3)
    ids = [event.call.id for event in events if isinstance(event, ToolCalled)]
    assert len(set(ids)) == 3


def test_text_result_is_passed_on_as_it_is(engine: FakeEngine) -> None:
    engine.script.reply = two_rounds
    run(engine, lambda name, arguments: "It is 12:00.\n1. hall light: lamp, on")
    assert "<tool_response>\nIt is 12:00.\n1. hall light: lamp, on\n</tool_response>" in engine.prompts[1]


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ValueError("/etc/secret"), {"error": "ValueError", "message": "HassTurnOff failed"}),
        (RequestError("there is no lamp"), {"error": "RequestError", "message": "there is no lamp"}),
    ],
)
def test_tool_that_raises_becomes_a_result(engine: FakeEngine, error: Exception, result: dict[str, str]) -> None:
    engine.script.reply = two_rounds

    def fail(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        raise error

    events = run(engine, fail)
    returned = [event for event in events if isinstance(event, ToolReturned)]
    assert [(event.result, event.is_error) for event in returned] == [(result, True)] * 2
    assert isinstance(events[-1], Finished)


def test_refused_call_is_an_error(engine: FakeEngine) -> None:
    engine.script.reply = two_rounds
    events = run(engine, lambda name, arguments: {"error": "not_found", "message": "there is no lamp"})
    assert [event.is_error for event in events if isinstance(event, ToolReturned)] == [True, True]


def test_model_that_never_stops_calling_is_stopped(engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: call_of("lamp")
    events = run(engine, lambda name, arguments: "ok", max_rounds=2)
    assert sum(isinstance(event, ToolReturned) for event in events) == 2
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "max_rounds"


def test_calls_of_a_cut_reply_are_not_carried_out(engine: FakeEngine) -> None:
    engine.script.reply, engine.script.finish_reason = two_rounds, "length"
    events = run(engine, lambda name, arguments: pytest.fail("called"))
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "length"


def test_closing_the_iterator_cancels_the_reply(engine: FakeEngine) -> None:
    engine.script.reply = lambda prompt: "word " * 1000
    engine.script.pause_s = 0.005
    events = run_agent(engine, [Message("user", "x")], (), lambda: lambda n, a: "", SamplingParams())  # type: ignore[arg-type]
    next(events)
    events.close()
    assert engine.streams[0].is_cancelled.is_set()


def test_full_engine_is_the_callers_business(engine: FakeEngine) -> None:
    engine.script.is_full = True
    with pytest.raises(CapacityError):
        run(engine, lambda name, arguments: "")


def test_loop_needs_no_event_loop_and_no_server_thread(engine: FakeEngine) -> None:
    before = threading.active_count()
    run(engine, lambda name, arguments: "")
    assert threading.active_count() <= before + 1  # the fake engine's own


def test_an_earlier_turn_is_shown_to_the_answer_to_its_question_only_where_nothing_follows_up():
    asked = [
        Message("user", "unlock the doors"),
        Message("assistant", "Shall I unlock the doors?"),
        Message("user", "yes"),
    ]
    told = [Message("user", "battery?"), Message("assistant", "The battery is at 62%."), Message("user", "21 degrees")]
    assert conversation_window("s", asked, 2, follows_up=False)[1:] == asked
    assert conversation_window("s", told, 2, follows_up=False)[1:] == told[-1:]
    assert conversation_window("s", told, 2)[1:] == told
