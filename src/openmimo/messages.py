"""What a conversation is made of: messages and tool calls, and how the OpenAI API writes them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, NoReturn

from openmimo.errors import RequestError

__all__ = [
    "Message",
    "ToolCall",
    "check_tools",
    "json_object",
    "message_from_openai",
    "message_to_openai",
    "openai_call",
    "strict_json",
]

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
            message["tool_calls"] = [openai_call(call, json.dumps(call.arguments)) for call in self.tool_calls]
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


def message_to_openai(message: Message) -> dict[str, Any]:
    """Write a message in the OpenAI form, so that `message_from_openai` gives it back, less its reasoning.

    Args:
        message: any message.
    Returns:
        JSON-able data.
    """
    written: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        written["tool_calls"] = [openai_call(call, json.dumps(dict(call.arguments))) for call in message.tool_calls]
    if message.tool_call_id:
        written["tool_call_id"] = message.tool_call_id
    return written


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    """Check that tools have the OpenAI shape.

    Args:
        tools: as a caller gave them.
    Raises:
        RequestError: one has no usable name or schema.
    """
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


def strict_json(text: str) -> Any:
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


def json_object(text: str) -> dict[str, Any]:
    """Parse a JSON object, as `strict_json`; ValueError for anything else."""
    value = strict_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, not {type(value).__name__}")
    return value


def openai_call(call: ToolCall, arguments: Any) -> dict[str, Any]:
    """Write a call in the OpenAI shape.

    Args:
        call: gives id and name.
        arguments: its arguments, as an object or as JSON text, whichever the reader wants.
    Returns: an entry of `tool_calls`.
    """
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _call_from_openai(call: Any) -> ToolCall:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
        raise RequestError("each tool call needs a function with a name", param="messages")
    arguments = function.get("arguments") or {}
    try:
        arguments = json_object(arguments) if isinstance(arguments, str) else arguments
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
