"""Programs: small Python to read and to write."""

from openmimo.environments.programs.environment import KIND_WEIGHTS, ProgramsEnvironment, WritingTask, sample_group

__all__ = ["KIND_WEIGHTS", "ProgramsEnvironment", "WritingTask", "sample_group"]
