"""The agent loop: stream a reply, carry out its tool calls, show the model the results, until a reply calls nothing.

The terminal chat, the evaluations and the web page all run this one loop.
"""

import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from openmimo.chat import ChatFormat, Message, ReplyEvent, ToolCall
from openmimo.engine.params import SamplingParams
from openmimo.engine.request import Delta, Stats
from openmimo.errors import OpenMiMoError, RequestError

__all__ = [
    "AgentEvent",
    "CallTool",
    "ChatEngine",
    "ContentDelta",
    "Deltas",
    "Finished",
    "ReasoningDelta",
    "ReplyFinished",
    "StartTurn",
    "ToolCalled",
    "ToolResult",
    "ToolReturned",
    "conversation_window",
    "run_agent",
]

ToolResult = Mapping[str, Any] | str
"""What a tool returns: text, or a JSON-able object; one with the key `error` (a code) is a failure."""

CallTool = Callable[[str, dict[str, Any]], ToolResult]
"""Carries out one tool call, given its name and arguments."""

StartTurn = Callable[[], CallTool]
"""Called for each reply: gives what carries out its calls, in order."""


class ChatEngine(Protocol):
    """What the loop needs of an engine."""

    @property
    def chat(self) -> ChatFormat | None:
        """The model's chat format."""
        ...

    def stream(
        self, prompt: list[Message], params: SamplingParams, tools: Sequence[Mapping[str, Any]] = ()
    ) -> "Deltas":
        """Start a reply.

        Args:
            prompt: the conversation.
            params: how to sample.
            tools: tools on offer, in the OpenAI shape.
        Returns:
            the reply, already being written.
        """
        ...


class Deltas(Protocol):
    """A reply being written; `close` cancels it and may be called from any thread."""

    def __iter__(self) -> Iterator[Delta]: ...

    def close(self) -> None:
        """End it soon."""
        ...


@dataclass(frozen=True)
class ReasoningDelta:
    """More of the model's thinking."""

    text: str


@dataclass(frozen=True)
class ContentDelta:
    """More of the reply's visible text."""

    text: str


@dataclass(frozen=True)
class ToolCalled:
    """The model wrote a complete tool call; `call.id` is unique within the run."""

    call: ToolCall


@dataclass(frozen=True)
class ToolReturned:
    """A tool call was carried out.

    Attributes:
        call: which one.
        result: what the model is shown.
        is_error: the tool failed or refused; `result["error"]` is a code, `result["message"]` says why.
        seconds: how long the tool took.
    """

    call: ToolCall
    result: ToolResult
    is_error: bool
    seconds: float


@dataclass(frozen=True)
class ReplyFinished:
    """One reply of the model ended.

    Attributes:
        message: the reply as it goes into the history.
        finish_reason: "stop", "length" or "cancelled".
        stats: the engine's count of tokens, seconds and drafts for this reply.
    """

    message: Message
    finish_reason: str
    stats: Stats


@dataclass(frozen=True)
class Finished:
    """The run is over; always the last event.

    Attributes:
        reason: "stop", "length", "cancelled" or "max_rounds" (the last reply still called tools).
        messages: what the run added to the history: replies and tool results, oldest first.
    """

    reason: str
    messages: tuple[Message, ...]


AgentEvent = ReasoningDelta | ContentDelta | ToolCalled | ToolReturned | ReplyFinished | Finished


def conversation_window(system: str, turns: Sequence[Message], kept: int, follows_up: bool = True) -> list[Message]:
    """Choose what of a chat about a changing world the model is shown: the last user turns, under a fresh listing.

    A request may mean what was spoken of before ("now the other one too"). Earlier replies keep their calls, results
    and answers, but not their reasoning: it quotes rows of a listing that is gone.

    Args:
        system: the system message, with the current listing.
        turns: the chat, tool rounds included, the user's new turn last.
        kept: how many user turns to show, at least 1.
        follows_up: False shows earlier turns only if the last one ended with a question, which the user answers.
    Returns:
        the messages to answer: the last user turns and what came between them.
    """
    is_answer = len(turns) > 1 and turns[-2].role == "assistant" and turns[-2].content.rstrip().endswith("?")
    asked = [index for index, turn in enumerate(turns) if turn.role == "user"]
    shown = turns[asked[-kept:][0] if follows_up or is_answer else asked[-1] :]
    return [Message("system", system), *(replace(turn, reasoning="") for turn in shown)]


def run_agent(
    engine: ChatEngine,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    start_turn: StartTurn,
    params: SamplingParams,
    max_rounds: int = 6,
) -> Generator[AgentEvent, None, None]:
    """Let the model answer, using tools, and yield what happens as it happens.

    Closing the iterator cancels the reply that is being written. A tool that raises becomes an error result that the
    model sees, never an exception here.

    Args:
        engine: has a chat format.
        messages: the history; the last message is the one to answer.
        tools: tools on offer, in the OpenAI shape.
        start_turn: called for each reply that calls tools; what it gives carries out the calls.
        params: sampling parameters of each reply.
        max_rounds: most replies in one run.
    Yields:
        events in order; the last is `Finished`.
    Raises:
        RequestError: the history does not fit the model.
        CapacityError: the engine has no room now.
    """
    added: list[Message] = []
    reason = "max_rounds"
    for round_index in range(max_rounds):
        reply = yield from _stream_reply(engine, [*messages, *added], tools, params, round_index)
        added.append(reply.message)
        if reply.finish_reason != "stop" or not reply.message.tool_calls:
            reason = reply.finish_reason
            break
        call_tool = start_turn()
        for call in reply.message.tool_calls:
            returned = _carry_out(call, call_tool)
            added.append(_tool_message(returned))
            yield returned
    yield Finished(reason, tuple(added))


def _stream_reply(
    engine: ChatEngine,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]],
    params: SamplingParams,
    round_index: int,
) -> Generator[AgentEvent, None, ReplyFinished]:
    """Yield one reply's events; the generator's value is its `ReplyFinished`."""
    if engine.chat is None:
        raise RequestError("this model has no chat format: use generate with a text or token ids")
    parser = engine.chat.parser(tools)
    calls: list[ToolCall] = []
    last: Delta | None = None
    with closing(engine.stream(list(messages), params, tools)) as deltas:
        for last in deltas:
            yield from _events(parser.feed(last.text), calls, round_index)
    yield from _events(parser.finish(), calls, round_index)
    message = replace(parser.message, tool_calls=tuple(calls))
    assert last is not None, "a stream has at least the delta that ends it"
    assert last.finish_reason is not None
    assert last.stats is not None
    finished = ReplyFinished(message, last.finish_reason, last.stats)
    yield finished
    return finished


def _events(parsed: Sequence[ReplyEvent], calls: list[ToolCall], round_index: int) -> Iterator[AgentEvent]:
    """Turn the parser's events into the agent's; complete calls are given an id and collected."""
    for event in parsed:
        if event.tool_call is not None:
            calls.append(replace(event.tool_call, id=f"call_{round_index}_{len(calls)}"))
            yield ToolCalled(calls[-1])
        elif event.kind == "reasoning":
            yield ReasoningDelta(event.text)
        else:
            yield ContentDelta(event.text)


def _carry_out(call: ToolCall, call_tool: CallTool) -> ToolReturned:
    start = time.perf_counter()
    try:
        result = call_tool(call.name, dict(call.arguments))
    except Exception as error:  # a tool is foreign code: whatever it raises is a result that the model can react to
        result = {"error": type(error).__name__, "message": _why(call, error)}
    seconds = time.perf_counter() - start
    return ToolReturned(call, result, not isinstance(result, str) and "error" in result, seconds)


def _why(call: ToolCall, error: Exception) -> str:
    """Our own errors are written for readers; the text of a foreign one may hold anything, so it is not passed on."""
    return str(error) if isinstance(error, OpenMiMoError) else f"{call.name} failed"


def _tool_message(returned: ToolReturned) -> Message:
    result = returned.result
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
    return Message(role="tool", content=text, tool_call_id=returned.call.id)
