"""Chat in the terminal: the same agent loop as the web page, printed as it happens."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from openmimo.agent import (
    ChatEngine,
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
from openmimo.engine.params import SamplingParams
from openmimo.environments import LiveWorld

__all__ = ["chat", "chat_lines"]


def chat(engine: ChatEngine, world: LiveWorld, params: SamplingParams) -> None:
    """Read requests until the input ends; each is answered under the world's fresh listing, with the turns before it.

    Args:
        engine: with a chat format.
        world: where the model acts.
        params: how to sample.
    """
    console = Console(highlight=False)
    console.print(world.system_content(), style="dim", markup=False)
    console.print("[dim]Say what you want; an empty line or Ctrl-D ends.[/dim]")
    turns: list[Message] = []
    while request := _read():
        turns.append(Message("user", request))
        turns += _answer(console, engine, world, turns, params)


def chat_lines(engine: ChatEngine, world: LiveWorld, params: SamplingParams) -> None:
    """Answer each line of standard input with one line of JSON, for programs.

    Args: as `chat`.
    """
    turns: list[Message] = []
    for line in sys.stdin:
        if request := line.strip():
            turns.append(Message("user", request))
            told, added = _turn(engine, world, turns, params)
            turns += added
            print(json.dumps(told, ensure_ascii=False), flush=True)


def _turn(
    engine: ChatEngine, world: LiveWorld, turns: Sequence[Message], params: SamplingParams
) -> tuple[dict[str, Any], Sequence[Message]]:
    turn: dict[str, Any] = {"request": turns[-1].content, "reasoning": "", "content": "", "calls": []}
    added: Sequence[Message] = ()
    messages = conversation_window(world.system_content(), turns, world.asked_turns, world.follows_up)
    for event in run_agent(engine, messages, world.tools(), world.turn, params):
        match event:
            case ReasoningDelta(text):
                turn["reasoning"] += text
            case ContentDelta(text):
                turn["content"] += text
            case ToolCalled(call):
                turn["calls"].append({"name": call.name, "arguments": call.arguments})
            case Finished(messages=added):
                pass
            case _:
                pass
    return turn, added


def _read() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _answer(
    console: Console, engine: ChatEngine, world: LiveWorld, turns: Sequence[Message], params: SamplingParams
) -> Sequence[Message]:
    added: Sequence[Message] = ()
    messages = conversation_window(world.system_content(), turns, world.asked_turns, world.follows_up)
    previous = None
    for event in run_agent(engine, messages, world.tools(), world.turn, params):
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
            case Finished(messages=added):
                pass
    return added
