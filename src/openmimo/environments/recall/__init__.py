"""Recall: notes far beyond the attention window, and questions about them."""

from openmimo.environments.recall.environment import KIND_WEIGHTS, LENGTHS, RecallEnvironment, sample_group

__all__ = ["KIND_WEIGHTS", "LENGTHS", "RecallEnvironment", "sample_group"]
