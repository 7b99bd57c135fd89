"""New weights on their way from a trainer to the worker thread."""

import threading
from collections.abc import Mapping

import numpy as np

from openmimo.batch import Backend
from openmimo.errors import OpenMiMoError

__all__ = ["Update"]


class Update:
    """An order to replace the weights; whoever gave it waits for it.

    Args:
        tensors: by published name.
    """

    def __init__(self, tensors: Mapping[str, np.ndarray]):
        self._tensors = tensors
        self._done = threading.Event()
        self._error: Exception | None = None

    def carry_out(self, backend: Backend) -> None:
        """Replace the weights, on the thread that owns the back end. Whatever goes wrong is kept for `wait`."""
        try:
            backend.update(self._tensors)
        except Exception as error:  # the worker's loop must go on
            self._error = error
        self._done.set()

    def wait(self) -> None:
        """Wait until the weights are replaced.

        Raises:
            CheckpointError: a tensor cannot be used.
            OpenMiMoError: the back end failed.
        """
        self._done.wait()
        if isinstance(self._error, OpenMiMoError):
            raise self._error
        if self._error is not None:
            raise OpenMiMoError(f"the weights could not be replaced: {self._error}") from self._error
