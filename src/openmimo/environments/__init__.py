"""Worlds with tasks and verifiers, for training and evaluation."""

from .base import Environment, Episode, Split, Task, environment_names, make_environment, register
from .home import HomeEnvironment

__all__ = ["Environment", "Episode", "Split", "Task", "environment_names", "make_environment", "register"]

register("home", HomeEnvironment)
