"""Maths in plain text: problems that a small model can work out digit by digit."""

from openmimo.environments.maths.environment import KIND_WEIGHTS, MathsEnvironment, sample_group

__all__ = ["KIND_WEIGHTS", "MathsEnvironment", "sample_group"]
