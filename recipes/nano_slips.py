"""Slips: a call that went wrong in the conversation, so that the reply to the error is learnt and not the slip."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from openmimo.chat import Message, ToolCall
from openmimo.environments import Environment
from openmimo.environments.base import Task
from openmimo.environments.home.answers import after_tools

__all__ = ["slip"]


def slip(rng: random.Random, environment: Environment, task: Task) -> list[Message]:
    """The first gold reply with one call spoilt, what the tools say to it, and the reply that passes it on.

    Args:
        rng: source of randomness.
        environment: the task's.
        task: any.
    Returns:
        the messages after the prompt; nothing where the reply calls nothing or the spoilt call works.
    """
    gold = task.gold[0]
    if not gold.tool_calls:
        return []
    calls = list(gold.tool_calls)
    index = rng.randrange(len(calls))
    calls[index] = _spoil(rng, calls[index])
    spoilt = replace(gold, tool_calls=tuple(calls))
    told = environment.start(task).step(spoilt)
    results = [json.loads(message.content) for message in told]
    if not any("error" in result for result in results):
        return []
    return [spoilt, *told, Message("assistant", after_tools(results))]


def _spoil(rng: random.Random, call: ToolCall) -> ToolCall:
    if not call.arguments:
        return replace(call, name=f"{call.name}All")
    key = rng.choice(tuple(call.arguments))
    return replace(call, arguments={**call.arguments, key: _spoilt(rng, call.arguments, key)})


def _spoilt(rng: random.Random, arguments: Mapping[str, Any], key: str) -> Any:
    value = arguments[key]
    if isinstance(value, list):
        return [*value, value[0]]
    if isinstance(value, int | float):
        return value + rng.choice((-100, 100, 1000))
    cut = rng.randrange(len(value)) if value else 0
    return value[:cut] + value[cut + 1 :] if rng.random() < 0.5 else f"{value[:cut]}{value[:2]}{value[cut:]}"
