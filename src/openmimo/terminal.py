"""Chat in the terminal: the same agent loop as the web page, printed as it happens."""

import json
import sys
from typing import Any

from rich.console import Console

from openmimo.agent import (
    ChatEngine,
    ContentDelta,
    ReasoningDelta,
    ReplyFinished,
    ToolCalled,
    ToolReturned,
    conversation_window,
    run_agent,
)
from openmimo.chat import Message
from openmimo.engine.params import SamplingParams
from openmimo.environments.home import LiveHome

__all__ = ["chat", "chat_lines"]


def chat(engine: ChatEngine, home: LiveHome, params: SamplingParams) -> None:
    """Read requests until the input ends; each is answered on its own, with the home's fresh listing.

    Args:
        engine: with a chat format.
        home: where the model acts.
        params: how to sample.
    """
    console = Console(highlight=False)
    console.print(f"[dim]{home.system_content()}[/dim]", markup=True)
    console.print("[dim]Say what you want; an empty line or Ctrl-D ends.[/dim]")
    while request := _read():
        _answer(console, engine, home, request, params)


def chat_lines(engine: ChatEngine, home: LiveHome, params: SamplingParams) -> None:
    """Answer each line of standard input with one line of JSON, for programs.

    Args: as `chat`.
    """
    for line in sys.stdin:
        if request := line.strip():
            print(json.dumps(_turn(engine, home, request, params), ensure_ascii=False), flush=True)


def _turn(engine: ChatEngine, home: LiveHome, request: str, params: SamplingParams) -> dict[str, Any]:
    turn: dict[str, Any] = {"request": request, "reasoning": "", "content": "", "calls": []}
    messages = conversation_window(home.system_content(), [Message("user", request)])
    for event in run_agent(engine, messages, home.tools(), home.call, params):
        match event:
            case ReasoningDelta(text):
                turn["reasoning"] += text
            case ContentDelta(text):
                turn["content"] += text
            case ToolCalled(call):
                turn["calls"].append({"name": call.name, "arguments": call.arguments})
            case _:
                pass
    return turn


def _read() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _answer(console: Console, engine: ChatEngine, home: LiveHome, request: str, params: SamplingParams) -> None:
    messages = conversation_window(home.system_content(), [Message("user", request)])
    previous = None
    for event in run_agent(engine, messages, home.tools(), home.call, params):
        if isinstance(previous, ReasoningDelta | ContentDelta) and type(event) is not type(previous):
            console.print()
        previous = event
        match event:
            case ReasoningDelta(text):
                console.print(text, style="dim", end="", markup=False)
            case ContentDelta(text):
                console.print(text, end="", markup=False)
            case ToolCalled(call):
                arguments = ", ".join(f"{key}={value!r}" for key, value in call.arguments.items())
                console.print(f"  {call.name}({arguments})", style="cyan", markup=False)
            case ToolReturned(result=result, is_error=is_error):
                console.print(f"  {result}", style="red" if is_error else "green", markup=False)
            case ReplyFinished(stats=stats):
                rate = stats.new_tokens / max(stats.decode_s, 1e-9)
                drafts = f", {stats.new_tokens / max(stats.steps, 1):.1f} tokens a step" if stats.drafted else ""
                console.print(f"[dim]{rate:.0f} tok/s{drafts}[/dim]")
