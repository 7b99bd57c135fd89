"""The errors that openmimo raises for what a user, a file or a client can cause.

Each one is also the standard exception that a caller would expect, so `except ValueError` keeps working.
Messages say what was given, what is allowed and what to do next.
"""

__all__ = [
    "CapacityError",
    "CheckpointConfigError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "OpenMiMoError",
    "RequestError",
    "SandboxError",
    "StorageError",
    "TrainingError",
]


class OpenMiMoError(Exception):
    """Base of every error in this package."""


class ConfigError(OpenMiMoError, ValueError):
    """A setting has a value that cannot work."""


class CheckpointError(OpenMiMoError, ValueError):
    """A checkpoint folder is missing a file or a tensor, or holds one that cannot be used."""


class CheckpointConfigError(CheckpointError, ConfigError):
    """A checkpoint's config.json has a value that cannot work."""


class RequestError(OpenMiMoError, ValueError):
    """A prompt, message, tool or sampling parameter is not acceptable.

    Attributes:
        param: name of the offending field, or None.
        code: stable machine-readable code, see `docs/serving.md`.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value"):
        super().__init__(message)
        self.param = param
        self.code = code


class CapacityError(OpenMiMoError, RuntimeError):
    """There is no room for it now, in memory or on disk; the same may succeed later."""


class TrainingError(OpenMiMoError, RuntimeError):
    """Training cannot go on; the last complete checkpoint is intact."""


class StorageError(TrainingError, CapacityError):
    """A snapshot could not be written: the disk is full or failing; the older ones are intact."""


class DataError(OpenMiMoError, ValueError):
    """A line of training data cannot be used."""


class SandboxError(OpenMiMoError, RuntimeError):
    """This system cannot isolate an untrusted program, or the sandbox broke; the program was not run outside it."""
