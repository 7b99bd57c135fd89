"""Tools that act on a world: their descriptions, checks of what a model passes, and errors that change nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from openmimo.chat import ToolCall

__all__ = [
    "MAX_CALLS",
    "Tool",
    "ToolError",
    "ToolTurn",
    "ToolWorld",
    "Toolbox",
    "boolean",
    "number",
    "render_result",
    "shown",
    "stepped",
    "text",
]

Given = Mapping[str, Any]
MAX_CALLS = 8
"""Calls of one reply that are carried out."""

World = TypeVar("World", bound="ToolWorld")


class ToolError(Exception):
    """A call that cannot be carried out; `code` is stable, the message is for the model."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class ToolWorld(Protocol):
    """What tools act on."""

    def copy(self: World) -> World:
        """An independent world in the same state."""
        ...

    def commanded(self) -> dict[str, Any]:
        """Everything that tools can change."""
        ...


class Tool(NamedTuple):
    """One tool.

    Attributes:
        description: a few words; they cost prompt tokens in every request.
        properties: JSON schema of each parameter.
        run: checks everything, then changes the world; returns "name: new state" for each thing that it set.
        required: parameters that must be given.
    """

    description: str
    properties: dict[str, Any]
    run: Callable[[Any, Given], list[str]]
    required: tuple[str, ...] = ()


class Toolbox:
    """The tools of one environment, in the order in which they are offered."""

    def __init__(self, tools: Mapping[str, Tool]):
        self._tools = dict(tools)
        self.names = tuple(self._tools)

    def extended(self, tools: Mapping[str, Tool]) -> Toolbox:
        """Another toolbox with further tools, offered last."""
        return Toolbox({**self._tools, **tools})

    def dicts(self, names: Collection[str]) -> tuple[dict[str, Any], ...]:
        """Describe tools in the OpenAI shape, in the fixed order."""
        return tuple(_tool_dict(name, tool) for name, tool in self._tools.items() if name in names)

    def call(self, world: ToolWorld, name: str, arguments: object, offered: Collection[str]) -> dict[str, Any]:
        """Carry out one call.

        Args:
            world: changed in place only when the call succeeds.
            name: tool name.
            arguments: as the model gave them.
            offered: names of the tools on offer.
        Returns:
            `{"success": ["name: state", ...]}`, or `{"error": code, "message": text}` with nothing changed.
        """
        try:
            if name not in self._tools or name not in offered:
                raise ToolError("unknown_tool", f"there is no tool {shown(name)}")
            return {"success": self._tools[name].run(world, _checked(name, self._tools[name], arguments))}
        except ToolError as error:
            return {"error": error.code, "message": str(error)}

    def call_all(self, world: ToolWorld, calls: Sequence[ToolCall], offered: Collection[str]) -> list[dict[str, Any]]:
        """Carry out the calls of one reply in order, as a `ToolTurn` does.

        Args:
            world: changed in place.
            calls: the reply's calls.
            offered: names of the tools on offer.
        Returns:
            One result per call.
        """
        turn = ToolTurn(self, world, offered)
        return [turn.call(call.name, call.arguments) for call in calls]


class ToolTurn:
    """The calls of one reply: a later one may not undo what an earlier one has just set, and there may not be too many.

    Args:
        toolbox: the tools.
        world: changed in place.
        offered: names of the tools on offer.

    Attributes:
        world: what the next call acts on.
    """

    def __init__(self, toolbox: Toolbox, world: ToolWorld, offered: Collection[str]):
        self.world = world
        self._toolbox, self._offered = toolbox, offered
        self._said: dict[str, str] = {}
        self._count = 0

    def call(self, name: str, arguments: object) -> dict[str, Any]:
        """Carry out the next call.

        Args:
            name: tool name.
            arguments: as the model gave them.
        Returns:
            As `Toolbox.call`; also the errors "contradiction" and "too_many_calls".
        """
        self._count += 1
        if self._count > MAX_CALLS:
            return {"error": "too_many_calls", "message": f"only {MAX_CALLS} calls fit in one reply"}
        tried = self._toolbox.call(self.world.copy(), name, arguments, self._offered)
        states = dict(item.split(": ", 1) for item in tried.get("success", ()))
        said = self._said
        clash = next((item for item in states if said.get(item, states[item]) != states[item]), None)
        if clash is not None:
            return {"error": "contradiction", "message": f"{clash} was {said[clash]} in the same reply"}
        said |= states
        return tried if "error" in tried else self._toolbox.call(self.world, name, arguments, self._offered)


def _tool_dict(name: str, tool: Tool) -> dict[str, Any]:
    parameters = {"type": "object", "properties": tool.properties, "required": list(tool.required)}
    return {"type": "function", "function": {"name": name, "description": tool.description, "parameters": parameters}}


def _checked(name: str, tool: Tool, arguments: object) -> dict[str, Any]:
    if not isinstance(arguments, Mapping):
        raise ToolError("invalid_value", "arguments must be an object")
    unknown = [key for key in arguments if key not in tool.properties]
    if unknown:
        raise ToolError("unknown_parameter", f"{name} has no parameter {shown(unknown[0])}")
    given = {key: value for key, value in arguments.items() if value is not None and value != ""}
    missing = [key for key in tool.required if key not in given]
    if missing:
        raise ToolError("missing_parameter", f"give {missing[0]}")
    return given


def render_result(result: dict[str, Any]) -> str:
    """Write a tool result as the text of a tool message: JSON on one line."""
    return json.dumps(result, ensure_ascii=False)


def shown(value: object) -> str:
    """A value for an error message, cut where it is long."""
    text = str(value)
    return text if len(text) <= 40 else text[:40] + "..."


def text(given: Given, key: str) -> str:
    """Read a name: lower case, single spaces.

    Args:
        given: checked arguments.
        key: the parameter.
    Returns:
        The text, "" where it is not given.
    Raises:
        ToolError: it is no text.
    """
    value = given.get(key, "")
    if not isinstance(value, str):
        raise ToolError("invalid_value", f"{key} must be text")
    return " ".join(value.lower().split())


def number(given: Given, key: str, low: float, high: float) -> float:
    """Read a number.

    Args:
        given: checked arguments; the parameter is required.
        key: the parameter.
        low: least value.
        high: greatest value.
    Returns:
        The number.
    Raises:
        ToolError: it is no number or out of range.
    """
    value = given[key]
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not low <= found <= high:
        raise ToolError("invalid_value", f"{key} must be {low:g} to {high:g}")
    return found


def stepped(given: Given, key: str, low: float, high: float, step: float = 1) -> float:
    """Read a number that must be a multiple of a step.

    Args:
        given, key, low, high: as for `number`.
        step: by which the value moves.
    Returns:
        The number.
    Raises:
        ToolError: it is no number, out of range or between steps.
    """
    found = number(given, key, low, high)
    if found / step != int(found / step):
        raise ToolError("invalid_value", f"{key} must be in steps of {step:g}")
    return found


def boolean(given: Given, key: str) -> bool:
    """Read a yes or no.

    Args:
        given: checked arguments.
        key: the parameter.
    Returns:
        The value, False where it is not given.
    Raises:
        ToolError: it is neither true nor false.
    """
    value = given.get(key, False)
    if not isinstance(value, bool):
        raise ToolError("invalid_value", f"{key} must be true or false")
    return value
