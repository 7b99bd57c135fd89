"""Worlds with tasks and verifiers, for training and evaluation."""

from openmimo.environments.base import Environment, Episode, Split, Task, environment_names, make_environment, register
from openmimo.environments.car import CarEnvironment, LiveCar
from openmimo.environments.energy import EnergyEnvironment, LiveEnergy
from openmimo.environments.home import HomeEnvironment, LiveHome
from openmimo.environments.live import LiveWorld
from openmimo.environments.maths import MathsEnvironment
from openmimo.environments.programs import ProgramsEnvironment
from openmimo.environments.recall import RecallEnvironment

__all__ = [
    "LIVE_WORLDS",
    "Environment",
    "Episode",
    "LiveWorld",
    "Split",
    "Task",
    "environment_names",
    "make_environment",
    "register",
]

register("home", HomeEnvironment)
register("maths", MathsEnvironment)
register("programs", ProgramsEnvironment)
register("recall", RecallEnvironment)
register("car", CarEnvironment)
register("energy", EnergyEnvironment)

LIVE_WORLDS: dict[str, type[LiveHome | LiveCar | LiveEnergy]] = {
    world.name: world for world in (LiveHome, LiveCar, LiveEnergy)
}
"""Worlds to talk to, by name; each is made without arguments."""
