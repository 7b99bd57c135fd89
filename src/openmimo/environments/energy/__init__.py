"""The energy side of a home: state, physics, tools, plans and their optimum."""

from openmimo.environments.energy.plant import Appliance, Meter, Plant, cell_c, pv_kw

__all__ = ["Appliance", "Meter", "Plant", "cell_c", "pv_kw"]
