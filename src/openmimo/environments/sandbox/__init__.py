"""A sandbox for small Python programs that nobody has read."""

from openmimo.environments.sandbox.box import BACKENDS, Outcome, Sandbox

__all__ = ["BACKENDS", "Outcome", "Sandbox"]
