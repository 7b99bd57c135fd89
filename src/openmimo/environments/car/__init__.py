"""The car: state, physics, tools, tasks."""

from openmimo.environments.car.car import Car, CarAccount
from openmimo.environments.car.cockpit import Cockpit, Phone
from openmimo.environments.car.environment import KIND_WEIGHTS, CarEnvironment, sample_group
from openmimo.environments.car.generate import sample_cockpit
from openmimo.environments.car.live import LiveCar, demo_cockpit
from openmimo.environments.car.roads import Place, Roads, sample_roads
from openmimo.environments.car.tools import CAR_TOOLS

__all__ = [
    "CAR_TOOLS", "KIND_WEIGHTS", "Car", "CarAccount", "CarEnvironment", "Cockpit", "LiveCar", "Phone", "Place", "Roads",
    "demo_cockpit", "sample_cockpit", "sample_group", "sample_roads",
]  # fmt: skip
