"""Simulated homes: devices, physics, tools, requests in many words, and verifiers."""

from .environment import HomeEnvironment, HomeEpisode
from .generate import sample_home, split_of
from .tasks import KIND_WEIGHTS, HomeTask, sample_dialog, sample_offer, sample_task, sample_tasks
from .tools import TOOL_NAMES, call_tool, tool_dicts
from .world import Home

__all__ = [
    "KIND_WEIGHTS",
    "TOOL_NAMES",
    "Home",
    "HomeEnvironment",
    "HomeEpisode",
    "HomeTask",
    "call_tool",
    "sample_dialog",
    "sample_home",
    "sample_offer",
    "sample_task",
    "sample_tasks",
    "split_of",
    "tool_dicts",
]
