"""The energy side of a home: state, physics, tools, plans and their optimum."""

from openmimo.environments.energy.board import Board, Chargeable, Runnable
from openmimo.environments.energy.environment import KIND_WEIGHTS, EnergyEnvironment, sample_group
from openmimo.environments.energy.generate import sample_board
from openmimo.environments.energy.household import Household, Run
from openmimo.environments.energy.live import LiveEnergy, demo_household
from openmimo.environments.energy.optimum import best_plan
from openmimo.environments.energy.plant import Appliance, Meter, Plant, cell_c, pv_kw
from openmimo.environments.energy.problem import BatteryJob, CarJob, Load, Plan, Problem, greedy_plan, naive_plan
from openmimo.environments.energy.tools import ENERGY_TOOLS

__all__ = [
    "ENERGY_TOOLS", "KIND_WEIGHTS", "Appliance", "BatteryJob", "Board", "CarJob", "Chargeable", "EnergyEnvironment",
    "Household", "LiveEnergy", "Load", "Meter", "Plan", "Plant", "Problem", "Run", "Runnable", "best_plan", "cell_c",
    "demo_household", "greedy_plan", "naive_plan", "pv_kw", "sample_board", "sample_group",
]  # fmt: skip
