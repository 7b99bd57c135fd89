"""Reading replies: one streaming parser for thinking, text and both families' tool calls."""

import html
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from openmimo.messages import Message, ToolCall, check_tools, json_object, strict_json

__all__ = ["ReplyEvent", "ReplyParser"]


@dataclass(frozen=True)
class ReplyEvent:
    """One piece of a reply.

    Attributes:
        kind: "content" or "reasoning", with `text`; or "tool_call", with `tool_call`.
    """

    kind: Literal["content", "reasoning", "tool_call"]
    text: str = ""
    tool_call: ToolCall | None = None


THINK, END_THINK = "<think>", "</think>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
FUNCTION, END_FUNCTION = "<function=", "</function>"
PARAMETER, END_PARAMETER = "<parameter=", "</parameter>"
SPACE = re.compile(r"[ \t\r\n]*")
NAME = re.compile(r"[^<>\n]*")
JSON_MARK = re.compile(r'["\\\n<]')
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

Steps = Generator[None, None, None]


class ReplyParser:
    """Read a reply as it streams: thinking, text and tool calls.

    The events, joined, do not depend on how the text was cut, and the work is linear in its length. A call is given out
    when it is complete; one that is malformed or never ends is content. Whitespace around calls is layout, not content.

    Args:
        tools: the tools that were offered; their schemas say which type each argument has.
        is_thinking: the prompt ended with `<think>`, so the reply begins inside it.
    Raises:
        RequestError: a tool is malformed.
    Source: V2 call markup (XML) and MiMo-7B call markup (JSON).
    """

    # The grammar is written as generators that read self._text from self._at and yield where they need more of it.

    def __init__(self, tools: Sequence[Mapping[str, Any]] = (), is_thinking: bool = False):
        check_tools(tools)
        functions = [tool["function"] for tool in tools]
        self._schemas = {f["name"]: (f.get("parameters") or {}).get("properties") or {} for f in functions}
        self._text, self._at, self._is_ended = "", 0, False
        self._events: list[ReplyEvent] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[ToolCall] = []
        self._held: list[str] = []  # whitespace that is content only if text follows
        self._is_after_call = False
        self._raw: list[str] = []  # what was taken since the last call or text, as it was written
        self._steps = self._reply(is_thinking)

    @property
    def message(self) -> Message:
        """The reply so far."""
        return Message("assistant", "".join(self._content), "".join(self._reasoning), tuple(self._calls))

    def feed(self, text: str) -> list[ReplyEvent]:
        """Add text.

        Args:
            text: the next piece, of any length.
        Returns: what is certain now.
        """
        assert not self._is_ended, "feed after finish"
        self._text, self._at = self._text[self._at :] + text, 0
        next(self._steps)
        return self._take_events()

    def finish(self) -> list[ReplyEvent]:
        """End the reply.

        Returns: what was held back.
        """
        self._is_ended = True
        next(self._steps, None)
        return self._take_events()

    # Grammar.

    def _reply(self, is_thinking: bool) -> Steps:
        if not is_thinking:
            self._held.append((yield from self._space()))
            is_thinking = bool((yield from self._literal(THINK)))
        if is_thinking:
            self._held = []
            yield from self._until(END_THINK, partial(self._emit, "reasoning"))
        while (yield from self._until(CALL, self._say)):
            self._raw = [*self._held, CALL]
            call = yield from self._call()
            if call:
                self._give(call)
            else:
                self._emit("content", "".join(self._raw))
            self._held = []
            self._is_after_call = call is not None
        if not self._is_after_call:
            self._emit("content", "".join(self._held))

    def _call(self) -> Generator[None, None, ToolCall | None]:
        yield from self._space()
        call = self._json_call() if self._text.startswith("{", self._at) else self._xml_call()
        return (yield from call)

    def _xml_call(self) -> Generator[None, None, ToolCall | None]:
        name = (yield from self._literal(FUNCTION)) and (yield from self._name())
        arguments: dict[str, Any] = {}
        while name:
            yield from self._space()
            tag = yield from self._literal(PARAMETER, END_FUNCTION)
            if tag == END_FUNCTION:
                yield from self._space()
                return ToolCall(name, arguments) if (yield from self._literal(END_CALL)) else None
            parameter = tag and (yield from self._name())
            value: list[str] = []
            if not parameter or not (yield from self._until(END_PARAMETER, value.append)):
                return None
            schema = self._schemas.get(name, {}).get(parameter)
            arguments[parameter] = _coerce(ENTITY.sub(lambda match: html.unescape(match[0]), "".join(value)), schema)
        return None

    def _json_call(self) -> Generator[None, None, ToolCall | None]:
        text = yield from self._json_text()
        try:
            call = json_object(text)
            arguments = call.get("arguments", {})
            arguments = json_object(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            return None
        is_call = isinstance(call.get("name"), str) and isinstance(arguments, dict)
        return ToolCall(call["name"], arguments) if is_call else None

    def _json_text(self) -> Generator[None, None, str]:
        """Read to the end tag that is not inside a JSON string; the text is empty if it never comes."""
        pieces: list[str] = []
        is_string = False
        while True:
            match = JSON_MARK.search(self._text, self._at)
            pieces.append(self._take(match.start() if match else len(self._text)))
            if not match:
                if self._is_ended:
                    return ""
                yield
                continue
            if match[0] == "<" and not is_string and (yield from self._literal(END_CALL)):
                return "".join(pieces)
            if match[0] == "\\" and is_string:
                while len(self._text) - self._at < 2 and not self._is_ended:
                    yield
                pieces.append(self._take(self._at + 2))
                continue
            if match[0] in '"\n':  # a raw line end cannot be part of a JSON string, so an unclosed one stops there
                is_string = match[0] == '"' and not is_string
            pieces.append(self._take(self._at + 1))

    # Reading.

    def _take(self, end: int) -> str:
        text, self._at = self._text[self._at : end], min(end, len(self._text))
        self._raw.append(text)
        return text

    def _until(self, tag: str, give: Callable[[str], None]) -> Generator[None, None, bool]:
        """Give out text up to the tag and skip the tag; False if the reply ends first."""
        while True:
            end = self._text.find(tag, self._at)
            if end >= 0 or self._is_ended:
                give(self._take(end if end >= 0 else len(self._text)))
                self._take(self._at + len(tag))
                return end >= 0
            give(self._take(len(self._text) - _overlap(self._text, self._at, tag)))
            yield

    def _literal(self, *options: str) -> Generator[None, None, str]:
        """Take whichever option comes next; empty if none does."""
        while True:
            for option in options:
                if self._text.startswith(option, self._at):
                    return self._take(self._at + len(option))
            rest = self._text[self._at : self._at + max(map(len, options))]
            if self._is_ended or not any(option.startswith(rest) for option in options):
                return ""
            yield

    def _take_all(self, pattern: re.Pattern[str]) -> Generator[None, None, str]:
        """Take all characters that match."""
        pieces: list[str] = []
        while True:
            match = pattern.match(self._text, self._at)
            assert match is not None, "patterns for _take_all match the empty string"
            pieces.append(self._take(match.end()))
            if self._at < len(self._text) or self._is_ended:
                return "".join(pieces)
            yield

    def _space(self) -> Generator[None, None, str]:
        return (yield from self._take_all(SPACE))

    def _name(self) -> Generator[None, None, str]:
        name = yield from self._take_all(NAME)
        return name if (yield from self._literal(">")) else ""

    # Giving out.

    def _say(self, text: str) -> None:
        body = text.rstrip(" \t\r\n")
        if body:
            self._emit("content", "".join(self._held) + body)
            self._held = []
            self._is_after_call = False
        self._held.append(text[len(body) :])

    def _emit(self, kind: Literal["content", "reasoning"], text: str) -> None:
        self._raw = []
        if text:
            (self._content if kind == "content" else self._reasoning).append(text)
            self._events.append(ReplyEvent(kind, text))

    def _give(self, call: ToolCall) -> None:
        self._calls.append(replace(call, id=f"call_{len(self._calls)}"))
        self._events.append(ReplyEvent("tool_call", tool_call=self._calls[-1]))

    def _take_events(self) -> list[ReplyEvent]:
        events, self._events = self._events, []
        return events


def _overlap(text: str, start: int, tag: str) -> int:
    """Length of the longest end of text[start:] that could be the beginning of the tag."""
    longest = min(len(tag) - 1, len(text) - start)
    return next((length for length in range(longest, 0, -1) if text.endswith(tag[:length])), 0)


def _coerce(text: str, schema: Any) -> Any:
    """Give the argument the type that its schema declares; what does not fit stays text."""
    if text.strip() == "null":
        return None
    types = _declared_types(schema)
    if not types or "string" in types:
        return text
    if "boolean" in types and text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    try:
        value = strict_json(text)
    except ValueError:
        return text
    if "integer" in types and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = not isinstance(value, bool) and any(isinstance(value, JSON_TYPES.get(name, ())) for name in types)
    return value if fits else text


JSON_TYPES: dict[str, Any] = {"integer": int, "number": int | float, "object": dict, "array": list}


def _declared_types(schema: Any) -> set[str]:
    """Names of the types that a schema allows; what is no JSON schema declares none."""
    if not isinstance(schema, Mapping):
        return set()
    types = {name for name in _listed(schema.get("type")) if isinstance(name, str)}
    for choice in [*_listed(schema.get("anyOf")), *_listed(schema.get("oneOf"))]:
        types |= _declared_types(choice)
    return types


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
