"""Chat: message types, rendering to a prompt, and the streaming parser that reads a reply back.

A prompt has scaffold (what the template writes) and content (what people and tools wrote). Only scaffold becomes
control tokens: `ChatFormat.encode` breaks every control string inside content before the template sees it.
"""

import html
import json
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from openmimo.errors import CheckpointError, RequestError
from openmimo.tokenizer import Tokenizer

__all__ = ["ChatFormat", "Message", "ReplyEvent", "ReplyParser", "ToolCall", "chat_template", "message_from_openai"]

Role = Literal["system", "user", "assistant", "tool"]
ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True)
class ToolCall:
    """One call that the model asks for.

    Attributes:
        name: the function.
        arguments: JSON values by parameter name.
        id: what the matching tool message names in `tool_call_id`.
    """

    name: str
    arguments: dict[str, Any]
    id: str = ""


@dataclass(frozen=True)
class Message:
    """One turn of a conversation, or one tool result.

    Attributes:
        role: "system", "user", "assistant" or "tool".
        content: the visible text, or the tool's result.
        reasoning: what the assistant thought before it.
        tool_calls: what the assistant calls.
        tool_call_id: the call that a tool message answers.
    """

    role: Role
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    def to_openai(self) -> dict[str, Any]:
        """Give the message as the OpenAI API writes it.

        Returns: a JSON-ready dict; fields that are empty are left out.
        """
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["content"] = self.content or None
            message["tool_calls"] = [_openai_call(call, json.dumps(call.arguments)) for call in self.tool_calls]
        if self.tool_call_id:
            message["tool_call_id"] = self.tool_call_id
        return message


def message_from_openai(message: Mapping[str, Any]) -> Message:
    """Read a message in the OpenAI form.

    Args:
        message: role, content (text or a list of text parts), and for assistants `reasoning_content` and `tool_calls`.
            A `<think>` block that opens an assistant's content is taken as its reasoning. Other keys are ignored.
    Returns: the message.
    Raises:
        RequestError: a field is missing, has the wrong type, or holds an image or sound.
    """
    if not isinstance(message, Mapping):
        raise RequestError(f"a message must be an object, not {type(message).__name__}", param="messages")
    role = message.get("role")
    role = "system" if role == "developer" else role
    if role not in ROLES:
        raise RequestError(f"message role {role!r} is not known: use one of {', '.join(ROLES)}", param="messages")
    content = _content_text(message.get("content"), is_optional=role == "assistant")
    if role != "assistant":
        return Message(role, content, tool_call_id=_optional_text(message, "tool_call_id") if role == "tool" else "")
    reasoning = _optional_text(message, "reasoning_content") or _optional_text(message, "reasoning")
    if not reasoning and content.startswith("<think>") and "</think>" in content:
        reasoning, content = content.removeprefix("<think>").split("</think>", 1)
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, list | tuple):
        raise RequestError(f"tool_calls must be a list, not {type(calls).__name__}", param="messages")
    return Message("assistant", content, reasoning, tuple(_call_from_openai(call) for call in calls))


def chat_template(name: Literal["default", "v2", "7b"]) -> str:
    """Give a chat template that comes with the package.

    Args:
        name: "default" is the default model's; "v2" and "7b" serve checkpoints that bring none.
    Returns: Jinja source, as a tokenizer_config.json holds it.
    """
    suffix = "" if name == "default" else f"_{name}"
    return (Path(__file__).parent / f"chat_template{suffix}.jinja").read_text(encoding="utf-8")


class ChatFormat:
    """How one checkpoint writes a conversation.

    Args:
        tokenizer: the checkpoint's vocabulary.
        template: Jinja source.
        tokens: texts that templates may use, such as bos_token and eos_token.
    Raises:
        CheckpointError: the template does not compile.
    """

    def __init__(self, tokenizer: Tokenizer, template: str, tokens: Mapping[str, str] | None = None):
        self.tokenizer = tokenizer
        self._tokens = dict(tokens or {})
        self._template = _compile(template)
        # A one-character control token cannot be broken in two; no published vocabulary has one.
        texts = [re.escape(text) for text in tokenizer.control_ids if len(text) > 1]
        self._control = re.compile(f"(?={'|'.join(texts)})" if texts else "(?!)")

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Tokenizer, family: Literal["v2", "7b"]) -> "ChatFormat":
        """Take the checkpoint's own template (chat_template.jinja, else tokenizer_config.json), else the family's.

        Args:
            folder: a checkpoint folder.
            tokenizer: its vocabulary.
            family: `ModelConfig.family`.
        Returns: the format.
        Raises:
            CheckpointError: a file cannot be read or the template does not compile.
        """
        folder = Path(folder)
        try:
            settings = json.loads(_read(folder / "tokenizer_config.json") or "{}")
            template = _read(folder / "chat_template.jinja") or _named_template(settings)
            tokens = _token_texts(settings)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{folder}/tokenizer_config.json or its template cannot be read: {error}") from error
        return cls(tokenizer, template or chat_template(family), tokens)

    def render(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        enable_thinking: bool | None = None,
    ) -> str:
        """Write the prompt as text, for people to read: `encode` is what models get.

        Args:
            messages: the conversation; dicts are read by `message_from_openai`.
            tools: OpenAI function tools that the model may call.
            add_generation_prompt: end with the opening of an assistant turn.
            enable_thinking: None leaves it to the template.
        Returns: the prompt.
        Raises:
            RequestError: there is no message, a tool is malformed, or the template refuses the conversation.
        """
        return self._render(_as_messages(messages), tools, add_generation_prompt, enable_thinking, lambda text: text)

    def encode(
        self,
        messages: Sequence[Message | Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        add_generation_prompt: bool = True,
        enable_thinking: bool | None = None,
    ) -> list[int]:
        """Write the prompt as token ids; text of control tokens inside content stays ordinary text.

        Args: as `render`.
        Returns: the token ids.
        Raises:
            RequestError: as `render`.
        """
        messages = _as_messages(messages)
        found: list[str] = []

        def note(text: str) -> str:
            found.append(text)
            return text

        rendered = self._render(messages, tools, add_generation_prompt, enable_thinking, note)
        if not any(self._control.search(text) for text in found):
            return self.tokenizer.encode(rendered, allow_control=True)
        mark = _unused_character(found)
        break_up = partial(self._break, mark=mark)
        broken = self._render(messages, tools, add_generation_prompt, enable_thinking, break_up)
        pieces = (self.tokenizer.encode(piece, allow_control=True) for piece in broken.split(mark))
        return [token_id for piece in pieces for token_id in piece]

    def parser(self, tools: Sequence[Mapping[str, Any]] = ()) -> "ReplyParser":
        """Start reading one reply.

        Args:
            tools: the tools that were offered; their schemas say which type each argument has.
        Returns: the parser.
        Raises:
            RequestError: a tool is malformed.
        """
        return ReplyParser(tools)

    def _break(self, text: str, mark: str) -> str:
        """Put the mark after the first character of every control string."""
        starts = [match.start() + 1 for match in self._control.finditer(text)]
        return mark.join(text[a:b] for a, b in zip([0, *starts], [*starts, len(text)], strict=True))

    def _render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]],
        add_generation_prompt: bool,
        enable_thinking: bool | None,
        on_content: Callable[[str], str],
    ) -> str:
        _check_tools(tools)
        variables: dict[str, Any] = {"add_generation_prompt": add_generation_prompt, **self._tokens}
        if enable_thinking is not None:
            variables["enable_thinking"] = enable_thinking
        try:
            variables["messages"] = [_template_message(message, on_content) for message in messages]
            variables["tools"] = _map_strings(list(tools), on_content) if tools else None
            return self._template.render(variables)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError, OverflowError, RecursionError) as error:
            message = f"the checkpoint's chat template refuses this conversation: {error}"
            raise RequestError(message, param="messages", code="template_error") from error


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
    Raises:
        RequestError: a tool is malformed.
    Source: V2 call markup (XML) and MiMo-7B call markup (JSON).
    """

    # The grammar is written as generators that read self._text from self._at and yield where they need more of it.

    def __init__(self, tools: Sequence[Mapping[str, Any]] = ()):
        _check_tools(tools)
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
        self._steps = self._reply()

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

    def _reply(self) -> Steps:
        self._held.append((yield from self._space()))
        if (yield from self._literal(THINK)):
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
            call = _json_object(text)
            arguments = call.get("arguments", {})
            arguments = _json_object(arguments) if isinstance(arguments, str) else arguments
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
        value = _strict_json(text)
    except ValueError:
        return text
    if "integer" in types and isinstance(value, float) and value.is_integer():
        value = int(value)
    fits = not isinstance(value, bool) and any(isinstance(value, JSON_TYPES.get(name, ())) for name in types)
    return value if fits else text


JSON_TYPES: dict[str, Any] = {"integer": int, "number": int | float, "object": dict, "array": list}


def _declared_types(schema: Any) -> set[str]:
    if not isinstance(schema, Mapping):
        return set()
    declared = schema.get("type") or []
    types = {declared} if isinstance(declared, str) else set(declared)
    for choice in [*(schema.get("anyOf") or []), *(schema.get("oneOf") or [])]:
        types |= _declared_types(choice)
    return types


def _strict_json(text: str) -> Any:
    """Parse JSON; ValueError also for what could not be written as JSON or UTF-8 again, and for absurd nesting."""

    def number(digits: str) -> float:
        if not isfinite(value := float(digits)):
            raise ValueError(f"{digits} is out of range")
        return value

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is not JSON")

    try:
        value = json.loads(text, parse_float=number, parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _json_object(text: str) -> dict[str, Any]:
    value = _strict_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, not {type(value).__name__}")
    return value


# The OpenAI form.


def _openai_call(call: ToolCall, arguments: Any) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_from_openai(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RequestError("each tool call needs a function with a name", param="messages")
    arguments = function.get("arguments") or {}
    try:
        arguments = _json_object(arguments) if isinstance(arguments, str) else arguments
    except ValueError as error:
        raise RequestError(
            f"arguments of the call to {function['name']} must be a JSON object: {error}", param="messages"
        ) from error
    if not isinstance(arguments, dict):
        raise RequestError(f"arguments of the call to {function['name']} must be a JSON object", param="messages")
    return ToolCall(function["name"], arguments, _optional_text(call, "id"))


def _content_text(content: Any, is_optional: bool) -> str:
    if isinstance(content, str):
        return content
    if content is None and is_optional:
        return ""
    if not isinstance(content, list | tuple):
        raise RequestError(
            f"message content must be text or a list of parts, not {type(content).__name__}", param="messages"
        )
    return "".join(_part_text(part) for part in content)


def _part_text(part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind != "text":
        raise RequestError(
            f"content part of type {kind!r} is not supported: send text",
            param="messages",
            code="modality_not_supported",
        )
    if not isinstance(part.get("text"), str):
        raise RequestError("a text part needs a string in its text field", param="messages")
    return part["text"]


def _optional_text(message: Mapping[str, Any], key: str) -> str:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise RequestError(f"{key} must be a string, not {type(value).__name__}", param="messages")
    return value or ""


def _as_messages(messages: Sequence[Message | Mapping[str, Any]]) -> list[Message]:
    if not messages:
        raise RequestError("messages is empty: send at least one message", param="messages")
    return [message if isinstance(message, Message) else message_from_openai(message) for message in messages]


def _check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, Mapping) and tool.get("type") == "function" else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
            raise RequestError(
                'each tool must be {"type": "function", "function": {"name": ...}} with a name of 1 to 128 characters '
                "without spaces, quotes or angle brackets",
                param="tools",
            )
        parameters = function.get("parameters") or {}
        if not isinstance(parameters, Mapping) or not isinstance(parameters.get("properties") or {}, Mapping):
            raise RequestError(f"parameters of tool {name} must be a JSON schema object", param="tools")


TOOL_NAME = re.compile(r"""[^\s<>"']{1,128}""")


# Templates.


def _compile(template: str) -> jinja2.Template:
    """Compile as Hugging Face does, so that published templates mean the same here."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except jinja2.TemplateError as error:
        raise CheckpointError(f"the chat template does not compile: {error}") from error


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _named_template(settings: Mapping[str, Any]) -> str:
    template = settings.get("chat_template") or ""
    if isinstance(template, str):
        return template
    return {item["name"]: item["template"] for item in template}.get("default", "")


def _token_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """bos_token and the like, which files spell as text or as {"content": text}."""
    texts = {key: settings.get(key) for key in ("bos_token", "eos_token", "pad_token", "unk_token")}
    texts = {key: value.get("content") if isinstance(value, Mapping) else value for key, value in texts.items()}
    return {key: value for key, value in texts.items() if isinstance(value, str)}


def _template_message(message: Message, on_content: Callable[[str], str]) -> dict[str, Any]:
    """The OpenAI form as templates expect it: call arguments are objects, absent fields are missing."""
    rendered: dict[str, Any] = {"role": message.role, "content": on_content(message.content)}
    if message.reasoning:
        rendered["reasoning_content"] = on_content(message.reasoning)
    if message.tool_calls:
        rendered["tool_calls"] = [_template_call(call, on_content) for call in message.tool_calls]
    if message.tool_call_id:
        rendered["tool_call_id"] = on_content(message.tool_call_id)
    return rendered


def _template_call(call: ToolCall, on_content: Callable[[str], str]) -> dict[str, Any]:
    named = ToolCall(on_content(call.name), {}, on_content(call.id))
    return _openai_call(named, _map_strings(call.arguments, on_content))


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Apply `change` to every string in JSON data, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_map_strings(key, change): _map_strings(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, change) for item in value]
    return value


def _unused_character(texts: Iterable[str]) -> str:
    used = set().union(*texts)
    return next(chr(code) for code in range(0xF0000, 0x110000) if chr(code) not in used)
