"""Simulated homes: devices, physics, tools, requests in many words, and verifiers."""

from openmimo.environments.home.demo import demo_home, floor_plan
from openmimo.environments.home.environment import HomeEnvironment, HomeEpisode
from openmimo.environments.home.generate import sample_home, split_of
from openmimo.environments.home.live import LiveHome
from openmimo.environments.home.tasks import (
    KIND_WEIGHTS,
    HomeTask,
    sample_group,
    sample_offer,
    sample_task,
    sample_tasks,
)
from openmimo.environments.home.tools import TOOL_NAMES, call_tool, tool_dicts
from openmimo.environments.home.world import Home

__all__ = [
    "KIND_WEIGHTS",
    "TOOL_NAMES",
    "Home",
    "HomeEnvironment",
    "HomeEpisode",
    "HomeTask",
    "LiveHome",
    "call_tool",
    "demo_home",
    "floor_plan",
    "sample_group",
    "sample_home",
    "sample_offer",
    "sample_task",
    "sample_tasks",
    "split_of",
    "tool_dicts",
]
