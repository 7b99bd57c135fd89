"""The car: state, physics, tools, tasks."""

from openmimo.environments.car.car import Car, CarAccount
from openmimo.environments.car.roads import Place, Roads, sample_roads

__all__ = ["Car", "CarAccount", "Place", "Roads", "sample_roads"]
