"""Worlds with tasks and verifiers, for training and evaluation."""

from openmimo.environments.base import Environment, Episode, Split, Task, environment_names, make_environment, register
from openmimo.environments.car import CarEnvironment
from openmimo.environments.energy import EnergyEnvironment
from openmimo.environments.home import HomeEnvironment
from openmimo.environments.maths import MathsEnvironment
from openmimo.environments.programs import ProgramsEnvironment
from openmimo.environments.recall import RecallEnvironment

__all__ = ["Environment", "Episode", "Split", "Task", "environment_names", "make_environment", "register"]

register("home", HomeEnvironment)
register("maths", MathsEnvironment)
register("programs", ProgramsEnvironment)
register("recall", RecallEnvironment)
register("car", CarEnvironment)
register("energy", EnergyEnvironment)
