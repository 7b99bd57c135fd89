"""openmimo: the MiMo models in one small package, with a native engine."""

from typing import TYPE_CHECKING, Any

from openmimo.errors import (
    CapacityError,
    CheckpointError,
    ConfigError,
    OpenMiMoError,
    RequestError,
    TrainingError,
)

if TYPE_CHECKING:
    from openmimo.chat import Message, ToolCall
    from openmimo.engine import Completion, Delta, Engine, SamplingParams, Stats
    from openmimo.loading import load

__all__ = [
    "CapacityError",
    "CheckpointError",
    "Completion",
    "ConfigError",
    "Delta",
    "Engine",
    "Message",
    "OpenMiMoError",
    "RequestError",
    "SamplingParams",
    "Stats",
    "ToolCall",
    "TrainingError",
    "load",
]

_HOMES = {
    "Completion": "openmimo.engine",
    "Delta": "openmimo.engine",
    "Engine": "openmimo.engine",
    "Message": "openmimo.chat",
    "SamplingParams": "openmimo.engine",
    "Stats": "openmimo.engine",
    "ToolCall": "openmimo.chat",
    "load": "openmimo.loading",
}


def __getattr__(name: str) -> Any:
    """Import the rest on first use, so that `openmimo --help` and the training programs start quickly."""
    if name not in _HOMES:
        raise AttributeError(f"module 'openmimo' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
