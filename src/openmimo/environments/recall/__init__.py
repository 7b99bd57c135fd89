"""Recall: notes far beyond the attention window, and questions about them."""

from openmimo.environments.recall.environment import (
    KIND_WEIGHTS,
    LENGTHS,
    Notes,
    RecallEnvironment,
    sample_group,
    sample_notes,
    sample_questions,
)
from openmimo.environments.recall.facts import Fact

__all__ = [
    "KIND_WEIGHTS", "LENGTHS", "Fact", "Notes", "RecallEnvironment", "sample_group", "sample_notes", "sample_questions",
]  # fmt: skip
